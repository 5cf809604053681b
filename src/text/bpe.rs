//! Byte pair encoding (Sennrich et al. 2016): the adjacent pair with the lowest rank is merged,
//! until no pair has a rank.
//!
//! Dropout is not applied. It gives different tokens at each call and is meant for training.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use super::unigram::byte_token;
use super::vocabulary::Ids;

/// The longest probe sequence in the table of merges. Files that are not crafted stay far below.
const LONGEST_CHAIN: usize = 512;
/// Characters below this number have their ids in an array. They include the characters that stand
/// for bytes.
const NEAR: usize = 0x150;

/// Options of the model.
pub struct Options {
    /// The token for characters that the vocabulary lacks.
    pub unknown: Option<u32>,
    /// Put before every symbol of a word but the first.
    pub prefix: String,
    /// Put after the last symbol of a word.
    pub suffix: String,
    /// Whether adjacent unknown characters are one token.
    pub fuse_unknown: bool,
    /// Whether characters that the vocabulary lacks are replaced with tokens for their bytes.
    pub byte_fallback: bool,
    /// Whether a word that is an entry of the vocabulary is that token, without merging.
    pub whole_words: bool,
}

/// The model.
pub struct Bpe {
    ids: Ids,
    merges: Merges,
    options: Options,
    near: Vec<Option<u32>>,
}

/// A symbol of a word.
#[derive(Clone, Copy)]
struct Symbol {
    id: u32,
    /// Length in bytes; 0 once it is merged into the symbol before.
    length: usize,
    before: Option<usize>,
    next: Option<usize>,
}

impl Bpe {
    /// Takes merges in the order of their ranks.
    pub fn new(ids: Ids, merges: &[(String, String)], options: Options) -> Result<Self, String> {
        let id = |entry: &str| {
            ids.id(entry)
                .ok_or_else(|| format!("merges: the vocabulary has no entry {entry:?}"))
        };
        let mut table = Merges::new(merges.len());
        for (rank, (left, right)) in (0..).zip(merges) {
            let rest = right.get(options.prefix.len()..).ok_or_else(|| {
                format!("merges: {right:?} is shorter than continuing_subword_prefix")
            })?;
            let both = id(&[left.as_str(), rest].concat())?;
            if !table.insert((id(left)?, id(right)?), (rank, both)) {
                return Err("merges: too many have the same hash".to_owned());
            }
        }
        let mut near = Vec::new();
        for c in (0..NEAR).filter_map(|c| char::from_u32(u32::try_from(c).ok()?)) {
            near.push(ids.id(c.encode_utf8(&mut [0; 4])));
        }
        Ok(Self {
            ids,
            merges: table,
            options,
            near,
        })
    }

    /// The token for characters that the vocabulary lacks.
    pub fn unknown(&self) -> Option<u32> {
        self.options.unknown
    }

