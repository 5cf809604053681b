//! ONNX files give the vectors of their weights, however they were exported, optimised and
//! quantised; damaged ones, and graphs of another model, give an error.

use crate::common::{
    assert_close, assert_sparse, fixture, inputs, load_as, read, reference, rows, texts,
};
use crate::rerank::{assert_scores, identity, pairs};
use gossamer::{
    Cpu, Embedder, EncodeOptions, Error, LoadOptions, Outcome, SparseOptions, Stored, WeightDtype,
};

/// The files, and what `Info::stored` says of them.
const FILES: [(&str, Option<&str>); 19] = [
    ("tiny-bert.optimum", None),
    ("tiny-bert.slim", None),
    ("tiny-bert.O2", None),
    ("tiny-bert.O4", None),
    ("tiny-bert.external", None),
    ("tiny-bert.int8", Some("ONNX, 8 bits by tensor")),
    ("tiny-bert.uint8-channel", Some("ONNX, 8 bits")),
    ("tiny-bert.q4", Some("ONNX, 4 bits in blocks")),
    ("tiny-bert.q4-tables", Some("ONNX, 4 bits in blocks")),
    ("tiny-bert.q8", Some("ONNX, 8 bits in blocks")),
    ("tiny-bert.q8-zeros", Some("ONNX, 8 bits in blocks")),
    ("tiny-bert.bnb4", Some("ONNX, NF4")),
    ("tiny-distilbert-splade.int8", Some("ONNX, 8 bits")),
    ("tiny-xlm-roberta.dynamo", None),
    ("tiny-mpnet.fp16", None),
    ("tiny-modernbert.uint8", Some("ONNX, 8 bits by tensor")),
    ("tiny-nomic.q4f16", Some("ONNX, 4 bits in blocks")),
    ("tiny-qwen3.dynamo", None),
    ("tiny-gemma3.fp16", None),
];

const DATA: &str = "onnx/tiny-bert.external.onnx_data";

fn file(name: &str) -> Vec<u8> {
    std::fs::read(fixture("onnx").join(name)).unwrap()
}

/// Loads a model's folder with an ONNX file in place of its weights; `file` is the option.
fn open(
    model: &str,
    onnx: &[u8],
    changes: &[(&str, Option<&[u8]>)],
    option: Option<&str>,
    chunk: usize,
) -> gossamer::Result<Embedder<Cpu>> {
    let folder = fixture(model);
    let options = LoadOptions {
        model: "test".to_owned(),
        dtype: Some(WeightDtype::F32),
        file: option.map(str::to_owned),
        saveable: true,
        ..LoadOptions::default()
    };
    let data = file("tiny-bert.external.onnx_data");
    let native = read(&folder, "native.json");
    let mut files = vec![
        ("model.safetensors", None),
        (option.unwrap_or("onnx/model.onnx"), Some(onnx)),
        (DATA, Some(data.as_slice())),
    ];
    if let Some(native) = &native {
        files.push(("config.json", Some(native.as_slice())));
    }
    // The first of a name counts.
    let files: Vec<_> = changes.iter().copied().chain(files).collect();
    load_as(Cpu::new(), &folder, options, &files, chunk)
}

fn widened(layout: &str) -> Stored {
    Stored {
        layout: layout.to_owned(),
        outcome: Outcome::Widened,
    }
}

#[track_caller]
fn error(onnx: &[u8]) -> Error {
    let result = open("tiny-bert", onnx, &[], None, 1000);
    result.err().expect("it must be refused")
}

#[test]
fn vectors_are_those_of_the_weights() {
    let list = texts("tiny-texts.json");
    let references = reference(&fixture("onnx/references.safetensors"));
    for (name, stored) in FILES {
        let model = name.split('.').next().unwrap();
        let onnx = file(&format!("{name}.onnx"));
        let embedder =
            open(model, &onnx, &[], None, 4096).unwrap_or_else(|error| panic!("{name}: {error}"));
        let stored = stored.map(widened);
        assert_eq!(embedder.info().stored, stored, "{name}");
        assert!(
            embedder
                .info()
                .files
                .contains(&"onnx/model.onnx".to_owned())
        );
        let folder = reference(&fixture(model).join("reference.safetensors"));
        let own = if model == "tiny-nomic" {
            "native_embeddings"
        } else {
            "embeddings"
        };
        let theirs = rows(references.get(name).unwrap_or_else(|| &folder[own]));
        if embedder.kind() == "sparse" {
            let ours = embedder.encode_sparse(inputs(&list), &SparseOptions::default());
            assert_sparse(name, &list, &ours.unwrap().vectors, &theirs);
            continue;
        }
        let ours = embedder
            .encode(inputs(&list), &EncodeOptions::default())
            .unwrap();
        assert_close(
            name,
            &list,
            ours.data.chunks_exact(ours.dimensions),
            &theirs,
        );
    }
}

