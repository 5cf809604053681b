//! Reads rotary position embeddings and kinds of layers from config.json, in the spellings of
//! transformers 4 and 5.

use serde_json::{Map, Value};

use crate::error::Result;
use crate::model::families::config::Config;
use crate::model::transformer::spec::{Rope, RopeScaling};

/// Which tokens a layer attends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// All tokens that the model's direction allows.
    Full,
    /// The tokens in a window.
    Sliding,
}

impl LayerKind {
    /// The kind of each of `count` layers, from `layer_types`. Older files lack it: there `full`
    /// says which layers are full.
    pub fn read(config: &Config, count: usize, full: impl Fn(usize) -> bool) -> Result<Vec<Self>> {
        const FIELD: &str = "layer_types";
        let Some(types) = config.get(FIELD) else {
            let kind = |layer| {
                if full(layer) {
                    Self::Full
                } else {
                    Self::Sliding
                }
            };
            return Ok((0..count).map(kind).collect());
        };
        let wrong = || {
            config.wrong(
                FIELD,
                &format!("a list of {count} times \"full_attention\" or \"sliding_attention\""),
            )
        };
        let types = types.as_array().filter(|types| types.len() == count);
        types
            .ok_or_else(wrong)?
            .iter()
            .map(|kind| match kind.as_str() {
                Some("full_attention") => Ok(Self::Full),
                Some("sliding_attention") => Ok(Self::Sliding),
                _ => Err(wrong()),
            })
            .collect()
    }
}

/// Rotary embeddings of a model that has different ones for its two kinds of layers.
#[derive(Clone, Copy, Debug)]
pub struct Ropes {
    full: Rope,
    sliding: Rope,
}

impl Ropes {
    /// Reads both. `full` and `sliding` are the field and the default of each kind's base in the
    /// older spelling. The newer spelling has an object for each kind. `rope_scaling` applies to
    /// full layers, and to sliding ones if `both`.
    pub fn read(
        config: &Config,
        full: (&str, f64),
        sliding: (&str, f64),
        both: bool,
    ) -> Result<Self> {
        plain(config)?;
        if config.get("rope_parameters").is_some_and(is_flat) {
            return Err(config.wrong(
                "rope_parameters",
                "an object with one for each kind of layer",
            ));
        }
        let of = |kind: &str, (field, default): (&str, f64), scaled: bool| {
            let theta = config.positive(field, default)?;
            let newer = config
                .get("rope_parameters")
                .and_then(|parameters| parameters.get(kind))
                .filter(|parameters| !parameters.is_null());
            let rope = match newer {
                Some(parameters) => parse(config, "rope_parameters", parameters, theta)?,
                None => plain_rope(theta),
            };
            match config.get("rope_scaling").filter(|_| scaled) {
                // transformers ignores the older name `type` here, so that the scaling would have
                // no effect.
                Some(scaling)
                    if scaling.get("type").is_some() && scaling.get("rope_type").is_none() =>
                {
                    Err(config.wrong("rope_scaling", "an object with rope_type in place of type"))
                }
                // Its fields replace the same fields of `rope_parameters`.
                Some(scaling) => parse(config, "rope_scaling", scaling, rope.theta),
                None => Ok(rope),
            }
        };
        Ok(Self {
            full: of("full_attention", full, true)?,
            sliding: of("sliding_attention", sliding, both)?,
        })
    }

    /// The rotary embeddings of a kind of layers.
    pub fn of(self, kind: LayerKind) -> Rope {
        match kind {
            LayerKind::Full => self.full,
            LayerKind::Sliding => self.sliding,
        }
    }
}

