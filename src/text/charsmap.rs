//! sentencepiece's tables of replacements for characters.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use unicode_segmentation::UnicodeSegmentation;

use super::aligned::Aligned;

/// The most bytes of a replacement. sentencepiece's own tables have at most 33.
const MOST_REPLACEMENT: usize = 256;
/// The most bytes of a grapheme cluster that is looked up as a whole.
const LONGEST_CLUSTER: usize = 5;

/// A table of replacements.
pub struct Charsmap {
    /// A double-array trie (Aoe 1989, in the units of darts-clone).
    trie: Vec<u32>,
    /// All replacements, each terminated by a zero byte.
    replacements: String,
    /// Bytes of the longest replacement.
    longest: usize,
}

impl Charsmap {
    /// Reads a table in base64: the trie's size, the trie, and the replacements. Returns none if a
    /// lookup could leave the table.
    pub fn new(table: &str) -> Option<Self> {
        let table = STANDARD.decode(table).ok()?;
        let (size, rest) = table.split_first_chunk::<4>()?;
        let size = u32::from_le_bytes(*size) as usize;
        let (trie, replacements) = rest.split_at_checked(size / 4 * 4)?;
        let trie = trie.as_chunks::<4>().0.iter();
        let mut map = Self {
            trie: trie.map(|unit| u32::from_le_bytes(*unit)).collect(),
            replacements: String::from_utf8(replacements.to_vec()).ok()?,
            longest: 0,
        };
        map.longest = map.check()?;
        Some(map)
    }

    /// Bytes of the longest replacement.
    pub fn longest(&self) -> usize {
        self.longest
    }

    fn unit(&self, at: usize) -> Option<usize> {
        Some(*self.trie.get(at)? as usize)
    }

    /// The index of a unit's children, before their labels are added.
    fn base(&self, at: usize) -> Option<usize> {
        let unit = self.unit(at)?;
        Some(at ^ (unit >> 10) << ((unit & 1 << 9) >> 6))
    }

    fn replacement(&self, at: usize) -> Option<&str> {
        let rest = self.replacements.get(at..)?;
        Some(rest.split_once('\0').map_or(rest, |(text, _)| text))
    }

    /// Walks the whole trie, and returns the length of the longest replacement.
    fn check(&self) -> Option<usize> {
        let mut longest = 0;
        let mut seen = vec![false; self.trie.len()];
        let mut open = vec![0];
        while let Some(at) = open.pop() {
            let children = self.base(at)?;
            for label in 1..=255 {
                let child = children ^ label;
                let unit = self.unit(child)?;
                if unit & (1 << 31 | 0xff) != label || std::mem::replace(&mut seen[child], true) {
                    continue;
                }
                if unit >> 8 & 1 == 1 {
                    longest = longest.max(self.value(child)?.len());
                    if longest > MOST_REPLACEMENT {
                        return None;
                    }
                }
                open.push(child);
            }
        }
        Some(longest)
    }

    /// The replacement of the key that ends at a unit.
    fn value(&self, at: usize) -> Option<&str> {
        let leaf = self.unit(self.base(at)?)?;
        self.replacement(leaf & ((1 << 31) - 1))
    }

    /// The replacement of the shortest key that is a prefix of the text.
    fn find(&self, text: &str) -> Option<&str> {
        let mut at = 0;
        for byte in text.bytes().take_while(|byte| *byte != 0) {
            at = self.base(at)? ^ usize::from(byte);
            let unit = self.unit(at)?;
            if unit & (1 << 31 | 0xff) != usize::from(byte) {
                return None;
            }
            if unit >> 8 & 1 == 1 {
                return self.value(at);
            }
        }
        None
    }

    /// Replaces what the table has: clusters of up to five bytes as a whole, and longer ones
    /// character by character, as sentencepiece does.
    pub fn apply(&self, text: &mut Aligned) {
        let old = text.text().to_owned();
        let mut changed = Vec::with_capacity(old.len());
        let mut put = |old: &str, new: &str| {
            let (before, after) = (old.chars().count(), new.chars().count());
            let first = changed.len();
            changed.extend(new.chars().map(|c| (c, 0)));
            // If there are more characters than before, the last ones are inserted. If there are
            // fewer, the last one replaces the rest.
            changed[first..]
                .iter_mut()
                .skip(before)
                .for_each(|(_, change)| *change = 1);
            if let Some((_, change)) = changed.last_mut().filter(|_| after < before) {
                *change += after.cast_signed() - before.cast_signed();
            }
        };
        for cluster in old.graphemes(true) {
            match self
                .find(cluster)
                .filter(|_| cluster.len() <= LONGEST_CLUSTER)
            {
                Some(new) => put(cluster, new),
                None => {
                    for c in cluster.chars() {
                        let mut bytes = [0; 4];
                        let c: &str = c.encode_utf8(&mut bytes);
                        put(c, self.find(c).unwrap_or(c));
                    }
                }
            }
        }
        text.transform(changed.into_iter());
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// The table of `nmt_nfkc` for some characters, as sentencepiece makes it.
    fn table() -> Vec<u8> {
        let json = include_bytes!("../../tests/fixtures/tiny-m3/tokenizer.json");
        let json: Value = serde_json::from_slice(json).unwrap();
        let table = json["normalizer"]["precompiled_charsmap"].as_str();
        STANDARD.decode(table.unwrap()).unwrap()
    }

    fn charsmap(table: &[u8]) -> Option<Charsmap> {
        Charsmap::new(&STANDARD.encode(table))
    }

    fn apply(map: &Charsmap, text: &str) -> String {
        let mut text = Aligned::new(text, 0, true);
        map.apply(&mut text);
        text.text().to_owned()
    }

    #[test]
    fn whole_tables_replace_and_damaged_ones_are_refused() {
        let table = table();
        let whole = charsmap(&table).unwrap();
        assert_eq!(apply(&whole, "ﬁn\u{a0}Ａ"), "fin A");
        let size = u32::MAX.to_le_bytes();
        for damaged in [
            &table[..0],
            &table[..3],
            &table[..1000],
            &[&size, &table[4..]].concat(),
            // An empty trie, and one whose children are outside of it.
            &[&[0; 4], &table[4..]].concat(),
            &[&[4, 0, 0, 0], &[0; 4][..]].concat(),
            // Missing replacements, and one that is not terminated.
            &table[..table.len() / 2],
            &table
                .iter()
                .map(|byte| if *byte == 0 { b'a' } else { *byte })
                .collect::<Vec<_>>(),
        ] {
            assert!(charsmap(damaged).is_none());
        }
        assert!(Charsmap::new("?").is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn mutated_tables_never_panic(
            at in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
            byte: u8,
            text in "[ -~ -ÿ\u{2000}-\u{2fff}ﬀ-ﬆＡ-Ｚ]{0,40}",
        ) {
            let mut table = table();
            for at in at {
                let at = at.index(table.len());
                table[at] = byte;
            }
            if let Some(map) = charsmap(&table) {
                apply(&map, &text);
            }
        }
    }
}
