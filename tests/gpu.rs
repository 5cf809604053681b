//! The GPU backend against the references of the CPU's, and against the CPU, on whichever Vulkan or
//! Metal adapter there is: in CI Mesa's lavapipe, which is a CPU.

mod common;

use common::models::MODELS;
use common::saved::saved;
use common::{
    assert_close, assert_sparse, cosine, fixture, inputs, load, load_on, minilm, next_weights,
    reference, rows, synthetic, texts,
};
use gossamer::backend::Backend;
use gossamer::{
    Either, Embedder, EncodeOptions, Gpu, LoadOptions, Loader, MultiOptions, Output, SparseOptions,
    SparseVector, TokenOptions, WeightDtype,
};
use serde_json::{Value, json};

const DTYPES: [WeightDtype; 4] = [
    WeightDtype::F32,
    WeightDtype::F16,
    WeightDtype::Q8,
    WeightDtype::Q4,
];

fn gpu() -> Gpu {
    pollster::block_on(Gpu::open())
        .expect("a Vulkan or Metal adapter: Debian's mesa-vulkan-drivers has one")
}

/// Attention to distances is for the CPU alone.
const CPU_ALONE: &str = "tiny-deberta";

/// The models that a GPU takes.
fn models() -> impl Iterator<Item = &'static str> {
    MODELS.into_iter().filter(|name| *name != CPU_ALONE)
}

fn all_kinds<B: Backend>(embedder: &Embedder<B>, texts: &[(String, String)]) -> Output {
    let outputs = embedder.outputs();
    let options = MultiOptions {
        dense: outputs.contains(&"dense"),
        sparse: outputs.contains(&"sparse"),
        tokens: outputs.contains(&"tokens"),
        ..MultiOptions::default()
    };
    embedder.encode_multi(inputs(texts), &options).unwrap()
}

/// A sparse vector with all of its zeros.
fn widened(vector: &SparseVector, width: usize) -> Vec<f32> {
    let mut all = vec![0.0; width];
    for (index, value) in vector.indices.iter().zip(&vector.values) {
        all[*index as usize] = *value;
    }
    all
}

#[track_caller]
fn assert_alike(what: &str, ours: &[f32], theirs: &[f32], least: f64) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let empty = theirs.iter().all(|value| *value == 0.0);
    let cosine = if empty { 1.0 } else { cosine(ours, theirs) };
    assert!(cosine >= least, "{what}: cosine {cosine}");
}

#[test]
fn minilm_equals_sentence_transformers_in_f32_and_the_cpu_in_fewer_bits() {
    // Every sixth text: the adapter may be a CPU.
    let all = texts("texts.json");
    let theirs = rows(&reference(&fixture("minilm.safetensors"))["embeddings"]);
    let (texts, theirs): (Vec<_>, Vec<_>) = all.into_iter().zip(theirs).step_by(6).unzip();
    for dtype in DTYPES {
        let options = EncodeOptions::default();
        let embedder = load_on(gpu(), &minilm(), dtype, &[], 1 << 20).unwrap();
        let ours = embedder.encode(inputs(&texts), &options).unwrap();
        let ours: Vec<_> = ours.data.chunks_exact(ours.dimensions).collect();
        if dtype == WeightDtype::F32 {
            assert_close("f32", &texts, ours.into_iter(), &theirs);
            continue;
        }
        if dtype == WeightDtype::F16 {
            for ((ours, theirs), (name, _)) in ours.iter().zip(&theirs).zip(&texts) {
                assert_alike(&format!("f16, {name}"), ours, theirs, 0.999);
            }
        }
        let cpu = load(&minilm(), dtype);
        assert_eq!(cpu.space_id(), embedder.space_id());
        let cpu = cpu.encode(inputs(&texts), &options).unwrap();
        for ((ours, cpu), (name, _)) in ours.iter().zip(cpu.data.chunks_exact(384)).zip(&texts) {
            assert_alike(&format!("{dtype:?}, {name}"), ours, cpu, 0.999);
        }
    }
}

