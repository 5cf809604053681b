//! Bad input gives a typed error that says what to do, and nothing breaks: one test a case.

use crate::common::{fixture, inputs, load, load_with, next_weights, texts};
use gossamer::api::body::{self, Body};
use gossamer::api::openai;
use gossamer::{
    Cpu, EncodeOptions, Error, Input, MultiOptions, SparseOptions, TokenOptions, WeightDtype,
};
use serde_json::{Map, Value, json};

/// Loads tiny-bert with one file replaced; it must be refused.
#[track_caller]
fn refused(file: &str, bytes: &[u8]) -> Error {
    refused_of("tiny-bert", file, bytes)
}

#[track_caller]
fn refused_of(model: &str, file: &str, bytes: &[u8]) -> Error {
    let changes = [(file, Some(bytes))];
    let result = load_with(&fixture(model), WeightDtype::Q8, &changes, 1000);
    result
        .err()
        .unwrap_or_else(|| panic!("{model} was taken with a broken {file}"))
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
        &["I32", "F32, F16, BF16"],
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
    let ropes = |kind: &str| json!({ "rope_type": kind, "rope_theta": 10000.0 });
    for (model, field, value) in [
        ("tiny-xlm-roberta", "pad_token_id", json!(42)),
        ("tiny-xlm-roberta", "pad_token_id", json!(-1)),
        (
            "tiny-xlm-roberta",
            "position_embedding_type",
            json!("relative_key"),
        ),
        ("tiny-modernbert-splade", "classifier_bias", json!(true)),
        (
            "tiny-modernbert-splade",
            "classifier_activation",
            json!("relu"),
        ),
        ("tiny-distilbert-splade", "n_heads", json!(5)),
        ("tiny-distilbert-splade", "dim", Value::Null),
        ("tiny-distilbert-splade", "activation", json!("mish")),
        ("tiny-mpnet", "relative_attention_num_buckets", json!(0)),
        ("tiny-mpnet", "relative_attention_num_buckets", json!(33)),
        ("tiny-mpnet", "num_attention_heads", json!(7)),
        ("tiny-modernbert", "local_attention", json!(0)),
        ("tiny-modernbert", "global_attn_every_n_layers", json!(0)),
        ("tiny-modernbert", "global_rope_theta", json!(-1.0)),
        ("tiny-modernbert", "hidden_activation", json!("mish")),
        ("tiny-modernbert", "num_attention_heads", json!(5)),
        ("tiny-modernbert", "num_attention_heads", json!(16)),
        ("tiny-modernbert", "norm_eps", json!(2)),
        ("tiny-modernbert", "rope_scaling", ropes("yarn")),
        (
            "tiny-modernbert-splade",
            "layer_types",
            json!(["full_attention"]),
        ),
        (
            "tiny-modernbert-splade",
            "layer_types",
            json!(["a", "b", "c", "d"]),
        ),
        (
            "tiny-modernbert-splade",
            "rope_parameters",
            json!({ "full_attention": ropes("longrope"), "sliding_attention": ropes("default") }),
        ),
        ("tiny-nomic", "prenorm", json!(true)),
        ("tiny-nomic", "n_head", json!(7)),
        ("tiny-nomic", "activation_function", json!("relu")),
        ("tiny-nomic", "rotary_emb_fraction", json!(0.5)),
        ("tiny-nomic", "rotary_emb_interleaved", json!(true)),
        ("tiny-nomic", "rotary_emb_base", json!(0)),
        ("tiny-qwen3", "num_key_value_heads", json!(3)),
        ("tiny-qwen3", "head_dim", json!(21)),
        ("tiny-qwen3", "head_dim", json!(65536)),
        (
            "tiny-qwen3",
            "rope_scaling",
            json!({ "type": "longrope", "factor": 2.0 }),
        ),
        ("tiny-qwen3", "rope_scaling", json!({ "type": "linear" })),
        ("tiny-qwen3", "rope_scaling", json!("linear")),
        ("tiny-qwen3", "rope_theta", json!("large")),
        ("tiny-qwen3", "hidden_act", json!("mish")),
        ("tiny-mistral", "sliding_window", json!(0)),
        ("tiny-mistral", "num_attention_heads", json!(5)),
        ("tiny-gemma3", "sliding_window", json!(0)),
        ("tiny-gemma3", "query_pre_attn_scalar", json!(0)),
        ("tiny-gemma3", "attn_logit_softcapping", json!(50.0)),
        ("tiny-gemma3", "hidden_activation", json!("mish")),
        ("tiny-t5", "feed_forward_proj", json!("gated-mish")),
        ("tiny-t5", "d_kv", json!(0)),
        ("tiny-t5", "d_kv", json!(65536)),
        ("tiny-t5", "relative_attention_max_distance", json!(0)),
        ("tiny-t5", "relative_attention_num_buckets", json!(2)),
        ("tiny-jina", "feed_forward_type", json!("swiglu")),
        ("tiny-jina", "hidden_size", json!(50)),
    ] {
        let error = refused_of(model, "config.json", &config_of(model, field, value));
        let message = error.to_string();
        assert_eq!(error.code(), "invalid_config", "{model}: {message}");
        let named = if (model, field) == ("tiny-jina", "hidden_size") {
            "num_attention_heads"
        } else {
            field
        };
        for part in ["config.json", named, "must be"] {
            assert!(message.contains(part), "{model}: {message}");
        }
    }
}

