//! What a caller states about a model: the model is that of a repository whose files state the
//! same.

use std::collections::BTreeMap;

use crate::common::saved::{open, saved};
use crate::common::{fixture, inputs, load_as, load_with, read, reference, rows, texts};
use gossamer::{Cpu, Embedder, EncodeOptions, Kind, LoadOptions, Pooling, WeightDtype};
use serde_json::{Value, json};

type Changes<'a> = Vec<(&'a str, Option<&'a [u8]>)>;

/// `model` in f32 with these options and changes of its files.
fn stated(model: &str, options: LoadOptions, changes: &Changes) -> gossamer::Result<Embedder<Cpu>> {
    let options = LoadOptions {
        model: "test".to_owned(),
        dtype: Some(WeightDtype::F32),
        saveable: true,
        ..options
    };
    load_as(Cpu::new(), &fixture(model), options, changes, 1000)
}

/// tiny-bert without the files of sentence-transformers, as a repository of ONNX files is.
fn bare() -> Changes<'static> {
    vec![("modules.json", None)]
}

fn vectors(embedder: &Embedder<Cpu>) -> Vec<f32> {
    let list = texts("tiny-texts.json");
    let batch = embedder.encode(inputs(&list), &EncodeOptions::default());
    batch.unwrap().data
}

/// The same vectors to the last bit, and the same space.
#[track_caller]
fn assert_same(ours: &Embedder<Cpu>, theirs: &Embedder<Cpu>) {
    assert!(vectors(ours) == vectors(theirs), "vectors differ");
    assert_eq!(ours.space_id(), theirs.space_id());
    assert_eq!(ours.info().max_tokens, theirs.info().max_tokens);
    assert_eq!(ours.info().prompts.named, theirs.info().prompts.named);
}

fn refusal(model: &str, options: LoadOptions, changes: &Changes) -> String {
    let error = stated(model, options, changes).err();
    let error = error.expect("it must be refused");
    assert_eq!(error.code(), "invalid_input", "{error}");
    error.to_string()
}

#[test]
fn options_do_what_files_do() {
    let modules = json!([
        { "path": "", "type": "sentence_transformers.models.Transformer" },
        { "path": "1_Pooling", "type": "sentence_transformers.models.Pooling" },
        { "path": "2_Normalize", "type": "sentence_transformers.models.Normalize" },
    ])
    .to_string();
    let plain = json!([
        { "path": "", "type": "sentence_transformers.models.Transformer" },
        { "path": "1_Pooling", "type": "sentence_transformers.models.Pooling" },
    ])
    .to_string();
    let prompts = json!({ "prompts": { "query": "find: " } }).to_string();
    let limit = json!({ "max_seq_length": 20 }).to_string();
    for names in [
        vec!["mean"],
        vec!["cls"],
        vec!["max"],
        vec!["lasttoken"],
        vec!["weightedmean"],
        vec!["mean_sqrt_len_tokens"],
        vec!["cls", "mean"],
    ] {
        let pooling = json!({ "pooling_mode": names }).to_string();
        for normalize in [true, false] {
            let modules = if normalize { &modules } else { &plain };
            let changes = vec![
                ("modules.json", Some(modules.as_bytes())),
                ("1_Pooling/config.json", Some(pooling.as_bytes())),
                (
                    "config_sentence_transformers.json",
                    Some(prompts.as_bytes()),
                ),
                ("sentence_bert_config.json", Some(limit.as_bytes())),
            ];
            let theirs = load_with(&fixture("tiny-bert"), WeightDtype::F32, &changes, 1000);
            let theirs = theirs.unwrap();
            let options = LoadOptions {
                pooling: Some(Pooling::list(&names).unwrap()),
                normalize: Some(normalize),
                prompts: Some([("query".to_owned(), "find: ".to_owned())].into()),
                max_tokens: Some(20),
                ..LoadOptions::default()
            };
            for changes in [bare(), Vec::new()] {
                let ours = stated("tiny-bert", options.clone(), &changes).unwrap();
                assert_same(&ours, &theirs);
                assert_eq!(ours.info().assumed, None);
                let folder = saved(&ours, None, 1000);
                let again = open(&folder, Some(WeightDtype::F32)).unwrap();
                assert_same(&again, &theirs);
                assert_eq!(again.info().overridden, []);
            }
        }
    }
}

