//! Rerankers of each head and layout of files against sentence-transformers' `CrossEncoder`
//! (`tests/fixtures/reranker_files.py`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use gossamer::{
    Cpu, Embedder, EncodeOptions, Error, Input, Kind, LoadOptions, Ranked, ScoreActivation,
    ScoreBatch, ScoreOptions, SparseOptions, TokenOptions, WeightDtype,
};
use serde_json::{Value, json};

use crate::common::saved::{open, saved};
use crate::common::{files, fixture, load, load_as, load_with, read, reference, rows, texts};

const MODELS: [&str; 9] = [
    "bert",
    "bert-labels",
    "distilbert",
    "modernbert",
    "modernbert-mean",
    "mpnet",
    "nomic",
    "roberta",
    "xlm-roberta",
];

fn folder(name: &str) -> PathBuf {
    fixture("rerankers").join(name)
}

fn pairs() -> Vec<Input> {
    let json = std::fs::read(fixture("rerankers/pairs.json")).unwrap();
    let names: Vec<[String; 2]> = serde_json::from_slice(&json).unwrap();
    let texts: HashMap<String, String> = texts("tiny-texts.json").into_iter().collect();
    let pair =
        |[first, second]: &[String; 2]| Input::Pair(texts[first].clone(), texts[second].clone());
    let pairs: Vec<Input> = names.iter().map(pair).collect();
    assert!(pairs.len() >= 12);
    pairs
}

fn identity() -> ScoreOptions {
    ScoreOptions {
        activation: Some(ScoreActivation::Identity),
        ..ScoreOptions::default()
    }
}

#[track_caller]
fn assert_scores(what: &str, ours: &ScoreBatch, theirs: &Tensor) {
    let theirs = rows(theirs);
    assert_eq!(ours.scores.len(), theirs.len() * ours.labels, "{what}");
    for (at, (ours, theirs)) in ours.scores.chunks(ours.labels).zip(&theirs).enumerate() {
        for (a, b) in ours.iter().zip(theirs) {
            assert!((a - b).abs() <= 1e-4, "{what}, pair {at}: {a} for {b}");
        }
    }
}

#[test]
fn scores_are_those_of_the_reference() {
    for name in MODELS {
        let embedder = load(&folder(name), WeightDtype::F32);
        assert_eq!(embedder.kind(), "reranker", "{name}");
        assert_eq!(embedder.outputs(), ["scores"], "{name}");
        let theirs = reference(&folder(name).join("reference.safetensors"));
        let ours = embedder.score(pairs(), &ScoreOptions::default()).unwrap();
        let offsets: Vec<i32> = theirs["offsets"].to_vec1().unwrap();
        let counts = offsets
            .windows(2)
            .map(|pair| u32::try_from(pair[1] - pair[0]).unwrap());
        assert_eq!(ours.tokens, counts.collect::<Vec<_>>(), "{name}");
        assert!(ours.truncated.contains(&true) && ours.truncated.contains(&false));
        assert_eq!(ours.labels, embedder.dimensions());
        assert_scores(name, &ours, &theirs["scores"]);
        let logits = embedder.score(pairs(), &identity()).unwrap();
        assert_scores(name, &logits, &theirs["logits"]);
        // Random weights tell pairs apart, so that what is left out shows.
        let spread = logits
            .scores
            .iter()
            .fold(0f32, |most, x| most.max((x - logits.scores[0]).abs()));
        assert!(spread > 0.1, "{name}: {spread}");
    }
}

#[test]
fn a_pair_has_the_same_bits_alone_and_among_others() {
    for name in MODELS {
        for dtype in [WeightDtype::F32, WeightDtype::Q8] {
            let embedder = load(&folder(name), dtype);
            let together = embedder.score(pairs(), &identity()).unwrap();
            let alone = pairs()
                .into_iter()
                .flat_map(|pair| embedder.score(vec![pair], &identity()).unwrap().scores);
            assert_eq!(together.scores, alone.collect::<Vec<_>>(), "{name}");
        }
    }
}

