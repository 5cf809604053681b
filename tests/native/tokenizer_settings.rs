//! What `tokenizer_config.json` and the files beside it change: token ids against transformers'
//! own.

use std::collections::BTreeMap;

use gossamer::{EncodeOptions, Error, WeightDtype};
use serde_json::{Map, Value, json};

use crate::common::saved::{open, saved};
use crate::common::synthetic::{self, Row};
use crate::common::{cosine, fixture, load_with, minilm};

type Embedder = gossamer::Embedder<gossamer::Cpu>;

fn ids(embedder: &Embedder, text: &str) -> Vec<u32> {
    let tokens = embedder.tokenize(text, true).unwrap();
    tokens.iter().map(|token| token.id).collect()
}

/// A file of a fixture as JSON.
fn json_of(folder: &str, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixture(folder).join(name)).unwrap()).unwrap()
}

/// A tiny model with some small files changed; those that are null are taken away.
fn changed(folder: &str, files: &[(&str, Value)]) -> gossamer::Result<Embedder> {
    let bytes: Vec<_> = files
        .iter()
        .map(|(name, value)| {
            (
                *name,
                (!value.is_null()).then(|| value.to_string().into_bytes()),
            )
        })
        .collect();
    let changes: Vec<_> = bytes
        .iter()
        .map(|(name, bytes)| (*name, bytes.as_deref()))
        .collect();
    load_with(&fixture(folder), WeightDtype::F32, &changes, 1 << 20)
}

/// The real model with some small files changed.
fn real(files: &[(&str, Value)], change: impl Fn(&mut Value)) -> Embedder {
    let tokenizer = std::fs::read(minilm().join("tokenizer.json")).unwrap();
    let mut tokenizer: Value = serde_json::from_slice(&tokenizer).unwrap();
    change(&mut tokenizer);
    let mut bytes = vec![("tokenizer.json", Some(tokenizer.to_string().into_bytes()))];
    for (name, value) in files {
        bytes.push((
            *name,
            (!value.is_null()).then(|| value.to_string().into_bytes()),
        ));
    }
    let changes: Vec<_> = bytes
        .iter()
        .map(|(name, bytes)| (*name, bytes.as_deref()))
        .collect();
    load_with(&minilm(), WeightDtype::Q8, &changes, 1 << 20).unwrap()
}

const SHIP: &str = "A Ship at Night IN Paris";
const LOWER: [u32; 8] = [101, 1037, 2911, 2012, 2305, 1999, 3000, 102];
const CASED: [u32; 8] = [101, 100, 100, 2012, 100, 100, 100, 102];

#[test]
fn the_class_decides_about_case() {
    for (config, lowercase, right) in [
        (
            json!({ "tokenizer_class": "BertTokenizer", "do_lower_case": true }),
            false,
            LOWER,
        ),
        (json!({ "tokenizer_class": "BertTokenizer" }), false, LOWER),
        (
            json!({ "tokenizer_class": "BertTokenizer", "do_lower_case": false }),
            true,
            CASED,
        ),
        // This class takes tokenizer.json as it is.
        (
            json!({ "tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": true }),
            false,
            CASED,
        ),
    ] {
        let embedder = real(&[("tokenizer_config.json", config.clone())], |tokenizer| {
            tokenizer["normalizer"]["lowercase"] = json!(lowercase);
        });
        assert_eq!(ids(&embedder, SHIP), right, "{config}");
    }
}

#[test]
fn sentence_transformers_lower_case_comes_first() {
    let cased = json!({ "tokenizer_class": "BertTokenizer", "do_lower_case": false });
    let sentence = json!({ "max_seq_length": 256, "do_lower_case": true });
    let files = [
        ("tokenizer_config.json", cased),
        ("sentence_bert_config.json", sentence),
    ];
    let embedder = real(&files, |_| {});
    assert_eq!(ids(&embedder, SHIP), LOWER);
    // Special tokens stay what they are, and places are those of the text.
    let tokens = embedder.tokenize("İ [MASK] Ship", true).unwrap();
    assert_eq!(tokens.iter().filter(|token| token.id == 103).count(), 1);
    let ship = tokens.iter().find(|token| token.id == 2911).unwrap();
    assert_eq!((ship.start, ship.stop), (Some(10), Some(14)));
}

