//! Gemma 3's text model (Gemma Team 2025), of EmbeddingGemma: a decoder turned encoder, with norms
//! before and after each block, scaled embeddings, and local attention in five of six layers.

use super::{Family, MOST_LAYERS, MOST_ROWS, Names, NormNames, always, mistral, qwen3};
use crate::backend::{Mask, NormKind};
use crate::error::Result;
use crate::model::families::config::Config;
use crate::model::transformer::rope::{LayerKind, Ropes};
use crate::model::transformer::spec::{LayerSpec, Spec};

pub const FAMILY: Family = Family {
    name: "gemma3",
    model_types: &["gemma3_text"],
    classes: &["Gemma3", "Gemma3Text"],
    is: always,
    spec,
    spellings: &[NAMES],
    classifier: None,
    instruction: None,
    ..mistral::FAMILY
};

/// Tensor names.
pub const NAMES: Names = Names {
    head_norms: qwen3::HEAD_NORMS,
    attention_norms: NormNames {
        branch: Some("post_attention_layernorm"),
        ..NormNames::pre("input_layernorm")
    },
    ffn_norms: NormNames {
        branch: Some("post_feedforward_layernorm"),
        ..NormNames::pre("pre_feedforward_layernorm")
    },
    ..mistral::NAMES
};

fn spec(config: &Config) -> Result<Spec> {
    if config.get("attn_logit_softcapping").is_some() {
        return Err(config.wrong("attn_logit_softcapping", "null"));
    }
    let count = config.size("num_hidden_layers", MOST_LAYERS)?;
    let pattern = config.size_or("sliding_window_pattern", 6, MOST_LAYERS)?;
    let kinds = LayerKind::read(config, count, |layer| (layer + 1).is_multiple_of(pattern))?;
    let ropes = Ropes::read(
        config,
        ("rope_theta", 1_000_000.0),
        ("rope_local_base_freq", 10_000.0),
        false,
    )?;
    if config.is_null("sliding_window") {
        return Err(config.wrong("sliding_window", "a whole number"));
    }
    let window = config.size_or("sliding_window", 4096, MOST_ROWS)?;
    let bidirectional = config.flag("use_bidirectional_attention", false)?;
    let causal = mistral::is_causal(config)?;
    // transformers halves the window with the one flag, and counts its end in with the other.
    let reach = match (bidirectional, causal) {
        (true, true) => window / 2,
        (true, false) => window / 2 + 1,
        (false, _) => window,
    };
    let layers = kinds.into_iter().map(|kind| {
        let mask = match (causal && !bidirectional, kind) {
            (true, LayerKind::Full) => mistral::causal(None),
            (true, LayerKind::Sliding) => mistral::causal(Some(window)),
            (false, LayerKind::Full) => Mask::default(),
            (false, LayerKind::Sliding) => Mask {
                before: Some(reach),
                after: Some(reach),
            },
        };
        LayerSpec {
            mask,
            rope: Some(ropes.of(kind)),
            experts: false,
        }
    });
    decoder(config, layers.collect())
}

/// Reads the config fields that Gemma 2's and Gemma 3's decoders share.
pub fn decoder(config: &Config, layers: Vec<LayerSpec>) -> Result<Spec> {
    let spec = mistral::decoder(config, layers)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "f32, as in the reference"
    )]
    Ok(Spec {
        attention_scale: config
            .positive("query_pre_attn_scalar", 256.0)?
            .sqrt()
            .recip() as f32,
        embedding_scale: (spec.hidden_size as f64).sqrt() as f32,
        activation: config.activation("hidden_activation", "gelu_pytorch_tanh")?,
        norm: NormKind::RmsPlusOne,
        ..spec
    })
}
