//! DistilBERT (Sanh et al. 2019): BERT of half the layers, without token types, under names of its
//! own.

use super::{
    ClassifierNames, Family, MOST_LAYERS, MOST_ROWS, MOST_WIDTH, MlmNames, Names, NormNames,
    OwnModule, always, attention_scale, bert, encoder, heads,
};
use crate::backend::{Activation, NormKind};
use crate::error::Result;
use crate::model::families::config::Config;
use crate::model::transformer::spec::{Biases, LayerSpec, Positions, Spec};

pub const FAMILY: Family = Family {
    name: "distilbert",
    model_types: &["distilbert"],
    classes: &["DistilBert"],
    is: always,
    prefixes: &["", "distilbert."],
    unused: &["vocab_transform.", "vocab_layer_norm.", "vocab_projector."],
    code: &[],
    code_of: &[],
    spec,
    spellings: &[Names {
        layer: "transformer.layer.{}.",
        qkv: &["attention.q_lin", "attention.k_lin", "attention.v_lin"],
        attention_output: "attention.out_lin",
        attention_norms: NormNames::post("sa_layer_norm"),
        ffn_up: "ffn.lin1",
        ffn_down: "ffn.lin2",
        ffn_norms: NormNames::post("output_layer_norm"),
        ..bert::NAMES
    }],
    mlm: Some(MlmNames {
        transform: "vocab_transform",
        transform_bias: true,
        norm: "vocab_layer_norm",
        decoder: "vocab_projector.weight",
        bias: "vocab_projector.bias",
        activation: None,
    }),
    classifier: Some(ClassifierNames {
        dense: Some("pre_classifier"),
        activation: Activation::Relu,
        ..ClassifierNames::BERT
    }),
    judge: None,
    instruction: None,
    m3_heads: false,
    own_module: OwnModule::None,
};

/// What transformers builds each LayerNorm of DistilBERT with; its config has no field for it.
const NORM_EPS: f32 = 1e-12;

fn spec(config: &Config) -> Result<Spec> {
    encoder(config)?;
    let heads = heads(config, "dim", "n_heads")?;
    // Sinusoidal positions are in the checkpoint as a table, like learned ones.
    let rows = config.size("max_position_embeddings", MOST_ROWS)?;
    Ok(Spec {
        vocab_size: config.size("vocab_size", MOST_ROWS)?,
        hidden_size: config.size("dim", MOST_WIDTH)?,
        embedding_size: config.size("dim", MOST_WIDTH)?,
        intermediate_size: config.size("hidden_dim", MOST_WIDTH)?,
        heads,
        attention_scale: attention_scale(heads),
        attention_cap: None,
        layers: vec![LayerSpec::default(); config.size("n_layers", MOST_LAYERS)?],
        shared_layers: false,
        positions: Positions::FromZero { rows },
        relative: None,
        max_positions: rows,
        token_types: None,
        embedding_scale: 1.0,
        activation: config.activation("activation", "gelu")?,
        gate: None,
        norm: NormKind::Layer,
        norm_eps: NORM_EPS,
        biases: Biases::ALL,
        experts: None,
        adapters: None,
        projection: None,
    })
}
