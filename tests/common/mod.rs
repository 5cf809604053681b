//! What the native tests share: models, texts, references, and how vectors are compared.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use gossamer::{Cpu, Embedder, Input, LoadOptions, Loader, WeightDtype};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder of `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures").join(name)
}

/// The real all-MiniLM-L6-v2.
pub fn minilm() -> PathBuf {
    let folder = root().join("models/sentence-transformers/all-MiniLM-L6-v2");
    assert!(
        folder.join("model.safetensors").exists(),
        "no model: run `cargo xtask model`"
    );
    folder
}

pub fn load(folder: &Path, dtype: WeightDtype) -> Embedder<Cpu> {
    let options = LoadOptions {
        model: "test".to_owned(),
        revision: None,
        dtype,
    };
    Loader::new(Cpu::new(), options)
        .read_dir(folder)
        .expect("the fixture loads")
}

/// Name and text of each entry of a list of texts: `{ name, text }` or `{ name, repeat, times }`.
pub fn texts(file: &str) -> Vec<(String, String)> {
    let json = std::fs::read(fixture(file)).expect("the list of texts is checked in");
    let list: Vec<serde_json::Value> = serde_json::from_slice(&json).expect("a JSON list");
    let text = |entry: &serde_json::Value| match (entry["text"].as_str(), entry["repeat"].as_str())
    {
        (Some(text), _) => text.to_owned(),
        (_, Some(part)) => part.repeat(usize::try_from(entry["times"].as_u64().unwrap()).unwrap()),
        _ => panic!("neither text nor repeat: {entry}"),
    };
    list.iter()
        .map(|entry| (entry["name"].as_str().unwrap().to_owned(), text(entry)))
        .collect()
}

pub fn inputs(texts: &[(String, String)]) -> Vec<Input> {
    texts
        .iter()
        .map(|(_, text)| Input::Text(text.clone()))
        .collect()
}

pub fn reference(file: &Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(file, &Device::Cpu).expect("the reference is checked in")
}

pub fn rows(tensor: &Tensor) -> Vec<Vec<f32>> {
    tensor.to_vec2().expect("a matrix of f32")
}

pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

pub fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

/// Loads `folder` with some files replaced, or taken away; weights arrive in chunks of `chunk` bytes.
pub fn load_with(
    folder: &Path,
    dtype: WeightDtype,
    changes: &[(&str, Option<&[u8]>)],
    chunk: usize,
) -> gossamer::Result<Embedder<Cpu>> {
    let read = |name: &str| match changes.iter().find(|(changed, _)| *changed == name) {
        Some((_, bytes)) => bytes.map(<[u8]>::to_vec),
        None => std::fs::read(folder.join(name)).ok(),
    };
    let options = LoadOptions {
        model: "test".to_owned(),
        revision: None,
        dtype,
    };
    let mut loader = Loader::new(Cpu::new(), options);
    loop {
        let names = loader.wanted()?;
        if names.is_empty() {
            break;
        }
        for name in names {
            loader.provide(&name, read(&name));
        }
    }
    for name in loader.weights()? {
        loader.begin(&name)?;
        for chunk in read(&name).expect("weights are there").chunks(chunk) {
            loader.push(chunk)?;
        }
        loader.end()?;
    }
    loader.finish()
}
