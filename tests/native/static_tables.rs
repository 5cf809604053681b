//! Static embeddings: the vectors of sentence-transformers and model2vec for the files that they
//! save.

use std::path::{Path, PathBuf};

use crate::common::files::{self, Tensor, shards};
use crate::common::saved::{self, saved};
use crate::common::{
    assert_close, cosine, fixture, inputs, load, load_as, load_with, reference, rows, texts, zip,
};
use gossamer::{
    ChunkOptions, Cpu, Embedder, EncodeOptions, Input, LoadOptions, Outcome, TokenOptions,
    WeightDtype,
};
use serde_json::{Value, json};

const WEIGHTS: &str = "model.safetensors";
const MODULES: &str = "modules.json";
/// The models, and how their tables are held if no dtype is asked for.
const MODELS: [(&str, WeightDtype); 8] = [
    ("sentence", WeightDtype::Q8),
    ("sentence-dense", WeightDtype::Q8),
    ("model2vec", WeightDtype::Q8),
    ("model2vec-alone", WeightDtype::Q8),
    ("model2vec-f16", WeightDtype::F16),
    ("model2vec-f16-alone", WeightDtype::F16),
    ("model2vec-int8", WeightDtype::Q8),
    ("model2vec-int8-weights", WeightDtype::Q8),
];

fn folder(name: &str) -> PathBuf {
    fixture("static").join(name)
}

fn weights(name: &str) -> Vec<u8> {
    let file = match name {
        "sentence-dense" => "0_StaticEmbedding/model.safetensors",
        _ => WEIGHTS,
    };
    std::fs::read(folder(name).join(file)).unwrap()
}

fn vectors(embedder: &Embedder<Cpu>, options: &EncodeOptions) -> Vec<Vec<f32>> {
    let batch = embedder
        .encode(inputs(&texts("tiny-texts.json")), options)
        .unwrap();
    let rows = batch.data.chunks_exact(batch.dimensions);
    rows.map(<[f32]>::to_vec).collect()
}

/// Against a reference. Texts without a token have zeros for a vector, which have no cosine.
#[track_caller]
fn compare(what: &str, ours: &[Vec<f32>], theirs: &[Vec<f32>]) {
    let list = texts("tiny-texts.json");
    assert_eq!(ours.len(), theirs.len());
    let mut zeros = 0;
    for ((ours, theirs), text) in ours.iter().zip(theirs).zip(list) {
        if theirs.iter().all(|value| *value == 0.0) {
            assert_eq!(ours, theirs, "{what}, {}", text.0);
            zeros += 1;
            continue;
        }
        let ours = [ours.as_slice()];
        let theirs = [theirs.clone()];
        assert_close(what, &[text], ours.into_iter(), &theirs);
    }
    // A Dense module makes something of zeros.
    assert_eq!(zeros > 0, what != "sentence-dense", "{what}");
}

#[test]
fn every_model_gives_the_vectors_of_its_library() {
    let references = reference(&folder("references.safetensors"));
    assert_eq!(references.len(), MODELS.len() + 1);
    for (name, held) in MODELS {
        let embedder = load(&folder(name), WeightDtype::F32);
        let info = embedder.info();
        assert_eq!((info.family, embedder.kind()), ("static", "dense"));
        assert_eq!(embedder.outputs(), ["dense"]);
        let ours = vectors(&embedder, &EncodeOptions::default());
        let theirs = rows(&references[name]);
        assert_eq!(embedder.dimensions(), theirs[0].len(), "{name}");
        compare(name, &ours, &theirs);
        // Nothing depends on how the bytes arrive.
        for chunk in [1, 13] {
            let again = load_with(&folder(name), WeightDtype::F32, &[], chunk).unwrap();
            assert_eq!(again.space_id(), embedder.space_id(), "{name}, {chunk}");
            assert_eq!(vectors(&again, &EncodeOptions::default()), ours, "{name}");
        }
        // The small files are not kept where nothing is saved.
        let options = LoadOptions {
            dtype: Some(WeightDtype::F32),
            ..LoadOptions::default()
        };
        let again = load_as(Cpu::new(), &folder(name), options, &[], 1000).unwrap();
        assert_eq!(again.space_id(), embedder.space_id(), "{name}");
        assert_eq!(vectors(&again, &EncodeOptions::default()), ours, "{name}");
        // As it is held unless a caller says otherwise.
        let usual = load_with(&folder(name), None, &[], 1000).unwrap();
        assert_eq!(usual.info().dtype, held, "{name}");
        assert!(usual.weight_bytes() <= embedder.weight_bytes(), "{name}");
        for (ours, theirs) in vectors(&usual, &EncodeOptions::default())
            .iter()
            .zip(&theirs)
            .filter(|(_, theirs)| theirs.iter().any(|value| *value != 0.0))
        {
            let cosine = cosine(ours, theirs);
            assert!(cosine >= 0.9997, "{name}: {cosine}");
        }
        let stored = usual.info().stored.clone();
        let integers = name.contains("int8");
        assert_eq!(stored.is_some(), integers, "{name}: {stored:?}");
        if let Some(stored) = stored {
            assert_eq!(stored.layout, "model2vec, 8 bits");
            assert_eq!(stored.outcome, Outcome::Kept);
        }
    }
}

