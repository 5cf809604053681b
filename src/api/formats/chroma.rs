//! Chroma's embedding service: `POST /embed_sparse`, and `POST /` or `/embed` for dense vectors. A
//! text that is too long is truncated.

use serde::Serialize;

use super::{Ask, Call, Fields, Format, Route};
use crate::api::http::message::Request;
#[cfg(test)]
use crate::api::http::openapi::Document;
use crate::api::http::problem::{Cause, Problem};
use crate::api::json::{Body, Field};
use crate::api::{Pending, Work, to_json, vectors};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::embedder::Embedder;
use crate::model::run::options::{EncodeOptions, SparseOptions};
use crate::text::Input;

/// The header in which its clients name the model.
const MODEL_HEADER: &str = "x-chroma-embedding-model";

pub(super) const fn format<B: Backend + 'static>() -> Format<B> {
    Format {
        routes: const {
            &[
                Route::post("/", start_dense).gives("dense").when(is_chroma),
                Route::post("/embed", start_dense)
                    .gives("dense")
                    .when(is_chroma),
                Route::post("/embed_sparse", start_sparse)
                    .gives("sparse")
                    .when(is_chroma),
            ]
        },
        fields: Fields {
            lists: &["texts"],
            scalars: &[
                "task",
                "target",
                "instructions",
                "fetch_labels",
                "fetch_tokens",
            ],
        },
        model: |head, _| model_header(head),
        key_header: Some("x-chroma-token"),
        tell,
        #[cfg(test)]
        document: describe,
    }
}

/// Whether a request to a path of text-embeddings-inference too is Chroma's: it has the field
/// `texts`, or a header that only Chroma's clients send.
fn is_chroma(ask: &Ask) -> bool {
    match ask.body {
        Some(body) if body.has("inputs") || body.has("query") => false,
        Some(body) if body.has("texts") => true,
        _ => {
            let mut headers = ask.head.headers.keys();
            headers.any(|name| name.starts_with("x-chroma-"))
        }
    }
}

fn model_header(head: &Request) -> Option<&str> {
    head.headers.get(MODEL_HEADER).map(String::as_str)
}

/// Errors if a request does not name a model. Any name will do: the server has chosen the model.
fn check_model(head: &Request) -> Result<()> {
    if model_header(head).is_some() {
        return Ok(());
    }
    let reason = format!("the header {MODEL_HEADER} is missing");
    Err(Error::input(MODEL_HEADER, reason))
}

/// The body of a request.
struct Asked {
    texts: Vec<Input>,
    /// The instruction, if the model takes one.
    instruction: Option<String>,
    /// `query` or `document`, if the model has routes of these names.
    task: Option<String>,
    /// Whether the entries of sparse vectors come with their tokens.
    labels: bool,
}

impl Asked {
    fn read<B: Backend>(embedder: &Embedder<B>, mut body: Body) -> Result<Self> {
        let texts = body.texts("texts")?;
        let instruction = body.text("instructions")?;
        let takes = embedder.info().instruction_template.is_some();
        // It is checked, and has no effect.
        body.text("task")?;
        let task = match body.text("target")?.as_deref() {
            Some("query" | "queries") => Some("query"),
            Some("document" | "documents") => Some("document"),
            _ => None,
        };
        let task = task.filter(|task| embedder.tasks().contains(task));
        let labels = body.flag("fetch_labels")?;
        // Clients send this field, as a string.
        let tokens = match body.get("fetch_tokens") {
            Field::Text(text) => text == "true",
            _ => body.flag("fetch_tokens")?.unwrap_or(false),
        };
        Ok(Self {
            texts,
            instruction: instruction.filter(|text| takes && !text.is_empty()),
            task: task.map(str::to_owned),
            labels: labels.unwrap_or(tokens),
        })
    }
}

