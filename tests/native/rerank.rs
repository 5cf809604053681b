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

const MODELS: [&str; 22] = [
    "albert",
    "bert",
    "bert-labels",
    "deberta",
    "deberta-labels",
    "distilbert",
    "electra",
    "gte",
    "modernbert",
    "modernbert-mean",
    "modernbert-modules",
    "mpnet",
    "nomic",
    "qwen2-bare",
    "qwen2-loop",
    "qwen3",
    "qwen3-bare",
    "qwen3-label",
    "qwen3-labels",
    "qwen3-template",
    "roberta",
    "xlm-roberta",
];

/// Loads one of them. Those that do not say what they are have to be insisted on.
fn open_model(name: &str, dtype: WeightDtype) -> Embedder<Cpu> {
    open_with(name, dtype, &[]).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn open_with(
    name: &str,
    dtype: WeightDtype,
    changes: &[(&str, Option<&[u8]>)],
) -> gossamer::Result<Embedder<Cpu>> {
    let options = LoadOptions {
        model: "test".to_owned(),
        dtype: Some(dtype),
        kind: name.ends_with("bare").then_some(Kind::Reranker),
        saveable: true,
        ..LoadOptions::default()
    };
    load_as(Cpu::new(), &folder(name), options, changes, 4096)
}

fn folder(name: &str) -> PathBuf {
    fixture("rerankers").join(name)
}

pub fn pairs() -> Vec<Input> {
    let json = std::fs::read(fixture("rerankers/pairs.json")).unwrap();
    let names: Vec<[String; 2]> = serde_json::from_slice(&json).unwrap();
    let texts: HashMap<String, String> = texts("tiny-texts.json").into_iter().collect();
    let pair =
        |[first, second]: &[String; 2]| Input::Pair(texts[first].clone(), texts[second].clone());
    let pairs: Vec<Input> = names.iter().map(pair).collect();
    assert!(pairs.len() >= 12);
    pairs
}

pub fn identity() -> ScoreOptions {
    ScoreOptions {
        activation: Some(ScoreActivation::Identity),
        ..ScoreOptions::default()
    }
}

#[track_caller]
pub fn assert_scores(what: &str, ours: &ScoreBatch, theirs: &Tensor) {
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
        let embedder = open_model(name, WeightDtype::F32);
        assert_eq!(embedder.kind(), "reranker", "{name}");
        assert_eq!(embedder.info().warning(), None, "{name}");
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
            let embedder = open_model(name, dtype);
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
    // Of decoders a prompt is what the template has for the role "system".
    for name in [
        "qwen2-bare",
        "qwen2-loop",
        "qwen3",
        "qwen3-bare",
        "qwen3-label",
        "qwen3-template",
    ] {
        let embedder = open_model(name, WeightDtype::F32);
        let theirs = reference(&folder(name).join("reference.safetensors"));
        let options = ScoreOptions {
            prompt: Some("find cats".to_owned()),
            ..identity()
        };
        let ours = embedder.score(pairs(), &options).unwrap();
        assert_scores(name, &ours, &theirs["prompt_logits"]);
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
            let embedder = open_model(name, dtype);
            // Files in f32 say nothing of it.
            let given = (dtype == WeightDtype::F32).then_some(dtype);
            let again = open(&saved(&embedder, Some(100_000), 1000), given).unwrap();
            assert_eq!(again.info().dtype, dtype);
            assert_eq!(again.space_id(), embedder.space_id());
            let scores = |embedder: &Embedder<Cpu>| {
                embedder.score(pairs(), &ScoreOptions::default()).unwrap()
            };
            assert_eq!(scores(&again), scores(&embedder), "{name} {}", dtype.name());
            assert_eq!(again.info().kind, embedder.info().kind, "{name}");
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
fn a_decoder_that_does_not_say_what_it_is_has_to_be_insisted_on() {
    let bare = folder("qwen3-bare");
    for (name, part) in [
        ("qwen3-bare", "Qwen3ForCausalLM (architectures)"),
        ("qwen2-bare", "Qwen2ForCausalLM"),
    ] {
        let error = load_with(&folder(name), WeightDtype::F32, &[], 1000).err();
        let error = error.expect("it may be anything");
        assert_eq!(error.code(), "unsupported_model");
        for part in [part, "load it with kind \"reranker\""] {
            assert!(error.to_string().contains(part), "{error}");
        }
        let embedder = open_model(name, WeightDtype::F32);
        assert_eq!(embedder.info().kind, Some(Kind::Reranker), "{name}");
        assert_eq!(embedder.labels(), ["LABEL_0"]);
    }
    // As a model of vectors, if the caller insists on that.
    let dense = LoadOptions {
        kind: Some(Kind::Dense),
        ..LoadOptions::default()
    };
    let dense = load_as(Cpu::new(), &bare, dense, &[], 1000).unwrap();
    assert_eq!(dense.kind(), "dense");

    // Models that say it are the same whether they are insisted on or not.
    for name in ["qwen3", "qwen3-label", "qwen3-template", "bert"] {
        let options = LoadOptions {
            dtype: Some(WeightDtype::F32),
            kind: Some(Kind::Reranker),
            ..LoadOptions::default()
        };
        let insisted = load_as(Cpu::new(), &folder(name), options, &[], 1000).unwrap();
        assert_eq!(insisted.info().kind, None, "{name}");
        let plain = open_model(name, WeightDtype::F32);
        assert_eq!(insisted.space_id(), plain.space_id(), "{name}");
    }

    // A class with a head, and a template of conversations.
    let template = read(&bare, "tokenizer_config.json").unwrap();
    let changes = [("tokenizer_config.json", Some(template.as_slice()))];
    let error = open_with("qwen3-label", WeightDtype::F32, &changes).err();
    let error = error.expect("its template has no place").to_string();
    for part in ["chat template has", "load it with kind \"reranker\""] {
        assert!(error.contains(part), "{error}");
    }
    let options = LoadOptions {
        dtype: Some(WeightDtype::F32),
        kind: Some(Kind::Reranker),
        ..LoadOptions::default()
    };
    let insisted = load_as(Cpu::new(), &folder("qwen3-label"), options, &changes, 1000).unwrap();
    let theirs = reference(&folder("qwen3-label").join("reference.safetensors"));
    let ours = insisted.score(pairs(), &identity()).unwrap();
    assert_scores("insisted", &ours, &theirs["logits"]);
    assert_eq!(insisted.info().kind, Some(Kind::Reranker));

    // A family whose authors have published no question.
    let config = with(&bare, "config.json", |config| {
        config["model_type"] = json!("llama");
        config["architectures"] = json!(["LlamaForCausalLM"]);
    });
    let changes = [("config.json", Some(config.as_slice()))];
    let error = open_with("qwen3-bare", WeightDtype::F32, &changes).err();
    let error = error.expect("nobody knows how to ask it");
    assert_eq!(error.code(), "unsupported_model");
    assert!(
        error.to_string().contains("cannot be used as a reranker"),
        "{error}"
    );
}

/// Loads a model with a changed file.
fn changed(name: &str, file: &str, change: impl Fn(&mut Value)) -> gossamer::Result<Embedder<Cpu>> {
    let bytes = with(&folder(name), file, change);
    open_with(name, WeightDtype::F32, &[(file, Some(bytes.as_slice()))])
}

#[track_caller]
fn refused(result: gossamer::Result<Embedder<Cpu>>, code: &str, part: &str) {
    let error = result
        .err()
        .unwrap_or_else(|| panic!("{part}: it must be refused"));
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(part), "{error}");
}

#[test]
fn the_question_is_what_the_files_say() {
    let template = |text: &str| {
        let text = text.to_owned();
        changed("qwen3", "tokenizer_config.json", move |config| {
            config["chat_template"] = json!(text);
        })
    };
    // Of a list, the default one.
    let list = changed("qwen3", "tokenizer_config.json", |config| {
        let own = config["chat_template"].clone();
        config["chat_template"] = json!([
            { "name": "tool_use", "template": "{{ messages }}" },
            { "name": "default", "template": own },
        ]);
    });
    let theirs = reference(&folder("qwen3").join("reference.safetensors"));
    let ours = list.unwrap().score(pairs(), &identity()).unwrap();
    assert_scores("list", &ours, &theirs["logits"]);

    refused(
        template("{{ messages[0].content }}"),
        "unsupported_model",
        "no place for the role \"document\"",
    );
    refused(
        template("{{ messages | tojson }}"),
        "unsupported_model",
        "the filter tojson",
    );
    refused(
        template("{% if"),
        "unsupported_model",
        "a tag without an end",
    );
    let none = changed("qwen3", "tokenizer_config.json", |config| {
        config.as_object_mut().unwrap().remove("chat_template");
    });
    refused(none, "unsupported_model", "has none");
    // A template without a place for a prompt works without one.
    let embedder = template("{{ messages[-2].content }} {{ messages[-1].content }} no").unwrap();
    let prompt = ScoreOptions {
        prompt: Some("a".to_owned()),
        ..identity()
    };
    let error = embedder.score(pairs(), &prompt).unwrap_err();
    assert_eq!(error.code(), "invalid_input");
    assert!(
        error.to_string().contains("no place for a prompt"),
        "{error}"
    );
    assert!(embedder.score(pairs(), &identity()).is_ok());
}

#[test]
fn what_would_ask_otherwise_is_refused() {
    for (file, change, code, part) in [
        (
            "1_LogitScore/config.json",
            json!({ "true_token_id": 99_999 }),
            "invalid_config",
            "the token 99999",
        ),
        (
            "1_LogitScore/config.json",
            json!({ "true_token_id": "yes" }),
            "invalid_config",
            "a token id",
        ),
        (
            "1_LogitScore/config.json",
            json!({ "true_token_id": 5, "false_token_id": 5 }),
            "invalid_config",
            "another token",
        ),
        (
            "1_LogitScore/config.json",
            json!({ "true_token_id": 5, "module_input_name": "scores" }),
            "invalid_config",
            "module_input_name",
        ),
        (
            "sentence_bert_config.json",
            json!({ "transformer_task": "feature-extraction", "module_output_name": "token_embeddings" }),
            "invalid_config",
            "text-generation",
        ),
        (
            "sentence_bert_config.json",
            json!({ "transformer_task": "text-generation", "module_output_name": "causal_logits",
                    "modality_config": { "message": { "format": "structured" } } }),
            "invalid_config",
            "format",
        ),
        (
            "sentence_bert_config.json",
            json!({ "transformer_task": "text-generation", "module_output_name": "causal_logits",
                    "modality_config": { "message": { "format": "flat" } },
                    "processing_kwargs": { "chat_template": { "chat_template": "reranker" } } }),
            "invalid_config",
            "chat_template",
        ),
        (
            "sentence_bert_config.json",
            json!({ "transformer_task": "text-generation", "module_output_name": "causal_logits",
                    "modality_config": { "message": { "format": "flat" } },
                    "processing_kwargs": { "chat_template": { "tools": [] } } }),
            "invalid_config",
            "tools",
        ),
        (
            "tokenizer_config.json",
            json!({ "model_max_length": 100, "chat_template": "{{ messages[0].content ~ messages[1].content }}", "tokenizer_class": "PreTrainedTokenizerFast" }),
            "",
            "",
        ),
    ] {
        let bytes = change.to_string();
        let changes = [(file, Some(bytes.as_bytes()))];
        let result = open_with("qwen3", WeightDtype::F32, &changes);
        if code.is_empty() {
            // A pair of empty texts has no token then.
            let error = result.unwrap().score(pairs(), &identity()).unwrap_err();
            assert_eq!(error.code(), "empty_input", "{error}");
            continue;
        }
        refused(result, code, part);
    }
}

#[test]
fn texts_that_are_asked_about_without_messages_or_room() {
    // Without messages the texts are one after the other.
    let plain = changed("qwen3", "sentence_bert_config.json", |config| {
        config["modality_config"]
            .as_object_mut()
            .unwrap()
            .remove("message");
    });
    let pair = vec![Input::Pair("a cat".to_owned(), "a dog".to_owned())];
    let tokens = plain
        .unwrap()
        .score(pair.clone(), &identity())
        .unwrap()
        .tokens;
    assert!(tokens[0] < 12, "{tokens:?}");
    // A limit that leaves no room for texts.
    let small = changed("qwen3", "tokenizer_config.json", |config| {
        config["model_max_length"] = json!(200);
    });
    refused(small, "invalid_config", "leaves no room for text");

    // One text is no pair.
    let embedder = open_model("qwen3", WeightDtype::Q8);
    let error = embedder
        .score(vec!["a cat".into()], &identity())
        .unwrap_err();
    assert_eq!(error.code(), "invalid_input");
    assert!(
        error.to_string().contains("a query and a document"),
        "{error}"
    );
    let whole = ScoreOptions {
        truncate: Some(false),
        ..identity()
    };
    let long = vec![Input::Pair("a".to_owned(), "a dog ".repeat(100))];
    let error = embedder.score(long, &whole).unwrap_err();
    assert_eq!(error.code(), "input_too_long");
    assert_eq!(embedder.score(pair, &whole).unwrap().truncated, [false]);
}

/// transformers' heads of decoders read the last token that is not the padding token.
#[test]
fn padding_at_the_end_does_not_count() {
    let embedder = open_model("qwen3-labels", WeightDtype::F32);
    let theirs = reference(&folder("qwen3-labels").join("reference.safetensors"));
    let Input::Pair(first, second) = pairs().swap_remove(0) else {
        unreachable!()
    };
    let padded = vec![Input::Pair(
        first,
        format!("{second}<|endoftext|><|endoftext|>"),
    )];
    let ours = embedder.score(padded, &identity()).unwrap();
    assert_scores("padded", &ours, &theirs["padded_logits"]);
    assert_eq!(embedder.labels(), ["no", "yes"]);
}

/// A limit and prompts that the caller states, of models without sentence-transformers' files.
#[test]
fn a_bare_reranker_takes_a_limit_and_prompts() {
    for name in ["bert-labels", "distilbert", "qwen3-template"] {
        let load = |options: LoadOptions| {
            let options = LoadOptions {
                dtype: Some(WeightDtype::F32),
                saveable: true,
                ..options
            };
            load_as(Cpu::new(), &folder(name), options, &[], 4096)
        };
        let prompts = [("query".to_owned(), "find ".to_owned())].into();
        let stated = LoadOptions {
            max_tokens: Some(35),
            prompts: Some(prompts),
            ..LoadOptions::default()
        };
        let stated = load(stated).unwrap();
        assert_eq!(stated.kind(), "reranker");
        assert_eq!(stated.info().max_tokens, 35);
        let named = ScoreOptions {
            prompt_name: Some("query".to_owned()),
            ..identity()
        };
        let given = ScoreOptions {
            prompt: Some("find ".to_owned()),
            ..identity()
        };
        let scores = stated.score(pairs(), &named).unwrap();
        assert!(scores.tokens.iter().all(|tokens| *tokens <= 35));
        assert_eq!(scores, stated.score(pairs(), &given).unwrap());
        let again = open(&saved(&stated, None, 1000), Some(WeightDtype::F32)).unwrap();
        assert_eq!(
            again.score(pairs(), &identity()).unwrap(),
            stated.score(pairs(), &identity()).unwrap()
        );
        for options in [
            LoadOptions {
                normalize: Some(true),
                ..LoadOptions::default()
            },
            LoadOptions {
                pooling: Some(Vec::new()),
                ..LoadOptions::default()
            },
            LoadOptions {
                max_tokens: Some(0),
                ..LoadOptions::default()
            },
            LoadOptions {
                max_tokens: Some(1),
                ..LoadOptions::default()
            },
        ] {
            let error = load(options).err().expect("it must be refused");
            assert_eq!(error.code(), "invalid_input", "{name}: {error}");
        }
    }
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
    let model = message(&|config| config["model_type"] = json!("gemma"));
    assert!(
        model.contains("\"gemma\", which is not supported"),
        "{model}"
    );
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
