//! Tells late-interaction models by their files, and how these are laid out.

use serde_json::Value;

use crate::error::Result;
use crate::model::families::config::Config;
use crate::model::load::pipeline::ModuleEntry;

/// The class of Stanford's checkpoints.
pub const STANFORD: &str = "HF_ColBERT";
/// Model types of sentence-transformers' settings.
pub const MODEL_TYPES: [&str; 2] = ["ColBERT", "MultiVectorEncoder"];
/// How a model is laid out in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LateLayout {
    /// Stanford's.
    Stanford,
    /// `PyLate`'s.
    PyLate,
    /// That of sentence-transformers 6.
    MultiVector,
}

/// Whether the config of a transformer names Stanford's class.
pub fn is_stanford(config: &Config) -> bool {
    let classes = config.get("architectures").and_then(Value::as_array);
    classes.is_some_and(|classes| classes.iter().any(|class| class == STANFORD))
}

impl LateLayout {
    /// The layout of a model; `None` if it is not one for late interaction. `settings` are those of
    /// sentence-transformers, `rest` what modules.json lists after the transformer.
    pub fn find(
        config: &Config,
        settings: Option<&Config>,
        rest: Option<&[ModuleEntry]>,
    ) -> Result<Option<Self>> {
        let Some(rest) = rest.filter(|rest| !(rest.is_empty() && is_stanford(config))) else {
            return Ok(is_stanford(config).then_some(Self::Stanford));
        };
        let model_type = match settings {
            Some(settings) => settings.text("model_type")?,
            None => None,
        };
        let pools =
            |entry: &ModuleEntry| matches!(entry.kind.as_str(), "Pooling" | "SpladePooling");
        Ok(match model_type {
            _ if rest.iter().any(|entry| entry.is_pylate) => Some(Self::PyLate),
            Some("ColBERT") => Some(Self::PyLate),
            Some("MultiVectorEncoder") if !rest.iter().any(pools) => Some(Self::MultiVector),
            _ => None,
        })
    }

    /// What the model is, for errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stanford => "HF_ColBERT (architectures)",
            Self::PyLate => "a ColBERT of PyLate (modules.json)",
            Self::MultiVector => "MultiVectorEncoder (config_sentence_transformers.json)",
        }
    }
}