/// Errors if a request to the sparse route lacks the fields that say what its texts are for. They
/// may be empty or null.
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
struct Sparse {
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
struct Response<T> {
    embeddings: Vec<T>,
    num_tokens: u64,
}

impl<T: Serialize> Response<T> {
    fn new(embeddings: Vec<T>, tokens: &[u32]) -> Self {
        Self {
            embeddings,
            num_tokens: tokens.iter().map(|tokens| u64::from(*tokens)).sum(),
        }
    }
}

/// `/embed_sparse`: `{ texts, instructions | task and target, fetch_labels? }`
fn start_sparse<B: Backend>(embedder: &Embedder<B>, call: Call) -> Result<Work> {
    check_model(call.head)?;
    check_purpose(&call.body)?;
    let request = Asked::read(embedder, call.body)?;
    if request.texts.is_empty() {
        return Ok(Work::ready(&Response::<Sparse>::new(Vec::new(), &[])));
    }
    let options = SparseOptions {
        instruction: request.instruction,
        task: request.task,
        labels: request.labels,
        ..SparseOptions::default()
    };
    let run = embedder.start_sparse(request.texts, &options)?;
    Ok(Work::running(Pending::new(run, |output| {
        let batch = output.into_sparse();
        let vectors = batch.vectors.into_iter().map(|vector| Sparse {
            indices: vector.indices,
            values: vector.values,
            labels: vector.labels,
        });
        Response::new(vectors.collect(), &batch.tokens)
    })))
}

/// `/`, `/embed`: `{ texts, instructions? }`
fn start_dense<B: Backend>(embedder: &Embedder<B>, call: Call) -> Result<Work> {
    check_model(call.head)?;
    let request = Asked::read(embedder, call.body)?;
    if request.texts.is_empty() {
        return Ok(Work::ready(&Response::<Vec<f32>>::new(Vec::new(), &[])));
    }
    let options = EncodeOptions {
        instruction: request.instruction,
        task: request.task,
        ..EncodeOptions::default()
    };
    let run = embedder.start(request.texts, &options)?;
    Ok(Work::running(Pending::new(run, |output| {
        let tokens = output.tokens.clone();
        Response::new(vectors(output), &tokens)
    })))
}

/// The body of an error.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "ChromaBody"))]
struct ErrorBody<'a> {
    /// What is wrong, and what to do.
    error: &'a str,
}

fn tell(problem: &Problem) -> (u16, String) {
    let status = match problem.cause {
        Cause::Unauthenticated => 401,
        Cause::NotFound => 404,
        Cause::Method => 405,
        Cause::TimedOut => 408,
        Cause::TooManyInputs | Cause::TooLarge => 413,
        Cause::Encoding => 415,
        Cause::Overloaded => 429,
        Cause::Internal => 500,
        Cause::NotSupported => 501,
        Cause::Unavailable => 503,
        Cause::Malformed | Cause::Invalid | Cause::Empty | Cause::UnknownModel => 400,
    };
    let error = &problem.message;
    (status, to_json(&ErrorBody { error }))
}

#[cfg(test)]
fn describe(doc: &mut Document) {
    use schema::ChromaRequest;

    doc.errors::<ErrorBody>(tell);
    doc.key_header("chroma", "x-chroma-token");
    let summary = "Dense vectors (Chroma)";
    doc.post::<ChromaRequest, Response<Vec<f32>>>("/", "embedRoot", summary);
    doc.post::<ChromaRequest, Response<Vec<f32>>>("/embed", "embed", summary);
    let summary = "Sparse vectors (Chroma)";
    doc.post::<schema::WithPurpose, Response<Sparse>>("/embed_sparse", "embedSparse", summary);
    for path in ["/", "/embed", "/embed_sparse"] {
        let note = "The model that answers. Chroma's clients send it.";
        doc.header(path, MODEL_HEADER, note);
    }
}

/// The requests as types, for the `OpenAPI` document.
#[cfg(test)]
mod schema {
    #![expect(dead_code, reason = "only the schemas are used")]

    use schemars::JsonSchema;

    use crate::api::MAX_INPUTS;

    #[derive(JsonSchema)]
    pub struct ChromaRequest {
        #[schemars(length(max = MAX_INPUTS))]
        texts: Vec<String>,
        /// Has no effect.
        task: Option<String>,
        /// `query` or `document`, for models that distinguish them.
        target: Option<String>,
        /// For models that take an instruction.
        instructions: Option<String>,
        /// Whether entries come with their tokens.
        fetch_labels: Option<bool>,
        /// What clients send instead of `fetch_labels`, as a string.
        fetch_tokens: Option<FetchTokens>,
    }

    /// What the texts are for must be given.
    #[derive(JsonSchema)]
    #[schemars(
        rename = "ChromaSparseRequest",
        extend("anyOf" = [{ "required": ["instructions"] }, { "required": ["task", "target"] }])
    )]
    pub struct WithPurpose {
        #[serde(flatten)]
        request: ChromaRequest,
    }

    #[derive(JsonSchema)]
    #[serde(untagged)]
    pub enum FetchTokens {
        Bool(bool),
        Text(String),
    }
}
