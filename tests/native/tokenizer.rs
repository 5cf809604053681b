//! Token ids on strings that tokenizers stumble over, for the three kinds of models, against PyPI's
//! tokenizers.

use crate::common::{fixture, load, reference, texts};
use gossamer::WeightDtype;

#[test]
fn ids_of_nasty_strings_are_those_of_the_reference() {
    let texts = texts("nasty.json");
    assert!(texts.len() >= 300);
    let theirs = reference(&fixture("nasty-ids.safetensors"));
    for (kind, folder) in [
        ("wordpiece", "tiny-bert"),
        ("unigram", "tiny-m3"),
        ("bpe", "tiny-qwen3"),
    ] {
        let embedder = load(&fixture(folder), WeightDtype::Q8);
        let ids: Vec<i32> = theirs[&format!("{kind}_ids")].to_vec1().unwrap();
        let offsets: Vec<i32> = theirs[&format!("{kind}_offsets")].to_vec1().unwrap();
        for ((_, text), pair) in texts.iter().zip(offsets.windows(2)) {
            let range = usize::try_from(pair[0]).unwrap()..usize::try_from(pair[1]).unwrap();
            let ours = embedder.tokenize(text, true).unwrap();
            let ours: Vec<i32> = ours
                .iter()
                .map(|token| i32::try_from(token.id).unwrap())
                .collect();
            assert_eq!(ours, ids[range], "{kind} {text:?}");
        }
    }
}