#[test]
fn a_prompt_is_put_in_front() {
    let embedder = load(&folder("sentence"), WeightDtype::F32);
    let options = EncodeOptions {
        prompt_name: Some("query".to_owned()),
        ..EncodeOptions::default()
    };
    let references = reference(&folder("references.safetensors"));
    let ours = vectors(&embedder, &options);
    let theirs = rows(&references["query"]);
    for ((ours, theirs), text) in ours.iter().zip(&theirs).zip(texts("tiny-texts.json")) {
        let ours = [ours.as_slice()].into_iter();
        assert_close("query", &[text], ours, std::slice::from_ref(theirs));
    }
}

#[test]
fn saved_tables_are_the_same_ones() {
    for (name, held) in MODELS {
        for dtype in [None, Some(WeightDtype::F32), Some(WeightDtype::F16)] {
            let original = load_with(&folder(name), dtype, &[], 1000).unwrap();
            let files = saved(&original, None, 777);
            // f32 is what everything may be made of; the others say what they are.
            let asked = dtype.filter(|dtype| *dtype == WeightDtype::F32);
            let again = saved::open(&files, asked).unwrap();
            let what = format!("{name} {dtype:?}");
            assert_eq!(again.info().dtype, original.info().dtype, "{what}");
            assert_eq!(again.space_id(), original.space_id(), "{what}");
            let options = EncodeOptions::default();
            assert_eq!(vectors(&again, &options), vectors(&original, &options));
            assert_eq!(saved(&again, None, 1 << 20), files, "{what}");
            if dtype.is_none() && held == WeightDtype::Q8 {
                let stored = again.info().stored.clone().unwrap();
                assert_eq!(stored.outcome, Outcome::Kept, "{what}");
            }
        }
    }
    // In shards, a tensor in each.
    let original = load_with(&folder("model2vec-f16"), WeightDtype::Q8, &[], 1000).unwrap();
    let mut files = saved(&original, None, 1000);
    let (index, shards) = shards(&files.remove(WEIGHTS).unwrap());
    files.insert(
        format!("{WEIGHTS}.index.json"),
        index.to_string().into_bytes(),
    );
    files.extend(shards);
    let again = saved::open(&files, None).unwrap();
    assert_eq!(again.space_id(), original.space_id());
}

#[test]
fn tensors_in_shards_and_in_a_torch_checkpoint() {
    let name = "model2vec-f16";
    let whole = load(&folder(name), WeightDtype::F16);
    let (index, shards) = shards(&weights(name));
    let index = index.to_string();
    let mut changes = vec![
        (WEIGHTS, None),
        ("model.safetensors.index.json", Some(index.as_bytes())),
    ];
    let files = shards.iter();
    changes.extend(files.map(|(name, bytes)| (name.as_str(), Some(bytes.as_slice()))));
    let cut = load_with(&folder(name), WeightDtype::F16, &changes, 100).unwrap();
    assert_eq!(cut.space_id(), whole.space_id());

    let name = "sentence";
    let tensors = files::tensors(&weights(name));
    let storages = tensors.iter().enumerate();
    let storages = storages.map(|(key, (.., bytes))| (key.to_string(), bytes.as_slice()));
    let torch = zip::archive(&zip::pickle(&tensors), storages);
    let changes = [(WEIGHTS, None), ("pytorch_model.bin", Some(&torch[..]))];
    let torch = load_with(&folder(name), WeightDtype::F32, &changes, 100).unwrap();
    let whole = load(&folder(name), WeightDtype::F32);
    assert_eq!(torch.space_id(), whole.space_id());
}

