//! Model families: a table of config fields and tensor names for each, not another forward pass.

mod bert;
mod distilbert;
mod roberta;

use super::config::Config;
use super::spec::Spec;
use crate::backend::{Activation, Heads};
use crate::error::{Error, Result};

/// What tells one family from another.
pub struct Family {
    /// The name that `info` shows.
    pub name: &'static str,
    /// Values of `model_type` in config.json.
    pub model_types: &'static [&'static str],
    /// Prefixes that its tensor names may carry.
    pub prefixes: &'static [&'static str],
    /// Reads config.json.
    pub spec: fn(&Config) -> Result<Spec>,
    /// Tensor names.
    pub names: Names,
}

/// Tensor names, without prefix. A "module" has a `.weight` and a `.bias`; a layer's names follow `layer` with `{}`
/// replaced by its index.
pub struct Names {
    /// Table of word embeddings.
    pub word_embeddings: &'static str,
    /// Table of learned positions.
    pub position_embeddings: &'static str,
    /// Table of token types, where the `Spec` has one.
    pub token_type_embeddings: &'static str,
    /// Module: LayerNorm of the embeddings.
    pub embedding_norm: &'static str,
    /// Prefix of a layer.
    pub layer: &'static str,
    /// Modules of a layer: query, key and value projections.
    pub qkv: [&'static str; 3],
    /// Module of a layer: projection of the attention's output.
    pub attention_output: &'static str,
    /// Module of a layer: LayerNorm after attention.
    pub attention_norm: &'static str,
    /// Module of a layer: first product of the feed-forward block.
    pub ffn_up: &'static str,
    /// Module of a layer: second product of the feed-forward block.
    pub ffn_down: &'static str,
    /// Module of a layer: LayerNorm after the feed-forward block.
    pub ffn_norm: &'static str,
    /// Head for masked-language modelling, which SPLADE reads.
    pub mlm: MlmNames,
}

/// Tensor names of a masked-language-modelling head; these carry no prefix.
pub struct MlmNames {
    /// Module: dense layer before the decoder.
    pub transform: &'static str,
    /// Module: LayerNorm before the decoder.
    pub norm: &'static str,
    /// Decoder weights `[vocab, hidden]`; the word embeddings where the file has none (tied).
    pub decoder: &'static str,
    /// Decoder bias `[vocab]`.
    pub bias: &'static str,
    /// Its activation, where that is not the feed-forward block's.
    pub activation: Option<Activation>,
}

/// Bounds far above any real model, so that a hostile config cannot make a size overflow.
const MOST_WIDTH: usize = 1 << 16;
const MOST_ROWS: usize = 1 << 24;
const MOST_LAYERS: usize = 1024;

const FAMILIES: &[Family] = &[bert::FAMILY, roberta::FAMILY, distilbert::FAMILY];

/// The family of a model by its config.json.
pub fn find(config: &Config) -> Result<&'static Family> {
    let Some(model_type) = config.text("model_type")? else {
        return Err(config.wrong("model_type", "the name of a model family, such as \"bert\""));
    };
    FAMILIES.iter().find(|family| family.model_types.contains(&model_type)).ok_or_else(|| {
        let known: Vec<_> = FAMILIES.iter().flat_map(|family| family.model_types).copied().collect();
        Error::UnsupportedModel(format!(
            "config.json names the model type {model_type:?}, which is not supported; supported are: {}",
            known.join(", ")
        ))
    })
}

/// Heads of equal size; `width` and `count` are field names.
fn heads(config: &Config, width: &str, count: &str) -> Result<Heads> {
    let size = config.size(width, MOST_WIDTH)?;
    let heads = config.size(count, MOST_WIDTH)?;
    if !size.is_multiple_of(heads) {
        return Err(config.wrong(count, &format!("a divisor of {width} ({size})")));
    }
    Ok(Heads {
        count: heads,
        size: size / heads,
    })
}
