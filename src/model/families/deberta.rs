//! DeBERTa-v2 and -v3 (He et al. 2021): BERT whose attention compares contents with positions, too.

use serde_json::Value;

use super::{ClassifierNames, Family, MOST_ROWS, Names, RelativeNames, always, bert, first_token};
use crate::backend::{Activation, Pooling};
use crate::error::Result;
use crate::full::{self, Full};
use crate::model::families::config::Config;
use crate::model::transformer::spec::{Disentangled, Positions, Relative, Spec};

pub const FAMILY: Family = Family {
    name: "deberta-v2",
    model_types: &["deberta-v2"],
    classes: &["DebertaV2"],
    is: always,
    prefixes: &["", "deberta."],
    unused: &[
        "pooler.",
        "cls.predictions.",
        "lm_predictions.",
        "mask_predictions.",
        "lm_head.",
    ],
    spec,
    spellings: &[Names {
        relative: Some(RelativeNames {
            table: "encoder.rel_embeddings.weight",
            norm: "encoder.LayerNorm",
        }),
        qkv: &[
            "attention.self.query_proj",
            "attention.self.key_proj",
            "attention.self.value_proj",
        ],
        ..bert::NAMES
    }],
    mlm: None,
    classifier: Some(ClassifierNames {
        pooling,
        activation: Activation::Gelu,
        ..ClassifierNames::BERT
    }),
    ..bert::FAMILY
};

/// The first token, after it is certain that the head is the usual one.
fn pooling(config: &Config) -> Result<Pooling> {
    config.only("pooler_hidden_act", &["gelu".into()])?;
    let hidden = config.size("hidden_size", super::MOST_WIDTH)?;
    config.only("pooler_hidden_size", &[hidden.into()])?;
    first_token(config)
}

fn spec(config: &Config) -> Result<Spec> {
    // First, so that the common build has nothing of what follows.
    full::need(ATTENTION)?;
    let own = disentangled(config)?;
    let spec = bert::without_types(config)?;
    config.only("embedding_size", &[spec.hidden_size.into()])?;
    config.only("attention_head_size", &[spec.heads.size.into()])?;
    config.only("conv_kernel_size", &[0.into()])?;
    let has_types = config
        .get("type_vocab_size")
        .is_some_and(|types| *types != 0);
    let types = has_types.then(|| config.size("type_vocab_size", MOST_ROWS));
    let parts = 1 + usize::from(own.to_positions) + usize::from(own.to_contents);
    #[expect(clippy::cast_precision_loss, reason = "sizes of heads are small")]
    let attention_scale = 1.0 / ((spec.heads.size * parts) as f32).sqrt();
    Ok(Spec {
        attention_scale,
        positions: if config.flag("position_biased_input", true)? {
            spec.positions
        } else {
            Positions::None
        },
        relative: Some(Relative::Disentangled(Full::new(ATTENTION, || own)?)),
        token_types: types.transpose()?,
        norm_eps: config.epsilon("layer_norm_eps", 1e-7)?,
        ..spec
    })
}

/// What the common build lacks, for its error.
const ATTENTION: &str = "DeBERTa's attention";

/// What the config says of positions.
fn disentangled(config: &Config) -> Result<Disentangled> {
    for field in ["relative_attention", "share_att_key"] {
        // Both are false where they are missing.
        if !config.flag(field, false)? {
            return Err(config.wrong(field, "true"));
        }
    }
    let mut norm = false;
    for part in config.text("norm_rel_ebd")?.unwrap_or("none").split('|') {
        match part.trim().to_ascii_lowercase().as_str() {
            "layer_norm" => norm = true,
            "none" => {}
            _ => return Err(config.wrong("norm_rel_ebd", "none or layer_norm")),
        }
    }
    let [mut to_positions, mut to_contents] = [false; 2];
    let wrong = || config.wrong("pos_att_type", "one or both of c2p and p2c");
    let kinds: Vec<String> = match config.get("pos_att_type") {
        // A list is taken as it is.
        Some(Value::String(kinds)) => {
            let kinds = kinds.to_ascii_lowercase();
            kinds
                .split('|')
                .map(|kind| kind.trim().to_owned())
                .collect()
        }
        Some(Value::Array(kinds)) => {
            let names = kinds.iter().map(|kind| kind.as_str().map(str::to_owned));
            names.collect::<Option<_>>().ok_or_else(wrong)?
        }
        _ => return Err(wrong()),
    };
    for kind in kinds {
        match kind.as_str() {
            "c2p" => to_positions = true,
            "p2c" => to_contents = true,
            _ => return Err(wrong()),
        }
    }
    if !(to_positions || to_contents) {
        return Err(wrong());
    }
    let rows = |field: &str| -> Result<Option<usize>> {
        let absent = config.get(field).and_then(Value::as_i64);
        match config.get(field) {
            None => Ok(None),
            Some(_) if absent.is_some_and(|rows| rows < 1) => Ok(None),
            Some(_) => config.size(field, MOST_ROWS).map(Some),
        }
    };
    let longest = match rows("max_relative_positions")? {
        Some(rows) => rows,
        None => config.size("max_position_embeddings", MOST_ROWS)?,
    };
    let buckets = rows("position_buckets")?;
    // Half of the buckets are exact distances, which must be some, and not all.
    if buckets.is_some_and(|buckets| buckets < 2 || buckets / 2 + 1 >= longest) {
        let wanted = format!("from 2 to {}", 2 * longest.saturating_sub(2));
        return Err(config.wrong("position_buckets", &wanted));
    }
    Ok(Disentangled {
        span: buckets.unwrap_or(longest),
        longest: buckets.map(|_| longest),
        to_positions,
        to_contents,
        norm,
    })
}
