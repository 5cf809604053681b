//! DistilBERT (Sanh et al. 2019): BERT of half the layers, without token types, under names of its own.

use super::{Family, MOST_LAYERS, MOST_ROWS, MOST_WIDTH, MlmNames, Names, heads};
use crate::error::Result;
use crate::model::config::Config;
use crate::model::spec::{Positions, Spec};

pub const FAMILY: Family = Family {
    name: "distilbert",
    model_types: &["distilbert"],
    prefixes: &["", "distilbert."],
    spec,
    names: Names {
        word_embeddings: "embeddings.word_embeddings.weight",
        position_embeddings: "embeddings.position_embeddings.weight",
        token_type_embeddings: "",
        embedding_norm: "embeddings.LayerNorm",
        layer: "transformer.layer.{}.",
        qkv: ["attention.q_lin", "attention.k_lin", "attention.v_lin"],
        attention_output: "attention.out_lin",
        attention_norm: "sa_layer_norm",
        ffn_up: "ffn.lin1",
        ffn_down: "ffn.lin2",
        ffn_norm: "output_layer_norm",
        mlm: MlmNames {
            transform: "vocab_transform",
            norm: "vocab_layer_norm",
            decoder: "vocab_projector.weight",
            bias: "vocab_projector.bias",
            activation: None,
        },
    },
};

/// What transformers builds each LayerNorm of DistilBERT with; its config has no field for it.
const NORM_EPS: f32 = 1e-12;

fn spec(config: &Config) -> Result<Spec> {
    Ok(Spec {
        vocab_size: config.size("vocab_size", MOST_ROWS)?,
        hidden_size: config.size("dim", MOST_WIDTH)?,
        intermediate_size: config.size("hidden_dim", MOST_WIDTH)?,
        layers: config.size("n_layers", MOST_LAYERS)?,
        heads: heads(config, "dim", "n_heads")?,
        // Sinusoidal positions are in the checkpoint as a table, like learned ones.
        position_rows: config.size("max_position_embeddings", MOST_ROWS)?,
        positions: Positions::FromZero,
        token_types: None,
        activation: config.activation("activation")?,
        norm_eps: NORM_EPS,
    })
}
