//! Vectors and `spaceId` are pinned as a pair: vectors that change take a new `spaceId` with them.

use std::fmt::Write;

use gossamer::{MultiOptions, WeightDtype};

use crate::common::{fixture, inputs, load, texts};

/// Model, dtype, `spaceId`, and the hash of the vectors of tiny-texts.json. Whoever changes vectors
/// raises `NUMERICS` (src/backend/mod.rs), and only then replaces these lines.
const PINNED: &str = "
";

const MODELS: [&str; 11] = [
    "tiny-bert",
    "tiny-gemma3",
    "tiny-jina",
    "tiny-m3",
    "tiny-mistral",
    "tiny-modernbert",
    "tiny-mpnet",
    "tiny-nomic",
    "tiny-qwen3",
    "tiny-splade",
    "tiny-t5",
];

#[test]
fn vectors_that_change_have_a_new_space_id() {
    let texts = texts("tiny-texts.json");
    let mut found = String::from("\n");
    for name in MODELS {
        for dtype in [WeightDtype::F32, WeightDtype::Q8, WeightDtype::Q4] {
            let embedder = load(&fixture(name), dtype);
            let outputs = embedder.outputs();
            let options = MultiOptions {
                dense: outputs.contains(&"dense"),
                sparse: outputs.contains(&"sparse"),
                ..MultiOptions::default()
            };
            let output = embedder.encode_multi(inputs(&texts), &options).unwrap();
            // FNV-1a, a word at a time.
            let mut hash = 0xcbf2_9ce4_8422_2325_u64;
            let mut add = |word: u32| {
                hash = (hash ^ u64::from(word)).wrapping_mul(0x0000_0100_0000_01b3);
            };
            for value in output.dense.iter().flatten() {
                add(value.to_bits());
            }
            for vector in output.sparse.iter().flatten() {
                for (index, value) in vector.indices.iter().zip(&vector.values) {
                    add(*index);
                    add(value.to_bits());
                }
            }
            let (dtype, space) = (dtype.name(), embedder.space_id());
            writeln!(found, "{name} {dtype} {space} {hash:016x}").unwrap();
        }
    }
    assert_eq!(found, PINNED, "found:{found}");
}