#[test]
fn limits_are_those_of_the_library() {
    let long = "the bird sings. ".repeat(40);
    for (name, _) in MODELS {
        let embedder = load(&folder(name), WeightDtype::F32);
        let limit = match name {
            "sentence" => 16,
            "model2vec" | "model2vec-alone" => 20,
            "model2vec-f16" => 30,
            "model2vec-int8" => 12,
            "model2vec-int8-weights" => 512,
            _ => u32::MAX as usize,
        };
        assert_eq!(embedder.info().max_tokens, limit, "{name}");
        let encode = |text: &str, truncate| {
            let options = EncodeOptions {
                truncate: Some(truncate),
                ..EncodeOptions::default()
            };
            embedder.encode(vec![text.into()], &options)
        };
        if limit > 1000 {
            assert!(!encode(&long, true).unwrap().truncated[0], "{name}");
            continue;
        }
        let long = long.repeat(if limit > 100 { 10 } else { 1 });
        let batch = encode(&long, true).unwrap();
        assert!(batch.truncated[0] && batch.tokens[0] as usize <= limit);
        let error = encode(&long, false).unwrap_err();
        assert_eq!(error.code(), "input_too_long", "{name}: {error}");
        // It goes on.
        assert!(encode("a cat", false).is_ok());
    }
}

#[test]
fn chunks_are_means_and_vectors_of_tokens_are_refused() {
    let embedder = load(&folder("sentence"), WeightDtype::F32);
    let error = embedder.encode_tokens(vec!["a cat".into()], &TokenOptions::default());
    assert_eq!(error.unwrap_err().code(), "wrong_model_kind");
    let text = "The cat sat on the mat. The dog sat there. The bird sings at night.";
    for late in [false, true] {
        let chunks = ChunkOptions {
            size: Some(8),
            overlap: 0,
            late,
        };
        let options = EncodeOptions::default();
        let output = embedder
            .encode_chunks(vec![text.into()], chunks, &options)
            .unwrap();
        let pieces = &output.chunks[0];
        assert!(pieces.len() >= 3, "{pieces:?}");
        let dense = output.dense.unwrap();
        for (piece, vector) in pieces.iter().zip(dense.chunks_exact(output.dimensions)) {
            let own = Input::Text(text[piece.bytes.clone()].to_owned());
            let alone = embedder.encode(vec![own], &options).unwrap();
            assert!(cosine(&alone.data, vector) > 0.99999, "late: {late}");
        }
    }
}

/// The error of a model with other tensors.
fn error(name: &str, change: impl Fn(&mut Vec<Tensor>)) -> gossamer::Error {
    let mut tensors = files::tensors(&weights(name));
    change(&mut tensors);
    let bytes = files::file(&tensors.iter().collect::<Vec<_>>());
    let result = load_with(
        &folder(name),
        WeightDtype::Q8,
        &[(WEIGHTS, Some(&bytes))],
        500,
    );
    result.err().expect("it must be refused")
}

fn tensor<'a>(tensors: &'a mut [Tensor], name: &str) -> &'a mut Tensor {
    let found = tensors.iter_mut().find(|(other, ..)| other == name);
    found.unwrap_or_else(|| panic!("no {name}"))
}

fn resize(tensors: &mut [Tensor], name: &str, shape: &Value, bytes: usize) {
    let (_, entry, data) = tensor(tensors, name);
    entry["shape"] = shape.clone();
    data.resize(bytes, 0);
}

