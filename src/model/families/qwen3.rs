//! Qwen3 (Yang et al. 2025), of the Qwen3-Embedding models: Mistral's decoder with norms of each query and key head.

use super::{Family, MOST_LAYERS, MOST_ROWS, Names, always, mistral};
use crate::error::Result;
use crate::model::config::Config;
use crate::model::rope::{self, LayerKind};
use crate::model::spec::{LayerSpec, Spec};

pub const FAMILY: Family = Family {
    name: "qwen3",
    model_types: &["qwen3"],
    is: always,
    spec,
    spellings: &[Names {
        head_norms: HEAD_NORMS,
        ..mistral::NAMES
    }],
    instruction: Some("Instruct: {}\nQuery:"),
    ..mistral::FAMILY
};

/// Norms of each query and of each key head.
pub const HEAD_NORMS: Option<[&str; 2]> = Some(["self_attn.q_norm", "self_attn.k_norm"]);

fn spec(config: &Config) -> Result<Spec> {
    let count = config.size("num_hidden_layers", MOST_LAYERS)?;
    let window = if config.flag("use_sliding_window", false)? {
        Some(config.size_or("sliding_window", 4096, MOST_ROWS)?)
    } else {
        None
    };
    let full = config.size_or("max_window_layers", 28, MOST_LAYERS)?;
    let kinds = LayerKind::read(config, count, |layer| window.is_none() || layer < full)?;
    let rope = Some(rope::read(config, 1_000_000.0)?);
    let layers = kinds.into_iter().map(|kind| LayerSpec {
        mask: mistral::causal(window.filter(|_| kind == LayerKind::Sliding)),
        rope,
    });
    mistral::decoder(config, layers.collect())
}