/// A repository that says nothing gives sentence-transformers' vectors once they are stated.
#[test]
fn vectors_are_those_of_sentence_transformers() {
    let list = texts("tiny-texts.json");
    let references = reference(&fixture("tiny-bert/reference.safetensors"));
    let options = LoadOptions {
        pooling: Some(vec![Pooling::Mean]),
        normalize: Some(true),
        max_tokens: Some(32),
        ..LoadOptions::default()
    };
    let ours = stated("tiny-bert", options, &bare()).unwrap();
    let batch = ours
        .encode(inputs(&list), &EncodeOptions::default())
        .unwrap();
    let ours = batch.data.chunks(ours.dimensions());
    crate::common::assert_close("stated", &list, ours, &rows(&references["embeddings"]));
}

#[test]
fn what_is_assumed_is_told() {
    let assumed = stated("tiny-bert", LoadOptions::default(), &bare()).unwrap();
    assert_eq!(assumed.info().assumed, Some("mean"));
    let warning = assumed.info().warning().unwrap();
    assert!(warning.contains("no modules.json"), "{warning}");
    assert!(!assumed.normalized());
    let named = LoadOptions {
        pooling: Some(vec![Pooling::Mean]),
        ..LoadOptions::default()
    };
    let named = stated("tiny-bert", named, &bare()).unwrap();
    assert_same(&named, &assumed);
    assert_eq!(named.info().assumed, None);
    assert_eq!(named.info().warning(), None);
    let own = stated("tiny-bert", LoadOptions::default(), &Vec::new()).unwrap();
    assert_eq!(own.info().assumed, None);
    // A kind alone leaves the pooling mode open.
    let dense = LoadOptions {
        kind: Some(Kind::Dense),
        ..LoadOptions::default()
    };
    let dense = stated("tiny-bert", dense, &bare()).unwrap();
    assert_eq!(dense.info().assumed, Some("mean"));
}

#[test]
fn what_files_state_otherwise_is_told() {
    let options = LoadOptions {
        pooling: Some(vec![Pooling::Cls]),
        normalize: Some(false),
        prompts: Some(BTreeMap::new()),
        max_tokens: Some(16),
        ..LoadOptions::default()
    };
    let overridden = stated("tiny-bert", options.clone(), &Vec::new()).unwrap();
    let expected: Vec<(&str, Value)> = vec![
        ("pooling", json!("mean")),
        ("normalize", json!(true)),
        ("maxTokens", json!(32)),
        ("prompts", json!({ "query": "query: ", "document": "" })),
    ];
    assert_eq!(overridden.info().overridden, expected);
    // What a cache keeps is the model as its files state it.
    let files = overridden.save_original(None).unwrap();
    let mut folder = BTreeMap::new();
    for file in &files {
        let mut bytes = vec![0; usize::try_from(file.size).unwrap()];
        overridden.read_saved(file, 0, &mut bytes).unwrap();
        folder.insert(file.path.clone(), bytes);
    }
    let own = stated("tiny-bert", LoadOptions::default(), &Vec::new()).unwrap();
    assert_eq!(own.info().overridden, []);
    assert_same(&open(&folder, Some(WeightDtype::F32)).unwrap(), &own);
    // Options that say what the files say override nothing.
    let same = LoadOptions {
        pooling: Some(vec![Pooling::Mean]),
        normalize: Some(true),
        max_tokens: Some(32),
        ..LoadOptions::default()
    };
    let same = stated("tiny-bert", same, &Vec::new()).unwrap();
    assert_same(&same, &own);
    assert_eq!(same.info().overridden, []);
}

