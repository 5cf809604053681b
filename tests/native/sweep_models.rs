//! Variants of the tiny models' configurations against transformers and sentence-transformers,
//! which `tests/fixtures/sweep_models.py` asked: each gives the same vectors, or is refused with an
//! error that names the cause.

use crate::common::{
    assert_close, assert_sparse, files, fixture, inputs, load_as, read, reference, rows, synthetic,
};
use gossamer::{Cpu, Embedder, EncodeOptions, Kind, LoadOptions, SparseOptions, WeightDtype};
use serde_json::{Map, Value, json};

/// A file of a variant: its bytes, or that there is none.
fn file(folder: &std::path::Path, name: &str, change: &Value) -> Option<Vec<u8>> {
    let value = match change {
        Value::Null => return None,
        Value::String(name) if name == "<native.safetensors>" => {
            return read(folder, "native.safetensors");
        }
        Value::String(text) => return Some(text.clone().into_bytes()),
        Value::Array(_) => change.clone(),
        change if change.get("json").is_some() => change["json"].clone(),
        change => {
            let known = read(folder, name);
            let mut fields: Map<String, Value> = known
                .map(|bytes| serde_json::from_slice(&bytes).unwrap())
                .unwrap_or_default();
            fields.extend(change.as_object().unwrap().clone());
            fields.retain(|_, value| value != "<drop>");
            Value::Object(fields)
        }
    };
    // The list writes the numbers that JSON lacks as Python does.
    let text = value.to_string();
    let numbers = ["-Infinity", "Infinity", "NaN"];
    let text = numbers.iter().fold(text, |text, number| {
        text.replace(&format!("\"<{number}>\""), number)
    });
    Some(text.into_bytes())
}

/// Weights with more tensors than the model has.
fn with_tensors(weights: &[u8], added: &Map<String, Value>) -> Vec<u8> {
    let mut tensors = files::tensors(weights);
    for (name, entry) in added {
        let shape: Vec<usize> = serde_json::from_value(entry[0].clone()).unwrap();
        let row = (name.clone(), shape.clone(), 0.0, entry[1].as_f64().unwrap());
        let values = synthetic::values(&row);
        let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        let header = json!({ "dtype": "F32", "shape": shape });
        tensors.push((name.clone(), header, bytes));
    }
    files::file(&tensors.iter().collect::<Vec<_>>())
}

fn load(variant: &Value) -> gossamer::Result<Embedder<Cpu>> {
    let folder = fixture(variant["model"].as_str().unwrap());
    let mut changes: Vec<(&str, Option<Vec<u8>>)> = variant["files"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, change)| (name.as_str(), file(&folder, name, change)))
        .collect();
    if let Some(added) = variant["tensors"].as_object() {
        let name = "model.safetensors";
        let weights = with_tensors(&read(&folder, name).unwrap(), added);
        changes.push((name, Some(weights)));
    }
    let changes: Vec<_> = changes
        .iter()
        .map(|(name, bytes)| (*name, bytes.as_deref()))
        .collect();
    let options = LoadOptions {
        dtype: Some(WeightDtype::F32),
        kind: variant["kind"]
            .as_str()
            .map(|kind| Kind::from_name(kind).unwrap()),
        ..LoadOptions::default()
    };
    load_as(Cpu::new(), &folder, options, &changes, 1 << 20)
}

/// What is wrong with our answer to a variant, if anything.
fn wrong(
    variant: &Value,
    texts: &[(String, String)],
    references: &std::collections::HashMap<String, candle_core::Tensor>,
) -> Option<String> {
    let refused = variant["refused"].as_str();
    let embedder = match (load(variant), refused) {
        (Err(error), Some(cause)) if error.to_string().contains(cause) => {
            let code = error.code();
            let known = [
                "unsupported_model",
                "invalid_config",
                "missing_tensor",
                "unexpected_tensor",
            ];
            let known = known.contains(&code);
            return (!known).then(|| format!("the code is {code}"));
        }
        (Err(error), _) => return Some(error.to_string()),
        (Ok(_), Some(cause)) => return Some(format!("loads; {cause} was to be refused")),
        (Ok(embedder), None) => embedder,
    };
    let theirs = rows(&references[variant["vectors"].as_str()?]);
    let compare = || {
        if embedder.kind() == "dense" {
            let ours = embedder
                .encode(inputs(texts), &EncodeOptions::default())
                .unwrap();
            assert_eq!(ours.dimensions, theirs[0].len(), "dimensions");
            assert_eq!(embedder.dimensions(), ours.dimensions, "info.dimensions");
            let cut = variant["files"].to_string().contains("truncate_dim");
            let lengths = theirs.iter().map(|row| {
                if !(cut && embedder.normalized()) {
                    return row.clone();
                }
                // sentence-transformers cuts after the pipeline's Normalize; here the cut vectors
                // have length 1.
                let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
                row.iter().map(|x| x / length).collect()
            });
            let theirs: Vec<Vec<f32>> = lengths.collect();
            assert_close(
                "dense",
                texts,
                ours.data.chunks_exact(ours.dimensions),
                &theirs,
            );
        } else {
            let ours = embedder
                .encode_sparse(inputs(texts), &SparseOptions::default())
                .unwrap();
            assert_sparse("sparse", texts, &ours.vectors, &theirs);
        }
    };
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(compare));
    outcome
        .err()
        .map(|panic| match panic.downcast_ref::<String>() {
            Some(text) => text.clone(),
            None => "panics".to_owned(),
        })
}

#[test]
fn every_variant_is_equal_or_refused() {
    let list = std::fs::read_to_string(fixture("sweep/models.json")).unwrap();
    let list: Value = serde_json::from_str(&list).unwrap();
    let texts: Vec<(String, String)> = serde_json::from_value::<Vec<String>>(list["texts"].clone())
        .unwrap()
        .into_iter()
        .map(|text| (text.clone(), text))
        .collect();
    let references = reference(&fixture("sweep/models.safetensors"));
    let variants = list["variants"].as_array().unwrap();
    assert!(variants.len() >= 150);
    let problems: Vec<String> = variants
        .iter()
        .filter_map(|variant| {
            Some(format!(
                "{}: {}",
                variant["name"],
                wrong(variant, &texts, &references)?
            ))
        })
        .collect();
    assert!(
        problems.is_empty(),
        "{} variants:\n{}",
        problems.len(),
        problems.join("\n")
    );
}
