//! text-embeddings-inference's `POST /embed_sparse`: `{ inputs, … }` → `[[{ index, value }]]`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::input::inputs;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::embedder::Embedder;
use crate::model::run::{SparseOptions, SparseRun};
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

/// Checks a request and starts it.
pub fn start_sparse<B: Backend>(embedder: &Embedder<B>, body: Value) -> Result<SparseRun> {
    if !body.is_object() {
        return Err(Error::input(
            "body",
            "the body must be an object with a field \"inputs\"",
        ));
    }
    let request: Request = serde_json::from_value(body)
        .map_err(|error| Error::input("body", format!("the body is malformed: {error}")))?;
    let options = SparseOptions {
        prompt_name: request.prompt_name,
        truncate: Some(request.truncate.unwrap_or(false)),
        truncation_direction: request.truncation_direction.unwrap_or_default(),
        ..SparseOptions::default()
    };
    embedder.start_sparse(inputs("inputs", &request.inputs)?, &options)
}

/// The response of a finished run.
pub fn finish_sparse(run: SparseRun) -> Vec<Vec<Entry>> {
    let vectors = run.finish().vectors.into_iter();
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