#[test]
fn prompts_go_before_the_first_text() {
    let embedder = load(&folder("xlm-roberta"), WeightDtype::F32);
    let theirs = reference(&folder("xlm-roberta").join("reference.safetensors"));
    let named = ScoreOptions {
        prompt_name: Some("query".to_owned()),
        ..identity()
    };
    let given = ScoreOptions {
        prompt: Some(embedder.info().prompts.named["query"].clone()),
        ..identity()
    };
    for options in [named, given] {
        let ours = embedder.score(pairs(), &options).unwrap();
        assert_scores("prompt", &ours, &theirs["prompt_logits"]);
    }
    let unknown = ScoreOptions {
        prompt_name: Some("no such".to_owned()),
        ..identity()
    };
    let error = embedder.score(pairs(), &unknown).unwrap_err();
    assert_eq!(error.code(), "unknown_prompt");
}

#[test]
fn the_beginning_is_cut_where_the_files_or_the_caller_say_so() {
    let folder = folder("bert");
    let theirs = reference(&folder.join("reference.safetensors"));
    let left = ScoreOptions {
        truncation_direction: gossamer::text::Direction::Left,
        ..identity()
    };
    let ours = load(&folder, WeightDtype::F32)
        .score(pairs(), &left)
        .unwrap();
    assert_scores("asked", &ours, &theirs["left_logits"]);
    let config = with(&folder, "tokenizer_config.json", |value| {
        value["truncation_side"] = json!("left");
    });
    let changes = [("tokenizer_config.json", Some(config.as_slice()))];
    let embedder = load_with(&folder, WeightDtype::F32, &changes, 1000).unwrap();
    let ours = embedder.score(pairs(), &identity()).unwrap();
    assert_scores("said", &ours, &theirs["left_logits"]);
}

/// A JSON file of a folder with a change.
fn with(folder: &Path, name: &str, change: impl Fn(&mut Value)) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(&read(folder, name).unwrap()).unwrap();
    change(&mut value);
    value.to_string().into_bytes()
}

fn with_config(name: &str, change: impl Fn(&mut Value)) -> gossamer::Result<Embedder<Cpu>> {
    let folder = folder(name);
    let config = with(&folder, "config.json", change);
    let changes = [("config.json", Some(config.as_slice()))];
    load_with(&folder, WeightDtype::F32, &changes, 1000)
}

#[test]
fn activations_are_what_the_files_say() {
    const SIGMOID: &str = "torch.nn.modules.activation.Sigmoid";
    let theirs = reference(&folder("bert").join("reference.safetensors"));
    let logits = rows(&theirs["logits"]).concat();
    let sigmoid = logits.iter().map(|x| 1.0 / (1.0 + (-x).exp()));
    let sigmoid = Tensor::from_iter(sigmoid, &candle_core::Device::Cpu).unwrap();
    let sigmoid = sigmoid.reshape((logits.len(), 1)).unwrap();
    let scores = |change: &dyn Fn(&mut Value)| {
        let embedder = with_config("bert", change).unwrap();
        embedder.score(pairs(), &ScoreOptions::default()).unwrap()
    };
    // The default for one label, and both older spellings.
    let none = scores(&|config| {
        config
            .as_object_mut()
            .unwrap()
            .remove("sentence_transformers");
    });
    assert_scores("default", &none, &sigmoid);
    let oldest = scores(&|config| {
        config
            .as_object_mut()
            .unwrap()
            .remove("sentence_transformers");
        config["sbert_ce_default_activation_function"] = json!(SIGMOID);
    });
    assert_scores("oldest", &oldest, &sigmoid);
    let newer = scores(&|config| {
        config["sentence_transformers"]["activation_fn"] = json!(SIGMOID);
        config["sbert_ce_default_activation_function"] = json!("torch.nn.modules.linear.Identity");
    });
    assert_scores("newer", &newer, &sigmoid);
    for other in [
        "torch.nn.modules.activation.Mish",
        "mine.Sigmoid",
        "Sigmoid",
    ] {
        let error = with_config("bert", |config| {
            config["sentence_transformers"]["activation_fn"] = json!(other);
        });
        let error = error.err().expect("it is another activation");
        assert_eq!(error.code(), "invalid_config", "{error}");
        assert!(error.to_string().contains(other), "{error}");
    }
}

