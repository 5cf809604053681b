//! Reads special and added tokens in the files beside a tokenizer.json.

use serde_json::Value;

use super::files::wrong;
use crate::error::Result;
use crate::text::parts::AddedToken;

/// The content of a token in a file.
pub fn content_of(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

/// A token in a file: a string, or an object with content and properties.
pub fn token(field: &str, value: &Value, special: bool) -> Result<AddedToken> {
    let content = content_of(value).ok_or_else(|| {
        wrong(
            field,
            &format!("is {value}; it must be a token or an object with its content"),
        )
    })?;
    let flag = |name: &str, default: bool| {
        let flag = value.get(name).and_then(Value::as_bool);
        flag.unwrap_or(default)
    };
    let special = special || flag("special", false);
    Ok(AddedToken {
        content: content.to_owned(),
        single_word: flag("single_word", false),
        lstrip: flag("lstrip", false),
        rstrip: flag("rstrip", false),
        normalized: flag("normalized", !special),
        special,
    })
}

/// A token with default properties. Special tokens are matched before normalisation.
pub fn added(content: &str, special: bool) -> AddedToken {
    AddedToken {
        content: content.to_owned(),
        normalized: !special,
        special,
        ..AddedToken::default()
    }
}