#[test]
fn every_family_and_head_equals_its_reference_in_f32() {
    let texts = texts("tiny-texts.json");
    for name in models() {
        let folder = fixture(name);
        let theirs = reference(&folder.join("reference.safetensors"));
        let embedder = load_on(gpu(), &folder, WeightDtype::F32, &[], 1 << 20).unwrap();
        let tasks = embedder.tasks().iter().map(ToString::to_string).collect();
        let tasks: Vec<String> = tasks;
        let theirs = |tensor: &str| {
            theirs
                .get(tensor)
                .map(rows)
                .filter(|rows| rows.len() == texts.len())
        };
        if embedder.kind() == "dense" {
            let Some(theirs) = theirs("embeddings") else {
                continue;
            };
            let ours = embedder
                .encode(inputs(&texts), &EncodeOptions::default())
                .unwrap();
            assert_close(
                name,
                &texts,
                ours.data.chunks_exact(ours.dimensions),
                &theirs,
            );
        } else if tasks.is_empty() {
            let Some(theirs) = theirs("embeddings") else {
                continue;
            };
            let ours = embedder
                .encode_sparse(inputs(&texts), &SparseOptions::default())
                .unwrap();
            assert_sparse(name, &texts, &ours.vectors, &theirs);
        }
        for task in tasks {
            if embedder.kind() == "dense" {
                let options = EncodeOptions {
                    task: Some(task.clone()),
                    ..EncodeOptions::default()
                };
                let ours = embedder.encode(inputs(&texts), &options).unwrap();
                let what = format!("{name} {task}");
                let theirs = theirs(&format!("{task}_embeddings")).unwrap();
                let ours = ours.data.chunks_exact(ours.dimensions);
                assert_close(&what, &texts, ours, &theirs);
                continue;
            }
            let tensor = if task == "query" {
                "query_embeddings"
            } else {
                "embeddings"
            };
            let options = SparseOptions {
                task: Some(task),
                ..SparseOptions::default()
            };
            let ours = embedder.encode_sparse(inputs(&texts), &options).unwrap();
            assert_sparse(name, &texts, &ours.vectors, &theirs(tensor).unwrap());
        }
    }
}

#[test]
fn every_family_head_and_dtype_equals_the_cpu() {
    let texts = texts("tiny-texts.json");
    for name in models() {
        let folder = fixture(name);
        for (dtype, least) in [
            (WeightDtype::F32, 0.99999),
            // Activations are rounded to 11 bits where the CPU has them in full.
            (WeightDtype::F16, 0.9999),
            (WeightDtype::Q8, 0.999),
            (WeightDtype::Q4, 0.999),
        ] {
            let what = format!("{name} {dtype:?}");
            let embedder = load_on(gpu(), &folder, dtype, &[], 1 << 20).unwrap();
            let cpu = load(&folder, dtype);
            let (ours, theirs) = (all_kinds(&embedder, &texts), all_kinds(&cpu, &texts));
            assert_eq!(
                (ours.tokens, ours.truncated),
                (theirs.tokens, theirs.truncated)
            );
            let width = theirs.dimensions.max(1);
            let dense = |output: &Option<Vec<f32>>| output.clone().unwrap_or_default();
            let (a, b) = (dense(&ours.dense), dense(&theirs.dense));
            for (a, b) in a.chunks_exact(width).zip(b.chunks_exact(width)) {
                assert_alike(&what, a, b, least);
            }
            let width = cpu.dimensions();
            let (a, b) = (
                ours.sparse.unwrap_or_default(),
                theirs.sparse.unwrap_or_default(),
            );
            for (a, b) in a.iter().zip(&b) {
                let width = width.max(b.indices.last().map_or(0, |last| *last as usize + 1));
                let width = width.max(a.indices.last().map_or(0, |last| *last as usize + 1));
                assert_alike(&what, &widened(a, width), &widened(b, width), least);
            }
            let (a, b) = (
                ours.token_vectors.unwrap_or_default(),
                theirs.token_vectors.unwrap_or_default(),
            );
            for (a, b) in a.iter().zip(&b) {
                assert_alike(&what, &a.data, &b.data, least);
            }
        }
    }
}

/// Where there is a CPU, too, it takes the passes, with the bits that it always has.
#[test]
fn what_is_for_the_cpu_alone_stays_there() {
    let texts = texts("tiny-texts.json");
    let folder = fixture(CPU_ALONE);
    let refused = load_on(gpu(), &folder, WeightDtype::F32, &[], 1 << 20);
    let refused = refused.map(|_| ()).unwrap_err();
    assert_eq!(refused.code(), "unsupported_model");
    assert!(refused.to_string().contains("\"cpu\""), "{refused}");
    for dtype in DTYPES {
        let cpu = all_kinds(&load(&folder, dtype), &texts);
        let both = load_on(Either::gpu(gpu(), true), &folder, dtype, &[], 1 << 20).unwrap();
        assert_eq!(all_kinds(&both, &texts), cpu, "{dtype:?}");
    }
}