#[test]
fn tokens_of_tokenizer_config_are_found() {
    let unused = json!({
        "content": "[unused4]", "lstrip": false, "normalized": false,
        "rstrip": false, "single_word": false, "special": true,
    });
    let mut config = json!({ "tokenizer_class": "BertTokenizer", "do_lower_case": true });
    for (id, content) in [
        (0, "[PAD]"),
        (100, "[UNK]"),
        (101, "[CLS]"),
        (102, "[SEP]"),
        (103, "[MASK]"),
    ] {
        let mut token = unused.clone();
        token["content"] = json!(content);
        config["added_tokens_decoder"][id.to_string()] = token;
    }
    config["added_tokens_decoder"]["5"] = unused;
    let embedder = real(&[("tokenizer_config.json", config)], |_| {});
    assert_eq!(ids(&embedder, "x [unused4] y"), [101, 1060, 5, 1061, 102]);
}

#[test]
fn the_class_has_the_template_that_tokenizer_json_lacks() {
    let embedder = real(&[], |tokenizer| tokenizer["post_processor"] = Value::Null);
    assert_eq!(ids(&embedder, SHIP), LOWER);
}

#[test]
fn a_template_that_is_not_plain_to_see_gives_way_to_the_class() {
    let usual = changed("tiny-bert", &[]).unwrap();
    let text = json!({ "Sequence": { "id": "A", "type_id": 0 } });
    let mut tokenizer = json_of("tiny-bert", "tokenizer.json");
    let pieces = tokenizer["post_processor"]["single"]
        .as_array_mut()
        .unwrap();
    pieces.insert(1, text);
    let embedder = changed("tiny-bert", &[("tokenizer.json", tokenizer)]).unwrap();
    assert_eq!(ids(&embedder, "a dog"), ids(&usual, "a dog"));
}

/// A tiny model with more rows than its tokenizer has entries.
fn with_rows(folder: &str) -> Vec<u8> {
    let rows = json_of(folder, "config.json")["vocab_size"]
        .as_u64()
        .unwrap();
    let rows = usize::try_from(rows).unwrap();
    let mut list: Vec<Row> =
        serde_json::from_value(json_of(folder, "model.safetensors.json")).unwrap();
    for (_, shape, ..) in &mut list {
        if shape[0] == rows {
            shape[0] += SPARE;
        }
    }
    synthetic::file(&serde_json::to_vec(&list).unwrap())
}

const SPARE: usize = 128;