#[test]
fn a_masked_language_model_can_be_pooled() {
    let folder = fixture("tiny-distilbert-splade");
    let config = read(&folder, "config.json").unwrap();
    let changes: Changes = vec![("modules.json", None), ("config.json", Some(&config))];
    let sparse = stated("tiny-distilbert-splade", LoadOptions::default(), &changes).unwrap();
    assert_eq!(
        (sparse.kind(), sparse.info().assumed),
        ("sparse", Some("splade"))
    );
    let options = LoadOptions {
        pooling: Some(vec![Pooling::Mean]),
        ..LoadOptions::default()
    };
    let dense = stated("tiny-distilbert-splade", options, &changes).unwrap();
    assert_eq!((dense.kind(), dense.info().assumed), ("dense", None));
    assert_eq!(dense.info().overridden, [("kind", json!("sparse"))]);
    let again = open(&saved(&dense, None, 1000), Some(WeightDtype::F32)).unwrap();
    assert_same(&again, &dense);
}

#[test]
fn what_cannot_be_is_refused() {
    let own = Vec::new();
    let pooling = LoadOptions {
        pooling: Some(vec![Pooling::Mean]),
        ..LoadOptions::default()
    };
    let normalize = LoadOptions {
        normalize: Some(true),
        ..LoadOptions::default()
    };
    let most = |most| LoadOptions {
        max_tokens: Some(most),
        ..LoadOptions::default()
    };
    for model in ["tiny-distilbert-splade", "tiny-inference-free"] {
        assert!(refusal(model, pooling.clone(), &own).contains("sparse"));
        assert!(refusal(model, normalize.clone(), &own).contains("sparse"));
    }
    let sparse = LoadOptions {
        kind: Some(Kind::Sparse),
        ..pooling
    };
    assert!(refusal("tiny-distilbert-splade", sparse, &bare()).contains("leave one"));
    assert!(refusal("tiny-bert", most(0), &own).contains("1 or more"));
    assert!(refusal("tiny-bert", most(2), &own).contains("no room"));
    assert!(refusal("tiny-bert", most(65), &own).contains("at most 64"));
    assert_eq!(
        stated("tiny-bert", most(64), &own)
            .unwrap()
            .info()
            .max_tokens,
        64
    );
    let settings = json!({ "prompts": { "a": "b" }, "default_prompt_name": "a" }).to_string();
    let changes: Changes = vec![(
        "config_sentence_transformers.json",
        Some(settings.as_bytes()),
    )];
    let prompts = LoadOptions {
        prompts: Some([("query".to_owned(), "q".to_owned())].into()),
        ..LoadOptions::default()
    };
    assert!(refusal("tiny-bert", prompts, &changes).contains("default prompt"));
    let wrong: [&[&str]; 4] = [&["median"], &[], &["mean", "mean"], &["lasttoken", "eos"]];
    for names in wrong {
        assert_eq!(Pooling::list(names).unwrap_err().code(), "invalid_input");
    }
    assert_eq!(
        Pooling::list(&["last_token"]).unwrap(),
        [Pooling::LastToken]
    );
}

#[test]
fn a_call_may_name_the_pooling_mode() {
    let embedder = stated("tiny-bert", LoadOptions::default(), &Vec::new()).unwrap();
    let encode = |pooling: &str| {
        let options = EncodeOptions {
            pooling: Some(pooling.to_owned()),
            normalize: Some(true),
            ..EncodeOptions::default()
        };
        embedder.encode(vec!["a text".into()], &options)
    };
    let plain = embedder.encode(vec!["a text".into()], &EncodeOptions::default());
    assert!(encode("mean").unwrap().data == plain.unwrap().data);
    for (pooling, advice) in [
        ("cls", "{ pooling: \"cls\" }"),
        ("last_token", "{ pooling: \"lasttoken\" }"),
        ("none", "encodeTokens"),
        ("median", "one of cls, max, mean"),
    ] {
        let error = encode(pooling).unwrap_err();
        assert_eq!(error.code(), "invalid_input");
        assert!(error.to_string().contains(advice), "{error}");
    }
}