#[test]
fn the_same_weights_are_the_same_space() {
    let folder = fixture("tiny-bert");
    let safetensors = crate::common::load(&folder, WeightDtype::F32);
    for name in ["optimum", "slim", "O2", "external"] {
        let onnx = file(&format!("tiny-bert.{name}.onnx"));
        let embedder = open("tiny-bert", &onnx, &[], None, 1 << 20).unwrap();
        assert_eq!(embedder.space_id(), safetensors.space_id(), "{name}");
    }
}

#[test]
fn a_file_is_found_or_named() {
    let onnx = file("tiny-bert.int8.onnx");
    let plain = ("onnx/model.onnx", None);
    // By its usual names, where there is nothing else.
    for name in [
        "onnx/model_quantized.onnx",
        "onnx/model_uint8.onnx",
        "model.onnx",
    ] {
        let changes = [plain, (name, Some(onnx.as_slice()))];
        let changes: Vec<_> = if name == "model.onnx" || name.contains("uint8") {
            [&changes[..], &[("onnx/model_quantized.onnx", None)]].concat()
        } else {
            changes.to_vec()
        };
        let embedder = open("tiny-bert", &onnx, &changes, None, 1 << 20).unwrap();
        assert_eq!(embedder.info().files.last().map(String::as_str), Some(name));
    }
    // Named, though there are safetensors.
    let safetensors = read(&fixture("tiny-bert"), "model.safetensors").unwrap();
    let changes = [("model.safetensors", Some(safetensors.as_slice()))];
    let named = open(
        "tiny-bert",
        &onnx,
        &changes,
        Some("onnx/model_int8.onnx"),
        99,
    )
    .unwrap();
    assert_eq!(named.info().files, ["onnx/model_int8.onnx"]);
    let layout = "ONNX, 8 bits by tensor";
    assert_eq!(named.info().stored, Some(widened(layout)));
    // A named one that is not there is missing, whatever else there is.
    let changes = [("onnx/other.onnx", None)];
    let missing = open("tiny-bert", &onnx, &changes, Some("onnx/other.onnx"), 99);
    assert_eq!(missing.err().unwrap().code(), "missing_file");
    // Nothing at all: the answer names the file that models have.
    let changes = [
        plain,
        ("onnx/model_quantized.onnx", None),
        ("model.onnx", None),
    ];
    let missing = open("tiny-bert", &onnx, &changes, None, 99).err().unwrap();
    assert!(
        missing.to_string().contains("model.safetensors"),
        "{missing}"
    );
}

#[test]
fn files_beside_are_needed_whole_and_inside_the_folder() {
    let onnx = file("tiny-bert.external.onnx");
    let data = file("tiny-bert.external.onnx_data");
    let with = |onnx: &[u8], data: Option<&[u8]>| {
        open("tiny-bert", onnx, &[(DATA, data)], None, 777)
            .err()
            .map(|error| error.code())
    };
    assert_eq!(with(&onnx, Some(&data)), None);
    assert_eq!(with(&onnx, None), Some("missing_file"));
    assert_eq!(
        with(&onnx, Some(&data[..data.len() - 5000])),
        Some("truncated_stream")
    );
    // The same name, of the same length, elsewhere.
    let outside = replaced(
        &onnx,
        b"tiny-bert.external.onnx_data",
        b"../../bert/external.onnx_da",
    );
    assert_eq!(with(&outside, Some(&data)), Some("invalid_onnx"));
}

/// `bytes` with every `from` replaced by as many bytes, the last ones spaces.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut to = to.to_vec();
    to.resize(from.len(), b'x');
    let mut bytes = bytes.to_vec();
    let places: Vec<usize> = (0..bytes.len() - from.len())
        .filter(|at| bytes[*at..].starts_with(from))
        .collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + from.len()].copy_from_slice(&to);
    }
    bytes
}

/// `bytes` with the first `from` replaced by as many bytes: in a node, which come before
/// initializers.
fn in_node(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = (0..bytes.len() - from.len()).find(|at| bytes[*at..].starts_with(from));
    let at = at.expect("the graph has it");
    let mut bytes = bytes.to_vec();
    bytes[at..at + from.len()].copy_from_slice(to);
    bytes
}

