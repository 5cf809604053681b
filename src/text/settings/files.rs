//! The files beside a tokenizer.json, and how their fields are read.

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The fields of a JSON object.
pub type Fields = Map<String, Value>;

/// The files beside a tokenizer.json.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Fields of `tokenizer_config.json`.
    pub config: Fields,
    /// Fields of `special_tokens_map.json`.
    pub special_tokens: Fields,
    /// Ids by token, of `added_tokens.json`.
    pub added_tokens: Fields,
    /// The model type of config.json; "" if it has none.
    pub model_type: String,
    /// The tokenizer class of config.json.
    pub class: Option<String>,
    /// Whether sentence-transformers' own files ask for texts in lower case.
    pub lowercase_text: bool,
    /// Rows of the model's embedding table. Tokens that only the tokenizer class names are left out
    /// if there is no row for them.
    pub rows: usize,
}

/// An error about a field of `tokenizer_config.json`.
pub fn wrong(field: &str, reason: &str) -> Error {
    Error::config("tokenizer_config.json", format!("{field} {reason}"))
}

impl Settings {
    /// A field of `tokenizer_config.json`, which `special_tokens_map.json` may override.
    pub fn get(&self, field: &str) -> Option<&Value> {
        let other = self.special_tokens.get(field);
        other
            .filter(|_| !self.lists_tokens())
            .or_else(|| self.config.get(field))
    }

    /// Whether `tokenizer_config.json` lists all added tokens, so that the older files are ignored.
    pub fn lists_tokens(&self) -> bool {
        lists_tokens(&self.config)
    }

    /// A field that is true, false, or absent. null counts as absent.
    pub fn flag(&self, field: &str) -> Result<Option<bool>> {
        match self.config.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(wrong(
                field,
                &format!("is {other}; it must be true or false"),
            )),
        }
    }
}

/// Whether a `tokenizer_config.json` lists all added tokens, so that the older files are ignored.
pub fn lists_tokens(config: &Fields) -> bool {
    config
        .get("added_tokens_decoder")
        .is_some_and(Value::is_object)
}
