//! Rank agreement of 8-bit weights with f32, at the size of ms-marco-MiniLM-L6.

use crate::common::{fixture, load_with, minilm};
use gossamer::{Cpu, Embedder, Input, ScoreActivation, ScoreOptions, WeightDtype};

const QUERIES: usize = 50;
const DOCUMENTS: usize = 20;

/// Words of the tokenizer's vocabulary, by turns that a generator of numbers decides.
struct Words {
    words: Vec<String>,
    state: u32,
}

impl Words {
    fn new(tokenizer: &[u8]) -> Self {
        let json: serde_json::Value = serde_json::from_slice(tokenizer).unwrap();
        let vocabulary = json["model"]["vocab"].as_object().unwrap();
        let is_word =
            |word: &&String| word.len() > 3 && word.bytes().all(|b| b.is_ascii_lowercase());
        let mut words: Vec<String> = vocabulary.keys().filter(is_word).cloned().collect();
        words.sort_unstable();
        assert!(words.len() > 10_000);
        Self { words, state: 1 }
    }

    fn text(&mut self, count: usize) -> String {
        let word = |_| {
            self.state = self
                .state
                .wrapping_mul(1_664_525)
                .wrapping_add(1_013_904_223);
            let at = self.state as usize >> 8;
            self.words[at % self.words.len()].as_str()
        };
        (0..count).map(word).collect::<Vec<_>>().join(" ")
    }
}

/// Kendall's τ of two lists of scores.
fn tau(a: &[f32], b: &[f32]) -> f64 {
    let (mut sum, mut pairs) = (0.0, 0.0);
    for i in 0..a.len() {
        for j in 0..i {
            let product = f64::from(a[i] - a[j]) * f64::from(b[i] - b[j]);
            sum += if product > 0.0 {
                1.0
            } else if product < 0.0 {
                -1.0
            } else {
                0.0
            };
            pairs += 1.0;
        }
    }
    sum / pairs
}

#[test]
fn eight_bits_rank_as_f32_does() {
    let tokenizer = std::fs::read(minilm().join("tokenizer.json")).unwrap();
    let mut words = Words::new(&tokenizer);
    let mut pairs = Vec::new();
    for _ in 0..QUERIES {
        let query = words.text(5);
        for document in 0..DOCUMENTS {
            pairs.push(Input::Pair(query.clone(), words.text(6 + document % 7)));
        }
    }
    let changes = [("tokenizer.json", Some(tokenizer.as_slice()))];
    let scores = |dtype| {
        let folder = fixture("rerankers/sized-minilm");
        let embedder: Embedder<Cpu> = load_with(&folder, dtype, &changes, 1 << 20).unwrap();
        let options = ScoreOptions {
            activation: Some(ScoreActivation::Identity),
            ..ScoreOptions::default()
        };
        embedder.score(pairs.clone(), &options).unwrap().scores
    };
    let (full, coarse) = (scores(WeightDtype::F32), scores(WeightDtype::Q8));
    let taus = full
        .chunks(DOCUMENTS)
        .zip(coarse.chunks(DOCUMENTS))
        .map(|(a, b)| tau(a, b));
    #[expect(clippy::cast_precision_loss, reason = "few")]
    let mean = taus.sum::<f64>() / QUERIES as f64;
    let largest = full
        .iter()
        .zip(&coarse)
        .map(|(a, b)| (a - b).abs())
        .fold(0f32, f32::max);
    let spread = full
        .iter()
        .fold(0f32, |most, x| most.max((x - full[0]).abs()));
    println!(
        "τ of all {}, mean of queries {mean}, error {largest}, spread {spread}",
        tau(&full, &coarse)
    );
    assert!(mean >= 0.98 && tau(&full, &coarse) >= 0.98, "{mean}");
}