#[test]
fn scales_that_do_not_fit_are_errors() {
    let onnx = file("tiny-bert.uint8-channel.onnx");
    // Those of 48 channels for a matrix of 100, and what is no scale at all.
    for (from, to, part) in [
        (
            &b"MatMul_310_scale"[..],
            &b"MatMul_296_scale"[..],
            "has 48 scales",
        ),
        (b"MatMul_296_scale", b"MatMul_310_scale", "has 100 scales"),
        (
            b"MatMul_310_zero_point",
            b"MatMul_296_zero_point",
            "has 48 zero points",
        ),
    ] {
        let error = error(&in_node(&onnx, from, to));
        assert_eq!(error.code(), "invalid_onnx", "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    // Names of scales that no initializer has.
    let error = error(&in_node(&onnx, b"MatMul_310_scale", b"MatMul_910_scale"));
    assert!(
        matches!(error.code(), "invalid_onnx" | "unsupported_model"),
        "{error}"
    );
}

#[test]
fn a_graph_of_another_architecture_is_refused() {
    let refused = |model: &str, onnx: &str| {
        let error = open(model, &file(onnx), &[], None, 4096)
            .err()
            .expect("it must be refused");
        assert_eq!(error.code(), "unsupported_model", "{model} {onnx}: {error}");
        error.to_string()
    };
    refused("tiny-bert", "tiny-modernbert.uint8.onnx");
    refused("tiny-bert", "tiny-gemma3.fp16.onnx");
    refused("tiny-mpnet", "tiny-xlm-roberta.dynamo.onnx");
    refused("tiny-qwen3", "tiny-gemma3.fp16.onnx");
    refused("tiny-gemma3", "tiny-qwen3.dynamo.onnx");
    refused("tiny-splade", "tiny-bert.optimum.onnx");
    let onnx = file("tiny-bert.optimum.onnx");
    // Another activation, another operator, another norm than the configuration's.
    for (from, to) in [
        (&b"Erf"[..], &b"Tan"[..]),
        (b"Softmax", b"Sigmoid"),
        (b"Erf", b"Cos"),
    ] {
        let error = error(&replaced(&onnx, from, to));
        assert_eq!(error.code(), "unsupported_model", "{error}");
    }
    let config = String::from_utf8(read(&fixture("tiny-bert"), "config.json").unwrap()).unwrap();
    let with = |config: &str| {
        let changes = [("config.json", Some(config.as_bytes()))];
        open("tiny-bert", &onnx, &changes, None, 4096)
            .err()
            .map(|error| error.to_string())
    };
    let changed = |from: &str, to: &str| {
        assert!(config.contains(from), "{from} in {config}");
        with(&config.replace(from, to)).expect("it must be refused")
    };
    assert_eq!(with(&config), None);
    changed("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1");
    changed("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
    changed("\"gelu\"", "\"relu\"");
    changed("\"layer_norm_eps\": 1e-12", "\"layer_norm_eps\": 1e-5");
    changed("\"intermediate_size\": 100", "\"intermediate_size\": 50");
    // As many heads as the graph cuts queries into, whatever wrote it.
    let heads = config.replace("\"num_attention_heads\": 3", "\"num_attention_heads\": 4");
    assert_ne!(heads, config);
    // (onnxslim keeps these numbers with the weights, where they are not looked at.)
    for name in ["optimum", "O2", "O4"] {
        let other = [("config.json", Some(heads.as_bytes()))];
        let onnx = file(&format!("tiny-bert.{name}.onnx"));
        let error = open("tiny-bert", &onnx, &other, None, 4096).err();
        let error = error.unwrap_or_else(|| panic!("{name} must be refused"));
        assert_eq!(error.code(), "unsupported_model", "{name}: {error}");
        assert!(error.to_string().contains("heads"), "{name}: {error}");
    }
}

/// Loads a folder of `rerankers` with an ONNX file of it.
fn open_reranker(model: &str, onnx: &str) -> gossamer::Result<Embedder<Cpu>> {
    let onnx = file(&format!("rerankers/{onnx}.onnx"));
    open(&format!("rerankers/{model}"), &onnx, &[], None, 4096)
}

#[test]
fn scores_of_rerankers_are_those_of_the_weights() {
    let quantized = reference(&fixture("onnx/rerankers/references.safetensors"));
    for (model, kind) in [
        ("bert", "optimum"),
        ("bert", "int8"),
        ("bert-labels", "optimum"),
        ("roberta", "optimum"),
        ("distilbert", "optimum"),
        ("modernbert-mean", "optimum"),
        ("mpnet", "optimum"),
    ] {
        let name = format!("{model}.{kind}");
        let embedder =
            open_reranker(model, &name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(embedder.kind(), "reranker", "{name}");
        let ours = embedder.score(pairs(), &identity()).unwrap();
        let folder = fixture("rerankers").join(model);
        let own = reference(&folder.join("reference.safetensors"));
        assert_scores(&name, &ours, quantized.get(&name).unwrap_or(&own["logits"]));
        if kind == "optimum" {
            let safetensors = crate::common::load(&folder, WeightDtype::F32);
            assert_eq!(embedder.space_id(), safetensors.space_id(), "{name}");
        }
    }
}

#[test]
fn rerankers_of_another_graph_are_refused() {
    // Of models without a head, of models with one for tokens, and with another number of labels;
    // the first token's state in place of the mean; a head in place of none.
    for (model, onnx, part) in [
        (
            "rerankers/bert",
            "tiny-bert.optimum",
            "none of the outputs logits",
        ),
        (
            "rerankers/bert",
            "tiny-distilbert-splade.int8",
            "is not that of the bert model",
        ),
        (
            "rerankers/bert",
            "rerankers/bert-labels.optimum",
            "is not that of the bert model",
        ),
        (
            "rerankers/modernbert",
            "rerankers/modernbert-mean.optimum",
            "does not pool",
        ),
        (
            "tiny-bert",
            "rerankers/bert.optimum",
            "is not that of the bert model",
        ),
        (
            "rerankers/qwen3",
            "tiny-qwen3.dynamo",
            "rerankers that are decoders",
        ),
        ("rerankers/gte", "rerankers/bert.optimum", "the family gte"),
    ] {
        let error = open(model, &file(&format!("{onnx}.onnx")), &[], None, 4096).err();
        let error = error.unwrap_or_else(|| panic!("{onnx} as {model} must be refused"));
        assert_eq!(error.code(), "unsupported_model", "{onnx}: {error}");
        assert!(error.to_string().contains(part), "{onnx}: {error}");
    }
}

#[test]
fn families_without_tests_are_refused_by_name() {
    let onnx = file("tiny-bert.optimum.onnx");
    for (model, family) in [
        ("tiny-albert", "albert"),
        ("tiny-electra", "electra"),
        ("tiny-eurobert", "eurobert"),
        ("tiny-gemma2", "gemma2"),
        ("tiny-gte", "gte"),
        ("tiny-jina", "jina_bert"),
        ("tiny-jina-qk", "jina_bert_qk"),
        ("tiny-jina-v3", "xlm_roberta_flash"),
        ("tiny-nomic-moe", "nomic_bert_moe"),
        ("tiny-llama", "llama"),
        ("tiny-mistral", "mistral"),
        ("tiny-qwen2", "qwen2"),
        ("tiny-t5", "t5"),
        ("tiny-deberta", "deberta-v2"),
        ("static/sentence", "static embeddings"),
    ] {
        let error = open(model, &onnx, &[], None, 4096).err();
        let error = error.expect("it must be refused");
        assert_eq!(error.code(), "unsupported_model", "{model}: {error}");
        let message = error.to_string();
        assert!(message.contains("ONNX"), "{model}: {message}");
        assert!(message.contains(family), "{model}: {message}");
    }
}

#[test]
fn damaged_files_are_errors() {
    let onnx = file("tiny-bert.optimum.onnx");
    // Ends early, wherever that is.
    for end in [0, 1, 2, 10, 1000, onnx.len() / 2, onnx.len() - 1] {
        let code = error(&onnx[..end]).code();
        assert!(
            matches!(code, "truncated_stream" | "invalid_onnx"),
            "{end}: {code}"
        );
    }
    let invalid = |bytes: &[u8], part: &str| {
        let error = error(bytes);
        assert_eq!(error.code(), "invalid_onnx", "{error}");
        assert!(error.to_string().contains(part), "{error}");
    };
    // Lengths past the end, numbers that are too long, wire types and fields that there are not.
    invalid(&[0x3a, 0x04, 0x0a, 0x50, 0, 0], "goes on after the end");
    invalid(&[0xff; 20], "64 bits");
    invalid(&[0x3b, 0x00], "wire type");
    invalid(&[0x02, 0x00], "number that no message has");
    // A graph that is a number, two graphs.
    invalid(&[0x38, 0x01], "stored as a number");
    // A node without an operator, a million nodes.
    invalid(&[0x3a, 0x04, 0x0a, 0x02, 0x1a, 0x00], "no operator");
    let node = [0x0a, 0x06, 0x12, 0x01, b'a', 0x22, 0x01, b'b'];
    let nodes = node.repeat(1_000_000);
    let mut file = vec![0x3a];
    let mut length = nodes.len();
    while length > 127 {
        file.push(u8::try_from(length & 127).unwrap() | 128);
        length >>= 7;
    }
    file.push(u8::try_from(length).unwrap());
    file.extend(nodes);
    invalid(&file, "nodes");
    // Initializers that share a name.
    let twice = replaced(&onnx, b"onnx::MatMul_306", b"onnx::MatMul_296");
    let error = error(&twice);
    assert!(
        matches!(error.code(), "invalid_onnx" | "unsupported_model"),
        "{error}"
    );
    // An opset that is unknown.
    let at = onnx.windows(2).rposition(|window| window == [0x10, 18]);
    let mut newer = onnx.clone();
    newer[at.expect("the opset is there") + 1] = 99;
    invalid(&newer, "opset 99");
}