/// Reads rotary embeddings that all layers share: `rope_parameters`, or `rope_theta` and
/// `rope_scaling`.
pub fn read(config: &Config, default: f64) -> Result<Rope> {
    plain(config)?;
    let theta = config.positive("rope_theta", default)?;
    for field in ["rope_scaling", "rope_parameters"] {
        let parameters = config.get(field);
        if let Some(parameters) = parameters.filter(|value| **value != Value::Object(Map::new())) {
            if !is_flat(parameters) {
                return Err(config.wrong(field, "one object for all layers"));
            }
            return parse(config, field, parameters, theta);
        }
    }
    Ok(plain_rope(theta))
}

/// Rotary embeddings without scaling.
pub fn plain_rope(theta: f64) -> Rope {
    Rope {
        theta,
        scaling: RopeScaling::None,
    }
}

/// Errors if only a part of each head is rotated.
fn plain(config: &Config) -> Result<()> {
    config.only("partial_rotary_factor", &[1.into(), 1.0.into()])
}

/// Whether parameters are for all layers, rather than an object for each kind.
fn is_flat(parameters: &Value) -> bool {
    parameters
        .as_object()
        .is_none_or(|object| !object.values().any(Value::is_object))
}

fn parse(config: &Config, field: &str, parameters: &Value, theta: f64) -> Result<Rope> {
    let wrong = || {
        config.wrong(
            field,
            "an object whose rope_type is \"default\", \"linear\", \"dynamic\", \"llama3\" or \"yarn\", with the numbers that transformers has for it, all above 0",
        )
    };
    let number = |name: &str| -> Result<Option<f64>> {
        match parameters.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(value) if value > 0.0 => Ok(Some(value)),
                _ => Err(wrong()),
            },
        }
    };
    if !parameters.is_object() {
        return Err(wrong());
    }
    if parameters
        .get("partial_rotary_factor")
        .is_some_and(|factor| *factor != 1 && *factor != 1.0)
    {
        return Err(wrong());
    }
    // "type" is the older name.
    let kind = parameters
        .get("rope_type")
        .or_else(|| parameters.get("type"));
    let theta = number("rope_theta")?.unwrap_or(theta);
    let need = |name: &str| number(name)?.ok_or_else(wrong);
    let scaling = match kind.map(Value::as_str) {
        None | Some(Some("default")) => RopeScaling::None,
        Some(Some("linear")) => RopeScaling::Linear {
            factor: need("factor")?,
        },
        // It changes frequencies beyond max_position_embeddings only, and no sequence is longer.
        Some(Some("dynamic")) => {
            need("factor")?;
            RopeScaling::None
        }
        Some(Some(kind @ ("llama3" | "yarn"))) => {
            // Here transformers takes the length from another place.
            config.only("original_max_position_embeddings", &[])?;
            let (factor, original) = (need("factor")?, need("original_max_position_embeddings")?);
            if kind == "llama3" {
                let (low, high) = (need("low_freq_factor")?, need("high_freq_factor")?);
                if low >= high {
                    return Err(wrong());
                }
                RopeScaling::Llama3 {
                    factor,
                    low,
                    high,
                    original,
                }
            } else {
                if theta <= 1.0 {
                    return Err(wrong());
                }
                RopeScaling::Yarn {
                    factor,
                    attention: yarn_attention(factor, number)?,
                    fast: number("beta_fast")?.unwrap_or(32.0),
                    slow: number("beta_slow")?.unwrap_or(1.0),
                    original,
                    truncate: parameters.get("truncate") != Some(&Value::Bool(false)),
                }
            }
        }
        Some(_) => return Err(wrong()),
    };
    Ok(Rope { theta, scaling })
}

/// YaRN's factor of cosines and sines.
fn yarn_attention(factor: f64, number: impl Fn(&str) -> Result<Option<f64>>) -> Result<f64> {
    let of = |scale: f64| 0.1 * scale * libm::log(factor.max(1.0)) + 1.0;
    Ok(
        match (
            number("attention_factor")?,
            number("mscale")?,
            number("mscale_all_dim")?,
        ) {
            (Some(attention), ..) => attention,
            (None, Some(scale), Some(all)) => of(scale) / of(all),
            _ => of(1.0),
        },
    )
}
