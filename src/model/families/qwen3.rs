//! Qwen3 (Yang et al. 2025), of the Qwen3-Embedding and Qwen3-Reranker models: Mistral's decoder
//! with norms of each query and key head. voyage-4-nano and the pplx-embed models attend in both
//! directions.

use super::{Family, Judge, MOST_LAYERS, MOST_ROWS, MOST_WIDTH, Names, always, mistral};
use crate::backend::Mask;
use crate::error::Result;
use crate::model::families::config::Config;
use crate::model::transformer::rope::{self, LayerKind};
use crate::model::transformer::spec::{LayerSpec, Spec};

pub const FAMILY: Family = Family {
    name: "qwen3",
    model_types: &["qwen3"],
    classes: &["Qwen3"],
    is: |config| !has_voyages_code(config),
    spec,
    spellings: &[NAMES],
    judge: Some(&Judge {
        question: &[
            "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n",
            "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n<Query>: {query}\n<Document>: {document}",
            "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        ],
        prompted: "<Instruct>: {prompt}\n<Query>: {query}\n<Document>: {document}",
        answers: ["yes", "no"],
        sigmoid: true,
    }),
    instruction: Some("Instruct: {}\nQuery:"),
    ..mistral::FAMILY
};

const NAMES: Names = Names {
    head_norms: HEAD_NORMS,
    ..mistral::NAMES
};

/// Voyage's embedders (voyage-4-nano): attention in both directions, and a projection of each
/// token's state.
pub const PROJECTED: Family = Family {
    name: "qwen3_bidirectional",
    model_types: &["qwen3"],
    classes: &["Qwen3Bidirectional"],
    is: has_voyages_code,
    code: &[VOYAGES_CODE],
    code_of: &["voyageai/"],
    spec: |config| {
        Ok(Spec {
            projection: Some(config.size("num_labels", MOST_WIDTH)?),
            ..in_both_directions(config)?
        })
    },
    spellings: &[Names {
        projection: "linear",
        ..NAMES
    }],
    ..BIDIRECTIONAL
};

const VOYAGES_CODE: &str = "modeling_qwen3_bidirectional.Qwen3BidirectionalModel";

fn has_voyages_code(config: &Config) -> bool {
    mistral::is_code(config, VOYAGES_CODE)
}

/// Perplexity's embedders (pplx-embed-v1): attention in both directions.
pub const BIDIRECTIONAL: Family = Family {
    name: "bidirectional_pplx_qwen3",
    model_types: &["bidirectional_pplx_qwen3"],
    classes: &["PPLXQwen3"],
    is: always,
    code: &["configuration.PPLXQwen3Config", "modeling.PPLXQwen3Model"],
    code_of: &["perplexity-ai/"],
    spec: in_both_directions,
    classifier: None,
    judge: None,
    instruction: None,
    ..FAMILY
};

fn in_both_directions(config: &Config) -> Result<Spec> {
    config.only("use_bidirectional_attention", &[true.into()])?;
    config.only("use_sliding_window", &[false.into()])?;
    let mut layers = windows(config)?;
    for layer in &mut layers {
        layer.mask = Mask::default();
    }
    mistral::decoder(config, layers)
}

/// Norms of each query and of each key head.
pub const HEAD_NORMS: Option<[&str; 2]> = Some(["self_attn.q_norm", "self_attn.k_norm"]);

fn spec(config: &Config) -> Result<Spec> {
    mistral::decoder(config, layers(config)?)
}

/// Layers of Qwen2's and Qwen3's decoders.
pub fn layers(config: &Config) -> Result<Vec<LayerSpec>> {
    mistral::no_other_direction(config)?;
    windows(config)
}

/// Layers with their windows, whatever the config says of another direction.
fn windows(config: &Config) -> Result<Vec<LayerSpec>> {
    let count = config.size("num_hidden_layers", MOST_LAYERS)?;
    let window = if config.flag("use_sliding_window", false)? && !config.is_null("sliding_window") {
        Some(config.size_or("sliding_window", 4096, MOST_ROWS)?)
    } else {
        None
    };
    // The one number of this config that may be 0: all layers have the window.
    let full = match config
        .get("max_window_layers")
        .map(serde_json::Value::as_u64)
    {
        Some(Some(0)) => 0,
        _ => config.size_or("max_window_layers", 28, MOST_LAYERS)?,
    };
    let kinds = LayerKind::read(config, count, |layer| window.is_none() || layer < full)?;
    if window.is_none() && kinds.contains(&LayerKind::Sliding) {
        return Err(config.wrong(
            "sliding_window",
            "a whole number, and use_sliding_window true: layer_types has layers with a window",
        ));
    }
    let rope = Some(rope::read(config, 10_000.0)?);
    let layers = kinds.into_iter().map(|kind| {
        let window = window.filter(|_| kind == LayerKind::Sliding);
        let mask = mistral::mask(config, window)?;
        Ok(LayerSpec {
            mask,
            rope,
            experts: false,
        })
    });
    layers.collect()
}
