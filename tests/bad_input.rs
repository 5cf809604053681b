//! Bad input gives a typed error that says what to do, and nothing breaks: one test a case.

mod common;

use common::{fixture, inputs, load, load_with, texts};
use gossamer::{Cpu, EncodeOptions, Error, Input, SparseOptions, WeightDtype};
use serde_json::{Value, json};

/// Loads tiny-bert with one file replaced; it must be refused.
#[track_caller]
fn refused(file: &str, bytes: &[u8]) -> Error {
    let changes = [(file, Some(bytes))];
    let result = load_with(&fixture("tiny-bert"), WeightDtype::Q8, &changes, 1000);
    result
        .err()
        .unwrap_or_else(|| panic!("a broken {file} was taken"))
}

/// tiny-bert's config.json with one field changed.
fn config(field: &str, value: Value) -> Vec<u8> {
    config_of("tiny-bert", field, value)
}

fn config_of(model: &str, field: &str, value: Value) -> Vec<u8> {
    let bytes = std::fs::read(fixture(model).join("config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&bytes).unwrap();
    match value {
        Value::Null => drop(config.as_object_mut().unwrap().remove(field)),
        value => config[field] = value,
    }
    config.to_string().into_bytes()
}

fn weights() -> Vec<u8> {
    std::fs::read(fixture("tiny-bert/model.safetensors")).unwrap()
}

/// tiny-bert's weights with the header edited in place; `from` and `to` must be of one length.
fn edited(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = weights();
    let at = bytes
        .windows(from.len())
        .position(|window| window == from.as_bytes())
        .expect("the header has it");
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    bytes
}

#[track_caller]
fn assert_error(error: &Error, code: &str, parts: &[&str]) {
    let message = error.to_string();
    assert_eq!(error.code(), code, "{message}");
    for part in parts {
        assert!(message.contains(part), "{message:?} should say {part:?}");
    }
}

#[test]
fn not_a_safetensors_file() {
    assert_error(
        &refused("model.safetensors", b"<!doctype html><p>Not found"),
        "invalid_safetensors",
        &["model.safetensors", "download it again"],
    );
}

#[test]
fn header_past_the_end() {
    let mut bytes = weights();
    let length = u64::try_from(bytes.len()).unwrap() + 1;
    bytes[..8].copy_from_slice(&length.to_le_bytes());
    assert_error(
        &refused("model.safetensors", &bytes),
        "truncated_stream",
        &["incomplete"],
    );
}

#[test]
fn truncated_weights() {
    let bytes = weights();
    for end in [0, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        assert_error(
            &refused("model.safetensors", &bytes[..end]),
            "truncated_stream",
            &[&end.to_string()],
        );
    }
}

#[test]
fn missing_tensor() {
    let error = refused(
        "model.safetensors",
        &edited(
            "encoder.layer.1.output.dense.bias",
            "encoder.layer.1.output.dense.sais",
        ),
    );
    assert_error(
        &error,
        "missing_tensor",
        &[
            "encoder.layer.1.output.dense.bias",
            "encoder.layer.1.output.dense.sais",
        ],
    );
}

#[test]
fn tensor_of_the_wrong_shape() {
    assert_error(
        &refused("config.json", &config("intermediate_size", json!(101))),
        "wrong_shape",
        &["[100, 48]", "[101, 48]"],
    );
}

#[test]
fn tensor_of_the_wrong_dtype() {
    let bytes = weights();
    let end = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let header = std::str::from_utf8(&bytes[8..end])
        .unwrap()
        .replace("\"F32\"", "\"I32\"");
    let bytes = [&bytes[..8], header.as_bytes(), &bytes[end..]].concat();
    assert_error(
        &refused("model.safetensors", &bytes),
        "wrong_dtype",
        &["I32", "F32, F16 and BF16"],
    );
}

#[test]
fn weights_that_are_not_finite() {
    let mut bytes = weights();
    let end = bytes.len();
    // The last tensor may be one that the model does not use: fill the whole data part.
    let start = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    bytes[start..end].fill(0xff);
    assert_error(
        &refused("model.safetensors", &bytes),
        "invalid_safetensors",
        &["not finite"],
    );
}

#[test]
fn config_without_a_required_field() {
    for field in [
        "hidden_size",
        "num_attention_heads",
        "num_hidden_layers",
        "intermediate_size",
        "vocab_size",
        "model_type",
    ] {
        assert_error(
            &refused("config.json", &config(field, Value::Null)),
            "invalid_config",
            &[field, "is missing"],
        );
    }
}

#[test]
fn config_with_impossible_values() {
    for (field, value) in [
        ("hidden_size", json!(1e12)),
        ("hidden_size", json!(1_000_000_000_000u64)),
        ("hidden_size", json!(0)),
        ("hidden_size", json!("48")),
        ("num_attention_heads", json!(5)),
        ("num_hidden_layers", json!(-1)),
        ("vocab_size", json!(u64::MAX)),
        ("layer_norm_eps", json!("tiny")),
        ("hidden_act", json!("mish")),
        ("position_embedding_type", json!("relative_key")),
    ] {
        assert_error(
            &refused("config.json", &config(field, value)),
            "invalid_config",
            &["config.json", field, "must be"],
        );
    }
}

#[test]
fn other_families_name_their_own_fields() {
    for (model, field, value) in [
        ("tiny-xlm-roberta", "pad_token_id", json!(42)),
        ("tiny-xlm-roberta", "pad_token_id", json!(-1)),
        ("tiny-distilbert-splade", "n_heads", json!(5)),
        ("tiny-distilbert-splade", "dim", Value::Null),
        ("tiny-distilbert-splade", "activation", json!("mish")),
    ] {
        let bytes = config_of(model, field, value);
        let changes = [("config.json", Some(bytes.as_slice()))];
        let error = load_with(&fixture(model), WeightDtype::Q8, &changes, 1000)
            .err()
            .unwrap();
        assert_error(&error, "invalid_config", &["config.json", field, "must be"]);
    }
}

#[test]
fn config_that_is_not_json() {
    assert_error(
        &refused("config.json", b"{\"hidden_size\":"),
        "invalid_config",
        &["not valid JSON"],
    );
    assert_error(
        &refused("config.json", b"[]"),
        "invalid_config",
        &["JSON object"],
    );
    assert_error(
        &refused("modules.json", b"{}"),
        "invalid_config",
        &["modules.json"],
    );
}

#[test]
fn unknown_model_type() {
    assert_error(
        &refused("config.json", &config("model_type", json!("mamba"))),
        "unsupported_model",
        &["mamba", "bert"],
    );
}

#[test]
fn missing_files() {
    for file in ["config.json", "tokenizer.json"] {
        let error = load_with(
            &fixture("tiny-bert"),
            WeightDtype::Q8,
            &[(file, None)],
            1000,
        )
        .err()
        .unwrap();
        assert_error(&error, "missing_file", &[file]);
    }
}

#[test]
fn broken_tokenizer() {
    assert_error(
        &refused("tokenizer.json", b"{}"),
        "invalid_tokenizer",
        &["tokenizer.json"],
    );
    assert_error(
        &refused("tokenizer.json", b"not json"),
        "invalid_tokenizer",
        &["tokenizer.json"],
    );
}

#[test]
fn vocabulary_larger_than_the_embedding() {
    let bytes = std::fs::read(fixture("tiny-bert/tokenizer.json")).unwrap();
    let mut tokenizer: Value = serde_json::from_slice(&bytes).unwrap();
    let vocab = tokenizer["model"]["vocab"].as_object_mut().unwrap();
    let size = vocab.len();
    vocab.insert("onetoomany".to_owned(), json!(size));
    let error = refused("tokenizer.json", tokenizer.to_string().as_bytes());
    assert_error(
        &error,
        "invalid_tokenizer",
        &["more than", &size.to_string()],
    );
}

#[test]
fn an_embedder_goes_on_after_every_bad_request() {
    let embedder = load(&fixture("tiny-bert"), WeightDtype::Q8);
    let good = inputs(&texts("tiny-texts.json"));
    let options = EncodeOptions::default;
    let before = embedder.encode(good.clone(), &options()).unwrap();
    let one = || vec![Input::from("cat")];
    let bad = [
        (vec![], options(), "empty_input"),
        (
            vec![Input::Ids(vec![1, 1_000_000])],
            options(),
            "token_out_of_range",
        ),
        (
            one(),
            EncodeOptions {
                dimensions: Some(0),
                ..options()
            },
            "invalid_dimensions",
        ),
        (
            one(),
            EncodeOptions {
                dimensions: Some(49),
                ..options()
            },
            "invalid_dimensions",
        ),
        (
            one(),
            EncodeOptions {
                dimensions: Some(u64::MAX),
                ..options()
            },
            "invalid_dimensions",
        ),
        (
            one(),
            EncodeOptions {
                prompt_name: Some("passage".into()),
                ..options()
            },
            "unknown_prompt",
        ),
        (
            vec![Input::Text("cat ".repeat(100))],
            EncodeOptions {
                truncate: Some(false),
                ..options()
            },
            "input_too_long",
        ),
    ];
    for (inputs, options, code) in bad {
        assert_eq!(embedder.encode(inputs, &options).unwrap_err().code(), code);
        assert_eq!(
            embedder
                .encode(good.clone(), &EncodeOptions::default())
                .unwrap(),
            before
        );
    }
    let sparse = embedder
        .encode_sparse(good, &SparseOptions::default())
        .unwrap_err();
    assert_error(&sparse, "wrong_model_kind", &["dense"]);
    let splade = load(&fixture("tiny-splade"), WeightDtype::Q8);
    assert_error(
        &splade.encode(one(), &EncodeOptions::default()).unwrap_err(),
        "wrong_model_kind",
        &["sparse"],
    );
}

#[test]
fn openai_bodies() {
    let embedder = load(&fixture("tiny-bert"), WeightDtype::Q8);
    let many = vec!["cat"; 2049];
    for (body, code) in [
        (json!(null), "invalid_input"),
        (json!("text"), "invalid_input"),
        (json!({}), "invalid_input"),
        (json!({ "input": 7 }), "invalid_input"),
        (json!({ "input": ["a", {}] }), "invalid_input"),
        (json!({ "input": [] }), "empty_input"),
        (json!({ "input": "" }), "empty_input"),
        (json!({ "input": ["a", ""] }), "empty_input"),
        (json!({ "input": [[]] }), "empty_input"),
        (json!({ "input": many }), "too_many_inputs"),
        (json!({ "input": [1, 99_999] }), "token_out_of_range"),
        (
            json!({ "input": "a", "dimensions": 0 }),
            "invalid_dimensions",
        ),
        (json!({ "input": "a", "dimensions": 1.5 }), "invalid_input"),
        (
            json!({ "input": "a", "encoding_format": "hex" }),
            "invalid_input",
        ),
        (json!({ "input": "cat ".repeat(100) }), "input_too_long"),
    ] {
        let mut run = gossamer::api::openai::start(&embedder, body.clone());
        let error = loop {
            match run {
                Err(error) => break error,
                Ok(ref mut started) => match started.step(&embedder) {
                    Ok(done) => assert!(!done, "{body} was taken"),
                    Err(error) => break error,
                },
            }
        };
        assert_eq!(
            (error.code(), error.status()),
            (code, 400),
            "{body}: {error}"
        );
    }
}

#[test]
fn loader_calls_out_of_order() {
    let options = gossamer::LoadOptions {
        model: "test".to_owned(),
        revision: None,
        dtype: WeightDtype::Q8,
    };
    let mut loader = gossamer::Loader::new(Cpu::new(), options);
    assert_error(
        &loader.begin("model.safetensors").unwrap_err(),
        "internal",
        &["order"],
    );
    assert_error(&loader.push(&[0]).unwrap_err(), "internal", &["order"]);
    assert_error(&loader.end().unwrap_err(), "internal", &["order"]);
    assert_error(&loader.weights().unwrap_err(), "internal", &["order"]);
    assert_error(&loader.finish().err().unwrap(), "internal", &["order"]);
}
