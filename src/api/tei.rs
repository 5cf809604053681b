//! text-embeddings-inference's own routes (1.9): `/embed`, `/embed_sparse`, `/embed_all`, `/similarity`, `/tokenize`,
//! `/decode` and `/info`. Answers are lists, one entry an input, even for one input.
//!
//! `truncate` is false by default, as Trieve's documents have it: what is too long is an error.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::input::inputs;
#[cfg(test)]
use super::input::schema;
use super::{MAX_INPUTS, Pending, check_count, dense_options, parse, vectors};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::embedder::Embedder;
use crate::model::options::{SparseOptions, TokenHead, TokenOptions};
use crate::model::output::TokenVectors;
use crate::text::{Direction, Input, Token};

/// What all requests for vectors have.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "EmbedRequest", transform = schema::null_is_missing))]
pub(super) struct Request {
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "schema::Inputs"))]
    inputs: Value,
    /// One of the model's own prompts, to be put in front.
    prompt_name: Option<String>,
    /// Whether what is too long is cut off; by default it is an error.
    truncate: Option<bool>,
    /// Which end is cut off. `truncate_direction` is read too.
    #[serde(alias = "truncate_direction")]
    truncation_direction: Option<Direction>,
}

/// What `/embed` has beside.
#[derive(Deserialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(rename = "EmbedDenseRequest")
)]
pub(super) struct DenseRequest {
    #[serde(flatten)]
    request: Request,
    /// Whether vectors get length 1; they do by default.
    normalize: Option<bool>,
    #[cfg_attr(test, schemars(with = "Option<std::num::NonZeroU32>"))]
    dimensions: Option<Value>,
}

impl Request {
    fn inputs(&self) -> Result<Vec<Input>> {
        let inputs = inputs("inputs", &self.inputs)?;
        check_count(inputs.len(), MAX_INPUTS)?;
        Ok(inputs)
    }
}

/// One entry of a sparse vector.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "SparseValue"))]
pub struct Entry {
    index: u32,
    value: f32,
}

/// `/embed`: `{ inputs, … }` → dense vectors.
pub fn start_dense<B: Backend>(
    embedder: &Embedder<B>,
    body: Value,
) -> Result<Pending<Vec<Vec<f32>>>> {
    let DenseRequest {
        request,
        normalize,
        dimensions,
    } = parse(body)?;
    let inputs = request.inputs()?;
    let options = dense_options(
        normalize,
        dimensions,
        request.prompt_name,
        request.truncate,
        request.truncation_direction,
    )?;
    Ok(Pending::new(embedder.start(inputs, &options)?, vectors))
}

/// `/embed_sparse`: `{ inputs, … }` → entries of sparse vectors.
pub fn start_sparse<B: Backend>(
    embedder: &Embedder<B>,
    body: Value,
) -> Result<Pending<Vec<Vec<Entry>>>> {
    let request: Request = parse(body)?;
    let inputs = request.inputs()?;
    let options = SparseOptions {
        prompt_name: request.prompt_name,
        truncate: Some(request.truncate.unwrap_or(false)),
        truncation_direction: request.truncation_direction.unwrap_or_default(),
        ..SparseOptions::default()
    };
    let run = embedder.start_sparse(inputs, &options)?;
    Ok(Pending::new(run, |output| {
        let vectors = output.into_sparse().vectors.into_iter();
        let entries = |(index, value)| Entry { index, value };
        vectors
            .map(|vector| {
                let pairs = vector.indices.into_iter().zip(vector.values);
                pairs.map(entries).collect()
            })
            .collect()
    }))
}

/// `/embed_all`: `{ inputs, … }` → for each input the states of its tokens, not normalised.
pub fn start_all<B: Backend>(
    embedder: &Embedder<B>,
    body: Value,
) -> Result<Pending<Vec<Vec<Vec<f32>>>>> {
    let request: Request = parse(body)?;
    let inputs = request.inputs()?;
    let options = TokenOptions {
        head: Some(TokenHead::States),
        prompt_name: request.prompt_name,
        truncate: Some(request.truncate.unwrap_or(false)),
        truncation_direction: request.truncation_direction.unwrap_or_default(),
        ..TokenOptions::default()
    };
    let run = embedder.start_tokens(inputs, &options)?;
    let states = |tokens: TokenVectors| {
        let rows = tokens.data.chunks_exact(tokens.dimensions.max(1));
        rows.map(<[f32]>::to_vec).collect()
    };
    Ok(Pending::new(run, move |output| {
        let all = output.token_vectors.into_iter().flatten();
        all.map(states).collect()
    }))
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct SimilarityRequest {
    inputs: Similar,
    parameters: Option<Parameters>,
}

#[derive(Deserialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(rename = "SimilarityInput")
)]
struct Similar {
    source_sentence: String,
    #[cfg_attr(test, schemars(length(min = 1)))]
    sentences: Vec<String>,
}

