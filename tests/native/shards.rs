//! Checkpoints in several files give what the same tensors give in one.

use crate::common::files::shards;
use crate::common::{fixture, inputs, load, load_with, texts};
use gossamer::{Cpu, Embedder, EncodeOptions, Error, SparseOptions, WeightDtype};
use serde_json::{Value, json};

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

fn weights(model: &str) -> Vec<u8> {
    std::fs::read(fixture(model).join(WEIGHTS)).unwrap()
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
    let (index, files) = shards(&weights("tiny-bert"));
    let whole = load(&fixture("tiny-bert"), WeightDtype::Q8);
    let cut = load_shards("tiny-bert", &index, &files).unwrap();
    let options = EncodeOptions::default();
    assert_eq!(
        cut.encode(list.clone(), &options).unwrap(),
        whole.encode(list.clone(), &options).unwrap()
    );
    assert_eq!(cut.space_id(), whole.space_id());

    let (index, files) = shards(&weights("tiny-splade"));
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
    let (index, files) = shards(&weights("tiny-bert"));
    let load = |index: &Value| load_shards("tiny-bert", index, &files);
    for map in [
        json!(null),
        json!([]),
        json!({ "a": 7 }),
        json!({ "a": "../b.safetensors" }),
        json!({ "a": ".." }),
        json!({ "a": "" }),
        json!({ "a": "b?c" }),
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
    // A shard is not looked for elsewhere: that would lead to this index again.
    for name in [WEIGHTS, "pytorch_model.bin"] {
        let circle = json!({ "weight_map": { tensor: name } });
        assert_error(load(&circle), "missing_file", name);
    }
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

#[test]
fn a_tensor_that_nothing_uses_is_refused_in_a_shard_too() {
    let mut tensors = crate::common::files::tensors(&weights("tiny-bert"));
    let header = json!({ "dtype": "F32", "shape": [2] });
    tensors.push(("classifier.bias".to_owned(), header, vec![0; 8]));
    let all: Vec<_> = tensors.iter().collect();
    let (index, files) = shards(&crate::common::files::file(&all));
    let loaded = load_shards("tiny-bert", &index, &files);
    assert_error(loaded, "unsupported_model", "classifier.bias");
}