#[test]
fn several_labels_have_names_and_probabilities() {
    let embedder = load(&folder("bert-labels"), WeightDtype::F32);
    assert_eq!(
        embedder.labels(),
        ["contradiction", "entailment", "neutral"]
    );
    let softmax = ScoreOptions {
        activation: Some(ScoreActivation::Softmax),
        ..ScoreOptions::default()
    };
    let ours = embedder.score(pairs(), &softmax).unwrap();
    for row in ours.scores.chunks(3) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6 && row.iter().all(|x| *x > 0.0));
    }
    let error = embedder
        .rerank("a", vec!["b".to_owned()], None, &ScoreOptions::default())
        .unwrap_err();
    assert_eq!(error.code(), "invalid_input");
    assert!(error.to_string().contains("3 scores"), "{error}");
    // transformers' default is two labels without names.
    let error = with_config("bert-labels", |config| {
        config.as_object_mut().unwrap().remove("id2label");
    });
    let error = error.err().expect("the head has three labels");
    assert_eq!(error.code(), "wrong_shape", "{error}");
}

#[test]
fn documents_are_ranked_best_first() {
    let embedder = load(&folder("bert"), WeightDtype::F32);
    let documents: Vec<String> = ["a cat", "the river at night", "a cat", ""]
        .map(str::to_owned)
        .to_vec();
    let rank = |top_k| embedder.rerank("where do cats sing", documents.clone(), top_k, &identity());
    let all = rank(None).unwrap();
    let mut indices: Vec<usize> = all.iter().map(|ranked| ranked.index).collect();
    assert!(all.is_sorted_by(|a, b| a.score >= b.score));
    let place = |index| indices.iter().position(|other| *other == index).unwrap();
    assert_eq!(place(0) + 1, place(2), "the first of equals is first");
    indices.sort_unstable();
    assert_eq!(indices, [0, 1, 2, 3]);
    assert_eq!(rank(Some(2)).unwrap(), all[..2]);
    assert_eq!(rank(Some(9)).unwrap(), all);
    let none: Vec<Ranked> = embedder.rerank("a", Vec::new(), None, &identity()).unwrap();
    assert!(none.is_empty());
    assert!(
        embedder
            .score(Vec::new(), &identity())
            .unwrap()
            .scores
            .is_empty()
    );

    assert_eq!(rank(Some(0)).unwrap_err().code(), "invalid_input");
    for query in ["", " \n"] {
        let error = embedder.rerank(query, documents.clone(), None, &identity());
        assert_eq!(error.unwrap_err().code(), "empty_input");
    }
    let whole = ScoreOptions {
        truncate: Some(false),
        ..identity()
    };
    let long = vec!["short".to_owned(), "a dog ".repeat(40)];
    let error = embedder.rerank("a", long, None, &whole).unwrap_err();
    assert!(
        matches!(
            error,
            Error::InputTooLong {
                index: 1,
                limit: 40,
                ..
            }
        ),
        "{error}"
    );
    let endless = vec!["z".repeat(100_000)];
    let error = embedder.rerank("a", endless, None, &whole).unwrap_err();
    assert_eq!(error.code(), "input_too_long");
    assert_eq!(rank(None).unwrap(), all, "the model goes on working");
}

