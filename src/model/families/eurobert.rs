//! EuroBERT (Boizard et al. 2025): Llama's layers, in which each token sees all others.

use super::{Family, always, encoder, llama};
use crate::backend::Mask;
use crate::error::Result;
use crate::model::families::config::Config;
use crate::model::transformer::rope;
use crate::model::transformer::spec::{LayerSpec, Spec};

pub const FAMILY: Family = Family {
    name: "eurobert",
    model_types: &["eurobert"],
    classes: &["EuroBert"],
    is: always,
    code: &[
        "configuration_eurobert.EuroBertConfig",
        "modeling_eurobert.EuroBertModel",
        "modeling_eurobert.EuroBertForMaskedLM",
    ],
    code_of: &["EuroBERT/"],
    classifier: None,
    spec,
    ..llama::FAMILY
};

fn spec(config: &Config) -> Result<Spec> {
    encoder(config)?;
    let layer = LayerSpec {
        mask: Mask::default(),
        rope: Some(rope::read(config, 10_000.0)?),
        experts: false,
    };
    llama::decoder(config, layer, 8192, 1e-5)
}
