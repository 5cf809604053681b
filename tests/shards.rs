//! Checkpoints in several files give what the same tensors give in one.

mod common;

use common::{fixture, inputs, load, load_with, texts};
use gossamer::{Cpu, Embedder, EncodeOptions, Error, SparseOptions, WeightDtype};
use serde_json::{Map, Value, json};

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A safetensors file's tensors: name, header entry, bytes.
fn tensors(file: &[u8]) -> Vec<(String, Value, Vec<u8>)> {
    let (length, rest) = file.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
    let header: Map<String, Value> = serde_json::from_slice(header).unwrap();
    let entries = header
        .into_iter()
        .filter(|(name, _)| name != "__metadata__");
    let bytes = |entry: &Value| {
        let at = |i: usize| usize::try_from(entry["data_offsets"][i].as_u64().unwrap()).unwrap();
        data[at(0)..at(1)].to_vec()
    };
    entries
        .map(|(name, entry)| (name, entry.clone(), bytes(&entry)))
        .collect()
}

fn file(tensors: &[&(String, Value, Vec<u8>)]) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, entry, bytes) in tensors {
        let mut entry = entry.clone();
        entry["data_offsets"] = json!([data.len(), data.len() + bytes.len()]);
        header.insert(name.clone(), entry);
        data.extend_from_slice(bytes);
    }
    let header = Value::Object(header).to_string();
    [
        (header.len() as u64).to_le_bytes().as_slice(),
        header.as_bytes(),
        &data,
    ]
    .concat()
}

/// Index and files of a model cut into three, tensors dealt out by turns.
fn shards(model: &str) -> (Value, Vec<(String, Vec<u8>)>) {
    let whole = std::fs::read(fixture(model).join(WEIGHTS)).unwrap();
    let tensors = tensors(&whole);
    let name = |at: usize| format!("model-{:05}-of-00003.safetensors", at % 3 + 1);
    let map: Map<String, Value> = tensors
        .iter()
        .enumerate()
        .map(|(at, (tensor, ..))| (tensor.clone(), json!(name(at))))
        .collect();
    let files = (0..3).map(|shard| {
        let own: Vec<_> = tensors.iter().skip(shard).step_by(3).collect();
        (name(shard), file(&own))
    });
    (
        json!({ "metadata": {}, "weight_map": map }),
        files.collect(),
    )
}

fn load_shards(
    model: &str,
    index: &Value,
    files: &[(String, Vec<u8>)],
) -> gossamer::Result<Embedder<Cpu>> {
    let index = index.to_string();
    let mut changes = vec![(WEIGHTS, None), (INDEX, Some(index.as_bytes()))];
    changes.extend(
        files
            .iter()
            .map(|(name, bytes)| (name.as_str(), Some(bytes.as_slice()))),
    );
    load_with(&fixture(model), WeightDtype::Q8, &changes, 1000)
}

#[test]
fn the_same_vectors_tied_matrices_included() {
    let list = inputs(&texts("tiny-texts.json"));
    let (index, files) = shards("tiny-bert");
    let whole = load(&fixture("tiny-bert"), WeightDtype::Q8);
    let cut = load_shards("tiny-bert", &index, &files).unwrap();
    let options = EncodeOptions::default();
    assert_eq!(
        cut.encode(list.clone(), &options).unwrap(),
        whole.encode(list.clone(), &options).unwrap()
    );
    assert_eq!(cut.space_id(), whole.space_id());

    let (index, files) = shards("tiny-splade");
    let whole = load(&fixture("tiny-splade"), WeightDtype::Q8);
    let cut = load_shards("tiny-splade", &index, &files).unwrap();
    let options = SparseOptions::default();
    assert_eq!(
        cut.encode_sparse(list.clone(), &options).unwrap(),
        whole.encode_sparse(list, &options).unwrap()
    );
    assert_eq!(cut.weight_bytes(), whole.weight_bytes());
}

#[track_caller]
fn assert_error(result: gossamer::Result<Embedder<Cpu>>, code: &str, part: &str) {
    let error: Error = result.err().expect("it must be refused");
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(part), "{error}");
}

#[test]
fn an_index_that_is_wrong() {
    let (index, files) = shards("tiny-bert");
    let load = |index: &Value| load_shards("tiny-bert", index, &files);
    for map in [
        json!(null),
        json!([]),
        json!({ "a": 7 }),
        json!({ "a": "../b.safetensors" }),
    ] {
        assert_error(
            load(&json!({ "weight_map": map })),
            "invalid_config",
            "weight_map",
        );
    }
    let tensor = "encoder.layer.1.output.dense.bias";
    let mut lacking = index.clone();
    lacking["weight_map"]
        .as_object_mut()
        .unwrap()
        .remove(tensor);
    assert_error(load(&lacking), "missing_tensor", tensor);
    // The index promises what its shard has not.
    let mut moved = index;
    let place = &mut moved["weight_map"][tensor];
    let other = if *place == "model-00001-of-00003.safetensors" {
        2
    } else {
        1
    };
    *place = json!(format!("model-0000{other}-of-00003.safetensors"));
    assert_error(load(&moved), "missing_tensor", tensor);
}