#[derive(Default, Deserialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(rename = "SimilarityParameters")
)]
struct Parameters {
    prompt_name: Option<String>,
    truncate: Option<bool>,
    #[serde(alias = "truncate_direction")]
    truncation_direction: Option<Direction>,
}

/// `/similarity`: `{ inputs: { source_sentence, sentences }, parameters? }` → the cosine of the one to each of the others.
pub(super) fn start_similarity<B: Backend>(
    embedder: &Embedder<B>,
    body: Value,
) -> Result<Pending<Vec<f32>>> {
    let SimilarityRequest { inputs, parameters } = parse(body)?;
    if inputs.sentences.is_empty() {
        return Err(Error::EmptyInput(
            "`sentences` is empty: pass at least one to compare with".to_owned(),
        ));
    }
    check_count(inputs.sentences.len(), MAX_INPUTS)?;
    let parameters = parameters.unwrap_or_default();
    let options = dense_options(
        None,
        None,
        parameters.prompt_name,
        parameters.truncate,
        parameters.truncation_direction,
    )?;
    let texts = std::iter::once(inputs.source_sentence).chain(inputs.sentences);
    let run = embedder.start(texts.map(Input::Text).collect(), &options)?;
    Ok(Pending::new(run, |output| {
        let all = vectors(output);
        let cosine = |other: &Vec<f32>| all[0].iter().zip(other).map(|(a, b)| a * b).sum();
        all[1..].iter().map(cosine).collect()
    }))
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(transform = schema::null_is_missing))]
pub(super) struct TokenizeRequest {
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "schema::Texts"))]
    inputs: Value,
    add_special_tokens: Option<bool>,
    prompt_name: Option<String>,
}

/// `/tokenize`: `{ inputs, add_special_tokens?, prompt_name? }` → tokens of each text.
pub(super) fn tokenize<B: Backend>(embedder: &Embedder<B>, body: Value) -> Result<Vec<Vec<Token>>> {
    let request: TokenizeRequest = parse(body)?;
    let inputs = inputs("inputs", &request.inputs)?;
    check_count(inputs.len(), MAX_INPUTS)?;
    let prompt = match &request.prompt_name {
        Some(name) => embedder.info().prompts.find(name)?,
        None => "",
    };
    let tokens = |input| match input {
        Input::Text(text) => embedder.tokenize(
            &[prompt, &text].concat(),
            request.add_special_tokens.unwrap_or(true),
        ),
        Input::Ids(_) => Err(Error::input(
            "inputs",
            "token ids cannot be tokenised; pass a string or a list of strings",
        )),
    };
    inputs.into_iter().map(tokens).collect()
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(transform = schema::null_is_missing))]
pub(super) struct DecodeRequest {
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "schema::IdLists"))]
    ids: Value,
    skip_special_tokens: Option<bool>,
}

/// `/decode`: `{ ids, skip_special_tokens? }` → texts.
pub(super) fn decode<B: Backend>(embedder: &Embedder<B>, body: Value) -> Result<Vec<String>> {
    let request: DecodeRequest = parse(body)?;
    let lists = inputs("ids", &request.ids)?;
    check_count(lists.len(), MAX_INPUTS)?;
    let decode = |input| match input {
        Input::Ids(ids) => embedder.decode(&ids, request.skip_special_tokens.unwrap_or(true)),
        Input::Text(_) => Err(Error::input(
            "ids",
            "ids holds a text; pass a list of token ids or a list of such lists",
        )),
    };
    lists.into_iter().map(decode).collect()
}

/// The response of `GET /info`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Info<'a> {
    model_id: &'a str,
    model_sha: Option<&'a str>,
    model_dtype: &'static str,
    served_model_name: &'a str,
    max_input_length: usize,
    max_client_batch_size: usize,
    auto_truncate: bool,
    version: &'static str,
}

pub(super) fn info<B: Backend>(embedder: &Embedder<B>) -> Info<'_> {
    let info = embedder.info();
    Info {
        model_id: &info.model,
        model_sha: info.revision.as_deref(),
        model_dtype: info.dtype.name(),
        served_model_name: &info.model,
        max_input_length: info.max_tokens,
        max_client_batch_size: MAX_INPUTS,
        auto_truncate: false,
        version: env!("CARGO_PKG_VERSION"),
    }
}
