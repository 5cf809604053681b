//! The parts of a tokenizer.json, before anything is built from them.
//!
//! Only the direction of the file's truncation is read, and its padding is ignored. The model's own
//! limit applies, and nothing is padded.

use serde::Deserialize;
use serde_json::Value;

use super::model::Model;
use crate::error::{Error, Result};

/// The parts of a tokenizer.json. The model alone is built while the file is read, since it may
/// have megabytes.
#[derive(Deserialize)]
pub struct Parts {
    /// Version of the format. Only one exists.
    version: Option<String>,
    /// Truncation, as JSON; null for none.
    #[serde(default)]
    pub truncation: Value,
    /// Added tokens.
    #[serde(default)]
    pub added_tokens: Vec<Added>,
    /// The normalizer, as JSON; null for none.
    #[serde(default)]
    pub normalizer: Value,
    /// The pre-tokenizer, as JSON; null for none.
    #[serde(default)]
    pub pre_tokenizer: Value,
    /// The post-processor, as JSON; null for none.
    #[serde(default)]
    pub post_processor: Value,
    /// The decoder, as JSON; null for none.
    #[serde(default)]
    pub decoder: Value,
    /// The model.
    pub model: Model,
}

/// An entry of `added_tokens`.
#[derive(Clone, Debug, Deserialize)]
pub struct Added {
    /// Its token id.
    pub id: u32,
    /// The token, and how it is searched for.
    #[serde(flatten)]
    pub token: AddedToken,
}

/// A token, and how it is searched for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the format has them")]
pub struct AddedToken {
    /// The token.
    pub content: String,
    /// Whether it only matches between word boundaries.
    pub single_word: bool,
    /// Whether it includes the white space before it.
    pub lstrip: bool,
    /// Whether it includes the white space after it.
    pub rstrip: bool,
    /// Whether it is searched for in the normalized text.
    pub normalized: bool,
    /// Whether decoding may omit it.
    pub special: bool,
}

impl Parts {
    /// Reads a tokenizer.json.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let invalid = |reason: String| {
            Error::InvalidTokenizer(format!(
                "{reason}; download it again, or check that it is a Hugging Face tokenizers file"
            ))
        };
        let json = json.strip_prefix("\u{feff}".as_bytes()).unwrap_or(json);
        let parts: Self =
            serde_json::from_slice(json).map_err(|error| invalid(error.to_string()))?;
        match parts.version.as_deref() {
            None | Some("1.0") => Ok(parts),
            Some(other) => Err(invalid(format!("its version is {other:?}, not \"1.0\""))),
        }
    }
}
