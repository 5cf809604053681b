//! What a tokenizer.json says, part by part, before anything is built from it.
//!
//! Of the file's truncation only the direction is read, and of its padding nothing: the model's own limit decides, and
//! nothing is padded.

use serde::Deserialize;
use serde_json::Value;

use super::model::Model;
use crate::error::{Error, Result};

/// The parts of a tokenizer.json. Only the model is built while the file is read, since it may have megabytes.
#[derive(Deserialize)]
pub struct Parts {
    /// Version of the format; there is one.
    version: Option<String>,
    /// How texts are cut off, as JSON; null for none.
    #[serde(default)]
    pub truncation: Value,
    /// Tokens that are found in a text before the model sees it.
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
    /// The token, and how it is looked for.
    #[serde(flatten)]
    pub token: AddedToken,
}

/// A token, and how it is looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the format has them")]
pub struct AddedToken {
    /// The token.
    pub content: String,
    /// Whether it is none within a word.
    pub single_word: bool,
    /// Whether white space before it belongs to it.
    pub lstrip: bool,
    /// Whether white space after it belongs to it.
    pub rstrip: bool,
    /// Whether it is looked for in normalized text.
    pub normalized: bool,
    /// Whether decoding may leave it out.
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
