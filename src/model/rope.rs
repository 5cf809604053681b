//! Reading of rotary position embeddings and of layer kinds from config.json, in both generations of spellings.

use serde_json::Value;

use super::config::Config;
use super::spec::Rope;
use crate::error::Result;

/// Which tokens a layer attends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// All that the model's direction allows.
    Full,
    /// Those in a window.
    Sliding,
}

impl LayerKind {
    /// The kind of each of `count` layers: from `layer_types`, or by the older rule of the family.
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

/// Rotary embeddings of a model whose two kinds of layers have their own.
#[derive(Clone, Copy, Debug)]
pub struct Ropes {
    full: Rope,
    sliding: Rope,
}

impl Ropes {
    /// Field and default of each kind's base in the older spelling; the newer one is an object for each kind.
    pub fn read(config: &Config, full: (&str, f64), sliding: (&str, f64)) -> Result<Self> {
        let of = |kind: &str, (field, default): (&str, f64), scaled: bool| {
            let theta = config.positive(field, default)?;
            let newer = config
                .get("rope_parameters")
                .and_then(|parameters| parameters.get(kind))
                .filter(|parameters| !parameters.is_null());
            match newer {
                Some(parameters) => parse(config, "rope_parameters", parameters, theta),
                None if scaled => match config.get("rope_scaling") {
                    Some(scaling) => parse(config, "rope_scaling", scaling, theta),
                    None => Ok(Rope { theta, factor: 1.0 }),
                },
                None => Ok(Rope { theta, factor: 1.0 }),
            }
        };
        Ok(Self {
            full: of("full_attention", full, true)?,
            sliding: of("sliding_attention", sliding, false)?,
        })
    }

    /// Those of one kind.
    pub fn of(self, kind: LayerKind) -> Rope {
        match kind {
            LayerKind::Full => self.full,
            LayerKind::Sliding => self.sliding,
        }
    }
}

/// Rotary embeddings that all layers share: `rope_parameters`, or `rope_theta` and `rope_scaling`.
pub fn read(config: &Config, default: f64) -> Result<Rope> {
    let theta = config.positive("rope_theta", default)?;
    for field in ["rope_parameters", "rope_scaling"] {
        if let Some(parameters) = config.get(field) {
            return parse(config, field, parameters, theta);
        }
    }
    Ok(Rope { theta, factor: 1.0 })
}

fn parse(config: &Config, field: &str, parameters: &Value, theta: f64) -> Result<Rope> {
    let wrong = || {
        config.wrong(
            field,
            "an object whose rope_type is \"default\", or \"linear\" with a factor above 0, and whose rope_theta, if it has one, is above 0",
        )
    };
    let number = |name: &str| match parameters.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(value) if value > 0.0 => Ok(Some(value)),
            _ => Err(wrong()),
        },
    };
    if !parameters.is_object() {
        return Err(wrong());
    }
    // "type" is the older name.
    let kind = parameters
        .get("rope_type")
        .or_else(|| parameters.get("type"));
    let factor = match kind.map(Value::as_str) {
        None | Some(Some("default")) => 1.0,
        Some(Some("linear")) => number("factor")?.ok_or_else(wrong)?,
        Some(_) => return Err(wrong()),
    };
    Ok(Rope {
        theta: number("rope_theta")?.unwrap_or(theta),
        factor,
    })
}
