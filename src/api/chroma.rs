//! Chroma's embedding service: `POST /embed_sparse`, and `POST /` for dense vectors.

use serde::Serialize;

use super::body::{Body, Field};
use super::{Pending, vectors};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::embedder::Embedder;
use crate::model::run::options::{EncodeOptions, SparseOptions};
use crate::text::Input;

/// What a request asks of its texts.
struct Request {
    texts: Vec<Input>,
    /// The instruction, for models that take one.
    instruction: Option<String>,
    /// Whether the texts are queries or documents, where it says so and the model has a way for each.
    side: Option<String>,
    /// Whether entries come with their tokens.
    labels: bool,
}

impl Request {
    fn read<B: Backend>(embedder: &Embedder<B>, mut body: Body) -> Result<Self> {
        let texts = body.texts("texts")?;
        let instruction = body.text("instructions")?;
        let takes = embedder.info().instruction_template.is_some();
        // It is checked, and changes nothing here.
        body.text("task")?;
        let side = match body.text("target")?.as_deref() {
            Some("query" | "queries") => Some("query"),
            Some("document" | "documents") => Some("document"),
            _ => None,
        };
        let side = side.filter(|side| embedder.tasks().contains(side));
        let labels = body.flag("fetch_labels")?;
        // Clients send this one, as a string.
        let tokens = match body.get("fetch_tokens") {
            Field::Text(text) => text == "true",
            _ => body.flag("fetch_tokens")?.unwrap_or(false),
        };
        Ok(Self {
            texts,
            instruction: instruction.filter(|text| takes && !text.is_empty()),
            side: side.map(str::to_owned),
            labels: labels.unwrap_or(tokens),
        })
    }
}

/// The sparse route wants its texts' purpose told, be it empty or null.
fn check_purpose(body: &Body) -> Result<()> {
    if body.has("instructions") || (body.has("task") && body.has("target")) {
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

/// What a request becomes. Without texts there is nothing to compute.
pub(super) enum Started<T> {
    Running(Box<Pending<Response<T>>>),
    Empty(Response<T>),
}

/// `/embed_sparse`: `{ texts, instructions | task and target, fetch_labels? }`. What is too long is cut off.
pub(super) fn start_sparse<B: Backend>(
    embedder: &Embedder<B>,
    body: Body,
) -> Result<Started<Sparse>> {
    check_purpose(&body)?;
    let request = Request::read(embedder, body)?;
    let options = SparseOptions {
        instruction: request.instruction,
        task: request.side,
        labels: request.labels,
        ..SparseOptions::default()
    };
    if request.texts.is_empty() {
        return Ok(Started::Empty(Response::new(Vec::new(), &[])));
    }
    let run = embedder.start_sparse(request.texts, &options)?;
    Ok(Started::Running(Box::new(Pending::new(run, |output| {
        let batch = output.into_sparse();
        let vectors = batch.vectors.into_iter().map(|vector| Sparse {
            indices: vector.indices,
            values: vector.values,
            labels: vector.labels,
        });
        Response::new(vectors.collect(), &batch.tokens)
    }))))
}

/// `/`: `{ texts, instructions? }`. What is too long is cut off.
pub(super) fn start_dense<B: Backend>(
    embedder: &Embedder<B>,
    body: Body,
) -> Result<Started<Vec<f32>>> {
    let request = Request::read(embedder, body)?;
    let options = EncodeOptions {
        instruction: request.instruction,
        task: request.side,
        ..EncodeOptions::default()
    };
    if request.texts.is_empty() {
        return Ok(Started::Empty(Response::new(Vec::new(), &[])));
    }
    let run = embedder.start(request.texts, &options)?;
    Ok(Started::Running(Box::new(Pending::new(run, |output| {
        let tokens = output.tokens.clone();
        Response::new(vectors(output), &tokens)
    }))))
}
