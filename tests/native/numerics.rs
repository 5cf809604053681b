//! Vectors and `spaceId` are pinned as a pair: vectors that change take a new `spaceId` with them.

use std::fmt::Write;

use gossamer::{MultiOptions, WeightDtype};

use crate::common::{fixture, inputs, load, texts};

/// Model, dtype, `spaceId`, and the hash of the vectors of tiny-texts.json. Whoever changes vectors
/// raises `NUMERICS` (src/backend/mod.rs), and only then replaces these lines.
const PINNED: &str = "
tiny-bert f32 c81afc2682a472db6533d1391271d467 dc912d4eebf06f36
tiny-bert q8 0023649fc90c758118a64299586d30a5 160a6fc095d05471
tiny-bert q4 b52d001376bcac7b7701f5b8425a50b7 c7ff98728cfbc140
tiny-gemma3 f32 850adcad51cf676e1b0f71a6ff36c261 94a2aebf2260db57
tiny-gemma3 q8 d1e6b08b58f40741259ea53605b5b9a5 9bae353d436ba488
tiny-gemma3 q4 8bb8e30af2bf186da061b174924dbe79 0c7436c9c4907aa0
tiny-jina f32 c68180ee9daa761ade3203594e134228 050d15e4fa84d94e
tiny-jina q8 55c5c1485d75b86a8db8d27e26129fed aa4e5eb395090c27
tiny-jina q4 d9f14c188a456b249d73595fd587772f 63973849e9fec5a9
tiny-m3 f32 06f26245736aed38d9688ed2635f8e8e 631e1af577af7cee
tiny-m3 q8 8ee6a2190e0478a1f075efa2dd89e8fb ddef5b6cdfaa344f
tiny-m3 q4 57e884d7289a3d8e00ce200106dcf756 d993a780e3a94896
tiny-mistral f32 ea7d2b8f432389dca0ddf5631f370f4e 3fac692a94505dff
tiny-mistral q8 0c393c6971686eb1aefe0ddbca0b687b fae5ebf93e46b250
tiny-mistral q4 9e873f08dc89bbc15f9eaaae14f936e7 c65e4ecef0ef6e09
tiny-modernbert f32 807efd9408324fd727892fcf28f8ba7b c1aa5853c352498d
tiny-modernbert q8 e2d67f067996744aa896f76bbb7a3fa3 e665d5e9ecc6b66c
tiny-modernbert q4 956152e22eaa60e90c828737015591fe d1b4965312256099
tiny-mpnet f32 090c971134441006eea780550153c992 785f631f6d6be3dd
tiny-mpnet q8 c057d391f9e1a919b61681f4b18c00b6 1dbb77e7b8de49e7
tiny-mpnet q4 618319c634811ffb430a94257b753090 0e478f7f4e5d67ba
tiny-nomic f32 c0bec3f7af0a97331aff91485e0313b7 68e77065c353778a
tiny-nomic q8 56c9aa3c89c62b18ed65168541aefa01 b4284187475a144f
tiny-nomic q4 e0e74614c3ed9ddc548d0818a48b8d69 88b70025cb4206e4
tiny-qwen3 f32 58ef8c5f8cce2aa4b899a76bab0b05e8 f316ba9b5d48b835
tiny-qwen3 q8 14bcd05116b135052ab5580faa437223 5beb2ad4c2afd3c0
tiny-qwen3 q4 16479dc55bf6e8e6bd620ae8f68080b1 c0ff9f9c0cd45a2c
tiny-splade f32 3b61c1fefd658b1a7533c857b8ba2475 cfa98c27e437892b
tiny-splade q8 2b4b42ac2c34649b7199afd13a36794e a7767397653cde43
tiny-splade q4 fe55555ef20d07c837e2ebbbea4cdfc6 a8390c95066d23aa
tiny-t5 f32 a5c9193e0f424d9d990bbf577409f722 2406932de40b67d6
tiny-t5 q8 1e5c44cd3ce3d1350bf4ea52f0ef85c4 5c11b00fd3fcf8ef
tiny-t5 q4 1ce12886ac22d82100a1e4b98ad94278 043f237640ebff62
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
