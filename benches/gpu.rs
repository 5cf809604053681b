//! The GPU backend natively, on the adapter that the tests take: products a second of its largest
//! kernels, and tokens a second of Qwen3-Embedding-0.6B's shapes with random weights.
//!
//! `cargo bench --bench gpu`

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::Instant;

use common::{fixture, next_weights, synthetic};
use gossamer::backend::{Activation, Attention, Backend, Compute, Heads, Mask, ReadBack};
use gossamer::{
    Either, Embedder, EncodeOptions, Gpu, Input, LoadOptions, Loader, Pooling, WeightDtype,
};
use serde_json::{Value, json};

const DTYPES: [WeightDtype; 4] = [
    WeightDtype::F32,
    WeightDtype::F16,
    WeightDtype::Q8,
    WeightDtype::Q4,
];
const HIDDEN: usize = 1024;
const LAYERS: usize = 28;
const HEADS: Heads = Heads {
    count: 16,
    kv_count: 8,
    size: 128,
};
const INNER: usize = 3072;
/// Entries of the fixture's vocabulary. Only the table of words depends on it.
const VOCABULARY: usize = 327;
/// Texts of a pass, and their tokens.
const TEXTS: usize = 16;
const TOKENS: usize = 256;
/// Operations that are submitted together.
const REPEATED: u32 = 20;
const ROUNDS: usize = 5;

fn gpu() -> Gpu {
    pollster::block_on(Gpu::open()).expect("a Vulkan or Metal adapter")
}