#[test]
fn rotary_scaling_says_which_types_work() {
    let scaling = json!({ "rope_type": "longrope", "factor": 4.0 });
    let bytes = config_of("tiny-qwen3", "rope_scaling", scaling);
    let error = refused_of("tiny-qwen3", "config.json", &bytes);
    let parts = ["rope_scaling", "longrope", "\"default\"", "\"yarn\""];
    assert_error(&error, "invalid_config", &parts);
}

/// A config of fewer or more layers than the file has, for families of each kind of names.
#[test]
fn a_checkpoint_of_another_config() {
    for (model, field, layer, count) in [
        ("tiny-bert", "num_hidden_layers", "encoder.layer.", 2),
        ("tiny-modernbert", "num_hidden_layers", "layers.", 4),
        ("tiny-nomic", "n_layer", "encoder.layers.", 2),
        ("tiny-qwen3", "num_hidden_layers", "layers.", 2),
        ("tiny-t5", "num_layers", "encoder.block.", 2),
    ] {
        let load = |layers: usize| {
            // The kinds of layers go with their number.
            let bytes = config_of(model, field, json!(layers));
            refused_of(model, "config.json", &bytes)
        };
        assert_error(
            &load(count - 1),
            "unexpected_tensor",
            &[
                &format!("{layer}{}.", count - 1),
                "more",
                &format!("{} layers", count - 1),
            ],
        );
        assert_error(
            &load(count + 1),
            "missing_tensor",
            &[&format!("{layer}{count}."), "more"],
        );
    }
}

#[test]
fn deberta_checks_its_config_and_weights() {
    let error = |field: &str, value: Value| {
        let bytes = config_of("tiny-deberta", field, value);
        refused_of("tiny-deberta", "config.json", &bytes)
    };
    for (field, value) in [
        ("hidden_size", json!(1e12)),
        ("num_attention_heads", json!(5)),
        ("hidden_act", json!("mish")),
        ("conv_kernel_size", json!(3)),
        ("embedding_size", json!(24)),
        ("attention_head_size", json!(8)),
        ("share_att_key", json!(false)),
        ("pos_att_type", json!("c2p|p2p")),
        ("pos_att_type", json!([])),
        ("norm_rel_ebd", json!("batch_norm")),
        ("position_buckets", json!(1)),
        ("position_buckets", json!(126)),
    ] {
        assert_error(&error(field, value), "invalid_config", &[field, "must be"]);
    }
    let parts = ["config.json", "relative_attention"];
    assert_error(
        &error("relative_attention", Value::Null),
        "invalid_config",
        &parts,
    );
    assert_error(
        &error("num_hidden_layers", json!(3)),
        "missing_tensor",
        &["layer.2"],
    );
    assert_error(
        &error("intermediate_size", json!(99)),
        "wrong_shape",
        &["100"],
    );
}