/// Expansion tokens of queries are no keys, and attention is within a window in the last model.
#[test]
fn late_interaction_equals_the_cpu() {
    let texts = texts("tiny-texts.json");
    for name in [
        "colbert/stanford",
        "colbert/stanford-flash",
        "colbert/multi-vector",
        "colbert/pylate",
    ] {
        for (dtype, least) in [(WeightDtype::F32, 0.99999), (WeightDtype::Q8, 0.999)] {
            let embedder = load_on(gpu(), &fixture(name), dtype, &[], 1 << 20).unwrap();
            let cpu = load(&fixture(name), dtype);
            for task in ["query", "document"] {
                let options = TokenOptions {
                    task: Some(task.to_owned()),
                    ..TokenOptions::default()
                };
                let ours = embedder.encode_tokens(inputs(&texts), &options).unwrap();
                let theirs = cpu.encode_tokens(inputs(&texts), &options).unwrap();
                let (ours, theirs) = (ours.token_vectors.unwrap(), theirs.token_vectors.unwrap());
                assert_eq!(ours.len(), theirs.len());
                for (a, b) in ours.iter().zip(&theirs) {
                    assert_eq!(a.rows(), b.rows());
                    let rows = a.data.chunks_exact(a.dimensions);
                    for (a, b) in rows.zip(b.data.chunks_exact(b.dimensions)) {
                        assert_alike(&format!("{name} {dtype:?} {task}"), a, b, least);
                    }
                }
            }
        }
    }
}

/// Where a GPU takes little in one piece, matrices are several buffers: of a decoder that is an
/// embedding table, too, of heads.
#[test]
fn weights_in_many_buffers_give_the_same_bits() {
    let texts = texts("tiny-texts.json");
    for name in ["tiny-splade", "tiny-m3", "tiny-qwen3", "tiny-dense"] {
        for dtype in DTYPES {
            let mut small = gpu();
            small.set_largest(4096);
            let small = load_on(small, &fixture(name), dtype, &[], 1 << 20).unwrap();
            let whole = load_on(gpu(), &fixture(name), dtype, &[], 1 << 20).unwrap();
            let (small, whole) = (all_kinds(&small, &texts), all_kinds(&whole, &texts));
            assert_eq!(small, whole, "{name} {dtype:?}");
        }
    }
}

