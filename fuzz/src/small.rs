//! The smallest models, so that a fuzzer's bytes are spent on formats and not on weights.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::Files;
use super::files::{self, Tensor};
use super::synthetic::{self, Row};

const VOCABULARY: [&str; 8] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##a",
];
const HIDDEN: usize = 8;
const FFN: usize = 12;
const POSITIONS: usize = 16;

/// A BERT of one layer.
pub static BERT: LazyLock<Files> = LazyLock::new(|| model("bert"));

/// An XLM-RoBERTa, beside which there may be BGE-M3's heads.
pub static M3: LazyLock<Files> = LazyLock::new(|| model("xlm-roberta"));

/// The weights of [`BERT`] in three shards, and their index.
pub static SHARDS: LazyLock<Files> = LazyLock::new(|| {
    let (index, shards) = files::shards(&BERT["model.safetensors"]);
    let index = index.to_string().into_bytes();
    let index = ("model.safetensors.index.json".to_owned(), index);
    shards.into_iter().chain([index]).collect()
});

fn model(model_type: &str) -> Files {
    let config = json!({
        "model_type": model_type,
        "vocab_size": VOCABULARY.len(),
        "hidden_size": HIDDEN,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": FFN,
        "max_position_embeddings": POSITIONS,
    });
    let json = [("config.json", config), ("tokenizer.json", tokenizer())];
    let json = json.map(|(name, json)| (name.to_owned(), json.to_string().into_bytes()));
    let weights = synthetic::file(&rows());
    let weights = ("model.safetensors".to_owned(), weights);
    json.into_iter().chain([weights]).collect()
}

/// The tensors of [`BERT`].
pub fn tensors() -> Vec<Tensor> {
    files::tensors(&BERT["model.safetensors"])
}

fn tokenizer() -> Value {
    let ids = (0..).zip(VOCABULARY);
    let vocabulary: serde_json::Map<String, Value> = ids
        .map(|(id, token): (u32, &str)| (token.to_owned(), json!(id)))
        .collect();
    let special = |id: usize| {
        let token = VOCABULARY[id];
        (
            token,
            json!({ "id": token, "ids": [id], "tokens": [token] }),
        )
    };
    let piece = |id: &str| json!({ "SpecialToken": { "id": id, "type_id": 0 } });
    let text = json!({ "Sequence": { "id": "A", "type_id": 0 } });
    json!({
        "added_tokens": [],
        "pre_tokenizer": { "type": "Whitespace" },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [piece("[CLS]"), text, piece("[SEP]")],
            "pair": [piece("[CLS]"), text, piece("[SEP]")],
            "special_tokens": serde_json::Map::from_iter([special(2), special(3)].map(|(k, v)| (k.to_owned(), v))),
        },
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocabulary,
        },
    })
}

/// Names, shapes, means and spreads, as `synthetic` reads them.
fn rows() -> Vec<u8> {
    let mut rows: Vec<Row> = Vec::new();
    let mut add = |name: String, shape: &[usize], mean: f64| {
        rows.push((name, shape.to_vec(), mean, 0.5));
    };
    for (table, count) in [
        ("word", VOCABULARY.len()),
        ("position", POSITIONS),
        ("token_type", 2),
    ] {
        add(
            format!("embeddings.{table}_embeddings.weight"),
            &[count, HIDDEN],
            0.0,
        );
    }
    let layer = "encoder.layer.0";
    for norm in [
        "embeddings".to_owned(),
        format!("{layer}.attention.output"),
        format!("{layer}.output"),
    ] {
        add(format!("{norm}.LayerNorm.weight"), &[HIDDEN], 1.0);
        add(format!("{norm}.LayerNorm.bias"), &[HIDDEN], 0.0);
    }
    for (module, out, input) in [
        ("attention.self.query", HIDDEN, HIDDEN),
        ("attention.self.key", HIDDEN, HIDDEN),
        ("attention.self.value", HIDDEN, HIDDEN),
        ("attention.output.dense", HIDDEN, HIDDEN),
        ("intermediate.dense", FFN, HIDDEN),
        ("output.dense", HIDDEN, FFN),
    ] {
        add(format!("{layer}.{module}.weight"), &[out, input], 0.0);
        add(format!("{layer}.{module}.bias"), &[out], 0.0);
    }
    json!(rows).to_string().into_bytes()
}
