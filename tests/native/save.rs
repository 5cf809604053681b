//! Saving: a folder that loads as the model that it was saved from.

use std::collections::BTreeMap;

use crate::common::models::MODELS;
use crate::common::saved::{Folder, open, saved};
use crate::common::{cosine, fixture, load, load_with, minilm};
use gossamer::{
    Cpu, Embedder, EncodeOptions, Input, Outcome, SparseOptions, TokenOptions, WeightDtype,
};
use sha2::{Digest, Sha256};

const DTYPES: [WeightDtype; 5] = [
    WeightDtype::Q8,
    WeightDtype::Q6,
    WeightDtype::Q4,
    WeightDtype::F16,
    WeightDtype::F32,
];

fn texts() -> Vec<Input> {
    let texts = [
        "a saved model",
        "gives the same bits, whatever it is asked",
        "x",
    ];
    texts.map(Input::from).to_vec()
}

/// Every vector that a model gives, in bits.
fn vectors(embedder: &Embedder<Cpu>) -> Vec<u32> {
    let mut all = Vec::new();
    for output in embedder.outputs() {
        match output {
            "dense" => all.extend(
                embedder
                    .encode(texts(), &EncodeOptions::default())
                    .unwrap()
                    .data,
            ),
            "sparse" => {
                let batch = embedder
                    .encode_sparse(texts(), &SparseOptions::default())
                    .unwrap();
                for vector in batch.vectors {
                    all.extend(vector.values);
                }
            }
            _ => {
                let output = embedder
                    .encode_tokens(texts(), &TokenOptions::default())
                    .unwrap();
                for vectors in output.token_vectors.unwrap() {
                    all.extend(vectors.data);
                }
            }
        }
    }
    assert!(all.iter().any(|x| *x != 0.0));
    all.into_iter().map(f32::to_bits).collect()
}

/// Saves, loads what was saved, and compares.
fn check(what: &str, original: &Embedder<Cpu>, shard: Option<u64>) -> Folder {
    let folder = saved(original, shard, 1 << 16);
    let dtype = original.info().dtype;
    // What is in few bits says so itself.
    let again = open(&folder, (dtype == WeightDtype::F32).then_some(dtype))
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(vectors(&again), vectors(original), "{what}");
    assert_eq!(again.space_id(), original.space_id(), "{what}");
    assert_eq!(again.info().dtype, dtype, "{what}");
    assert_eq!(
        again.info().parameters,
        original.info().parameters,
        "{what}"
    );
    assert_eq!(again.weight_bytes(), original.weight_bytes(), "{what}");
    let stored = again.info().stored.as_ref();
    if dtype == WeightDtype::F32 {
        assert_eq!(stored, None, "{what}");
    } else if let Some(stored) = stored {
        assert!(stored.layout.ends_with(", rotated"), "{what}: {stored:?}");
        assert_eq!(stored.outcome, Outcome::Kept, "{what}");
    }
    // And once more, in other pieces.
    assert_eq!(saved(&again, shard, 999_983), folder, "{what}");
    folder
}

#[test]
fn a_saved_model_gives_the_same_bits() {
    for name in MODELS {
        for dtype in DTYPES {
            let folder = check(
                &format!("{name} {dtype:?}"),
                &load(&fixture(name), dtype),
                None,
            );
            let torch = folder.keys().find(|path| {
                let extension = std::path::Path::new(path).extension();
                extension.is_some_and(|extension| extension == "pt" || extension == "bin")
            });
            assert_eq!(torch, None, "{name}");
        }
    }
}

/// A BERT for SPLADE of `MiniLM`'s size, whose decoder is its table of embeddings.
fn splade(dtype: WeightDtype) -> Embedder<Cpu> {
    let tokenizer = std::fs::read(minilm().join("tokenizer.json")).unwrap();
    let changes = [("tokenizer.json", Some(tokenizer.as_slice()))];
    load_with(&fixture("sized-splade-minilm"), dtype, &changes, 1 << 20).unwrap()
}

