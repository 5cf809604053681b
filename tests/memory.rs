//! What loading takes: the model in its final form and one slice of one tensor, counted by the allocator.

mod common;

use common::{fixture, provide};
use gossamer::{Cpu, Embedder, LoadOptions, Loader, WeightDtype};
use peak_alloc::PeakAlloc;
use serde_json::{Map, Value, json};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

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
    let bytes = if matches!(*dtype, "F32" | "U32") {
        4
    } else {
        2
    };
    bytes * shape.iter().product::<usize>()
}

/// Loads a model of these tensors, whose file is never in memory. Returns what the load took at its highest beyond the
/// model that is left.
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
        revision: None,
        dtype: WeightDtype::Q8,
        file: None,
    };
    let mut loader = Loader::new(Cpu::new(), options);
    let small = |name: &str| match name {
        "config.json" => Some(config.to_string().into_bytes()),
        "modules.json" => None,
        _ => std::fs::read(fixture("tiny-bert").join(name)).ok(),
    };
    provide(&mut loader, small).unwrap();
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
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    loader.begin("model.safetensors").unwrap();
    loader.push(&length).unwrap();
    loader.push(header.as_bytes()).unwrap();
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

#[test]
fn loading_takes_the_model_and_a_slice() {
    let name = "embeddings.word_embeddings.weight".to_owned();
    let mut plain = vec![(name, "BF16", vec![VOCABULARY, HIDDEN], 0x3c)];
    plain.extend(others());
    let (most, embedder) = beyond(&plain);
    assert!(most <= SLACK, "{most}");
    assert!(embedder.weight_bytes() > VOCABULARY * HIDDEN);

    // As MLX writes them: what codes need is there before them, so that they pass through row by row.
    let (most, _) = beyond(&quantised(["biases", "scales", "weight"]));
    let scales = 2 * VOCABULARY * HIDDEN / 64 * 4;
    assert!(most <= 2 * scales + SLACK, "{most}");

    // The other way round they are kept, but as they are stored.
    let (most, _) = beyond(&quantised(["weight", "scales", "biases"]));
    let codes = VOCABULARY * HIDDEN;
    assert!(most <= codes + 2 * scales + SLACK, "{most}");
    assert!(most > codes / 2, "{most}: this measures nothing");
}
