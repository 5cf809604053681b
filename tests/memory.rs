//! What loading takes: the model in its final form and one slice of one tensor; and a pass: nothing
//! that it has not taken before. Counted by the allocator.

mod common;

use std::sync::{Mutex, PoisonError};

use common::{fixture, next_weights};
use gossamer::{
    Cpu, Embedder, EncodeOptions, Input, LoadOptions, Loader, Outcome, Step, Stored, WeightDtype,
};
use peak_alloc::PeakAlloc;
use serde_json::{Map, Value, json};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// All threads count together, so one test runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

const VOCABULARY: usize = 20_000;
const HIDDEN: usize = 512;
const CHUNK: usize = 1 << 16;
/// The header, rows, rounding of the allocator.
const SLACK: usize = 1 << 20;

/// A tensor: name, dtype, shape, and the byte that its values are made of.
type Tensor = (String, &'static str, Vec<usize>, u8);

/// A BERT of one layer. Its word embeddings are nearly all of it.
fn others() -> Vec<Tensor> {
    let mut all: Vec<Tensor> = Vec::new();
    let mut add = |name: &str, shape: &[usize]| {
        all.push((name.to_owned(), "BF16", shape.to_vec(), 0x3c));
    };
    let norm = |name: &str| [format!("{name}.weight"), format!("{name}.bias")];
    add("embeddings.position_embeddings.weight", &[64, HIDDEN]);
    add("embeddings.token_type_embeddings.weight", &[2, HIDDEN]);
    let layer = "encoder.layer.0";
    for name in [
        "embeddings.LayerNorm".to_owned(),
        format!("{layer}.attention.output.LayerNorm"),
        format!("{layer}.output.LayerNorm"),
    ] {
        norm(&name).iter().for_each(|name| add(name, &[HIDDEN]));
    }
    for (name, rows, columns) in [
        ("attention.self.query", HIDDEN, HIDDEN),
        ("attention.self.key", HIDDEN, HIDDEN),
        ("attention.self.value", HIDDEN, HIDDEN),
        ("attention.output.dense", HIDDEN, HIDDEN),
        ("intermediate.dense", 128, HIDDEN),
        ("output.dense", HIDDEN, 128),
    ] {
        add(&format!("{layer}.{name}.weight"), &[rows, columns]);
        add(&format!("{layer}.{name}.bias"), &[rows]);
    }
    all
}

fn size((_, dtype, shape, _): &Tensor) -> usize {
    let elements = shape.iter().product::<usize>();
    match *dtype {
        "F32" | "U32" => 4 * elements,
        "Q8_0" => elements / 32 * 34,
        _ => 2 * elements,
    }
}

/// Loads a model of these tensors, whose file is never in memory. Returns what the load took at its
/// highest beyond the model that is left.
fn beyond(tensors: &[Tensor]) -> (usize, Embedder<Cpu>) {
    let config = std::fs::read(fixture("tiny-bert").join("config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&config).unwrap();
    config["vocab_size"] = json!(VOCABULARY);
    config["hidden_size"] = json!(HIDDEN);
    config["num_attention_heads"] = json!(8);
    config["intermediate_size"] = json!(128);
    config["num_hidden_layers"] = json!(1);
    let options = LoadOptions {
        model: "test".to_owned(),
        dtype: Some(WeightDtype::Q8),
        ..LoadOptions::default()
    };
    let mut loader = Loader::new(Cpu::new(), options);
    let small = |name: &str| match name {
        "config.json" => Some(config.to_string().into_bytes()),
        "modules.json" => None,
        _ => std::fs::read(fixture("tiny-bert").join(name)).ok(),
    };
    next_weights(&mut loader, small).unwrap();
    let (mut header, mut end) = (Map::new(), 0);
    for tensor in tensors {
        let (name, dtype, shape, _) = tensor;
        let entry =
            json!({ "dtype": dtype, "shape": shape, "data_offsets": [end, end + size(tensor)] });
        header.insert(name.clone(), entry);
        end += size(tensor);
    }
    let header = Value::Object(header).to_string();
    let length = (header.len() as u64).to_le_bytes();
    let header = [&length, header.as_bytes()].concat();
    stream(loader, "model.safetensors", &header, tensors)
}

/// Loads a weight file. Returns what that took at its highest beyond the model that is left.
fn stream(
    mut loader: Loader<Cpu>,
    name: &str,
    header: &[u8],
    tensors: &[Tensor],
) -> (usize, Embedder<Cpu>) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let is_due = |step: Step| matches!(step, Step::Stream { file, .. } if file == name);
    assert!(is_due(loader.next().unwrap()));
    loader.push(header).unwrap();
    for tensor in tensors {
        let mut left = size(tensor);
        let chunk = vec![tensor.3; CHUNK];
        while left > 0 {
            let part = left.min(CHUNK);
            loader.push(&chunk[..part]).unwrap();
            left -= part;
        }
    }
    loader.end().unwrap();
    let embedder = loader.finish().unwrap();
    let (peak, after) = (MEMORY.peak_usage(), MEMORY.current_usage());
    assert!(embedder.weight_bytes() <= after - before + SLACK);
    (peak - after, embedder)
}

/// The header of a GGUF file of these tensors.
fn gguf(tensors: &[Tensor]) -> Vec<u8> {
    const NAMES: [(&str, &str); 12] = [
        ("embeddings.word_embeddings", "token_embd"),
        ("embeddings.position_embeddings", "position_embd"),
        ("embeddings.token_type_embeddings", "token_types"),
        ("embeddings.LayerNorm", "token_embd_norm"),
        ("encoder.layer", "blk"),
        ("attention.output.LayerNorm", "attn_output_norm"),
        ("attention.self.query", "attn_q"),
        ("attention.self.key", "attn_k"),
        ("attention.self.value", "attn_v"),
        ("attention.output.dense", "attn_output"),
        ("intermediate.dense", "ffn_up"),
        ("output.dense", "ffn_down"),
    ];
    let string = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let u32s = |values: &[usize]| -> Vec<u8> {
        let bytes = values
            .iter()
            .map(|value| u32::try_from(*value).unwrap().to_le_bytes());
        bytes.flatten().collect()
    };
    let tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "\u{2581}a"];
    let list = [
        u32s(&[8]),
        (tokens.len() as u64).to_le_bytes().to_vec(),
        tokens.map(string).concat(),
    ];
    let keys = [
        ("general.architecture", 8, string("bert")),
        ("bert.block_count", 4, u32s(&[1])),
        ("bert.context_length", 4, u32s(&[64])),
        ("bert.embedding_length", 4, u32s(&[HIDDEN])),
        ("bert.feed_forward_length", 4, u32s(&[128])),
        ("bert.attention.head_count", 4, u32s(&[8])),
        (
            "bert.attention.layer_norm_epsilon",
            6,
            1e-12f32.to_le_bytes().to_vec(),
        ),
        ("tokenizer.ggml.model", 8, string("bert")),
        ("tokenizer.ggml.tokens", 9, list.concat()),
    ];
    let mut header = b"GGUF\x03\0\0\0".to_vec();
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend((keys.len() as u64).to_le_bytes());
    for (key, kind, value) in keys {
        header.extend([string(key), u32s(&[kind]), value].concat());
    }
    let mut start = 0;
    for tensor in tensors {
        let (name, dtype, shape, _) = tensor;
        let name = NAMES
            .iter()
            .fold(name.clone(), |name, (ours, theirs)| {
                name.replace(ours, theirs)
            })
            .replace("output.LayerNorm", "layer_output_norm");
        header.extend(string(&name));
        header.extend(u32s(&[shape.len()]));
        header.extend(
            shape
                .iter()
                .rev()
                .flat_map(|size| (*size as u64).to_le_bytes()),
        );
        header.extend(u32s(&[if *dtype == "Q8_0" { 8 } else { 30 }]));
        header.extend((start as u64).to_le_bytes());
        start += size(tensor);
    }
    header.resize(header.len().next_multiple_of(32), 0);
    header
}

/// The word embeddings as MLX stores them in 8 bits.
fn quantised(order: [&str; 3]) -> Vec<Tensor> {
    let part = |name: &str| {
        let (dtype, columns, byte) = match name {
            "weight" => ("U32", HIDDEN / 4, 0x55),
            _ => ("F32", HIDDEN / 64, 0x3c),
        };
        let name = format!("embeddings.word_embeddings.{name}");
        (name, dtype, vec![VOCABULARY, columns], byte)
    };
    order.map(part).into_iter().chain(others()).collect()
}

/// The model as a plain file.
fn plain() -> Vec<Tensor> {
    let name = "embeddings.word_embeddings.weight".to_owned();
    let mut all = vec![(name, "BF16", vec![VOCABULARY, HIDDEN], 0x3c)];
    all.extend(others());
    all
}

#[test]
fn loading_takes_the_model_and_a_slice() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let plain = plain();
    let (most, embedder) = beyond(&plain);
    assert!(most <= SLACK, "{most}");
    assert!(embedder.weight_bytes() > VOCABULARY * HIDDEN);

    // The same as a GGUF file, whose plan is made on the way.
    let mut blocks = plain.clone();
    blocks[0].1 = "Q8_0";
    let options = LoadOptions {
        model: "test".to_owned(),
        dtype: Some(WeightDtype::Q8),
        file: Some("model.gguf".to_owned()),
        ..LoadOptions::default()
    };
    let loader = Loader::new(Cpu::new(), options);
    let (most, embedder) = stream(loader, "model.gguf", &gguf(&blocks), &blocks);
    assert!(most <= SLACK, "{most}");
    let stored = Stored {
        layout: "GGUF, Q8_0".to_owned(),
        outcome: Outcome::Requantized,
    };
    assert_eq!(embedder.info().stored, Some(stored));

    // As MLX writes them: what codes need is there before them, so that they pass through row by
    // row.
    let (most, _) = beyond(&quantised(["biases", "scales", "weight"]));
    let scales = 2 * VOCABULARY * HIDDEN / 64 * 4;
    assert!(most <= 2 * scales + SLACK, "{most}");

    // The other way round they are kept, but as they are stored.
    let (most, _) = beyond(&quantised(["weight", "scales", "biases"]));
    let codes = VOCABULARY * HIDDEN;
    assert!(most <= codes + 2 * scales + SLACK, "{most}");
    assert!(most > codes / 2, "{most}: this measures nothing");
}