#[test]
fn vectors_are_no_affair_of_a_reranker_nor_scores_of_others() {
    let embedder = load(&folder("bert"), WeightDtype::Q8);
    let input = || vec![Input::from("a")];
    for error in [
        embedder.encode(input(), &EncodeOptions::default()).err(),
        embedder
            .encode_sparse(input(), &SparseOptions::default())
            .err(),
        embedder
            .encode_tokens(input(), &TokenOptions::default())
            .err(),
    ] {
        let error = error.expect("it gives no vectors");
        assert_eq!(error.code(), "wrong_model_kind");
        assert!(
            error
                .to_string()
                .contains("reranker model; ask it for scores"),
            "{error}"
        );
    }
    for name in ["tiny-bert", "tiny-splade"] {
        let embedder = load(&fixture(name), WeightDtype::Q8);
        let error = embedder
            .score(pairs(), &ScoreOptions::default())
            .unwrap_err();
        assert_eq!(error.code(), "wrong_model_kind");
        let error = embedder.rerank("a", Vec::new(), None, &ScoreOptions::default());
        assert_eq!(error.unwrap_err().code(), "wrong_model_kind");
    }
    let dense = load(&fixture("tiny-bert"), WeightDtype::Q8);
    let error = dense
        .encode(pairs(), &EncodeOptions::default())
        .unwrap_err();
    assert_eq!(error.code(), "invalid_input");
}

#[test]
fn a_saved_reranker_gives_the_same_bits() {
    for name in MODELS {
        for dtype in [WeightDtype::F32, WeightDtype::Q8, WeightDtype::Q4] {
            let embedder = load(&folder(name), dtype);
            // Files in f32 say nothing of it.
            let given = (dtype == WeightDtype::F32).then_some(dtype);
            let again = open(&saved(&embedder, Some(100_000), 1000), given).unwrap();
            assert_eq!(again.info().dtype, dtype);
            assert_eq!(again.space_id(), embedder.space_id());
            let scores = |embedder: &Embedder<Cpu>| {
                embedder.score(pairs(), &ScoreOptions::default()).unwrap()
            };
            assert_eq!(scores(&again), scores(&embedder), "{name} {}", dtype.name());
        }
    }
}

/// A cross-encoder's encoder as an embedding model, if the caller insists.
#[test]
fn insisting_on_vectors_leaves_the_head_out() {
    for name in ["bert", "xlm-roberta"] {
        let options = LoadOptions {
            dtype: Some(WeightDtype::F32),
            kind: Some(Kind::Dense),
            saveable: true,
            ..LoadOptions::default()
        };
        let dense = load_as(Cpu::new(), &folder(name), options, &[], 1000).unwrap();
        assert_eq!(dense.kind(), "dense");
        let left_out = dense.info().left_out.join(", ");
        assert!(left_out.contains("classifier."), "{left_out}");
        assert!(dense.info().prompts.named.is_empty());
        let vectors = dense.encode(vec!["a".into()], &EncodeOptions::default());
        assert_eq!(vectors.unwrap().dimensions, 48);
    }
    let options = LoadOptions {
        kind: Some(Kind::Reranker),
        ..LoadOptions::default()
    };
    let error = load_as(Cpu::new(), &fixture("tiny-bert"), options, &[], 1000);
    assert!(error.err().unwrap().to_string().contains("make it dense"));
}

#[test]
fn heads_of_unknown_shapes_are_refused() {
    let folder = folder("bert");
    let all = files::tensors(&read(&folder, "model.safetensors").unwrap());
    let load = |change: &dyn Fn(&mut files::Tensor)| {
        let mut tensors = all.clone();
        tensors.iter_mut().for_each(change);
        let weights = files::file(&tensors.iter().collect::<Vec<_>>());
        let changes = [("model.safetensors", Some(weights.as_slice()))];
        let result = load_with(&folder, WeightDtype::Q8, &changes, 1000);
        result.err().expect("the head is another one")
    };
    let wide = load(&|(name, header, bytes)| {
        if name == "classifier.weight" {
            header["shape"] = json!([2, 48]);
            bytes.resize(2 * 48 * 4, 0);
        }
    });
    assert_eq!(wide.code(), "wrong_shape");
    assert!(
        wide.to_string()
            .contains("classifier.weight has shape [2, 48]"),
        "{wide}"
    );
    let deep = load(&|(name, ..)| *name = name.replace("classifier.", "classifier.0."));
    assert_eq!(deep.code(), "missing_tensor");
    assert!(deep.to_string().contains("classifier.weight"), "{deep}");
    let flat = load(&|(name, ..)| *name = name.replace("pooler", "pool"));
    assert_eq!(flat.code(), "missing_tensor");
    assert!(flat.to_string().contains("pooler.dense"), "{flat}");
}

