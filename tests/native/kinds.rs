//! A model that is loaded as what it does not say that it is.

use crate::common::saved::{open, saved};
use crate::common::{files, fixture, inputs, load, load_as, read, texts};
use gossamer::{Cpu, Embedder, EncodeOptions, Kind, LoadOptions, SparseOptions, WeightDtype};
use serde_json::json;

/// tiny-bert as a classifier of tokens without modules, and with a tensor that is no head's.
fn classifier(kind: Option<Kind>) -> gossamer::Result<Embedder<Cpu>> {
    let folder = fixture("tiny-bert");
    let config = String::from_utf8(read(&folder, "config.json").unwrap()).unwrap();
    let config = config.replace("BertModel", "BertForTokenClassification");
    let mut tensors = files::tensors(&read(&folder, "model.safetensors").unwrap());
    let header = json!({ "dtype": "F32", "shape": [1, 48] });
    tensors.push(("classifier.weight".to_owned(), header, vec![0; 4 * 48]));
    let weights = files::file(&tensors.iter().collect::<Vec<_>>());
    let options = LoadOptions {
        dtype: Some(WeightDtype::Q8),
        kind,
        saveable: true,
        ..LoadOptions::default()
    };
    let changes = [
        ("modules.json", None),
        ("config.json", Some(config.as_bytes())),
        ("model.safetensors", Some(weights.as_slice())),
    ];
    load_as(Cpu::new(), &folder, options, &changes, 1000)
}

#[test]
fn what_is_left_out_is_told_and_makes_another_space() {
    let error = classifier(None).err().expect("it is a classifier");
    assert_eq!(error.code(), "unsupported_model");
    let message = error.to_string();
    assert!(
        message.contains("BertForTokenClassification (architectures)"),
        "{message}"
    );
    assert!(message.contains("kind \"dense\""), "{message}");

    let insisted = classifier(Some(Kind::Dense)).unwrap();
    assert_eq!(
        insisted.info().left_out,
        [
            "BertForTokenClassification (architectures)",
            "classifier.weight"
        ]
    );
    assert_eq!(insisted.info().kind, Some(Kind::Dense));
    let plain = {
        let changes = [("modules.json", None)];
        let folder = fixture("tiny-bert");
        crate::common::load_with(&folder, WeightDtype::Q8, &changes, 1000).unwrap()
    };
    let list = inputs(&texts("tiny-texts.json"));
    let encode = |embedder: &Embedder<Cpu>| {
        embedder
            .encode(list.clone(), &EncodeOptions::default())
            .unwrap()
    };
    assert_eq!(encode(&insisted), encode(&plain));
    assert_ne!(insisted.space_id(), plain.space_id());

    // A saved model knows that it was insisted on.
    let again = open(&saved(&insisted, None, 1000), None).unwrap();
    assert_eq!(again.space_id(), insisted.space_id());
    assert_eq!(again.info().kind, Some(Kind::Dense));
    assert_eq!(encode(&again), encode(&insisted));
}

#[test]
fn insisting_without_need_changes_nothing() {
    for (name, kind) in [("tiny-bert", Kind::Dense), ("tiny-splade", Kind::Sparse)] {
        let folder = fixture(name);
        let options = LoadOptions {
            dtype: Some(WeightDtype::Q8),
            kind: Some(kind),
            ..LoadOptions::default()
        };
        let insisted = load_as(Cpu::new(), &folder, options, &[], 1000).unwrap();
        assert_eq!(
            insisted.space_id(),
            load(&folder, WeightDtype::Q8).space_id()
        );
        assert!(insisted.info().left_out.is_empty() && insisted.info().kind.is_none());
    }
}

#[test]
fn the_kind_chooses_the_head_where_there_are_no_modules_and_else_must_fit() {
    let folder = fixture("tiny-splade");
    let load = |kind, modules: bool| {
        let options = LoadOptions {
            dtype: Some(WeightDtype::F32),
            kind: Some(kind),
            ..LoadOptions::default()
        };
        let absent = [("modules.json", None)];
        let changes = if modules { &[][..] } else { &absent };
        load_as(Cpu::new(), &folder, options, changes, 1000)
    };
    let list = inputs(&texts("tiny-texts.json"));
    let dense = load(Kind::Dense, false).unwrap();
    assert_eq!(
        dense
            .encode(list.clone(), &EncodeOptions::default())
            .unwrap()
            .dimensions,
        48
    );
    let sparse = load(Kind::Sparse, false).unwrap();
    assert!(
        sparse
            .encode_sparse(list, &SparseOptions::default())
            .is_ok()
    );
    assert_ne!(dense.space_id(), sparse.space_id());
    let error = load(Kind::Dense, true)
        .err()
        .expect("its modules say otherwise");
    assert_eq!(error.code(), "invalid_input");
    assert!(error.to_string().contains("make it sparse"), "{error}");
    assert!(
        Kind::from_name("colbert")
            .unwrap_err()
            .to_string()
            .contains("\"reranker\" or \"late-interaction\"")
    );
}

/// The shape of voyage-4-nano: code of its own, and a projection that this code would apply.
#[test]
fn code_of_its_own_and_its_tensors_are_named_together() {
    let folder = fixture("tiny-qwen3");
    let mut config: serde_json::Value =
        serde_json::from_slice(&read(&folder, "config.json").unwrap()).unwrap();
    config["auto_map"] = json!({ "AutoModel": "modeling_qwen3.Qwen3BidirectionalModel" });
    let config = config.to_string();
    let mut tensors = files::tensors(&read(&folder, "model.safetensors").unwrap());
    let header = json!({ "dtype": "F32", "shape": [96, 48] });
    tensors.push(("linear.weight".to_owned(), header, vec![0; 4 * 96 * 48]));
    let weights = files::file(&tensors.iter().collect::<Vec<_>>());
    let changes = [
        ("config.json", Some(config.as_bytes())),
        ("model.safetensors", Some(weights.as_slice())),
    ];
    let load = |kind| {
        let options = LoadOptions {
            dtype: Some(WeightDtype::Q8),
            kind,
            ..LoadOptions::default()
        };
        load_as(Cpu::new(), &folder, options, &changes, 1000)
    };
    let message = load(None)
        .err()
        .expect("it has code of its own")
        .to_string();
    for part in [
        "modeling_qwen3.Qwen3BidirectionalModel (auto_map)",
        "linear.weight in model.safetensors",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let insisted = load(Some(Kind::Dense)).unwrap();
    assert_eq!(insisted.info().left_out.len(), 2);
}
