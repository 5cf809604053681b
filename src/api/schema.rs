//! Shapes of inputs that several formats share, as types for the `OpenAPI` document.
//! [`super::body`] reads them; schemathesis tests that both agree.
#![expect(dead_code, reason = "only the schemas are used")]

use schemars::JsonSchema;

use super::MAX_INPUTS;

/// One text, several texts, one list of token ids, or several lists. A list of several may mix
/// texts and lists of ids.
#[derive(JsonSchema)]
#[serde(untagged)]
pub enum Inputs {
    One(#[schemars(length(min = 1))] String),
    Several(#[schemars(length(min = 1, max = MAX_INPUTS))] Vec<Input>),
    Ids(#[schemars(length(min = 1))] Vec<u32>),
}

#[derive(JsonSchema)]
#[serde(untagged)]
pub enum Input {
    Text(#[schemars(length(min = 1))] String),
    Ids(#[schemars(length(min = 1))] Vec<u32>),
}

/// One text, or several.
#[derive(JsonSchema)]
#[serde(untagged)]
pub enum Texts {
    One(#[schemars(length(min = 1))] String),
    Several(#[schemars(length(min = 1, max = MAX_INPUTS))] Vec<NotEmptyText>),
}

#[derive(JsonSchema)]
#[serde(transparent)]
pub struct NotEmptyText(#[schemars(length(min = 1))] String);

/// A text to rank.
#[derive(JsonSchema)]
#[serde(untagged)]
pub enum Document {
    Text(String),
    Object { text: String },
}

/// One list of token ids, or several.
#[derive(JsonSchema)]
#[serde(untagged)]
pub enum IdLists {
    One(#[schemars(length(min = 1))] Vec<u32>),
    Several(#[schemars(length(min = 1, max = MAX_INPUTS))] Vec<NotEmptyIds>),
}

#[derive(JsonSchema)]
#[serde(transparent)]
pub struct NotEmptyIds(#[schemars(length(min = 1))] Vec<u32>);
