//! ELECTRA (Clark et al. 2020): BERT whose embeddings may be narrower than its states.

use super::{ClassifierNames, Family, MOST_WIDTH, Names, always, bert};
use crate::backend::Activation;
use crate::error::Result;
use crate::model::families::config::Config;
use crate::model::transformer::spec::Spec;

pub const FAMILY: Family = Family {
    name: "electra",
    model_types: &["electra"],
    classes: &["Electra"],
    is: always,
    prefixes: &["", "electra."],
    unused: &[
        "discriminator_predictions.",
        "generator_predictions.",
        "generator_lm_head.",
    ],
    spec,
    spellings: &[Names {
        embedding_projection: "embeddings_project",
        ..bert::NAMES
    }],
    classifier: Some(ClassifierNames {
        activation: Activation::Gelu,
        ..ClassifierNames::ROBERTA
    }),
    mlm: None,
    ..bert::FAMILY
};

fn spec(config: &Config) -> Result<Spec> {
    bert::absolute_positions(config)?;
    Ok(Spec {
        embedding_size: config.size_or("embedding_size", 128, MOST_WIDTH)?,
        ..bert::common(config)?
    })
}