#[test]
fn tables_that_do_not_fit_are_refused_in_words() {
    type Change = fn(&mut Vec<Tensor>);
    let refused = |name: &str, change: Change, code: &str, words: &[&str]| {
        let error = error(name, change);
        assert_eq!(error.code(), code, "{name}: {error}");
        for word in words {
            assert!(error.to_string().contains(word), "{name}: {error}");
        }
    };
    let invalid = "invalid_safetensors";
    let rows: Change = |all| resize(all, "embedding.weight", &json!([30, 24]), 30 * 24 * 4);
    refused(
        "sentence",
        rows,
        invalid,
        &["embedding.weight has 30 rows", "the tokenizer has"],
    );
    let rows: Change = |all| resize(all, "embeddings", &json!([30, 24]), 30 * 24 * 4);
    refused("model2vec", rows, invalid, &["embeddings has 30 rows"]);
    let more: Change = |all| resize(all, "embeddings", &json!([200, 24]), 200 * 24 * 4);
    refused("model2vec-alone", more, "invalid_tokenizer", &["200 rows"]);
    let mapping: Change = |all| tensor(all, "mapping").2[..4].copy_from_slice(&[99, 0, 0, 0]);
    refused(
        "model2vec-f16",
        mapping,
        invalid,
        &["mapping", "token 0", "row 99 of 40"],
    );
    let negative: Change = |all| tensor(all, "mapping").2[..4].fill(0xff);
    refused("model2vec-f16", negative, invalid, &["mapping", "row -1"]);
    let short: Change = |all| resize(all, "mapping", &json!([5]), 20);
    refused("model2vec-f16", short, invalid, &["mapping has 5 entries"]);
    let short: Change = |all| resize(all, "weights", &json!([5]), 20);
    refused("model2vec-f16", short, invalid, &["weights has 5 entries"]);
    let shape: Change = |all| tensor(all, "embeddings").1["shape"] = json!([40 * 24]);
    refused(
        "model2vec-f16",
        shape,
        "unsupported_model",
        &["embeddings", "[960]"],
    );
    let dtype: Change = |all| tensor(all, "embeddings").1["dtype"] = json!("I16");
    refused(
        "model2vec-f16",
        dtype,
        "wrong_dtype",
        &["embeddings", "I16"],
    );
    let dtype: Change = |all| {
        tensor(all, "mapping").1["dtype"] = json!("F32");
    };
    refused("model2vec-f16", dtype, "wrong_dtype", &["mapping", "F32"]);
    let nan: Change = |all| tensor(all, "weights").2[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    refused("model2vec-f16", nan, invalid, &["weights", "not finite"]);
    let missing: Change = |all| all.retain(|(name, ..)| name != "embeddings");
    refused(
        "model2vec-f16",
        missing,
        "missing_tensor",
        &["embedding.weight or embeddings"],
    );
    let other: Change = |all| tensor(all, "weights").0 = "bias".to_owned();
    refused("model2vec-f16", other, "unsupported_model", &["bias"]);
    let huge: Change = |all| resize(all, "embeddings", &json!([1u64 << 40, 24]), 40 * 24 * 2);
    let message = error("model2vec-f16", huge).to_string();
    assert!(message.contains("embeddings"), "{message}");
}

#[test]
fn modules_that_do_not_fit_are_refused() {
    let path = Path::new("1_Dense").join("config.json");
    let name = path.to_str().unwrap();
    let config = std::fs::read(folder("sentence-dense").join(&path)).unwrap();
    let mut config: Value = serde_json::from_slice(&config).unwrap();
    config["in_features"] = json!(25);
    let config = config.to_string();
    let changes = [(name, Some(config.as_bytes()))];
    let result = load_with(&folder("sentence-dense"), WeightDtype::F32, &changes, 1000);
    assert!(result.is_err());
    let modules = json!([
        { "path": ".", "type": "sentence_transformers.models.StaticEmbedding" },
        { "path": "1_CNN", "type": "sentence_transformers.models.CNN" },
    ]);
    let modules = modules.to_string();
    let changes = [(MODULES, Some(modules.as_bytes()))];
    let result = load_with(&folder("model2vec"), WeightDtype::F32, &changes, 1000);
    let error = result.err().expect("it must be refused");
    assert!(error.to_string().contains("CNN"), "{error}");
    // Without a tokenizer there are no tokens.
    let changes = [("tokenizer.json", None)];
    let result = load_with(&folder("model2vec"), WeightDtype::F32, &changes, 1000);
    assert_eq!(result.err().unwrap().code(), "missing_file");
}

#[test]
fn every_truncation_is_reported() {
    let bytes = weights("model2vec-f16");
    for end in (8..bytes.len()).step_by(199) {
        let changes = [(WEIGHTS, Some(&bytes[..end]))];
        let result = load_with(&folder("model2vec-f16"), WeightDtype::Q8, &changes, 77);
        let error = result.err().expect("it must be refused");
        assert_eq!(error.code(), "truncated_stream", "{end}: {error}");
    }
}

/// Files with a byte changed load or are refused, and never panic.
#[test]
fn damaged_files_are_refused_or_load() {
    let name = "model2vec-f16";
    let tokenizer = std::fs::read(folder(name).join("tokenizer.json")).unwrap();
    let weights = weights(name);
    let header = usize::try_from(u64::from_le_bytes(weights[..8].try_into().unwrap())).unwrap();
    let (mut loaded, mut refused) = (0, 0);
    for at in (0..header + 8).chain((header + 8..weights.len()).step_by(97)) {
        for byte in [b'0', b'9', b'"', 0xff] {
            let mut damaged = weights.clone();
            damaged[at] = byte;
            let changes = [
                (WEIGHTS, Some(&damaged[..])),
                ("tokenizer.json", Some(&tokenizer[..])),
            ];
            match load_with(&folder(name), None, &changes, 64) {
                Ok(embedder) => {
                    loaded += 1;
                    let options = EncodeOptions::default();
                    assert!(embedder.encode(vec!["a cat".into()], &options).is_ok());
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(loaded > 0 && refused > 0, "{loaded} {refused}");
}