/// Median seconds of a call, after one that is not counted.
fn seconds(mut call: impl FnMut()) -> f64 {
    call();
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            call();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

/// Seconds of one of many equal operations.
fn each<T>(gpu: &Gpu, mut operation: impl FnMut() -> T) -> f64 {
    let whole = seconds(|| {
        for _ in 0..REPEATED {
            operation();
        }
        let end = gpu.upload(vec![0.0], 1).expect("room for a number");
        let reading = gpu.read(vec![ReadBack::All(end)]).expect("it is sent");
        pollster::block_on(reading).expect("it is read");
    });
    whole / f64::from(REPEATED)
}

/// Multiplications with their additions in a second, in thousands of millions.
#[expect(clippy::cast_precision_loss, reason = "a figure to be printed")]
fn rate(products: usize, seconds: f64) -> f64 {
    products as f64 / seconds / 1e9
}

fn random(name: &str, count: usize) -> Vec<f32> {
    synthetic::values(&(name.to_owned(), vec![count], 0.0, 0.04)).collect()
}

/// The kernels, on one pass of tokens.
fn kernels() {
    let gpu = gpu();
    println!("{}", gpu.name());
    let tokens = TEXTS * TOKENS;
    for [out, input] in [[INNER, HIDDEN], [HIDDEN, INNER]] {
        let x = gpu.upload(random("x", tokens * input), tokens).unwrap();
        for dtype in DTYPES {
            let mut weight = gpu.matrix(out, input, dtype).unwrap();
            for (row, values) in random("weight", out * input).chunks(input).enumerate() {
                gpu.set_row(&mut weight, row, values);
            }
            let time = each(&gpu, || {
                gpu.linear(&x, &weight, None, Activation::Identity).unwrap()
            });
            let rate = rate(tokens * out * input, time);
            let name = dtype.name();
            println!("product of {tokens} × {input} × {out}, {name}: {rate:.0} GMAC/s");
        }
    }
    let width = HEADS.query_width() + 2 * HEADS.kv_width();
    let qkv = gpu.upload(random("qkv", tokens * width), tokens).unwrap();
    let offsets: Vec<usize> = (0..=TEXTS).map(|text| text * TOKENS).collect();
    let attention = Attention {
        heads: HEADS,
        scale: 0.088,
        mask: Mask {
            before: None,
            after: Some(0),
        },
        head_norms: None,
        rotary: None,
        bias: None,
        cap: None,
        keys: None,
    };
    let time = each(&gpu, || gpu.attention(&qkv, &offsets, attention).unwrap());
    // A token sees half of the others on average.
    let products = tokens * TOKENS * HEADS.query_width();
    let rate = rate(products, time);
    println!("causal attention of {TEXTS} × {TOKENS} tokens: {rate:.0} GMAC/s");
    let x = gpu.upload(random("x", tokens * HIDDEN), tokens).unwrap();
    let skip = [0; TEXTS];
    let time = each(&gpu, || {
        gpu.pool(&x, &offsets, &skip, Pooling::Mean).unwrap()
    });
    println!("pooling of as many: {:.3} ms", 1000.0 * time);
}

/// The model. Its weights are never all in host memory.
fn model(dtype: WeightDtype) -> Embedder<Either> {
    let folder = fixture("tiny-qwen3");
    let config = std::fs::read(folder.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&config).unwrap();
    for (field, size) in [
        ("hidden_size", HIDDEN),
        ("intermediate_size", INNER),
        ("num_attention_heads", HEADS.count),
        ("num_key_value_heads", HEADS.kv_count),
        ("head_dim", HEADS.size),
        ("num_hidden_layers", LAYERS),
        ("max_position_embeddings", 32_768),
    ] {
        config[field] = json!(size);
    }
    let vector = |name: String, size: usize| (name, vec![size], 1.0, 0.4);
    let mut tensors = vec![
        (
            "embed_tokens.weight".to_owned(),
            vec![VOCABULARY, HIDDEN],
            0.0,
            0.4,
        ),
        vector("norm.weight".to_owned(), HIDDEN),
    ];
    let (queries, keys) = (HEADS.query_width(), HEADS.kv_width());
    for layer in 0..LAYERS {
        let name = |module: &str| format!("layers.{layer}.{module}.weight");
        for (module, size) in [
            ("input_layernorm", HIDDEN),
            ("post_attention_layernorm", HIDDEN),
            ("self_attn.q_norm", HEADS.size),
            ("self_attn.k_norm", HEADS.size),
        ] {
            tensors.push(vector(name(module), size));
        }
        for (module, out, input) in [
            ("self_attn.q_proj", queries, HIDDEN),
            ("self_attn.k_proj", keys, HIDDEN),
            ("self_attn.v_proj", keys, HIDDEN),
            ("self_attn.o_proj", HIDDEN, queries),
            ("mlp.gate_proj", INNER, HIDDEN),
            ("mlp.up_proj", INNER, HIDDEN),
            ("mlp.down_proj", HIDDEN, INNER),
        ] {
            tensors.push((name(module), vec![out, input], 0.0, 0.04));
        }
    }
    let options = LoadOptions {
        model: "bench".to_owned(),
        dtype: Some(dtype),
        ..LoadOptions::default()
    };
    let mut loader = Loader::new(Either::gpu(gpu(), false), options);
    let small = |name: &str| match name {
        "config.json" => Some(config.to_string().into_bytes()),
        _ => std::fs::read(folder.join(name)).ok(),
    };
    next_weights(&mut loader, small).expect("the fixture's files");
    loader.push(&synthetic::header(&tensors)).unwrap();
    for tensor in &tensors {
        let values: Vec<f32> = synthetic::values(tensor).collect();
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        loader.push(&bytes).unwrap();
    }
    loader.end().unwrap();
    loader.finish().unwrap()
}

fn main() {
    kernels();
    if std::env::args().any(|argument| argument == "kernels") {
        return;
    }
    for dtype in DTYPES {
        let start = Instant::now();
        let embedder = model(dtype);
        let loaded = start.elapsed().as_secs_f64();
        let end = embedder.tokenize("a", true).expect("a token and the end's");
        let end = end.last().expect("the end's").id;
        let texts: Vec<_> = (0u32..)
            .take(TEXTS)
            .map(|text| {
                let ids = (0..).take(TOKENS - 1).map(|at| (text * 31 + at * 7) % 256);
                Input::Ids(ids.chain([end]).collect())
            })
            .collect();
        let time = seconds(|| {
            let encoded = embedder.encode(texts.clone(), &EncodeOptions::default());
            assert_eq!(encoded.expect("vectors").data.len(), TEXTS * HIDDEN);
        });
        let (name, rate) = (dtype.name(), 1e9 * rate(TEXTS * TOKENS, time));
        println!("Qwen3-0.6B's shapes, {name}: {rate:.0} tokens a second, loaded in {loaded:.1} s");
    }
}
