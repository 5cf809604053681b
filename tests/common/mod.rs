//! What the native tests share: models, texts, references, and how vectors are compared.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod files;
pub mod models;
pub mod saved;
pub mod synthetic;
pub mod zip;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use gossamer::backend::Backend;
use gossamer::{Cpu, Embedder, Input, LoadOptions, Loader, Step, WeightDtype};

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
    load_with(folder, dtype, &[], 1 << 20).expect("the fixture loads")
}

/// A file of a folder; weights that are only listed are made up from their list.
pub fn read(folder: &Path, name: &str) -> Option<Vec<u8>> {
    let list = || std::fs::read(folder.join(format!("{name}.json"))).ok();
    std::fs::read(folder.join(name))
        .ok()
        .or_else(|| Some(synthetic::file(&list()?)))
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

/// Loads `folder` with some files replaced, or taken away; weights arrive in chunks of `chunk`
/// bytes.
pub fn load_with(
    folder: &Path,
    dtype: impl Into<Option<WeightDtype>>,
    changes: &[(&str, Option<&[u8]>)],
    chunk: usize,
) -> gossamer::Result<Embedder<Cpu>> {
    load_on(Cpu::new(), folder, dtype, changes, chunk)
}

/// The same on any backend.
pub fn load_on<B: Backend>(
    backend: B,
    folder: &Path,
    dtype: impl Into<Option<WeightDtype>>,
    changes: &[(&str, Option<&[u8]>)],
    chunk: usize,
) -> gossamer::Result<Embedder<B>> {
    let options = LoadOptions {
        model: "test".to_owned(),
        dtype: dtype.into(),
        saveable: true,
        ..LoadOptions::default()
    };
    load_as(backend, folder, options, changes, chunk)
}

/// The same with any options.
pub fn load_as<B: Backend>(
    backend: B,
    folder: &Path,
    options: LoadOptions,
    changes: &[(&str, Option<&[u8]>)],
    chunk: usize,
) -> gossamer::Result<Embedder<B>> {
    let read = |name: &str| match changes.iter().find(|(changed, _)| *changed == name) {
        Some((_, bytes)) => bytes.map(<[u8]>::to_vec),
        None => read(folder, name),
    };
    let mut loader = Loader::new(backend, options);
    while let Some(name) = next_weights(&mut loader, read)? {
        let Some(bytes) = read(&name) else {
            loader.provide(&name, None)?;
            continue;
        };
        for chunk in bytes.chunks(chunk) {
            loader.push(chunk)?;
        }
        loader.end()?;
    }
    loader.finish()
}

/// Provides all small files that a loader asks for. Returns the weight file that is needed next,
/// `None` if the loader is ready.
pub fn next_weights<B: Backend>(
    loader: &mut Loader<B>,
    read: impl Fn(&str) -> Option<Vec<u8>>,
) -> gossamer::Result<Option<String>> {
    loop {
        match loader.next()? {
            Step::Small(names) => {
                for name in names {
                    loader.provide(&name, read(&name))?;
                }
            }
            Step::Stream { file, .. } => return Ok(Some(file)),
            Step::Ready => return Ok(None),
        }
    }
}

/// Dense vectors against a reference.
#[track_caller]
pub fn assert_close<'a>(
    what: &str,
    texts: &[(String, String)],
    ours: impl ExactSizeIterator<Item = &'a [f32]>,
    theirs: &[Vec<f32>],
) {
    assert_eq!(
        (ours.len(), texts.len()),
        (theirs.len(), theirs.len()),
        "{what}"
    );
    for ((ours, theirs), (name, _)) in ours.zip(theirs).zip(texts) {
        let (cosine, difference) = (cosine(ours, theirs), largest_difference(ours, theirs));
        let largest = theirs.iter().fold(1f32, |top, x| top.max(x.abs()));
        assert!(
            cosine >= 0.99999 && difference <= 2e-5 * largest,
            "{what}, {name}: cosine {cosine}, difference {difference}"
        );
    }
}

/// Sparse vectors against the rows of a dense reference: the same entries wherever that exceeds
/// 1e-4, values within 1e-4.
#[track_caller]
pub fn assert_sparse(
    what: &str,
    texts: &[(String, String)],
    ours: &[gossamer::SparseVector],
    theirs: &[Vec<f32>],
) {
    assert_eq!(
        (ours.len(), texts.len()),
        (theirs.len(), theirs.len()),
        "{what}"
    );
    let mut entries = 0;
    for ((ours, theirs), (name, _)) in ours.iter().zip(theirs).zip(texts) {
        assert!(ours.indices.is_sorted() && ours.labels.is_none());
        let mut dense = vec![0.0; theirs.len()];
        for (index, value) in ours.indices.iter().zip(&ours.values) {
            assert!(*value > 0.0);
            dense[*index as usize] = *value;
        }
        let difference = largest_difference(&dense, theirs);
        assert!(difference <= 1e-4, "{what}, {name}: {difference}");
        for (id, value) in (0u32..).zip(theirs).filter(|(_, value)| **value > 1e-4) {
            assert!(ours.indices.contains(&id), "{what}, {name}: {id} {value}");
        }
        entries += ours.indices.len();
    }
    assert!(entries > texts.len(), "{what}: {entries} entries in all");
}
