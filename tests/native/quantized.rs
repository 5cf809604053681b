//! Checkpoints that are quantised already, in each library's layout: the vectors of what the
//! library itself makes of them.

use crate::common::files::{self, Tensor, shards};
use crate::common::saved::{self, saved};
use crate::common::{assert_close, cosine, fixture, inputs, load_with, reference, rows, texts};
use gossamer::weights::TensorInfo;
use gossamer::weights::quantized;
use gossamer::{Cpu, Embedder, EncodeOptions, Outcome, Stored, WeightDtype};
use serde_json::{Value, json};

const WEIGHTS: &str = "model.safetensors";
/// The layouts, and what `Info::stored` says of them.
const LAYOUTS: [(&str, &str); 18] = [
    ("mlx-3", "MLX, 3 bits"),
    ("mlx-4", "MLX, 4 bits"),
    ("mlx-8", "MLX, 8 bits"),
    ("compressed-int8", "compressed-tensors, 8 bits"),
    ("compressed-packed-8", "compressed-tensors, 8 bits"),
    ("compressed-packed-4", "compressed-tensors, 4 bits"),
    (
        "compressed-packed-4-asymmetric",
        "compressed-tensors, 4 bits",
    ),
    ("compressed-fp8", "compressed-tensors, FP8"),
    ("block-fp8", "block-wise FP8, FP8"),
    ("gptq-4", "GPTQ, 4 bits"),
    ("gptq-4-act-order", "GPTQ, 4 bits"),
    ("gptq-8-v2", "GPTQ, 8 bits"),
    ("awq-4", "AWQ, 4 bits"),
    ("bitsandbytes-8", "bitsandbytes, 8 bits"),
    ("bitsandbytes-nf4", "bitsandbytes, 4 bits"),
    ("bitsandbytes-fp4", "bitsandbytes, 4 bits"),
    ("quanto-8", "quanto, 8 bits"),
    ("torchao-8", "torchao, 8 bits"),
];

fn file(layout: &str) -> Vec<u8> {
    std::fs::read(fixture("quantized").join(format!("{layout}.safetensors"))).unwrap()
}

