//! Llama (Touvron et al. 2023): Mistral's decoder without a window, with frequencies that Llama 3.1
//! scales.

use super::{Family, MOST_LAYERS, MOST_ROWS, always, mistral};
use crate::backend::Mask;
use crate::error::Result;
use crate::model::families::config::Config;
use crate::model::transformer::rope;
use crate::model::transformer::spec::{Biases, LayerSpec, Spec};

pub const FAMILY: Family = Family {
    name: "llama",
    model_types: &["llama"],
    classes: &["Llama"],
    is: always,
    spec,
    instruction: None,
    ..mistral::FAMILY
};

/// NVIDIA's embedders (llama-embed-nemotron-8b): the same with attention in both directions.
pub const BIDIRECTIONAL: Family = Family {
    name: "llama_bidirec",
    model_types: &["llama_bidirec"],
    classes: &["LlamaBidirectional"],
    code: &[
        "llama_bidirectional_model.LlamaBidirectionalConfig",
        "llama_bidirectional_model.LlamaBidirectionalModel",
    ],
    code_of: &["nvidia/"],
    spec: |config| masked(config, Mask::default()),
    ..FAMILY
};

fn spec(config: &Config) -> Result<Spec> {
    mistral::no_other_direction(config)?;
    masked(config, mistral::mask(config, None)?)
}

fn masked(config: &Config, mask: Mask) -> Result<Spec> {
    let layer = LayerSpec {
        mask,
        rope: Some(rope::read(config, 10_000.0)?),
        experts: false,
    };
    decoder(config, layer, 2048, 1e-6)
}

/// A spec of layers that are all the same; `positions` and `eps` are defaults.
pub fn decoder(config: &Config, layer: LayerSpec, positions: usize, eps: f32) -> Result<Spec> {
    let count = config.size("num_hidden_layers", MOST_LAYERS)?;
    let spec = mistral::decoder(config, vec![layer; count])?;
    let bias = config.flag("mlp_bias", false)?;
    Ok(Spec {
        max_positions: config.size_or("max_position_embeddings", positions, MOST_ROWS)?,
        norm_eps: config.epsilon("rms_norm_eps", eps)?,
        biases: Biases {
            ffn_up: bias,
            ffn_down: bias,
            ..spec.biases
        },
        ..spec
    })
}
