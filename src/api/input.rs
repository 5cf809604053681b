//! The `input` of OpenAI's format and the `inputs` of TEI's: one text, several, one list of token ids, or several.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::text::Input;

/// Reads `string | [string] | [id] | [[id]]`; in a list of several, texts and lists of ids may be mixed.
pub fn inputs(param: &'static str, value: &Value) -> Result<Vec<Input>> {
    match value {
        Value::String(text) => Ok(vec![Input::Text(text.clone())]),
        Value::Array(items) if items.first().is_some_and(Value::is_number) => {
            Ok(vec![ids(param, items)?])
        }
        Value::Array(items) => items.iter().map(|item| one(param, item)).collect(),
        other => Err(wrong(param, other)),
    }
}

fn one(param: &'static str, value: &Value) -> Result<Input> {
    match value {
        Value::String(text) => Ok(Input::Text(text.clone())),
        Value::Array(items) => ids(param, items),
        other => Err(wrong(param, other)),
    }
}

fn ids(param: &'static str, items: &[Value]) -> Result<Input> {
    if items.is_empty() {
        return Err(Error::EmptyInput(format!(
            "{param} has an empty list of token ids; leave it out"
        )));
    }
    let id = |item: &Value| match item.as_u64() {
        Some(id) => u32::try_from(id).map_err(|_| Error::TokenOutOfRange {
            id,
            size: u32::MAX as usize,
        }),
        None => Err(wrong(param, item)),
    };
    Ok(Input::Ids(items.iter().map(id).collect::<Result<_>>()?))
}

fn wrong(param: &'static str, value: &Value) -> Error {
    let kind = match value {
        Value::Null => "missing or null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    let (what, place) = if matches!(value, Value::Null) {
        ("", "")
    } else {
        ("holds ", " where a text or a token id belongs")
    };
    Error::input(
        param,
        format!(
            "{param} {}{what}{kind}{place}; pass a string, a list of strings, a list of token ids (whole numbers), or a list of such lists",
            if what.is_empty() { "is " } else { "" }
        ),
    )
}

/// What [`inputs`] reads, for the `OpenAPI` document.
#[cfg(test)]
#[expect(dead_code, missing_docs, reason = "only their schemas are used")]
pub mod schema {
    use schemars::{JsonSchema, Schema};

    /// Lists the fields as required whose absence is read as null, and then refused in words.
    pub fn null_is_missing(schema: &mut Schema) {
        let properties = schema.ensure_object()["properties"].as_object_mut();
        let mut required = Vec::new();
        for (name, property) in properties.into_iter().flatten() {
            let property = property.as_object_mut();
            if property
                .and_then(|fields| fields.remove("default"))
                .is_some_and(|value| value.is_null())
            {
                required.push(name.clone());
            }
        }
        schema.insert("required".to_owned(), required.into());
    }

    /// One text, several, one list of token ids, or several; in a list of several, texts and lists of ids may be mixed.
    #[derive(JsonSchema)]
    #[serde(untagged)]
    pub enum Inputs {
        One(String),
        Several(#[schemars(length(min = 1))] Vec<Input>),
        Ids(#[schemars(length(min = 1))] Vec<u32>),
    }

    #[derive(JsonSchema)]
    #[serde(untagged)]
    pub enum Input {
        Text(String),
        Ids(#[schemars(length(min = 1))] Vec<u32>),
    }

    /// As elsewhere, but for the texts, which may not be empty.
    #[derive(JsonSchema)]
    #[serde(untagged)]
    pub enum NotEmptyInputs {
        One(#[schemars(length(min = 1))] String),
        Several(#[schemars(length(min = 1))] Vec<NotEmptyInput>),
        Ids(#[schemars(length(min = 1))] Vec<u32>),
    }

    #[derive(JsonSchema)]
    #[serde(untagged)]
    pub enum NotEmptyInput {
        Text(#[schemars(length(min = 1))] String),
        Ids(#[schemars(length(min = 1))] Vec<u32>),
    }

    /// One text, or several.
    #[derive(JsonSchema)]
    #[serde(untagged)]
    pub enum Texts {
        One(String),
        Several(Vec<String>),
    }

    /// One list of token ids, or several.
    #[derive(JsonSchema)]
    #[serde(untagged)]
    pub enum IdLists {
        One(Vec<u32>),
        Several(Vec<NotEmptyIds>),
    }

    #[derive(JsonSchema)]
    #[serde(transparent)]
    pub struct NotEmptyIds(#[schemars(length(min = 1))] Vec<u32>);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_shapes_are_read() {
        let text = |text: &str| Input::Text(text.to_owned());
        assert_eq!(inputs("input", &json!("a")).unwrap(), [text("a")]);
        assert_eq!(
            inputs("input", &json!(["a", "b"])).unwrap(),
            [text("a"), text("b")]
        );
        assert_eq!(
            inputs("input", &json!([1, 2])).unwrap(),
            [Input::Ids(vec![1, 2])]
        );
        assert_eq!(
            inputs("input", &json!([[1], [2, 3]])).unwrap(),
            [Input::Ids(vec![1]), Input::Ids(vec![2, 3])]
        );
        assert_eq!(inputs("input", &json!([])).unwrap(), []);
    }

    #[test]
    fn anything_else_is_an_error_in_words() {
        for (value, part) in [
            (json!(null), "is missing"),
            (json!(7), "a number"),
            (json!({"a": 1}), "an object"),
            (json!(["a", null]), "missing or null"),
            (json!([1.5]), "a number"),
            (json!([-1]), "a number"),
            (json!([1, "a"]), "a string"),
        ] {
            let error = inputs("input", &value).unwrap_err();
            assert_eq!(error.code(), "invalid_input", "{value}");
            assert!(error.to_string().contains(part), "{value}: {error}");
        }
        assert_eq!(
            inputs("input", &json!([[]])).unwrap_err().code(),
            "empty_input"
        );
        assert_eq!(
            inputs("input", &json!([1u64 << 40])).unwrap_err().code(),
            "token_out_of_range"
        );
    }
}
