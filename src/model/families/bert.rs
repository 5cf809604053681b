//! BERT (Devlin et al. 2018): learned positions, LayerNorm after each block, GELU feed-forward.

use super::{Family, MOST_LAYERS, MOST_ROWS, MOST_WIDTH, MlmNames, Names, heads};
use crate::error::Result;
use crate::model::config::Config;
use crate::model::spec::{Positions, Spec};

pub const FAMILY: Family = Family {
    name: "bert",
    model_types: &["bert"],
    prefixes: &["", "bert."],
    spec,
    names: Names {
        word_embeddings: "embeddings.word_embeddings.weight",
        position_embeddings: "embeddings.position_embeddings.weight",
        token_type_embeddings: "embeddings.token_type_embeddings.weight",
        embedding_norm: "embeddings.LayerNorm",
        layer: "encoder.layer.{}.",
        qkv: [
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
        ],
        attention_output: "attention.output.dense",
        attention_norm: "attention.output.LayerNorm",
        ffn_up: "intermediate.dense",
        ffn_down: "output.dense",
        ffn_norm: "output.LayerNorm",
        mlm: MlmNames {
            transform: "cls.predictions.transform.dense",
            norm: "cls.predictions.transform.LayerNorm",
            decoder: "cls.predictions.decoder.weight",
            bias: "cls.predictions.bias",
            activation: None,
        },
    },
};

/// Reads the config fields that BERT and its relatives share.
pub fn spec(config: &Config) -> Result<Spec> {
    if config
        .text("position_embedding_type")?
        .is_some_and(|kind| kind != "absolute")
    {
        return Err(config.wrong("position_embedding_type", "\"absolute\""));
    }
    if config.flag("is_decoder", false)? {
        return Err(config.wrong("is_decoder", "false: the model must be an encoder"));
    }
    Ok(Spec {
        vocab_size: config.size("vocab_size", MOST_ROWS)?,
        hidden_size: config.size("hidden_size", MOST_WIDTH)?,
        intermediate_size: config.size("intermediate_size", MOST_WIDTH)?,
        layers: config.size("num_hidden_layers", MOST_LAYERS)?,
        heads: heads(config, "hidden_size", "num_attention_heads")?,
        position_rows: config.size("max_position_embeddings", MOST_ROWS)?,
        positions: Positions::FromZero,
        token_types: Some(config.size_or("type_vocab_size", 2, MOST_ROWS)?),
        activation: config.activation("hidden_act")?,
        norm_eps: config.epsilon("layer_norm_eps", 1e-12)?,
    })
}