#[test]
fn rerankers_that_are_not_implemented_are_refused_by_name() {
    let message = |change: &dyn Fn(&mut Value)| {
        let error = with_config("bert", change).err().expect("another model");
        assert_eq!(error.code(), "unsupported_model", "{error}");
        error.to_string()
    };
    let code = message(&|config| {
        config["auto_map"] = json!({
            "AutoModel": "modeling.A", "AutoModelForSequenceClassification": "modeling.B",
        });
    });
    assert!(code.contains("modeling.B (auto_map)"), "{code}");
    let class = message(&|config| {
        config["architectures"] = json!(["JinaBertForSequenceClassification"]);
        config["position_embedding_type"] = json!("alibi");
    });
    assert!(
        class.contains("jina_bert") || class.contains("JinaBert"),
        "{class}"
    );
    let model = message(&|config| config["model_type"] = json!("new"));
    assert!(model.contains("gte"), "{model}");
    // Modules of another task.
    let folder = folder("xlm-roberta");
    let task = with(&folder, "sentence_bert_config.json", |config| {
        config["transformer_task"] = json!("text-generation");
    });
    let cut = with(&folder, "sentence_bert_config.json", |config| {
        config["processing_kwargs"] = json!({ "text": { "truncation": "only_first" } });
    });
    for file in [task, cut] {
        let changes = [("sentence_bert_config.json", Some(file.as_slice()))];
        let error = load_with(&folder, WeightDtype::Q8, &changes, 1000);
        let error = error.err().expect("other files");
        assert!(
            error.to_string().contains("sentence_bert_config.json"),
            "{error}"
        );
    }
}

#[test]
fn tokenizers_that_make_no_pairs_are_refused() {
    let folder = folder("modernbert");
    let load = |change: &dyn Fn(&mut Value)| {
        let file = with(&folder, "tokenizer.json", change);
        let changes = [("tokenizer.json", Some(file.as_slice()))];
        load_with(&folder, WeightDtype::Q8, &changes, 1000)
    };
    let b = json!({ "Sequence": { "id": "B", "type_id": 0 } });
    let post = "post_processor";
    for pair in [
        json!([b]),
        json!([b, b]),
        json!("A B"),
        json!([{ "Sequence": 7 }]),
        Value::Null,
    ] {
        let error = load(&|file| file[post]["pair"] = pair.clone());
        let error = error.err().expect("it makes no pairs");
        assert_eq!(error.code(), "invalid_tokenizer");
        assert!(
            error.to_string().contains("two texts in one sequence"),
            "{error}"
        );
    }
    // Without a template two texts are one after the other.
    let bare = load(&|file| file[post] = Value::Null).unwrap();
    let tokens = bare.score(
        vec![Input::Pair("a".to_owned(), "b".to_owned())],
        &identity(),
    );
    assert_eq!(tokens.unwrap().tokens, [2]);

    // A limit that leaves no room for text.
    let limit = with(&folder, "tokenizer_config.json", |config| {
        config["model_max_length"] = json!(3);
    });
    let changes = [("tokenizer_config.json", Some(limit.as_slice()))];
    let error = load_with(&folder, WeightDtype::Q8, &changes, 1000);
    let error = error.err().expect("no room").to_string();
    assert!(error.contains("leaves no room for text"), "{error}");

    // A second text of a type that the model has not.
    let error = with_config("bert", |config| config["type_vocab_size"] = json!(1));
    let error = error.err().expect("one type");
    assert!(error.to_string().contains("token type 1"), "{error}");
}