#[test]
fn a_sweep_of_settings_gives_the_ids_of_transformers() {
    let sweep: Value = json_of("", "sweep-tokenizers.json");
    let texts: Vec<&str> = sweep["texts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
        .collect();
    let mut weights = BTreeMap::new();
    let (mut equal, mut refused, mut wrong) = (0, Vec::new(), Vec::new());
    for case in sweep["cases"].as_array().unwrap() {
        let (name, folder, changes) = (
            case[0].as_str().unwrap(),
            case[1].as_str().unwrap(),
            &case[2],
        );
        let mut config = json_of(folder, "config.json");
        let mut tokenizer = json_of(folder, "tokenizer.json");
        config["vocab_size"] = json!(config["vocab_size"].as_u64().unwrap() + SPARE as u64);
        for (field, value) in changes["config"].as_object().unwrap_or(&Map::new()) {
            config[field] = value.clone();
        }
        for (path, value) in changes["tokenizer"].as_object().unwrap_or(&Map::new()) {
            *path
                .split('/')
                .fold(&mut tokenizer, |at, field| &mut at[field]) = value.clone();
        }
        let mut files = vec![
            ("config.json", Some(config.to_string().into_bytes())),
            ("tokenizer.json", Some(tokenizer.to_string().into_bytes())),
        ];
        for (field, file) in [
            ("tokenizer_config", "tokenizer_config.json"),
            ("special_tokens_map", "special_tokens_map.json"),
            ("added_tokens", "added_tokens.json"),
        ] {
            let value = &changes[field];
            files.push((
                file,
                (!value.is_null()).then(|| value.to_string().into_bytes()),
            ));
        }
        let weights = weights.entry(folder).or_insert_with(|| with_rows(folder));
        let mut files: Vec<_> = files
            .iter()
            .map(|(name, bytes)| (*name, bytes.as_deref()))
            .collect();
        files.push(("model.safetensors", Some(weights)));
        let embedder = match load_with(&fixture(folder), WeightDtype::F32, &files, 1 << 20) {
            Ok(embedder) => embedder,
            Err(Error::InvalidConfig { file, reason }) if file == "tokenizer_config.json" => {
                refused.push(format!("{name}: {reason}"));
                continue;
            }
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        let Some(answer) = case[3].as_u64() else {
            wrong.push(format!("{name}: transformers refuses it"));
            continue;
        };
        let answer = &sweep["answers"][usize::try_from(answer).unwrap()];
        let differs = texts
            .iter()
            .zip(answer.as_array().unwrap())
            .find(|(text, right)| json!(ids(&embedder, text)) != **right);
        match differs {
            None => equal += 1,
            Some((text, right)) => {
                wrong.push(format!(
                    "{name}: {text:?} is {:?}, not {right}",
                    ids(&embedder, text)
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(equal >= 1000, "{equal} are equal");
    // Classes that are not implemented, and nothing else.
    let named = ["BertJapanese", "GPT2"];
    for reason in &refused {
        let class =
            |class| reason.contains(&format!("is {class}Tokenizer, which is not implemented"));
        assert!(named.into_iter().any(class), "{reason}");
    }
}

#[test]
fn only_a_template_ends_texts_of_qwen3() {
    let embedder = changed("tiny-qwen3", &[]).unwrap();
    let end = *ids(&embedder, "a dog").last().unwrap();
    let space = embedder.space_id();
    for config in [
        json!({ "tokenizer_class": "Qwen2Tokenizer", "add_eos_token": true, "eos_token": "<|endoftext|>" }),
        json!({ "tokenizer_class": "PreTrainedTokenizerFast" }),
        Value::Null,
    ] {
        let mut tokenizer = json_of("tiny-qwen3", "tokenizer.json");
        tokenizer["post_processor"] = Value::Null;
        let files = [
            ("tokenizer.json", tokenizer),
            ("tokenizer_config.json", config),
        ];
        let without = changed("tiny-qwen3", &files).unwrap();
        assert_ne!(ids(&without, "a dog").last(), Some(&end));
        assert_ne!(without.space_id(), space);
    }
}

#[test]
fn a_mistral_ends_texts_as_its_config_says() {
    let config = json_of("tiny-mistral", "tokenizer_config.json");
    assert_eq!(config["add_eos_token"], true);
    for (post_processor, right) in [(true, vec![0, 2]), (false, vec![2])] {
        let mut tokenizer = json_of("tiny-mistral", "tokenizer.json");
        if !post_processor {
            tokenizer["post_processor"] = Value::Null;
        }
        let embedder = changed("tiny-mistral", &[("tokenizer.json", tokenizer)]).unwrap();
        assert_eq!(ids(&embedder, ""), right);
    }
}

#[test]
fn the_side_that_is_cut_off_is_the_models() {
    let text = "dog ".repeat(40) + "fire";
    let tail = "dog ".repeat(29) + "fire";
    let one = |embedder: &Embedder, text: &str| {
        let output = embedder
            .encode(vec![text.into()], &EncodeOptions::default())
            .unwrap();
        output.data
    };
    let mut config = json_of("tiny-bert", "tokenizer_config.json");
    config["truncation_side"] = json!("left");
    let left = changed("tiny-bert", &[("tokenizer_config.json", config.clone())]).unwrap();
    let usual = changed("tiny-bert", &[]).unwrap();
    assert!(cosine(&one(&left, &text), &one(&usual, &tail)) > 0.999_999);
    assert!(cosine(&one(&usual, &text), &one(&usual, &tail)) < 0.999);
    assert_ne!(left.space_id(), usual.space_id());
    config["truncation_side"] = json!("top");
    let error = changed("tiny-bert", &[("tokenizer_config.json", config)])
        .err()
        .unwrap();
    assert!(error.to_string().contains("truncation_side"), "{error}");
}

#[test]
fn spaces_differ_where_ids_do() {
    let usual = changed("tiny-bert", &[]).unwrap().space_id();
    let names = json_of("tiny-bert", "tokenizer_config.json");
    for (change, same) in [
        (
            json!({ "model_input_names": ["input_ids"], "chat_template": "x", "padding_side": "left" }),
            true,
        ),
        (json!({ "strip_accents": false }), false),
        (json!({ "do_lower_case": false }), false),
        (json!({ "extra_special_tokens": ["dog"] }), false),
        (json!({ "mask_token": "dog" }), false),
    ] {
        let mut config = names.clone();
        config
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let files = [
            ("tokenizer_config.json", config),
            ("special_tokens_map.json", Value::Null),
        ];
        let embedder = changed("tiny-bert", &files).unwrap();
        assert_eq!(embedder.space_id() == usual, same, "{change}");
    }
}

#[test]
fn settings_that_cannot_be_obeyed_are_refused_by_name() {
    let names = json_of("tiny-bert", "tokenizer_config.json");
    for (change, named) in [
        (
            json!({ "auto_map": { "AutoTokenizer": ["tokenization.Mine", null] } }),
            "auto_map",
        ),
        (
            json!({ "tokenizer_class": "BertJapaneseTokenizer" }),
            "BertJapaneseTokenizer",
        ),
        (json!({ "do_lower_case": "yes" }), "do_lower_case"),
        (json!({ "strip_accents": 1 }), "strip_accents"),
        (json!({ "cls_token": null }), "cls_token"),
        (json!({ "cls_token": 5 }), "cls_token"),
        (
            json!({ "added_tokens_decoder": { "x": { "content": "y" } } }),
            "added_tokens_decoder",
        ),
        (
            json!({ "added_tokens_decoder": { "1": { "special": true } } }),
            "added_tokens_decoder",
        ),
        (
            json!({ "extra_special_tokens": "dog" }),
            "extra_special_tokens",
        ),
        // No row is left for it.
        (json!({ "extra_special_tokens": ["a new one"] }), "172 rows"),
    ] {
        let mut config = names.clone();
        config
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let files = [
            ("tokenizer_config.json", config),
            ("special_tokens_map.json", Value::Null),
        ];
        let error = changed("tiny-bert", &files).err();
        let error = error
            .unwrap_or_else(|| panic!("{change} loads"))
            .to_string();
        assert!(error.contains(named), "{error}");
    }
    let added = [("added_tokens.json", json!({ "dog": "one" }))];
    let error = changed("tiny-bert", &added).err().unwrap().to_string();
    assert!(error.contains("added_tokens.json"), "{error}");
}

/// paraphrase-multilingual-MiniLM-L12-v2 and models made of it are published so. transformers 4
/// takes their file, and version 5 gives the unknown token for every word.
#[test]
fn a_class_over_another_kind_of_vocabulary_takes_the_file() {
    for (folder, class) in [
        ("tiny-m3", "BertTokenizer"),
        ("tiny-m3", "RobertaTokenizerFast"),
        ("tiny-bert", "T5Tokenizer"),
        ("tiny-qwen3", "XLMRobertaTokenizer"),
        ("tiny-bert", "Made_UpTokenizer"),
    ] {
        let with = |class: &str| {
            let config = json!({ "tokenizer_class": class, "do_lower_case": true });
            changed(folder, &[("tokenizer_config.json", config)]).unwrap()
        };
        let (plain, named) = (with("PreTrainedTokenizerFast"), with(class));
        for text in ["A Ship at Night IN Paris", "the dog, \u{e9}t\u{e9}"] {
            assert_eq!(
                ids(&named, text),
                ids(&plain, text),
                "{class} over {folder}"
            );
        }
        assert_eq!(named.space_id(), plain.space_id());
    }
}

#[test]
fn tokens_that_only_the_class_asks_for_need_no_row() {
    // The class would add a hundred tokens to a vocabulary that has none of them.
    let config = json!({ "tokenizer_class": "T5TokenizerFast" });
    let embedder = changed("tiny-t5", &[("tokenizer_config.json", config)]).unwrap();
    for text in ["a dog", "<extra_id_0>"] {
        assert!(ids(&embedder, text).iter().all(|id| *id < 110));
    }
}

#[test]
fn saved_models_keep_their_settings() {
    let config = json!({
        "tokenizer_class": "BertTokenizer", "do_lower_case": false, "truncation_side": "left",
    });
    let files = [
        ("tokenizer_config.json", config),
        ("special_tokens_map.json", json!({ "mask_token": "dog" })),
        ("added_tokens.json", json!({ "fire": 20, "cat": 21 })),
        (
            "sentence_bert_config.json",
            json!({ "max_seq_length": 32, "do_lower_case": true }),
        ),
    ];
    let embedder = changed("tiny-bert", &files).unwrap();
    let folder = saved(&embedder, None, 1 << 20);
    let again = open(&folder, Some(WeightDtype::F32)).unwrap();
    for text in ["a Dog xcatx FIRE [MASK]", "Café", "xdogx"] {
        assert_eq!(ids(&again, text), ids(&embedder, text));
    }
    assert_eq!(again.space_id(), embedder.space_id());
    assert_ne!(
        ids(&embedder, "xcatx"),
        ids(&changed("tiny-bert", &[]).unwrap(), "xcatx")
    );
}

#[test]
fn a_byte_order_mark_before_tokenizer_json_is_passed_over() {
    let mut tokenizer = "\u{feff}".as_bytes().to_vec();
    tokenizer.extend(std::fs::read(fixture("tiny-bert").join("tokenizer.json")).unwrap());
    let changes: [(&str, Option<&[u8]>); 1] = [("tokenizer.json", Some(&tokenizer))];
    let embedder = load_with(&fixture("tiny-bert"), WeightDtype::F32, &changes, 1 << 20).unwrap();
    let usual = changed("tiny-bert", &[]).unwrap();
    assert_eq!(ids(&embedder, "a dog"), ids(&usual, "a dog"));
}

/// MPNet's class takes the white space before a mask into the token, and leaves it out of the
/// token's place.
#[test]
fn places_of_masks_are_without_the_white_space_before_them() {
    let mut config = json_of("tiny-mpnet", "tokenizer_config.json");
    config["tokenizer_class"] = json!("MPNetTokenizer");
    let model = changed("tiny-mpnet", &[("tokenizer_config.json", config)]).unwrap();
    // From `MPNetTokenizer` of transformers 5.23.
    for (text, expected) in [
        ("a <mask> b", vec![(0, 1), (2, 8), (9, 10)]),
        ("the  <mask>", vec![(0, 3), (5, 11)]),
        ("x<mask>", vec![(0, 1), (1, 7)]),
        ("  <mask>", vec![(2, 8)]),
    ] {
        let tokens = model.tokenize(text, false).unwrap();
        let places: Vec<_> = tokens
            .iter()
            .map(|token| (token.start.unwrap(), token.stop.unwrap()))
            .collect();
        assert_eq!(places, expected, "{text}");
    }
}
