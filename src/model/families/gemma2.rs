//! Gemma 2 (Gemma Team 2024), of bge-multilingual-gemma2: Gemma 3's decoder without norms of heads,
//! with one base of rotary positions, a window in every other layer, and bounded scores.

use super::{Family, MOST_LAYERS, MOST_ROWS, Names, always, gemma3, mistral};
use crate::error::Result;
use crate::model::families::config::Config;
use crate::model::transformer::rope::{self, LayerKind};
use crate::model::transformer::spec::{LayerSpec, Spec};

pub const FAMILY: Family = Family {
    name: "gemma2",
    model_types: &["gemma2"],
    classes: &["Gemma2"],
    is: always,
    spec,
    spellings: &[Names {
        head_norms: None,
        ..gemma3::NAMES
    }],
    ..gemma3::FAMILY
};

fn spec(config: &Config) -> Result<Spec> {
    // The masks that transformers builds do not follow this one.
    mistral::no_other_direction(config)?;
    let count = config.size("num_hidden_layers", MOST_LAYERS)?;
    let kinds = LayerKind::read(config, count, |layer| layer % 2 == 1)?;
    if config.is_null("sliding_window") {
        return Err(config.wrong("sliding_window", "a whole number"));
    }
    let window = config.size_or("sliding_window", 4096, MOST_ROWS)?;
    let rope = Some(rope::read(config, 10_000.0)?);
    let layers = kinds.into_iter().map(|kind| {
        let window = (kind == LayerKind::Sliding).then_some(window);
        Ok(LayerSpec {
            mask: mistral::mask(config, window)?,
            rope,
            experts: false,
        })
    });
    let layers = layers.collect::<Result<_>>()?;
    #[expect(clippy::cast_possible_truncation, reason = "f32, as in the reference")]
    let cap = if config.is_null("attn_logit_softcapping") {
        None
    } else {
        Some(config.positive("attn_logit_softcapping", 50.0)? as f32)
    };
    Ok(Spec {
        attention_cap: cap,
        ..gemma3::decoder(config, layers)?
    })
}
