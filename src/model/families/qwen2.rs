//! Qwen2 (Yang et al. 2024), of the gte-Qwen2 models: Mistral's decoder with biases of queries, keys and
//! values.

use super::{Family, always, mistral, qwen3};
use crate::error::Result;
use crate::model::families::config::Config;
use crate::model::transformer::spec::{Biases, Spec};

pub const FAMILY: Family = Family {
    name: "qwen2",
    model_types: &["qwen2"],
    classes: &["Qwen2"],
    is: always,
    spec,
    ..mistral::FAMILY
};

fn spec(config: &Config) -> Result<Spec> {
    let field = "num_key_value_heads";
    if config.get(field).is_none() && !config.is_null(field) {
        // The reference takes 32 then, whatever the number of heads.
        return Err(config.wrong(field, "a whole number"));
    }
    let spec = mistral::decoder(config, qwen3::layers(config)?)?;
    Ok(Spec {
        // These are no matter of `attention_bias`.
        biases: Biases {
            qkv: true,
            ..Biases::NONE
        },
        ..spec
    })
}