/// A model of e5-mistral-7b's shapes with two layers and few words, of random weights that are
/// never all in memory.
fn mistral(backend: Either, dtype: WeightDtype) -> Embedder<Either> {
    const HIDDEN: usize = 4096;
    const INNER: usize = 14_336;
    const KEYS: usize = 1024;
    const LAYERS: usize = 2;
    let config = std::fs::read(fixture("tiny-mistral").join("config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&config).unwrap();
    for (field, size) in [
        ("hidden_size", HIDDEN),
        ("intermediate_size", INNER),
        ("num_attention_heads", 32),
        ("num_key_value_heads", 8),
        ("num_hidden_layers", LAYERS),
        ("sliding_window", 4096),
    ] {
        config[field] = json!(size);
    }
    let matrices = [
        ("self_attn.q_proj", HIDDEN, HIDDEN),
        ("self_attn.k_proj", KEYS, HIDDEN),
        ("self_attn.v_proj", KEYS, HIDDEN),
        ("self_attn.o_proj", HIDDEN, HIDDEN),
        ("mlp.gate_proj", INNER, HIDDEN),
        ("mlp.up_proj", INNER, HIDDEN),
        ("mlp.down_proj", HIDDEN, INNER),
    ];
    let norm = |name: &str| (format!("{name}.weight"), vec![HIDDEN], 1.0, 0.4);
    let mut tensors = vec![
        (
            "embed_tokens.weight".to_owned(),
            vec![110, HIDDEN],
            0.0,
            0.4,
        ),
        norm("norm"),
    ];
    for layer in 0..LAYERS {
        for name in ["input_layernorm", "post_attention_layernorm"] {
            tensors.push(norm(&format!("layers.{layer}.{name}")));
        }
        tensors.extend(matrices.map(|(name, out, input)| {
            let name = format!("layers.{layer}.{name}.weight");
            (name, vec![out, input], 0.0, 0.04)
        }));
    }
    let options = LoadOptions {
        model: "test".to_owned(),
        dtype: Some(dtype),
        ..LoadOptions::default()
    };
    let mut loader = Loader::new(backend, options);
    let small = |name: &str| match name {
        "config.json" => Some(config.to_string().into_bytes()),
        _ => std::fs::read(fixture("tiny-mistral").join(name)).ok(),
    };
    let weights = next_weights(&mut loader, small).unwrap();
    assert_eq!(weights.as_deref(), Some("model.safetensors"));
    loader.push(&synthetic::header(&tensors)).unwrap();
    let mut chunk = Vec::new();
    for tensor in &tensors {
        for value in synthetic::values(tensor) {
            chunk.extend_from_slice(&value.to_le_bytes());
            if chunk.len() >= 1 << 20 {
                loader.push(&chunk).unwrap();
                chunk.clear();
            }
        }
    }
    loader.push(&chunk).unwrap();
    loader.end().unwrap();
    loader.finish().unwrap()
}

/// At full width, and in pieces, as on a GPU that takes no more than 16 MiB at a time.
#[test]
fn mistral_7b_s_shapes_in_4_bits_equal_the_cpu() {
    let mut small = gpu();
    small.set_largest(16 << 20);
    let model = mistral(Either::gpu(small, true), WeightDtype::Q4);
    let texts = ["the harbour at night", "a loaf"].map(|text| (text.to_owned(), text.to_owned()));
    let encode = || {
        let encoded = model.encode(inputs(&texts), &EncodeOptions::default());
        encoded.unwrap().data
    };
    let ours = encode();
    model.backend().set_gpu_from(usize::MAX);
    let theirs = encode();
    assert_ne!(ours, theirs);
    for (ours, theirs) in ours.chunks_exact(4096).zip(theirs.chunks_exact(4096)) {
        assert_alike("Mistral-7B's shapes", ours, theirs, 0.999);
    }
}

/// Both backends with one model: passes go where they are told, and the CPU's have the bits that
/// they always have.
#[test]
fn small_passes_stay_on_the_cpu() {
    let texts = texts("tiny-texts.json");
    let folder = fixture("tiny-bert");
    for dtype in [WeightDtype::F32, WeightDtype::Q8] {
        let both = load_on(Either::gpu(gpu(), true), &folder, dtype, &[], 1 << 20).unwrap();
        let cpu = all_kinds(&load(&folder, dtype), &texts);
        let on_gpu = all_kinds(&both, &texts);
        assert_ne!(on_gpu.dense, cpu.dense);
        both.backend().set_gpu_from(usize::MAX);
        assert_eq!(all_kinds(&both, &texts), cpu);
        let alone = load_on(Either::gpu(gpu(), false), &folder, dtype, &[], 1 << 20).unwrap();
        assert_eq!(all_kinds(&alone, &texts).dense, on_gpu.dense);
    }
}

/// What only the GPU has is saved as what the CPU has; a pass may come between.
#[test]
fn models_are_saved_wherever_the_weights_are() {
    for name in ["tiny-bert", "tiny-splade", "tiny-qwen3", "tiny-dense"] {
        for dtype in DTYPES {
            let what = format!("{name} {dtype:?}");
            let alone = Either::gpu(gpu(), false);
            let alone = load_on(alone, &fixture(name), dtype, &[], 1 << 20).unwrap();
            let expected = saved(&load(&fixture(name), dtype), None, 1 << 20);
            let files = alone.save(None).unwrap();
            assert_eq!(files.len(), expected.len(), "{what}");
            let mut piece = vec![0; 3000];
            for file in &files {
                let mut bytes = Vec::new();
                while (bytes.len() as u64) < file.size {
                    let at = bytes.len() as u64;
                    let read = pollster::block_on(alone.fetch_saved(file, at, &mut piece));
                    bytes.extend_from_slice(&piece[..read.unwrap()]);
                }
                assert!(bytes == expected[&file.path], "{what} {}", file.path);
            }
            let weights = files.iter().max_by_key(|file| file.size).unwrap();
            let mut all = vec![0; usize::try_from(weights.size).unwrap()];
            let read = alone.read_saved(weights, 0, &mut all);
            assert_eq!(read.unwrap_err().code(), "invalid_input", "{what}");
        }
    }
}

/// Weights that only the GPU has come back for the check, which has the CPU's own bits then.
#[test]
fn the_check_is_passed_wherever_the_weights_are() {
    for name in ["tiny-bert", "tiny-splade", "tiny-qwen3", "tiny-dense"] {
        for dtype in DTYPES {
            for both in [true, false] {
                let backend = Either::gpu(gpu(), both);
                let embedder = load_on(backend, &fixture(name), dtype, &[], 1 << 20).unwrap();
                pollster::block_on(embedder.check()).unwrap_or_else(|error| {
                    panic!("{name} {dtype:?}, both {both}: {error}");
                });
            }
        }
    }
}
