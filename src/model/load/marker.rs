//! The mark that saving leaves in config.json.

use serde_json::Value;

use crate::backend::WeightDtype;
use crate::error::Result;
use crate::model::families::config::Config;
use crate::model::kind::Kind;
use crate::model::load::lora::LoraInfo;

/// The field of config.json that holds it.
pub const MARKER: &str = "gossamer";

/// The field of the mark that names an adapter.
pub const LORA: &str = "lora";

/// What the config.json of a saved model says about the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// The dtype that it was saved in.
    pub dtype: WeightDtype,
    /// Hash of the weights that were quantised.
    pub fingerprint: u64,
    /// The kind that the caller asked for.
    pub kind: Option<Kind>,
    /// The adapter that is merged into the weights.
    pub lora: Option<LoraInfo>,
}

impl Marker {
    /// Reads it from a config.json. `None` if Gossamer did not save the model.
    pub fn read(config: &Config) -> Result<Option<Self>> {
        let Some(marker) = config.get(MARKER) else {
            return Ok(None);
        };
        let text = |field: &str| marker.get(field).and_then(Value::as_str);
        let dtype = text("dtype").and_then(WeightDtype::from_name);
        let fingerprint = text("fingerprint").and_then(|text| u64::from_str_radix(text, 16).ok());
        match (dtype, fingerprint) {
            (Some(dtype), Some(fingerprint)) => Ok(Some(Self {
                dtype,
                fingerprint,
                kind: text("kind").map(Kind::from_name).transpose()?,
                lora: marker
                    .get(LORA)
                    .map(|lora| LoraInfo::read(config, lora))
                    .transpose()?,
            })),
            _ => Err(config.wrong(
                MARKER,
                "an object with dtype and fingerprint, as `save` writes it",
            )),
        }
    }
}
