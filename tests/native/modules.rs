//! Rarer modules of sentence-transformers against its own vectors
//! (`tests/fixtures/module_files.py`).

use crate::common::saved::{open, saved};
use crate::common::{
    assert_close, assert_sparse, fixture, inputs, load, load_with, read, reference, rows, texts,
};
use gossamer::{EncodeOptions, SparseOptions, WeightDtype};
use serde_json::{Value, json};

#[test]
fn layers_with_residuals_and_norms() {
    let folder = fixture("modules/residual");
    let embedder = load(&folder, WeightDtype::F32);
    let list = texts("tiny-texts.json");
    let ours = embedder
        .encode(inputs(&list), &EncodeOptions::default())
        .unwrap();
    assert_eq!(ours.dimensions, 24);
    let theirs = rows(&reference(&folder.join("reference.safetensors"))["embeddings"]);
    let vectors = ours.data.chunks_exact(ours.dimensions);
    assert_close("residual", &list, vectors, &theirs);
}

#[test]
fn a_sparse_autoencoder_keeps_the_largest() {
    let folder = fixture("modules/autoencoder");
    let embedder = load(&folder, WeightDtype::F32);
    assert_eq!((embedder.kind(), embedder.dimensions()), ("sparse", 64));
    let list = texts("tiny-texts.json");
    let encode = |options: &SparseOptions| embedder.encode_sparse(inputs(&list), options);
    let ours = encode(&SparseOptions::default()).unwrap().vectors;
    let theirs = rows(&reference(&folder.join("reference.safetensors"))["embeddings"]);
    assert_sparse("autoencoder", &list, &ours, &theirs);
    assert!(ours.iter().all(|vector| vector.indices.len() <= 6));

    let most = |top_k| SparseOptions {
        top_k: Some(top_k),
        ..SparseOptions::default()
    };
    let few = encode(&most(2)).unwrap().vectors;
    assert!(few.iter().all(|vector| vector.indices.len() == 2));
    let more = encode(&most(20)).unwrap().vectors;
    assert!(more.iter().any(|vector| vector.indices.len() > 6));
    let labels = SparseOptions {
        labels: true,
        ..SparseOptions::default()
    };
    let error = encode(&labels).unwrap_err();
    assert_eq!(error.code(), "invalid_input");
    assert!(error.to_string().contains("latents"), "{error}");
    let error = embedder.encode(inputs(&list), &EncodeOptions::default());
    assert_eq!(error.unwrap_err().code(), "wrong_model_kind");
}

#[test]
fn saved_modules_give_the_same_bits() {
    for dtype in [WeightDtype::F32, WeightDtype::Q8] {
        let list = inputs(&texts("tiny-texts.json"));
        let dense = load(&fixture("modules/residual"), dtype);
        let again = open(&saved(&dense, None, 1000), Some(dtype)).unwrap();
        let options = EncodeOptions::default();
        assert_eq!(
            again.encode(list.clone(), &options).unwrap(),
            dense.encode(list.clone(), &options).unwrap()
        );
        let sparse = load(&fixture("modules/autoencoder"), dtype);
        let again = open(&saved(&sparse, None, 1000), Some(dtype)).unwrap();
        assert_eq!(again.space_id(), sparse.space_id());
        let options = SparseOptions::default();
        assert_eq!(
            again.encode_sparse(list.clone(), &options).unwrap(),
            sparse.encode_sparse(list, &options).unwrap()
        );
    }
}

#[test]
fn modules_that_do_not_fit_are_errors() {
    let refused = |name: &str, file: &str, change: &dyn Fn(&mut Value), code: &str, part: &str| {
        let folder = fixture("modules").join(name);
        let mut value: Value = serde_json::from_slice(&read(&folder, file).unwrap()).unwrap();
        change(&mut value);
        let bytes = value.to_string();
        let changes = [(file, Some(bytes.as_bytes()))];
        let error = load_with(&folder, WeightDtype::F32, &changes, 1000).err();
        let error = error.expect("it must be refused");
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    };
    let code = "2_SparseAutoEncoder/config.json";
    for (change, part) in [
        (json!({ "normalize": true }), "normalize"),
        (json!({ "k": 65 }), "at most hidden_dim (64)"),
        (json!({ "k": 0 }), "k is 0"),
        (json!({ "input_dim": 47 }), "input_dim is 47"),
    ] {
        let own = change.clone();
        let change = move |value: &mut Value| {
            for (name, field) in own.as_object().unwrap() {
                value[name] = field.clone();
            }
        };
        refused("autoencoder", code, &change, "invalid_config", part);
    }
    let wide = |value: &mut Value| value["hidden_dim"] = json!(65);
    refused("autoencoder", code, &wide, "wrong_shape", "64");
    let norm = "3_LayerNorm/config.json";
    let width = |value: &mut Value| value["dimension"] = json!(47);
    refused(
        "residual",
        norm,
        &width,
        "invalid_config",
        "dimension is 47",
    );
    let missing = |value: &mut Value| *value = json!({});
    refused(
        "residual",
        norm,
        &missing,
        "invalid_config",
        "dimension is missing",
    );
    // Without its matrix there is one too many.
    let plain = |value: &mut Value| value["use_residual"] = json!(false);
    refused(
        "residual",
        "4_Dense/config.json",
        &plain,
        "unsupported_model",
        "residual.weight",
    );
    // Nothing comes after an autoencoder.
    let after = |value: &mut Value| {
        let list = value.as_array_mut().unwrap();
        list.push(
            json!({ "path": "3_Normalize", "type": "sentence_transformers.models.Normalize" }),
        );
    };
    refused(
        "autoencoder",
        "modules.json",
        &after,
        "unsupported_model",
        "must come last",
    );
    // Scores of a model that is no reranker's, which only gives them as the last module.
    let scores = |value: &mut Value| value["module_output_name"] = json!("scores");
    refused(
        "residual",
        "4_Dense/config.json",
        &scores,
        "invalid_config",
        "use_residual",
    );
}
