//! text-embeddings-inference's `POST /embed_sparse`, `{ inputs, … }` → `[[{ index, value }]]`, and `POST /embed_all`,
//! `{ inputs, … }` → `[[[number]]]`: for each input the states of its tokens, not normalised.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::input::inputs;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::embedder::Embedder;
use crate::model::options::{SparseOptions, TokenHead, TokenOptions};
use crate::model::run::{Output, Run};
use crate::text::Direction;

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    inputs: Value,
    prompt_name: Option<String>,
    truncate: Option<bool>,
    truncation_direction: Option<Direction>,
}

/// One entry of a sparse vector.
#[derive(Debug, Serialize)]
pub struct Entry {
    index: u32,
    value: f32,
}

fn parse(body: Value) -> Result<Request> {
    if !body.is_object() {
        return Err(Error::input(
            "body",
            "the body must be an object with a field \"inputs\"",
        ));
    }
    serde_json::from_value(body)
        .map_err(|error| Error::input("body", format!("the body is malformed: {error}")))
}

/// Checks a request for sparse vectors and starts it.
pub fn start_sparse<B: Backend>(embedder: &Embedder<B>, body: Value) -> Result<Run> {
    let request = parse(body)?;
    let options = SparseOptions {
        prompt_name: request.prompt_name,
        truncate: Some(request.truncate.unwrap_or(false)),
        truncation_direction: request.truncation_direction.unwrap_or_default(),
        ..SparseOptions::default()
    };
    embedder.start_sparse(inputs("inputs", &request.inputs)?, &options)
}

/// The response of a finished run for sparse vectors.
pub fn finish_sparse(output: Output) -> Vec<Vec<Entry>> {
    let vectors = output.into_sparse().vectors.into_iter();
    vectors
        .map(|vector| {
            vector
                .indices
                .into_iter()
                .zip(vector.values)
                .map(|(index, value)| Entry { index, value })
                .collect()
        })
        .collect()
}

/// Checks a request for the states of tokens and starts it.
pub fn start_all<B: Backend>(embedder: &Embedder<B>, body: Value) -> Result<Run> {
    let request = parse(body)?;
    let options = TokenOptions {
        head: Some(TokenHead::States),
        prompt_name: request.prompt_name,
        truncate: Some(request.truncate.unwrap_or(false)),
        truncation_direction: request.truncation_direction.unwrap_or_default(),
        ..TokenOptions::default()
    };
    embedder.start_tokens(inputs("inputs", &request.inputs)?, &options)
}

/// The response of a finished run for the states of tokens.
pub fn finish_all(output: &Output) -> Vec<Vec<&[f32]>> {
    let inputs = output.token_vectors.iter().flatten();
    inputs
        .map(|tokens| tokens.data.chunks_exact(tokens.dimensions.max(1)).collect())
        .collect()
}