fn config(layout: &str) -> Value {
    let config = std::fs::read(fixture("quantized").join("config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&config).unwrap();
    if layout.ends_with("v2") {
        let quantization = json!({ "quant_method": "gptq", "checkpoint_format": "gptq_v2" });
        config["quantization_config"] = quantization;
    }
    config
}

fn open(
    layout: &str,
    bytes: &[u8],
    dtype: WeightDtype,
    chunk: usize,
) -> gossamer::Result<Embedder<Cpu>> {
    let config = config(layout).to_string().into_bytes();
    let changes = [(WEIGHTS, Some(bytes)), ("config.json", Some(&config[..]))];
    load_with(&fixture("quantized"), dtype, &changes, chunk)
}

fn stored_as(layout: &str, outcome: Outcome) -> Stored {
    let layout = layout.to_owned();
    Stored { layout, outcome }
}

/// The error of a layout's file, changed.
fn error(layout: &str, change: impl Fn(&mut Vec<Tensor>)) -> gossamer::Error {
    let mut tensors = files::tensors(&file(layout));
    change(&mut tensors);
    let bytes = files::file(&tensors.iter().collect::<Vec<_>>());
    let result = open(layout, &bytes, WeightDtype::F32, 1000);
    result.err().expect("it must be refused")
}

#[test]
fn every_layout_gives_the_vectors_of_its_library() {
    let mut list = texts("tiny-texts.json");
    list.truncate(6);
    let references = reference(&fixture("quantized").join("references.safetensors"));
    assert_eq!(references.len(), LAYOUTS.len());
    for (layout, stored) in LAYOUTS {
        let theirs = rows(&references[layout]);
        let bytes = file(layout);
        let embedder = open(layout, &bytes, WeightDtype::F32, 1 << 20).unwrap();
        assert_eq!(
            embedder.info().stored,
            Some(stored_as(stored, Outcome::Widened))
        );
        let options = EncodeOptions::default();
        let ours = embedder.encode(inputs(&list), &options).unwrap();
        let vectors = ours.data.chunks_exact(ours.dimensions);
        assert_close(layout, &list, vectors, &theirs);
        // Nothing depends on how the bytes arrive.
        for chunk in [1, 13, 4096] {
            let again = open(layout, &bytes, WeightDtype::F32, chunk).unwrap();
            assert_eq!(again.space_id(), embedder.space_id(), "{layout}, {chunk}");
            assert_eq!(again.encode(inputs(&list), &options).unwrap(), ours);
        }
        let q8 = open(layout, &bytes, WeightDtype::Q8, 1 << 20).unwrap();
        assert_eq!(
            q8.info().stored,
            Some(stored_as(stored, Outcome::Requantized))
        );
        // What that costs by itself: the new codes, computed with in f32.
        let codes = saved(&q8, None, 1 << 20);
        let exact = saved::open(&codes, Some(WeightDtype::F32)).unwrap();
        for (embedder, least) in [(&q8, 0.999), (&exact, 0.9999)] {
            let again = embedder.encode(inputs(&list), &options).unwrap();
            for (ours, theirs) in again.data.chunks_exact(ours.dimensions).zip(&theirs) {
                let cosine = cosine(ours, theirs);
                assert!(cosine >= least, "{layout}: {cosine}");
            }
        }
    }
}

/// The values that MLX makes of a matrix, to the bit, in every number of bits and size of groups.
#[test]
fn every_grid_of_mlx() {
    let path = fixture("quantized").join("mlx-matrices.safetensors");
    let tensors = files::tensors(&std::fs::read(&path).unwrap());
    let references = reference(&path);
    let mut grids = 0;
    for bits in [2, 3, 4, 5, 6, 8] {
        for group in [32, 64, 128] {
            let tensor = |name: &str| tensors.iter().find(|(other, ..)| other == name);
            let found = |name: &str| tensor(name).map(|_| name.to_owned());
            let name = format!("{bits}-{group}.weight");
            let plain = quantized::Quantization::default();
            let found = quantized::find(&name, &plain, found).unwrap();
            let mut matrix = quantized::QuantizedMatrix::new(&found, &name, 3, 128, plain);
            let mut rows = Vec::new();
            for (role, part) in &found.components {
                let (name, entry, _) = tensor(part).unwrap();
                let shape = entry["shape"].as_array().unwrap();
                let info = TensorInfo {
                    name: name.clone(),
                    dtype: entry["dtype"].as_str().unwrap().to_owned(),
                    shape: shape.iter().map(|size| size.as_u64().unwrap()).collect(),
                    same_as: None,
                    block: None,
                };
                matrix.describe(*role, &info).unwrap();
            }
            for (role, part) in &found.components {
                let (_, _, bytes) = tensor(part).unwrap();
                for chunk in bytes.chunks(7) {
                    let row = |_, row: quantized::Row| match row {
                        quantized::Row::Values(values) => {
                            rows.extend_from_slice(values);
                            Ok(())
                        }
                        quantized::Row::Own(..) | quantized::Row::Levels(..) => {
                            panic!("MLX's grid is not ours")
                        }
                    };
                    matrix.push(*role, chunk, row).unwrap();
                }
            }
            let expected = references[&format!("{bits}-{group}.values")]
                .flatten_all()
                .unwrap();
            assert_eq!(rows, expected.to_vec1::<f32>().unwrap(), "{bits} {group}");
            assert_eq!(matrix.label(), Some(format!("MLX, {bits} bits")));
            grids += 1;
        }
    }
    assert_eq!(grids, 18);
}

#[test]
fn parts_in_different_shards() {
    for (layout, _) in LAYOUTS {
        let whole = open(layout, &file(layout), WeightDtype::Q8, 1 << 20).unwrap();
        let (index, files) = shards(&file(layout));
        let index = index.to_string();
        let config = config(layout).to_string();
        let mut changes = vec![
            (WEIGHTS, None),
            ("model.safetensors.index.json", Some(index.as_bytes())),
            ("config.json", Some(config.as_bytes())),
        ];
        let shards = files.iter();
        changes.extend(shards.map(|(name, bytes)| (name.as_str(), Some(bytes.as_slice()))));
        let cut = load_with(&fixture("quantized"), WeightDtype::Q8, &changes, 1000).unwrap();
        assert_eq!(cut.space_id(), whole.space_id(), "{layout}");
        assert_eq!(cut.info().stored, whole.info().stored);
    }
}

const QUERY: &str = "encoder.layer.0.attention.self.query";

/// One tensor of a file.
fn part<'a>(tensors: &'a mut [Tensor], name: &str) -> &'a mut Tensor {
    let name = format!("{QUERY}.{name}");
    let found = tensors.iter_mut().find(|(other, ..)| *other == name);
    found.unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn what_does_not_fit_is_refused_in_words() {
    type Change = fn(&mut Vec<Tensor>);
    let refused = |layout: &str, change: Change, code: &str, words: &str| {
        let error = error(layout, change);
        assert_eq!(error.code(), code, "{layout}: {error}");
        assert!(error.to_string().contains(words), "{layout}: {error}");
    };
    let other = "unsupported_model";
    // Scales for three groups, where there is one.
    let scales: Change = |tensors| {
        let (_, entry, bytes) = part(tensors, "scales");
        let values = bytes[..2].repeat(32 * 3);
        (entry["shape"], *bytes) = (json!([32, 3]), values);
    };
    refused("mlx-4", scales, other, "Scales have the shape [32, 3]");
    refused("gptq-4", scales, other, "scales");
    let zeros: Change = |tensors| {
        let (_, entry, bytes) = part(tensors, "qzeros");
        entry["dtype"] = json!("U8");
        bytes.truncate(bytes.len() / 4);
    };
    refused("gptq-4", zeros, other, "zero points do not fit");
    let large: Change = |tensors| {
        let (_, entry, bytes) = part(tensors, "scales");
        (entry["shape"], *bytes) = (json!([1 << 20]), vec![0; 2 << 20]);
    };
    refused("mlx-4", large, other, "Scales have the shape [1048576]");
    let infinite: Change = |tensors| {
        let (_, entry, bytes) = part(tensors, "weight_scale");
        assert_eq!(entry["dtype"], "F32");
        bytes[..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    };
    refused("compressed-packed-4", infinite, other, "not finite");
    let group: Change = |tensors| part(tensors, "g_idx").2[..4].copy_from_slice(&[9, 0, 0, 0]);
    refused("gptq-4-act-order", group, other, "groups");
    let text: Change = |tensors| part(tensors, "weight_packed").1["dtype"] = json!("F32");
    refused("compressed-packed-4", text, other, "its codes are F32");
    let shape: Change = |tensors| part(tensors, "weight").1["shape"] = json!([16, 64]);
    refused("compressed-int8", shape, "wrong_shape", "[16, 64]");
    let state: Change = |tensors| {
        let (_, entry, bytes) = part(tensors, "weight.quant_state.bitsandbytes__nf4");
        (entry["shape"], *bytes) = (json!([2]), b"{]".to_vec());
    };
    refused("bitsandbytes-nf4", state, other, "quant_state");
}

#[test]
fn parts_that_are_missing() {
    let without = |layout: &str, part: &str| {
        let name = format!("{QUERY}.{part}");
        error(layout, |tensors| {
            tensors.retain(|(other, ..)| *other != name);
        })
    };
    // Codes without scales are no values.
    for (layout, part) in [
        ("compressed-int8", "weight_scale"),
        ("bitsandbytes-8", "SCB"),
    ] {
        let error = without(layout, part);
        assert_eq!(error.code(), "wrong_dtype", "{layout}: {error}");
    }
    let mode = without("mlx-4", "biases").to_string();
    assert!(mode.contains("a mode other than affine"), "{mode}");
    let zeros = without("gptq-4", "qzeros");
    assert_eq!(zeros.code(), "missing_tensor", "{zeros}");
}

#[test]
fn methods_and_variants_that_cannot_be_read_are_named() {
    for (quantization, word) in [
        (json!({ "quant_method": "aqlm" }), "aqlm"),
        (
            json!({ "quant_method": "gptq", "checkpoint_format": "marlin" }),
            "checkpoint_format \"marlin\"",
        ),
        (
            json!({ "quant_method": "awq", "version": "gemv" }),
            "version \"gemv\"",
        ),
        (json!({ "version": 2 }), "version 2"),
    ] {
        let mut config = config("");
        config["quantization_config"] = quantization;
        let config = config.to_string();
        let changes = [("config.json", Some(config.as_bytes())), (WEIGHTS, None)];
        let result = load_with(&fixture("quantized"), WeightDtype::Q8, &changes, 1);
        let error = result.err().expect("it must be refused");
        assert_eq!(error.code(), "invalid_config", "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn every_truncation_is_reported() {
    for (layout, _) in LAYOUTS {
        let bytes = file(layout);
        for end in (8..bytes.len()).step_by(1999) {
            let result = open(layout, &bytes[..end], WeightDtype::Q8, 4096);
            let error = result.err().expect("it must be refused");
            assert_eq!(error.code(), "truncated_stream", "{layout}, {end}: {error}");
        }
    }
}
