//! ALBERT (Lan et al. 2020): BERT with narrow embeddings, whose layers all have the same weights.

use super::{ClassifierNames, Family, MOST_WIDTH, Names, NormNames, always, bert};
use crate::error::Result;
use crate::model::families::config::Config;
use crate::model::transformer::spec::Spec;

pub const FAMILY: Family = Family {
    name: "albert",
    model_types: &["albert"],
    classes: &["Albert"],
    is: always,
    prefixes: &["", "albert."],
    unused: &["pooler.", "predictions.", "sop_classifier."],
    spec,
    spellings: &[Names {
        embedding_projection: "encoder.embedding_hidden_mapping_in",
        layer: "encoder.albert_layer_groups.{}.albert_layers.0.",
        qkv: &["attention.query", "attention.key", "attention.value"],
        attention_output: "attention.dense",
        attention_norms: NormNames::post("attention.LayerNorm"),
        ffn_up: "ffn",
        ffn_down: "ffn_output",
        ffn_norms: NormNames::post("full_layer_layer_norm"),
        ..bert::NAMES
    }],
    classifier: Some(ClassifierNames {
        dense: Some("pooler"),
        ..ClassifierNames::BERT
    }),
    mlm: None,
    ..bert::FAMILY
};

fn spec(config: &Config) -> Result<Spec> {
    bert::absolute_positions(config)?;
    for field in ["num_hidden_groups", "inner_group_num"] {
        config.only(field, &[1.into()])?;
    }
    Ok(Spec {
        embedding_size: config.size_or("embedding_size", 128, MOST_WIDTH)?,
        shared_layers: true,
        activation: config.activation("hidden_act", "gelu_new")?,
        ..bert::common(config)?
    })
}
