//! The `input` of OpenAI's format and the `inputs` of TEI's: one text, several, one list of token ids, or several.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::text::Input;

/// Reads `string | [string] | [id] | [[id]]`; in a list of several, texts and lists of ids may be mixed.
pub fn inputs(param: &'static str, value: &Value) -> Result<Vec<Input>> {
    match value {
        Value::String(text) => Ok(vec![Input::Text(text.clone())]),
        Value::Array(items) if items.first().is_some_and(Value::is_number) => {
            Ok(vec![ids(param, "", items)?])
        }
        Value::Array(items) => {
            let one = |(at, item)| one(param, at, item);
            items.iter().enumerate().map(one).collect()
        }
        other => Err(wrong(param, "", other)),
    }
}

fn one(param: &'static str, at: usize, value: &Value) -> Result<Input> {
    match value {
        Value::String(text) => Ok(Input::Text(text.clone())),
        Value::Array(items) => ids(param, &format!("[{at}]"), items),
        other => Err(wrong(param, &format!("[{at}]"), other)),
    }
}

/// Token ids of the input at `place`, which is an index in brackets or nothing.
fn ids(param: &'static str, place: &str, items: &[Value]) -> Result<Input> {
    if items.is_empty() {
        return Err(Error::EmptyInput(format!(
            "{param}{place} is an empty list of token ids; leave it out"
        )));
    }
    let id = |(at, item): (usize, &Value)| match item.as_u64() {
        Some(id) => u32::try_from(id).map_err(|_| Error::TokenOutOfRange {
            id,
            size: u32::MAX as usize,
        }),
        None => Err(wrong(param, &format!("{place}[{at}]"), item)),
    };
    let ids = items.iter().enumerate().map(id).collect::<Result<_>>()?;
    Ok(Input::Ids(ids))
}

fn wrong(param: &'static str, place: &str, value: &Value) -> Error {
    let number;
    let kind = match value {
        Value::Null => "missing or null",
        Value::Bool(_) => "a boolean",
        Value::Number(value) => {
            number = format!("the number {value}");
            &number
        }
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Error::input(
        param,
        format!(
            "{param}{place} is {kind}; pass a string, a list of strings, a list of token ids (whole numbers), or a list of such lists"
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
            (json!(7), "input is the number 7"),
            (json!({"a": 1}), "an object"),
            (json!(["a", null]), "input[1] is missing or null"),
            (json!([null]), "input[0] is missing or null"),
            (json!([[1], [2, "a"]]), "input[1][1] is a string"),
            (json!([1.5]), "input[0] is the number 1.5"),
            (json!([-1]), "input[0] is the number -1"),
            (json!([1, "a"]), "input[1] is a string"),
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