#[test]
fn tables_and_tied_decoders_are_saved_in_codes() {
    for dtype in [WeightDtype::Q8, WeightDtype::Q4] {
        let folder = check("sized splade", &splade(dtype), None);
        let size = folder["model.safetensors"].len();
        // 23 million parameters in 8 bits and an eighth of a scale; positions, token types and the
        // bias in f32.
        assert!(
            (23_000_000..26_000_000).contains(&size) == (dtype == WeightDtype::Q8),
            "{size}"
        );
        let config = text(&folder, "config.json");
        assert!(
            config.contains("word_embeddings") && config.contains("decoder"),
            "{config}"
        );
    }
}

fn text<'a>(folder: &'a Folder, path: &str) -> &'a str {
    std::str::from_utf8(&folder[path]).unwrap()
}

#[test]
fn shards_keep_a_limit() {
    let limit = 12 << 20;
    let folder = check("shards", &load(&minilm(), WeightDtype::Q8), Some(limit));
    assert!(folder.values().all(|bytes| bytes.len() as u64 <= limit));
    let shards = folder
        .keys()
        .filter(|path| path.starts_with("model-"))
        .count();
    assert!((2..=3).contains(&shards), "{:?}", folder.keys());
    assert!(!folder.contains_key("model.safetensors"));
    // The table of embeddings alone has more.
    let error = load(&minilm(), WeightDtype::Q8)
        .save(Some(10 << 20))
        .unwrap_err()
        .to_string();
    assert!(error.contains("no tensor is cut"), "{error}");
}

#[test]
fn what_was_saved_in_8_bits_loads_in_others() {
    let original = load(&minilm(), WeightDtype::F32);
    let folder = saved(&load(&minilm(), WeightDtype::Q8), None, 1 << 20);
    let vector = |embedder: &Embedder<Cpu>| {
        embedder
            .encode(texts(), &EncodeOptions::default())
            .unwrap()
            .data
    };
    let expected = vector(&original);
    for (dtype, least) in [(WeightDtype::F32, 0.9995), (WeightDtype::Q4, 0.95)] {
        let embedder = open(&folder, Some(dtype)).unwrap();
        // These are other weights than the original's, and another space.
        assert_ne!(embedder.space_id(), load(&minilm(), dtype).space_id());
        let stored = embedder.info().stored.clone().unwrap();
        let outcome = if dtype == WeightDtype::F32 {
            Outcome::Widened
        } else {
            Outcome::Requantized
        };
        assert_eq!(stored.outcome, outcome);
        let got = vector(&embedder);
        for (got, expected) in got.chunks(384).zip(expected.chunks(384)) {
            let cosine = cosine(got, expected);
            assert!(cosine > least, "{dtype:?} {cosine}");
        }
    }
}

