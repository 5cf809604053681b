//! Chroma's embedding service: `POST /embed_sparse`, and `POST /` for dense vectors.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Pending, check_count, parse, vectors};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::embedder::Embedder;
use crate::model::options::{EncodeOptions, SparseOptions};
use crate::text::Input;

/// The most texts of one request.
const MAX_TEXTS: usize = 100;

/// The body of both routes.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "ChromaRequest"))]
pub(super) struct Request {
    #[cfg_attr(test, schemars(required, length(min = 1, max = MAX_TEXTS)))]
    texts: Option<Vec<String>>,
    /// Changes nothing here.
    #[expect(dead_code, reason = "checked, not used")]
    task: Option<String>,
    /// `query` or `document`, for models that tell them apart.
    target: Option<String>,
    /// For models that take an instruction.
    instructions: Option<String>,
    /// Whether entries come with their tokens.
    fetch_labels: Option<bool>,
    /// What clients send for `fetch_labels`, as a string.
    fetch_tokens: Option<Flag>,
}

#[derive(Deserialize)]
#[serde(untagged)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "FetchTokens"))]
enum Flag {
    Bool(bool),
    Text(String),
}

impl Request {
    fn read(body: Value) -> Result<(Vec<Input>, Self)> {
        let mut request: Self = parse(body)?;
        let Some(texts) = request.texts.take() else {
            return Err(Error::input(
                "texts",
                "texts is missing: pass a list of strings",
            ));
        };
        if texts.is_empty() {
            return Err(Error::EmptyInput(
                "texts is an empty list: pass at least one text".to_owned(),
            ));
        }
        check_count(texts.len(), MAX_TEXTS)?;
        Ok((texts.into_iter().map(Input::Text).collect(), request))
    }

    /// The instruction, for models that take one.
    fn instruction<B: Backend>(&self, embedder: &Embedder<B>) -> Option<String> {
        let text = self.instructions.clone();
        text.filter(|text| !text.is_empty() && embedder.info().instruction_template.is_some())
    }

    /// Whether the texts are queries or documents, where it says so and the model has a way for each.
    fn side<B: Backend>(&self, embedder: &Embedder<B>) -> Option<String> {
        let side = match self.target.as_deref()? {
            "query" | "queries" => "query",
            "document" | "documents" => "document",
            _ => return None,
        };
        embedder.tasks().contains(&side).then(|| side.to_owned())
    }

    fn labels(&self) -> bool {
        let tokens = match &self.fetch_tokens {
            Some(Flag::Bool(flag)) => *flag,
            Some(Flag::Text(text)) => text == "true",
            None => false,
        };
        self.fetch_labels.unwrap_or(tokens)
    }
}

/// The sparse route wants its texts' purpose told, be it empty or null.
fn check_purpose(body: &Value) -> Result<()> {
    let has = |field| body.get(field).is_some();
    if has("instructions") || (has("task") && has("target")) {
        return Ok(());
    }
    Err(Error::input(
        "instructions",
        "pass either `instructions`, or both `task` and `target`; they may be empty",
    ))
}

/// One sparse vector, indices ascending.
#[derive(Serialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(rename = "ChromaSparseVector")
)]
pub(super) struct Sparse {
    indices: Vec<u32>,
    values: Vec<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<String>>,
}

/// The response of both routes.
#[derive(Serialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(rename = "ChromaResponse_{T}")
)]
pub struct Response<T> {
    embeddings: Vec<T>,
    num_tokens: u64,
}

impl<T> Response<T> {
    fn new(embeddings: Vec<T>, tokens: &[u32]) -> Self {
        Self {
            embeddings,
            num_tokens: tokens.iter().map(|tokens| u64::from(*tokens)).sum(),
        }
    }
}

/// `/embed_sparse`: `{ texts, instructions | task and target, fetch_labels? }`.
pub(super) fn start_sparse<B: Backend>(
    embedder: &Embedder<B>,
    body: Value,
) -> Result<Pending<Response<Sparse>>> {
    check_purpose(&body)?;
    let (texts, request) = Request::read(body)?;
    let options = SparseOptions {
        instruction: request.instruction(embedder),
        task: request.side(embedder),
        labels: request.labels(),
        ..SparseOptions::default()
    };
    let run = embedder.start_sparse(texts, &options)?;
    Ok(Pending::new(run, |output| {
        let batch = output.into_sparse();
        let vectors = batch.vectors.into_iter().map(|vector| Sparse {
            indices: vector.indices,
            values: vector.values,
            labels: vector.labels,
        });
        Response::new(vectors.collect(), &batch.tokens)
    }))
}

/// `/`: `{ texts, instructions? }`.
pub(super) fn start_dense<B: Backend>(
    embedder: &Embedder<B>,
    body: Value,
) -> Result<Pending<Response<Vec<f32>>>> {
    let (texts, request) = Request::read(body)?;
    let options = EncodeOptions {
        instruction: request.instruction(embedder),
        task: request.side(embedder),
        ..EncodeOptions::default()
    };
    let run = embedder.start(texts, &options)?;
    Ok(Pending::new(run, |output| {
        let tokens = output.tokens.clone();
        Response::new(vectors(output), &tokens)
    }))
}
