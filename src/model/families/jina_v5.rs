//! jina-embeddings-v5-text (2026): Qwen3's decoder (small) or `EuroBERT`'s encoder (nano), with a
//! `LoRA` adapter for each of several tasks, in folders of their own. One is merged into the
//! weights as the model is loaded.

use super::{Family, OwnModule, eurobert, qwen3};
use crate::model::families::config::Config;

/// Qwen3's.
pub const SMALL: Family = Family {
    name: "jina_embeddings_v5",
    model_types: &["jina_embeddings_v5"],
    classes: &["JinaEmbeddingsV5"],
    is: |config| !is_encoder(config),
    code: CODE,
    code_of: &["jinaai/"],
    classifier: None,
    judge: None,
    instruction: None,
    own_module: OwnModule::LastToken,
    ..qwen3::FAMILY
};

/// `EuroBERT`'s.
pub const NANO: Family = Family {
    name: SMALL.name,
    model_types: SMALL.model_types,
    classes: SMALL.classes,
    is: is_encoder,
    code: CODE,
    code_of: SMALL.code_of,
    own_module: SMALL.own_module,
    ..eurobert::FAMILY
};

const CODE: &[&str] = &[
    "configuration_jina_embeddings_v5.JinaEmbeddingsV5Config",
    "modeling_jina_embeddings_v5.JinaEmbeddingsV5Model",
];

/// Whether the config lacks what every Qwen3's has. A file with the other's tensors is refused.
fn is_encoder(config: &Config) -> bool {
    let fields = ["use_sliding_window", "max_window_layers"];
    fields.iter().all(|field| config.get(field).is_none())
}