#[test]
fn q6_is_three_quarters_of_q8_and_expands_to_it() {
    let original = load(&minilm(), WeightDtype::Q6);
    let folder = check("MiniLM in q6", &original, None);
    let size: usize = folder.values().map(Vec::len).sum();
    assert!(size < 18_000_000, "{size}");
    assert_eq!(
        original.weight_bytes(),
        load(&minilm(), WeightDtype::Q8).weight_bytes()
    );
    // Other libraries know the method neither by its name nor by tensors that they could mistake.
    let config = text(&folder, "config.json");
    assert!(
        config.contains("\"quant_method\": \"gossamer\""),
        "{config}"
    );
    let header = &folder["model.safetensors"][..20_000];
    let header = String::from_utf8_lossy(header);
    for (tensor, width) in [
        ("embeddings.word_embeddings", 6 * 8 * 5),
        ("encoder.layer.0.attention.self.value", 6 * 8 * 7),
        ("encoder.layer.0.intermediate.dense", 6 * 8 * 7),
        ("encoder.layer.0.output.dense", 24 * 8 * 6),
    ] {
        let name = format!("\"{tensor}.weight_levels\":{{");
        let at = header
            .find(&name)
            .unwrap_or_else(|| panic!("{name} in {header}"));
        let entry = &header[at..at + 200];
        assert!(entry.contains(&format!(",{width}]")), "{entry}");
    }
    // The same codes in a model that is q8 by request, and is another space than the original in
    // q8.
    let eight = open(&folder, Some(WeightDtype::Q8)).unwrap();
    assert_eq!(eight.info().stored.clone().unwrap().outcome, Outcome::Kept);
    assert_ne!(eight.space_id(), original.space_id());
    assert_ne!(
        eight.space_id(),
        load(&minilm(), WeightDtype::Q8).space_id()
    );
    let again = check("q8 from q6", &eight, None);
    assert!(text(&again, "config.json").contains("int-quantized"));
    // Decoded, and quantised once more.
    let wide = open(&folder, Some(WeightDtype::F32)).unwrap();
    assert_eq!(
        wide.info().stored.clone().unwrap().outcome,
        Outcome::Widened
    );
    let eight = saved(&load(&minilm(), WeightDtype::Q8), None, 1 << 20);
    let six = open(&eight, Some(WeightDtype::Q6)).unwrap();
    assert_eq!(
        six.info().stored.clone().unwrap().outcome,
        Outcome::Requantized
    );
    check("q6 from q8", &six, None);
}

#[test]
fn levels_that_do_not_fit_are_errors() {
    let folder = saved(&load(&fixture("tiny-bert"), WeightDtype::Q6), None, 1 << 20);
    let weights = &folder["model.safetensors"];
    let header = String::from_utf8_lossy(&weights[8..]).into_owned();
    let changed = |from: &str, to: &str| {
        let at = header
            .find(from)
            .unwrap_or_else(|| panic!("{from} in {header}"))
            + 8;
        assert_eq!(from.len(), to.len());
        let mut weights = weights.clone();
        weights[at..at + from.len()].copy_from_slice(to.as_bytes());
        let mut folder = folder.clone();
        folder.insert("model.safetensors".to_owned(), weights);
        open(&folder, None).err().map(|error| error.code())
    };
    assert_eq!(
        changed("weight_levels", "weight_levelz"),
        Some("missing_tensor")
    );
    assert_eq!(
        changed("weight_scale", "weight_scalf"),
        Some("missing_tensor")
    );
    assert_eq!(changed("\"U8\"", "\"I8\""), Some("unsupported_model"));
    let mut config = folder.clone();
    let mark = text(&folder, "config.json").replace("\"q6\"", "\"q7\"");
    config.insert("config.json".to_owned(), mark.into_bytes());
    assert_eq!(open(&config, None).err().unwrap().code(), "invalid_config");
    let cut = weights[..weights.len() - 1].to_vec();
    let mut folder = folder.clone();
    folder.insert("model.safetensors".to_owned(), cut);
    assert_eq!(
        open(&folder, None).err().unwrap().code(),
        "truncated_stream"
    );
}

