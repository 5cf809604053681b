//! The `tokenizers` crate's normalisers and decoders, behind the checks that it leaves out: it panics over JSON that breaks off
//! within them, and looks sentencepiece's tables up without regard to their ends.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokenizers::{
    Decoder as Decode, DecoderWrapper, NormalizedString, Normalizer as Normalize, NormalizerWrapper,
};

/// The longest text that a character is replaced with, in bytes; in sentencepiece's own tables it is 33.
const MOST_REPLACEMENT: usize = 256;

/// What a text goes through first.
#[derive(Clone)]
pub struct Normalizer(NormalizerWrapper);

/// What makes a text of tokens.
#[derive(Clone)]
pub struct Decoder(DecoderWrapper);

impl<'de> Deserialize<'de> for Normalizer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Value::deserialize(deserializer)?;
        check(&json).map_err(D::Error::custom)?;
        let normalizer = NormalizerWrapper::deserialize(json);
        normalizer.map(Self).map_err(D::Error::custom)
    }
}

impl Normalize for Normalizer {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        self.0.normalize(text)
    }
}

impl<'de> Deserialize<'de> for Decoder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Value::deserialize(deserializer)?;
        let decoder = DecoderWrapper::deserialize(json);
        decoder.map(Self).map_err(D::Error::custom)
    }
}

impl Decode for Decoder {
    fn decode_chain(&self, tokens: Vec<String>) -> tokenizers::Result<Vec<String>> {
        self.0.decode_chain(tokens)
    }
}

/// Checks the tables of characters in a normaliser.
fn check(json: &Value) -> Result<(), &'static str> {
    const TABLE: &str = "precompiled_charsmap";
    match json {
        Value::Array(list) => list.iter().try_for_each(check),
        Value::Object(fields) => {
            let is_table = fields.get("type").is_some_and(|kind| kind == "Precompiled");
            if is_table || fields.contains_key(TABLE) {
                let table = fields.get(TABLE).and_then(Value::as_str);
                let table = table.and_then(|table| STANDARD.decode(table).ok());
                let whole = table.is_some_and(|table| is_whole(&table));
                return whole
                    .then_some(())
                    .ok_or("its normalizer has a precompiled_charsmap that is damaged");
            }
            fields.values().try_for_each(check)
        }
        _ => Ok(()),
    }
}

/// Whether whatever is looked up in a table ends within it: the size of a double-array trie (Aoe 1989, in the units of
/// darts-clone), the trie, and replacements that end with a zero each.
fn is_whole(table: &[u8]) -> bool {
    let Some((size, rest)) = table.split_first_chunk::<4>() else {
        return false;
    };
    let size = u32::from_le_bytes(*size) as usize;
    let Some((trie, replacements)) = rest.split_at_checked(size / 4 * 4) else {
        return false;
    };
    let Ok(replacements) = str::from_utf8(replacements) else {
        return false;
    };
    let units: Vec<usize> = trie
        .as_chunks::<4>()
        .0
        .iter()
        .map(|unit| u32::from_le_bytes(*unit) as usize)
        .collect();
    let replaces = |at: usize| {
        replacements.get(at..).is_some_and(|text| {
            text.bytes().take_while(|byte| *byte != 0).count() <= MOST_REPLACEMENT
        })
    };
    // Where a unit's children are, but for their labels.
    let base = |at: usize| at ^ (units[at] >> 10) << ((units[at] & 1 << 9) >> 6);
    let mut seen = vec![false; units.len()];
    let mut open = vec![0];
    if units.is_empty() {
        return false;
    }
    while let Some(at) = open.pop() {
        let children = base(at);
        for label in 1..=255 {
            let child = children ^ label;
            let Some(unit) = units.get(child) else {
                return false;
            };
            if unit & (1 << 31 | 0xff) != label || std::mem::replace(&mut seen[child], true) {
                continue;
            }
            if unit >> 8 & 1 == 1 {
                let leaf = units.get(base(child));
                if !leaf.is_some_and(|leaf| replaces(leaf & ((1 << 31) - 1))) {
                    return false;
                }
            }
            open.push(child);
        }
    }
    true
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// `nmt_nfkc`'s table for some characters, as sentencepiece makes it.
    fn table() -> Vec<u8> {
        let json = include_bytes!("../../tests/fixtures/tiny-m3/tokenizer.json");
        let json: Value = serde_json::from_slice(json).unwrap();
        let table = json["normalizer"]["precompiled_charsmap"].as_str();
        STANDARD.decode(table.unwrap()).unwrap()
    }

    fn normalizer(table: &[u8]) -> Result<Normalizer, serde_json::Error> {
        let table = STANDARD.encode(table);
        let one = json!({ "type": "Precompiled", "precompiled_charsmap": table });
        let json = json!({ "type": "Sequence", "normalizers": [{ "type": "NFC" }, one] });
        serde_json::from_value(json)
    }

    fn normalize(normalizer: &Normalizer, text: &str) -> String {
        let mut text = NormalizedString::from(text);
        normalizer.normalize(&mut text).unwrap();
        text.get().to_owned()
    }

    #[test]
    fn whole_tables_replace_and_damaged_ones_are_refused() {
        let table = table();
        let whole = normalizer(&table).unwrap();
        assert_eq!(normalize(&whole, "ﬁn\u{a0}Ａ"), "fin A");
        let size = u32::MAX.to_le_bytes();
        for damaged in [
            &table[..0],
            &table[..3],
            &table[..1000],
            &[&size, &table[4..]].concat(),
            // No trie, and one without room for its children.
            &[&[0; 4], &table[4..]].concat(),
            &[&[4, 0, 0, 0], &[0; 4][..]].concat(),
            // Replacements that are missing, or have no end.
            &table[..table.len() / 2],
            &table
                .iter()
                .map(|byte| if *byte == 0 { b'a' } else { *byte })
                .collect::<Vec<_>>(),
        ] {
            let error = normalizer(damaged).err().map(|error| error.to_string());
            assert!(error.is_some_and(|error| error.contains("damaged")));
        }
        let without = json!({ "type": "Precompiled" });
        assert!(serde_json::from_value::<Normalizer>(without).is_err());
        assert!(serde_json::from_str::<Decoder>("{\"type\":").is_err());
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
            if let Ok(normalizer) = normalizer(&table) {
                normalize(&normalizer, &text);
            }
        }
    }
}
