//! BERT (Devlin et al. 2018): learned positions, LayerNorm after each block, GELU feed-forward.

use super::{
    BERT_HEADS, ClassifierNames, Family, MOST_LAYERS, MOST_ROWS, MOST_WIDTH, MlmNames, Names,
    NormNames, OwnModule, always, attention_scale, encoder, heads,
};
use crate::backend::NormKind;
use crate::error::Result;
use crate::model::families::config::Config;
use crate::model::transformer::spec::{Biases, LayerSpec, Positions, Spec};

pub const FAMILY: Family = Family {
    name: "bert",
    model_types: &["bert"],
    classes: &["Bert"],
    is: always,
    prefixes: &["", "bert."],
    unused: BERT_HEADS,
    code: &[],
    code_of: &[],
    spec,
    spellings: &[NAMES],
    mlm: Some(MlmNames {
        transform: "cls.predictions.transform.dense",
        transform_bias: true,
        norm: "cls.predictions.transform.LayerNorm",
        decoder: "cls.predictions.decoder.weight",
        bias: "cls.predictions.bias",
        activation: None,
    }),
    classifier: Some(ClassifierNames::BERT),
    judge: None,
    instruction: None,
    m3_heads: false,
    own_module: OwnModule::None,
};

pub const NAMES: Names = Names {
    word_embeddings: "embeddings.word_embeddings.weight",
    position_embeddings: "embeddings.position_embeddings.weight",
    token_type_embeddings: "embeddings.token_type_embeddings.weight",
    relative_bias: "",
    relative: None,
    embedding_projection: "",
    embedding_norm: Some("embeddings.LayerNorm"),
    layer: "encoder.layer.{}.",
    qkv: &[
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
    ],
    head_norms: None,
    wide_norms: None,
    experts: None,
    attention_output: "attention.output.dense",
    attention_norms: NormNames::post("attention.output.LayerNorm"),
    ffn_up: "intermediate.dense",
    ffn_gated: &[],
    ffn_down: "output.dense",
    ffn_norms: NormNames::post("output.LayerNorm"),
    final_norm: None,
    projection: "",
    is_saved: false,
};

fn spec(config: &Config) -> Result<Spec> {
    absolute_positions(config)?;
    common(config)
}

/// Refuses positions of other kinds than learned ones.
pub fn absolute_positions(config: &Config) -> Result<()> {
    match config.text("position_embedding_type")? {
        None | Some("absolute") => Ok(()),
        Some(_) => Err(config.wrong("position_embedding_type", "\"absolute\" or \"alibi\"")),
    }
}

/// Reads the config fields that BERT and its relatives share.
pub fn common(config: &Config) -> Result<Spec> {
    Ok(Spec {
        token_types: Some(config.size_or("type_vocab_size", 2, MOST_ROWS)?),
        ..without_types(config)?
    })
}

/// As [`common`], without a table of token types.
pub fn without_types(config: &Config) -> Result<Spec> {
    encoder(config)?;
    let heads = heads(config, "hidden_size", "num_attention_heads")?;
    let rows = config.size("max_position_embeddings", MOST_ROWS)?;
    Ok(Spec {
        vocab_size: config.size("vocab_size", MOST_ROWS)?,
        hidden_size: config.size("hidden_size", MOST_WIDTH)?,
        embedding_size: config.size("hidden_size", MOST_WIDTH)?,
        intermediate_size: config.size("intermediate_size", MOST_WIDTH)?,
        heads,
        attention_scale: attention_scale(heads),
        attention_cap: None,
        layers: vec![LayerSpec::default(); config.size("num_hidden_layers", MOST_LAYERS)?],
        shared_layers: false,
        positions: Positions::FromZero { rows },
        relative: None,
        max_positions: rows,
        token_types: None,
        embedding_scale: 1.0,
        activation: config.activation("hidden_act", "gelu")?,
        gate: None,
        norm: NormKind::Layer,
        norm_eps: config.epsilon("layer_norm_eps", 1e-12)?,
        biases: Biases::ALL,
        experts: None,
        adapters: None,
        projection: None,
    })
}