/// transformers and compressed-tensors have loaded what we write, and applied the transforms that
/// its config lists.
#[test]
fn python_reads_what_is_saved() {
    for (name, kind) in [("saved-splade", "sparse"), ("saved-qwen3", "dense")] {
        let path = fixture(name);
        let texts = crate::common::texts("tiny-texts.json");
        let references = crate::common::reference(&path.join("reference.safetensors"));
        let hashes = std::fs::read(path.join("saved.json")).unwrap();
        let hashes: BTreeMap<String, BTreeMap<String, String>> =
            serde_json::from_slice(&hashes).unwrap();
        for (dtype, hashes) in &hashes {
            let original = load(&path, WeightDtype::from_name(dtype).unwrap());
            let folder = check(&format!("{name} {dtype}"), &original, None);
            for (file, hash) in hashes {
                let got = format!("{:x}", Sha256::digest(&folder[file]));
                assert_eq!(
                    got, *hash,
                    "{name} {dtype} {file} is not what Python has read"
                );
            }
            let expected = crate::common::rows(&references[dtype]);
            let inputs = crate::common::inputs(&texts[..expected.len()]);
            // The same weights, by transformers in f32.
            let exact = open(&folder, Some(WeightDtype::F32)).unwrap();
            let got: Vec<Vec<f32>> = if kind == "dense" {
                let batch = exact.encode(inputs, &EncodeOptions::default()).unwrap();
                batch
                    .data
                    .chunks(batch.dimensions)
                    .map(<[f32]>::to_vec)
                    .collect()
            } else {
                let batch = exact
                    .encode_sparse(inputs, &SparseOptions::default())
                    .unwrap();
                let dense = |vector: &gossamer::SparseVector| {
                    let mut dense = vec![0.0; exact.dimensions()];
                    for (index, value) in vector.indices.iter().zip(&vector.values) {
                        dense[*index as usize] = *value;
                    }
                    dense
                };
                batch.vectors.iter().map(dense).collect()
            };
            let got = got.iter().map(Vec::as_slice);
            crate::common::assert_close(
                &format!("{name} {dtype}"),
                &texts[..expected.len()],
                got,
                &expected,
            );
        }
    }
}

/// The error of a saved model after `change`.
fn broken(change: impl FnOnce(&mut Folder)) -> String {
    let mut folder = saved(&load(&fixture("tiny-bert"), WeightDtype::Q8), None, 1 << 16);
    change(&mut folder);
    match open(&folder, None) {
        Ok(_) => panic!("it loads"),
        Err(error) => error.to_string(),
    }
}

fn edit(folder: &mut Folder, path: &str, from: &str, to: &str) {
    let before = text(folder, path);
    assert!(before.contains(from), "{path} has no {from}");
    let after = before.replace(from, to).into_bytes();
    folder.insert(path.to_owned(), after);
}

#[test]
fn what_is_not_in_the_grid_is_refused() {
    let config = "config.json";
    let error = broken(|folder| edit(folder, config, "\"gossamer\"", "\"another\""));
    assert!(error.contains("transform_config"), "{error}");
    let error = broken(|folder| edit(folder, config, "\"dtype\": \"q8\"", "\"dtype\": \"q2\""));
    assert!(
        error.contains("gossamer") && error.contains("fingerprint"),
        "{error}"
    );

    let weights = "model.safetensors";
    let error = broken(|folder| folder.get_mut(weights).unwrap().fill_with_lowest());
    assert!(error.contains("-128"), "{error}");
    let error = broken(|folder| {
        let bytes = folder.get_mut(weights).unwrap();
        let length = bytes.len();
        bytes.truncate(length - 1);
    });
    assert!(error.contains("the download is incomplete"), "{error}");
    // Groups of 32.
    let plain =
        std::fs::read(fixture("quantized").join("compressed-packed-4.safetensors")).unwrap();
    let error = broken(|folder| {
        let config = std::fs::read(fixture("quantized").join(config)).unwrap();
        let marker = r#"{"gossamer": {"dtype": "q8", "fingerprint": "0"}, "#;
        let config = String::from_utf8(config).unwrap().replacen('{', marker, 1);
        folder.insert("config.json".to_owned(), config.into_bytes());
        folder.insert(weights.to_owned(), plain);
    });
    assert!(
        error.contains("as Gossamer does it") || error.contains("shape"),
        "{error}"
    );
}

trait Lowest {
    fn fill_with_lowest(&mut self);
}

impl Lowest for Vec<u8> {
    /// Has the data after the header be bytes of -128, the lowest that there is.
    fn fill_with_lowest(&mut self) {
        let (header, data) = self.split_at_mut(8);
        let length = u64::from_le_bytes(header.try_into().unwrap());
        // Scales of that are tiny, but finite.
        data[usize::try_from(length).unwrap()..].fill(0x80);
    }
}
