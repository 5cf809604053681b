//! RoBERTa (Liu et al. 2019), XLM-RoBERTa (Conneau et al. 2019) and CamemBERT: BERT with positions that begin after the
//! padding token's id, and a head for masked-language modelling of other names.

use super::{Family, MlmNames, Names, bert};
use crate::backend::Activation;
use crate::error::Result;
use crate::model::config::Config;
use crate::model::spec::{Positions, Spec};

pub const FAMILY: Family = Family {
    name: "roberta",
    model_types: &["roberta", "xlm-roberta", "camembert"],
    prefixes: &["", "roberta."],
    spec,
    names: Names {
        mlm: MlmNames {
            transform: "lm_head.dense",
            norm: "lm_head.layer_norm",
            decoder: "lm_head.decoder.weight",
            bias: "lm_head.bias",
            activation: Some(Activation::Gelu),
        },
        ..bert::FAMILY.names
    },
};

fn spec(config: &Config) -> Result<Spec> {
    let spec = bert::spec(config)?;
    // 0 is a legal id, so this is read apart from the sizes, which begin at 1.
    let padding = match config.get("pad_token_id") {
        None => 1,
        Some(id) => id
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
            .filter(|id| (*id as usize) < spec.position_rows)
            .ok_or_else(|| {
                config.wrong(
                    "pad_token_id",
                    "a whole number less than max_position_embeddings",
                )
            })?,
    };
    Ok(Spec {
        positions: Positions::AfterPadding(padding),
        ..spec
    })
}
