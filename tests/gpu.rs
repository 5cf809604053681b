//! The GPU backend against the references of the CPU's, and against the CPU, on whichever Vulkan or Metal adapter there is: in
//! CI Mesa's lavapipe, which is a CPU.

mod common;

use common::models::MODELS;
use common::{
    assert_close, assert_sparse, cosine, fixture, inputs, load, load_on, minilm, reference, rows,
    texts,
};
use gossamer::backend::Backend;
use gossamer::{
    Either, Embedder, EncodeOptions, Gpu, MultiOptions, Output, SparseOptions, SparseVector,
    WeightDtype,
};

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
    for name in MODELS {
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
    for name in MODELS {
        let folder = fixture(name);
        for (dtype, least) in [
            (WeightDtype::F32, 0.99999),
            (WeightDtype::F16, 0.99999),
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

/// Both backends with one model: passes go where they are told, and the CPU's have the bits that they always have.
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
        // It can be saved, as what the GPU has alone cannot.
        assert!(both.save(None).is_ok());
        let alone = load_on(Either::gpu(gpu(), false), &folder, dtype, &[], 1 << 20).unwrap();
        assert_eq!(all_kinds(&alone, &texts).dense, on_gpu.dense);
        assert_eq!(alone.save(None).unwrap_err().code(), "invalid_input");
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
