//! RoBERTa (Liu et al. 2019), XLM-RoBERTa (Conneau et al. 2019) and CamemBERT: BERT with positions
//! that begin after the padding token's id, and a head for masked-language modelling of other
//! names.

use super::{BERT_HEADS, ClassifierNames, Family, MlmNames, OwnModule, always, bert};
use crate::backend::Activation;
use crate::error::Result;
use crate::model::families::config::Config;
use crate::model::transformer::spec::{Positions, Spec};

pub const FAMILY: Family = Family {
    name: "roberta",
    model_types: &["roberta", "xlm-roberta", "camembert"],
    classes: &["Roberta", "XLMRoberta", "Camembert"],
    is: always,
    prefixes: &["", "roberta."],
    unused: BERT_HEADS,
    code: &[],
    code_of: &[],
    spec,
    spellings: &[bert::NAMES],
    mlm: Some(LM_HEAD),
    classifier: Some(ClassifierNames::ROBERTA),
    judge: None,
    instruction: None,
    m3_heads: true,
    own_module: OwnModule::None,
};

pub const LM_HEAD: MlmNames = MlmNames {
    transform: "lm_head.dense",
    transform_bias: true,
    norm: "lm_head.layer_norm",
    decoder: "lm_head.decoder.weight",
    bias: "lm_head.bias",
    activation: Some(Activation::Gelu),
};

/// Reads config.json.
pub fn spec(config: &Config) -> Result<Spec> {
    bert::absolute_positions(config)?;
    let spec = bert::common(config)?;
    // 0 is a legal id, so this is read apart from the sizes, which begin at 1.
    let padding = match config.get("pad_token_id") {
        None if !config.is_null("pad_token_id") => 1,
        None => return Err(config.wrong("pad_token_id", "a whole number")),
        Some(id) => id
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
            .filter(|id| (*id as usize) < spec.max_positions)
            .ok_or_else(|| {
                config.wrong(
                    "pad_token_id",
                    "a whole number less than max_position_embeddings",
                )
            })?,
    };
    Ok(after_padding(spec, padding))
}

/// With positions that begin after the padding token's id.
pub fn after_padding(spec: Spec, padding: u32) -> Spec {
    let positions = Positions::AfterPadding {
        rows: spec.max_positions,
        padding,
    };
    Spec {
        positions,
        max_positions: positions.longest(),
        ..spec
    }
}
