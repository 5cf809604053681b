//! The bodies of requests as types, for the `OpenAPI` document alone: [`super::body`] reads them. schemathesis sees to it that
//! both say the same.
#![expect(dead_code, reason = "only their schemas are used")]

use std::num::NonZeroU32;

use schemars::JsonSchema;

use super::MAX_INPUTS;
use crate::model::run::outputs::OutputDtype;
use crate::text::Direction;

/// One text, several, one list of token ids, or several; in a list of several, texts and lists of ids may be mixed.
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

/// How vectors are written.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EncodingFormat {
    /// As lists of numbers
    Float,
    /// As base64 of little-endian f32, or of bytes
    Base64,
}

/// The body of `/v1/embeddings`. Other fields are refused unless they are null.
#[derive(JsonSchema)]
pub struct CreateEmbeddingRequest {
    input: Inputs,
    /// The model that answers; without it, or if it is empty or "null", the server's default one.
    model: Option<String>,
    encoding_format: Option<EncodingFormat>,
    dimensions: Option<NonZeroU32>,
    /// What the components of vectors are, as at Voyage AI: whole numbers take a quarter of the place, bits a 32nd.
    output_dtype: Option<OutputDtype>,
    /// Whether vectors get length 1; they do by default.
    normalize: Option<bool>,
    /// One of the model's own prompts, to be put in front.
    prompt_name: Option<String>,
    /// Whether what is too long is cut off; by default it is an error.
    truncate: Option<bool>,
    /// Which end is cut off. `truncate_direction` is read too.
    truncation_direction: Option<Direction>,
    /// Changes nothing here.
    user: Option<String>,
}

/// What all requests for vectors have.
#[derive(JsonSchema)]
pub struct EmbedRequest {
    inputs: Inputs,
    /// One of the model's own prompts, to be put in front.
    prompt_name: Option<String>,
    /// Whether what is too long is cut off; by default it is an error.
    truncate: Option<bool>,
    /// Which end is cut off. `truncate_direction` is read too.
    truncation_direction: Option<Direction>,
}

/// What `/embed` has beside.
#[derive(JsonSchema)]
pub struct EmbedDenseRequest {
    #[serde(flatten)]
    request: EmbedRequest,
    /// Whether vectors get length 1; they do by default.
    normalize: Option<bool>,
    dimensions: Option<NonZeroU32>,
}

#[derive(JsonSchema)]
pub struct SimilarityRequest {
    inputs: SimilarityInput,
    parameters: Option<SimilarityParameters>,
}

#[derive(JsonSchema)]
pub struct SimilarityInput {
    #[schemars(length(min = 1))]
    source_sentence: String,
    #[schemars(length(min = 1, max = MAX_INPUTS))]
    sentences: Vec<NotEmptyText>,
}

#[derive(JsonSchema)]
pub struct SimilarityParameters {
    prompt_name: Option<String>,
    truncate: Option<bool>,
    truncation_direction: Option<Direction>,
}

#[derive(JsonSchema)]
pub struct TokenizeRequest {
    inputs: Texts,
    add_special_tokens: Option<bool>,
    prompt_name: Option<String>,
}

#[derive(JsonSchema)]
pub struct DecodeRequest {
    ids: IdLists,
    skip_special_tokens: Option<bool>,
}

/// The body of both of Chroma's routes.
#[derive(JsonSchema)]
pub struct ChromaRequest {
    #[schemars(length(max = MAX_INPUTS))]
    texts: Vec<String>,
    /// Changes nothing here.
    task: Option<String>,
    /// `query` or `document`, for models that tell them apart.
    target: Option<String>,
    /// For models that take an instruction.
    instructions: Option<String>,
    /// Whether entries come with their tokens.
    fetch_labels: Option<bool>,
    /// What clients send for `fetch_labels`, as a string.
    fetch_tokens: Option<FetchTokens>,
}

#[derive(JsonSchema)]
#[serde(untagged)]
pub enum FetchTokens {
    Bool(bool),
    Text(String),
}

#[derive(JsonSchema)]
pub struct InworldRequest {
    #[schemars(length(min = 1, max = MAX_INPUTS))]
    inputs: Vec<InworldText>,
    model: InworldModelId,
}

#[derive(JsonSchema)]
pub struct InworldText {
    #[schemars(length(min = 1))]
    text: String,
}

/// As in all of protobuf's JSON, names may also be written with underscores, and null is as good as absent.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InworldModelId {
    /// The server's default model if it is empty.
    model: Option<String>,
    service_provider: Option<ServiceProvider>,
}

/// Who runs the model; it is always this library.
#[derive(JsonSchema)]
#[serde(untagged)]
pub enum ServiceProvider {
    Name(ProviderName),
    Number(i32),
}

#[derive(JsonSchema)]
pub enum ProviderName {
    #[serde(rename = "SERVICE_PROVIDER_UNSPECIFIED")]
    Unspecified,
    #[serde(rename = "SERVICE_PROVIDER_INWORLD")]
    Inworld,
    #[serde(rename = "SERVICE_PROVIDER_OPENAI")]
    OpenAi,
}
