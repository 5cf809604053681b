//! SPLADE models of MiniLM's and of BERT-base's size give the bits that the tests in JavaScript
//! expect of wasm.

use crate::common::{fixture, load_on, minilm};
use gossamer::{Cpu, Input, SparseOptions, Threads, WeightDtype};
use sha2::{Digest, Sha256};

const TEXTS: [&str; 3] = ["Ships at night", "", "A loaf of rye, and harbour lights."];

fn digest(name: &str, dtype: WeightDtype, threads: usize) -> String {
    let tokenizer = std::fs::read(minilm().join("tokenizer.json")).unwrap();
    let changes = [("tokenizer.json", Some(tokenizer.as_slice()))];
    let cpu = Cpu::with(Threads::new(threads).unwrap());
    let embedder = load_on(cpu, &fixture(name), dtype, &changes, 1 << 20).unwrap();
    let inputs = TEXTS.map(Input::from).to_vec();
    let batch = embedder
        .encode_sparse(inputs, &SparseOptions::default())
        .unwrap();
    let mut hash = Sha256::new();
    for vector in &batch.vectors {
        assert!(
            (100..20_000).contains(&vector.indices.len()),
            "{}",
            vector.indices.len()
        );
        vector
            .indices
            .iter()
            .for_each(|index| hash.update(index.to_le_bytes()));
        vector
            .values
            .iter()
            .for_each(|value| hash.update(value.to_le_bytes()));
    }
    format!("{:x}", hash.finalize())
}

#[test]
fn the_digests_are_those_that_wasm_must_give_with_any_number_of_threads() {
    let expected = std::fs::read(fixture("sized-splade-digests.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_slice(&expected).unwrap();
    let counts: [(_, &[usize]); 2] = [
        ("sized-splade-minilm", &[1, 2, 3, 7]),
        ("sized-splade-base", &[1, 2]),
    ];
    for (name, counts) in counts {
        for dtype in [WeightDtype::F32, WeightDtype::Q8] {
            for threads in counts {
                assert_eq!(
                    expected[name][dtype.name()],
                    digest(name, dtype, *threads),
                    "{name} {}, {threads} threads",
                    dtype.name()
                );
            }
        }
    }
}