#[test]
fn a_pass_takes_nothing_anew_and_gives_all_back() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, embedder) = beyond(&plain());
    let text = "a ".repeat(50);
    let encode = || {
        let texts = vec![Input::from(text.as_str()); 10];
        let vectors = embedder.encode(texts, &EncodeOptions::default()).unwrap();
        vectors
            .tokens
            .iter()
            .map(|tokens| *tokens as usize)
            .sum::<usize>()
    };
    let tokens = encode();
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    encode();
    assert_eq!(MEMORY.current_usage(), before);
    // Less than one of the many activations that there are, each `[tokens, hidden]` and more.
    let most = MEMORY.peak_usage() - before;
    assert!(
        most < tokens * HIDDEN * size_of::<f32>() / 2,
        "{most} for {tokens} tokens"
    );
}

#[test]
fn a_body_takes_memory_in_proportion_to_its_size_whatever_is_in_it() {
    const SIZE: usize = 16 << 20;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let fill = |open: &str, one: &str, close: &str| {
        let times = (SIZE - open.len() - close.len()) / one.len();
        let all = [open, &one.repeat(times), close].concat();
        all.into_bytes()
    };
    for (open, one, close) in [
        (r#"{"input":["#, "0,", "0]}"),
        (r#"{"input":["#, r#"{"":0},"#, "0]}"),
        (r#"{"input":["#, r#""","#, r#"""]}"#),
        (r#"{"input":["#, "[],", "[]]}"),
        (r#"{"input":["#, "[0],", "[0]]}"),
        (r#"{"input":[["#, r#""","#, r#"""]]}"#),
        (r#"{"inputs":{"sentences":["#, r#""","#, r#"""]}}"#),
        (r#"{"input":""#, r"\ud83d", r#""}"#),
        (r#"{"input":""#, "a", r#""}"#),
        (r#"{"other":["#, "[{}],", "0]}"),
        ("{", r#""":0,"#, r#""a":0}"#),
        ("{", r#""model":[{}],"#, r#""a":0}"#),
        ("", "[", ""),
        (r#"{"input":"#, r#"{"inputs":"#, ""),
    ] {
        let body = fill(open, one, close);
        let size = body.len();
        MEMORY.reset_peak_usage();
        let before = MEMORY.current_usage() - size;
        let read = gossamer::api::body::read(body);
        let peak = MEMORY.peak_usage() - before;
        assert!(peak <= 8 * size + SLACK, "{open}{one}: {peak} of {size}");
        drop(read);
    }
}
