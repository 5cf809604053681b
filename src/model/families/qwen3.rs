//! Qwen3 (Yang et al. 2025), of the Qwen3-Embedding and Qwen3-Reranker models: Mistral's decoder with norms of each query and
//! key head.

use super::{Family, Judge, MOST_LAYERS, MOST_ROWS, Names, always, mistral};
use crate::error::Result;
use crate::model::families::config::Config;
use crate::model::transformer::rope::{self, LayerKind};
use crate::model::transformer::spec::{LayerSpec, Spec};

pub const FAMILY: Family = Family {
    name: "qwen3",
    model_types: &["qwen3"],
    classes: &["Qwen3"],
    is: always,
    spec,
    spellings: &[Names {
        head_norms: HEAD_NORMS,
        ..mistral::NAMES
    }],
    judge: Some(&Judge {
        question: &[
            "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n",
            "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n<Query>: {query}\n<Document>: {document}",
            "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        ],
        prompted: "<Instruct>: {prompt}\n<Query>: {query}\n<Document>: {document}",
        answers: ["yes", "no"],
        sigmoid: true,
    }),
    instruction: Some("Instruct: {}\nQuery:"),
    ..mistral::FAMILY
};

/// Norms of each query and of each key head.
pub const HEAD_NORMS: Option<[&str; 2]> = Some(["self_attn.q_norm", "self_attn.k_norm"]);

fn spec(config: &Config) -> Result<Spec> {
    mistral::decoder(config, layers(config)?)
}

/// Layers of Qwen2's and Qwen3's decoders.
pub fn layers(config: &Config) -> Result<Vec<LayerSpec>> {
    mistral::no_other_direction(config)?;
    let count = config.size("num_hidden_layers", MOST_LAYERS)?;
    let window = if config.flag("use_sliding_window", false)? && !config.is_null("sliding_window") {
        Some(config.size_or("sliding_window", 4096, MOST_ROWS)?)
    } else {
        None
    };
    // The one number of this config that may be 0: all layers have the window.
    let full = match config
        .get("max_window_layers")
        .map(serde_json::Value::as_u64)
    {
        Some(Some(0)) => 0,
        _ => config.size_or("max_window_layers", 28, MOST_LAYERS)?,
    };
    let kinds = LayerKind::read(config, count, |layer| window.is_none() || layer < full)?;
    if window.is_none() && kinds.contains(&LayerKind::Sliding) {
        return Err(config.wrong(
            "sliding_window",
            "a whole number, and use_sliding_window true: layer_types has layers with a window",
        ));
    }
    let rope = Some(rope::read(config, 10_000.0)?);
    let layers = kinds.into_iter().map(|kind| {
        let window = window.filter(|_| kind == LayerKind::Sliding);
        let mask = mistral::mask(config, window)?;
        Ok(LayerSpec {
            mask,
            rope,
            experts: false,
        })
    });
    layers.collect()
}