#[test]
fn splade_needs_a_head() {
    let folder = fixture("tiny-qwen3");
    let modules =
        br#"[{"path":"","type":"sentence_transformers.models.MLMTransformer"},{"path":"1_S","type":"sentence_transformers.models.SpladePooling"}]"#;
    let changes = [
        ("modules.json", Some(modules.as_slice())),
        ("1_S/config.json", Some(b"{}".as_slice())),
    ];
    let error = load_with(&folder, WeightDtype::Q8, &changes, 1000)
        .err()
        .unwrap();
    assert_error(&error, "unsupported_model", &["masked-language", "qwen3"]);
}

#[test]
fn broken_routers() {
    let folder = fixture("tiny-inference-free");
    let error = |file: &str, bytes: &[u8]| {
        load_with(&folder, WeightDtype::Q8, &[(file, Some(bytes))], 1000)
            .err()
            .unwrap()
    };
    let router = |text: &str| error("router_config.json", text.as_bytes());
    assert_error(&router("[]"), "invalid_config", &["router_config.json"]);
    assert_error(&router("{}"), "invalid_config", &["structure", "must be"]);
    assert_error(
        &router(r#"{"structure":{"query":[]}}"#),
        "invalid_config",
        &["structure"],
    );
    assert_error(
        &router(r#"{"structure":{"query":["a"]}}"#),
        "invalid_config",
        &["types"],
    );
    let outside = r#"{"structure":{"query":["../a"]},"types":{"../a":"b.Transformer"}}"#;
    assert_error(&router(outside), "invalid_config", &["structure"]);
    let other = r#"{"structure":{"query":[""]},"types":{"":"b.CLIPModel"}}"#;
    assert_error(&router(other), "unsupported_model", &["CLIPModel"]);
    let missing = load_with(
        &folder,
        WeightDtype::Q8,
        &[("router_config.json", None)],
        1000,
    );
    assert_error(
        &missing.err().unwrap(),
        "missing_file",
        &["router_config.json"],
    );
    assert_error(
        &error("modules.json", b"[]"),
        "invalid_config",
        &["modules.json", "no modules"],
    );

    let config = "query_0_SparseStaticEmbedding/config.json";
    let table = |json: &[u8]| {
        let changes = [
            (config, Some(br#"{"path":"idf.json"}"#.as_slice())),
            ("idf.json", Some(json)),
        ];
        load_with(&folder, WeightDtype::Q8, &changes, 1000)
            .err()
            .unwrap()
    };
    assert_error(&table(b"[1]"), "invalid_config", &["idf.json", "numbers"]);
    assert_error(
        &table(br#"{"cat":"much"}"#),
        "invalid_config",
        &["idf.json"],
    );
    assert_error(&table(br#"{"cat":1e300}"#), "invalid_config", &["idf.json"]);
    assert_error(
        &error(config, br#"{"path":"../idf.json"}"#),
        "invalid_config",
        &["path"],
    );
    assert_error(
        &error(config, br#"{"path":"none.json"}"#),
        "missing_file",
        &["none.json"],
    );
}

/// Lists that would be multiplied by one another, or by every text.
#[test]
fn lists_without_end() {
    let modules = json!(vec![
        json!({ "path": "1", "type": "sentence_transformers.models.Normalize" });
        65
    ])
    .to_string();
    let error = refused("modules.json", modules.as_bytes());
    assert_error(&error, "invalid_config", &["65 modules"]);
    let pooling = json!({ "pooling_mode": ["cls", "mean", "cls"] }).to_string();
    let error = refused("1_Pooling/config.json", pooling.as_bytes());
    assert_error(&error, "invalid_config", &["pooling_mode", "differ"]);
    let ways: Map<String, Value> = (0..17).map(|n| (n.to_string(), json!(["a"]))).collect();
    let router = json!({ "structure": ways, "types": { "a": "b.Transformer" } }).to_string();
    let error = refused_of(
        "tiny-inference-free",
        "router_config.json",
        router.as_bytes(),
    );
    assert_error(&error, "invalid_config", &["structure"]);
}

/// Tensors that are only said to be large: nothing is taken for them.
#[test]
fn sizes_that_never_arrive() {
    let size = 1u64 << 50;
    let file = |name: &str, shape: Value| {
        let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [0, 4 * size] });
        let header = json!({ name: entry }).to_string();
        let length = (header.len() as u64).to_le_bytes();
        [&length, header.as_bytes(), &[0; 1000]].concat()
    };
    let head = file("weight", json!([size, 1]));
    let error = refused_of("tiny-m3", "colbert_linear.safetensors", &head);
    assert_error(&error, "wrong_shape", &[&size.to_string()]);
}

/// A template that has the text twice would make more tokens of it than there are positions.
#[test]
fn a_template_that_repeats_the_text() {
    let bytes = std::fs::read(fixture("tiny-bert/tokenizer.json")).unwrap();
    let mut tokenizer: Value = serde_json::from_slice(&bytes).unwrap();
    let text = json!({ "Sequence": { "id": "A", "type_id": 0 } });
    tokenizer["post_processor"]["single"] = json!(vec![text; 4]);
    let bytes = tokenizer.to_string();
    // Other classes have templates of their own.
    let class = br#"{ "tokenizer_class": "PreTrainedTokenizerFast" }"#;
    let changes = [
        ("tokenizer.json", Some(bytes.as_bytes())),
        ("tokenizer_config.json", Some(&class[..])),
    ];
    let error = load_with(&fixture("tiny-bert"), WeightDtype::Q8, &changes, 1000);
    assert_error(
        &error.err().unwrap(),
        "invalid_tokenizer",
        &["TemplateProcessing: single must have the sequence A once"],
    );
}

#[test]
fn broken_tokenizer_models() {
    let base: Value =
        serde_json::from_slice(&std::fs::read(fixture("tiny-m3/tokenizer.json")).unwrap()).unwrap();
    let refused = |model: Value, part: &str| {
        let mut tokenizer = base.clone();
        tokenizer["model"] = model;
        let bytes = tokenizer.to_string();
        let error = refused_of("tiny-m3", "tokenizer.json", bytes.as_bytes());
        assert_error(&error, "invalid_tokenizer", &[part]);
    };
    let unigram =
        |vocab: Value, unk: Value| json!({ "type": "Unigram", "vocab": vocab, "unk_id": unk });
    refused(unigram(json!([["a", -1.0]]), json!(1)), "unk_id");
    refused(unigram(json!([["a", -1.0]]), json!(-1)), "invalid value");
    refused(unigram(json!([["a"]]), json!(0)), "a piece and its score");
    refused(
        unigram(json!([["a", -1.0, 1]]), json!(0)),
        "a piece and its score",
    );
    refused(unigram(json!([[1, "a"]]), json!(0)), "expected");
    refused(unigram(json!(["a"]), json!(0)), "a piece and its score");
    refused(unigram(json!({ "a": 0 }), json!(0)), "list of pieces");
    refused(unigram(json!("a"), json!(0)), "a vocabulary");
    refused(json!({ "type": "Unigram" }), "vocab");
    refused(json!({ "type": "Trigram", "vocab": [] }), "Trigram");
    refused(json!({ "type": "BPE", "vocab": { "a": 0 } }), "merges");
    refused(
        json!({ "type": "BPE", "vocab": [["a", 0.0]], "merges": [] }),
        "object of ids",
    );
    refused(
        json!({ "type": "BPE", "vocab": { "a": 0 }, "merges": ["a b"] }),
        "no entry \"ab\"",
    );
    refused(
        json!({ "type": "BPE", "vocab": { "a": 0 }, "merges": ["a b c"] }),
        "a merge",
    );
    refused(
        json!({ "type": "BPE", "vocab": { "a": 0 }, "merges": [["a"]] }),
        "two entries",
    );
    refused(
        json!({ "type": "BPE", "vocab": { "a": -1 }, "merges": [] }),
        "invalid value",
    );
    refused(
        json!({ "type": "WordPiece", "vocab": { "a": 0 } }),
        "unk_token",
    );
    refused(
        json!({ "type": "WordLevel", "vocab": { "a": 0 } }),
        "unk_token",
    );
}

/// Old files do not name their type, and merges come in two spellings.
#[test]
fn tokenizer_models_of_old_files() {
    let folder = fixture("tiny-qwen3");
    let base = std::fs::read(folder.join("tokenizer.json")).unwrap();
    let mut old: Value = serde_json::from_slice(&base).unwrap();
    let model = old["model"].as_object_mut().unwrap();
    model.remove("type");
    let merges = model["merges"].as_array_mut().unwrap();
    for merge in merges.iter_mut() {
        *merge = json!(format!(
            "{} {}",
            merge[0].as_str().unwrap(),
            merge[1].as_str().unwrap()
        ));
    }
    merges.insert(0, json!("#version: 0.2"));
    let bytes = old.to_string();
    let changes = [("tokenizer.json", Some(bytes.as_bytes()))];
    let old = load_with(&folder, WeightDtype::Q8, &changes, 1000).unwrap();
    let new = load(&folder, WeightDtype::Q8);
    for (_, text) in texts("nasty.json") {
        assert_eq!(
            old.tokenize(&text, true).unwrap(),
            new.tokenize(&text, true).unwrap()
        );
    }
}

#[test]
fn requests_that_a_model_cannot_serve() {
    let text = || vec![Input::from("cat")];
    let bert = load(&fixture("tiny-bert"), WeightDtype::Q8);
    let instruction = EncodeOptions {
        instruction: Some("Find it".to_owned()),
        ..EncodeOptions::default()
    };
    let error = bert.encode(text(), &instruction).unwrap_err();
    assert_error(&error, "invalid_input", &["no instructions", "query"]);
    let task = EncodeOptions {
        task: Some("image".to_owned()),
        ..EncodeOptions::default()
    };
    assert_error(
        &bert.encode(text(), &task).unwrap_err(),
        "invalid_input",
        &["image", "query, document"],
    );
    let error = bert
        .encode_multi(text(), &MultiOptions::default())
        .unwrap_err();
    assert_error(&error, "invalid_input", &["dense, sparse and tokens"]);
    let sparse = MultiOptions {
        dense: true,
        sparse: true,
        ..MultiOptions::default()
    };
    assert_eq!(
        bert.encode_multi(text(), &sparse).unwrap_err().code(),
        "wrong_model_kind"
    );
    let splade = load(&fixture("tiny-splade"), WeightDtype::Q8);
    let error = splade
        .encode_tokens(text(), &TokenOptions::default())
        .unwrap_err();
    assert_eq!(error.code(), "wrong_model_kind");
    let router = load(&fixture("tiny-inference-free"), WeightDtype::Q8);
    let query = EncodeOptions {
        task: Some("query".to_owned()),
        ..EncodeOptions::default()
    };
    assert_eq!(
        router.encode(text(), &query).unwrap_err().code(),
        "wrong_model_kind"
    );
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

/// Wherever it breaks off: in its vocabulary, its normaliser, its decoder.
#[test]
fn every_truncation_of_a_tokenizer() {
    for model in ["tiny-m3", "tiny-qwen3"] {
        let bytes = std::fs::read(fixture(model).join("tokenizer.json")).unwrap();
        let decoder = bytes.windows(9).position(|part| part == b"\"decoder\"");
        let decoder = decoder.unwrap();
        for end in (0..bytes.len()).step_by(101).chain(decoder..decoder + 50) {
            let error = refused_of(model, "tokenizer.json", &bytes[..end]);
            assert_error(&error, "invalid_tokenizer", &["download it again"]);
        }
    }
}

#[test]
fn vocabulary_larger_than_the_embedding() {
    let bytes = std::fs::read(fixture("tiny-bert/tokenizer.json")).unwrap();
    let mut tokenizer: Value = serde_json::from_slice(&bytes).unwrap();
    let vocab = tokenizer["model"]["vocab"].as_object_mut().unwrap();
    let size = vocab.len();
    vocab.insert("onetoomany".to_owned(), json!(size));
    let error = refused("tokenizer.json", tokenizer.to_string().as_bytes());
    let id = format!("the token id {size}");
    assert_error(&error, "invalid_tokenizer", &[&id, "rows"]);

    // No more entries than rows, but ids beyond.
    let vocab = tokenizer["model"]["vocab"].as_object_mut().unwrap();
    vocab.remove("onetoomany");
    for id in vocab.values_mut() {
        *id = json!(id.as_u64().unwrap() + 4_294_960_000);
    }
    let error = refused("tokenizer.json", tokenizer.to_string().as_bytes());
    assert_error(&error, "invalid_tokenizer", &["the token id 429496"]);
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
        let read = body::read(body.to_string().into_bytes()).unwrap();
        let mut run = Body::of(read).and_then(|read| openai::start(&embedder, read, true));
        let error = loop {
            match run {
                Err(error) => break error,
                Ok(ref mut started) => match started.run.step(&embedder) {
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
        dtype: Some(WeightDtype::Q8),
        ..gossamer::LoadOptions::default()
    };
    let mut loader = gossamer::Loader::new(Cpu::new(), options.clone());
    assert_error(&loader.push(&[0]).unwrap_err(), "internal", &["order"]);
    assert_error(&loader.end().unwrap_err(), "internal", &["order"]);
    assert_error(&loader.finish().err().unwrap(), "internal", &["order"]);
    // What is needed does not change until it was given, and nothing else is taken.
    let mut loader = gossamer::Loader::new(Cpu::new(), options);
    assert_eq!(loader.next().unwrap(), loader.next().unwrap());
    let read = |name: &str| std::fs::read(fixture("tiny-bert").join(name)).ok();
    let file = next_weights(&mut loader, read).unwrap().unwrap();
    assert_eq!(loader.next().unwrap(), loader.next().unwrap());
    for (name, bytes) in [("config.json", None), (file.as_str(), Some(Vec::new()))] {
        let error = loader.provide(name, bytes).unwrap_err();
        assert_error(&error, "internal", &["order", name]);
    }
    loader.push(&read(&file).unwrap()).unwrap();
    let error = loader.provide(&file, None).unwrap_err();
    assert_error(&error, "internal", &["order", &file]);
    loader.end().unwrap();
    assert_eq!(loader.next().unwrap(), gossamer::Step::Ready);
    assert_error(&loader.push(&[0]).unwrap_err(), "internal", &["order"]);
    assert_error(&loader.end().unwrap_err(), "internal", &["order"]);
    loader.finish().unwrap();
}

/// What `git clone` leaves where Git LFS is not installed.
#[test]
fn git_lfs_pointers_are_called_so() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db\nsize 90868376\n";
    for file in ["model.safetensors", "tokenizer.json", "config.json"] {
        let error = refused(file, pointer);
        assert_error(&error, "invalid_config", &[file, "is a Git LFS pointer"]);
    }
}