    /// Sets the unknown token and whether to fall back to bytes, as a tokenizer class does. Returns
    /// whether this is a change, or none if words have a prefix or a suffix.
    pub fn set_unknown(&mut self, unknown: Option<u32>, bytes: bool) -> Option<bool> {
        let options = &mut self.options;
        if !(options.prefix.is_empty() && options.suffix.is_empty()) {
            return None;
        }
        let old = (
            std::mem::replace(&mut options.unknown, unknown),
            std::mem::replace(&mut options.fuse_unknown, bytes),
            std::mem::replace(&mut options.byte_fallback, bytes),
            std::mem::take(&mut options.whole_words),
        );
        Some(old != (unknown, bytes, bytes, false))
    }

    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Whether a text may be cut between an ASCII letter or digit and `▁` without changing tokens.
    /// This holds if no entry contains both, all of these characters have ids, and whole words are
    /// not looked up.
    pub fn ends_before_spaces(&self) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric();
        let bridge = |entry: &str| {
            let mut pairs = entry.chars().zip(entry.chars().skip(1));
            pairs.any(|(left, right)| plain(left) && right == '▁')
        };
        let single = |c: char| self.ids.id(c.encode_utf8(&mut [0; 4])).is_some();
        let options = &self.options;
        options.prefix.is_empty()
            && options.suffix.is_empty()
            && !options.whole_words
            && single('▁')
            && ('0'..='z').filter(|c| plain(*c)).all(single)
            && !self.ids.vocabulary().iter().any(bridge)
    }

    fn character(&self, text: &str) -> Option<u32> {
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) if (c as usize) < NEAR => self.near[c as usize],
            _ => self.ids.id(text),
        }
    }

    /// Calls `token` with the id and the bytes of each token of a word.
    pub fn tokenize(&self, word: &str, token: &mut impl FnMut(u32, Range<usize>)) {
        if self.options.whole_words
            && let Some(id) = self.ids.id(word)
        {
            token(id, 0..word.len());
            return;
        }
        let mut symbols = self.symbols(word);
        self.merge(&mut symbols);
        let mut start = 0;
        for symbol in symbols.iter().filter(|symbol| symbol.length > 0) {
            let end = (start + symbol.length).min(word.len());
            token(symbol.id, start..end);
            start = end;
        }
    }

    /// The characters of a word as symbols.
    fn symbols(&self, word: &str) -> Vec<Symbol> {
        let options = &self.options;
        let mut symbols = Vec::with_capacity(word.len());
        let mut add = |id: u32, length: usize| {
            let place = symbols.len();
            symbols.push(Symbol {
                id,
                length,
                before: place.checked_sub(1),
                next: Some(place + 1),
            });
        };
        // Bytes of unknown characters that have not become a symbol yet.
        let mut unknown = 0;
        let mut changed = String::new();
        for (start, c) in word.char_indices() {
            let length = c.len_utf8();
            let end = start + length;
            let mut text = &word[start..end];
            let prefix = if start > 0 {
                options.prefix.as_str()
            } else {
                ""
            };
            let suffix = if end == word.len() {
                options.suffix.as_str()
            } else {
                ""
            };
            if !prefix.is_empty() || !suffix.is_empty() {
                changed.clear();
                changed.extend([prefix, text, suffix]);
                text = &changed;
            }
            if let Some(id) = self.character(text) {
                if let Some(token) = options.unknown.filter(|_| unknown > 0) {
                    add(token, unknown);
                }
                unknown = 0;
                add(id, length);
                continue;
            }
            if options.byte_fallback {
                let bytes = text.bytes().map(|byte| self.ids.id(&byte_token(byte)));
                if let Some(bytes) = bytes.collect::<Option<Vec<u32>>>() {
                    bytes.into_iter().for_each(|id| add(id, 1));
                    continue;
                }
            }
            if let Some(token) = options.unknown {
                if unknown > 0 && !options.fuse_unknown {
                    add(token, unknown);
                    unknown = 0;
                }
                unknown += length;
            }
        }
        if let Some(token) = options.unknown.filter(|_| unknown > 0) {
            add(token, unknown);
        }
        if let Some(last) = symbols.last_mut() {
            last.next = None;
        }
        symbols
    }

    fn merge(&self, symbols: &mut [Symbol]) {
        // The lowest rank comes first, then the leftmost pair.
        let mut queue = BinaryHeap::new();
        let pair = |symbols: &[Symbol], left: usize, right: usize| {
            let pair = (symbols[left].id, symbols[right].id);
            let (rank, merged) = self.merges.get(pair)?;
            Some(Reverse((rank, left, merged)))
        };
        for left in 0..symbols.len().saturating_sub(1) {
            queue.extend(pair(symbols, left, left + 1));
        }
        while let Some(Reverse((_, left, merged))) = queue.pop() {
            let Some(right) = symbols[left].next.filter(|_| symbols[left].length > 0) else {
                continue;
            };
            // The pair may have changed since it was queued.
            let now = self.merges.get((symbols[left].id, symbols[right].id));
            if now.is_none_or(|(_, now)| now != merged) {
                continue;
            }
            let next = symbols[right].next;
            symbols[left].id = merged;
            symbols[left].length += symbols[right].length;
            symbols[left].next = next;
            symbols[right].length = 0;
            if let Some(next) = next {
                symbols[next].before = Some(left);
                queue.extend(pair(symbols, left, next));
            }
            if let Some(before) = symbols[left].before {
                queue.extend(pair(symbols, before, left));
            }
        }
    }
}

/// A hash table with open addressing from pairs to their ranks and merged ids.
struct Merges {
    slots: Vec<Option<Merge>>,
    bits: u32,
}

#[derive(Clone, Copy)]
struct Merge {
    pair: (u32, u32),
    /// Rank and merged id.
    into: (u32, u32),
}

impl Merges {
    fn new(count: usize) -> Self {
        let bits = (2 * count.max(8)).next_power_of_two().ilog2();
        Self {
            slots: vec![None; 1 << bits],
            bits,
        }
    }

    /// The slots that a pair may be in.
    #[expect(clippy::cast_possible_truncation, reason = "at most 32 bits are left")]
    fn places(&self, (left, right): (u32, u32)) -> impl Iterator<Item = usize> + use<> {
        let both = u64::from(left) << 32 | u64::from(right);
        let mixed = (both ^ both >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let first = (mixed >> (64 - self.bits)) as usize;
        let mask = self.slots.len() - 1;
        (first..first + LONGEST_CHAIN).map(move |place| place & mask)
    }

    /// Returns false if no slot is free. The last of equal pairs counts.
    fn insert(&mut self, pair: (u32, u32), into: (u32, u32)) -> bool {
        for place in self.places(pair) {
            if self.slots[place].is_none_or(|merge| merge.pair == pair) {
                self.slots[place] = Some(Merge { pair, into });
                return true;
            }
        }
        false
    }

    #[inline]
    fn get(&self, pair: (u32, u32)) -> Option<(u32, u32)> {
        for place in self.places(pair) {
            let merge = self.slots[place]?;
            if merge.pair == pair {
                return Some(merge.into);
            }
        }
        None
    }
}
