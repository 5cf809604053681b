//! Jina's `POST /v1/rerank`. Infinity, vLLM and other servers also have it as `/rerank`.

use serde::Serialize;

use super::ranking::{RankedDocument, Ranking};
use super::{Call, Fields, Format, Route, model_field};
#[cfg(test)]
use crate::api::http::openapi::Document;
use crate::api::http::problem::{Cause, Problem};
use crate::api::{Work, shown, to_json};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::embedder::Embedder;

pub(super) const fn format<B: Backend + 'static>() -> Format<B> {
    Format {
        routes: const {
            &[
                Route::post("/v1/rerank", rerank).gives("scores"),
                // Text-embeddings-inference's requests to this path have `texts`.
                Route::post("/rerank", rerank).gives("scores").when(|ask| {
                    ask.body
                        .is_some_and(|body| body.has("documents") && !body.has("texts"))
                }),
            ]
        },
        fields: Fields {
            lists: &["documents"],
            scalars: &[
                "query",
                "model",
                "top_n",
                "return_documents",
                "return_embeddings",
                "text",
            ],
        },
        model: model_field,
        key_header: None,
        tell,
        #[cfg(test)]
        document: describe,
    }
}

/// The response.
#[derive(Serialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(rename = "JinaRerankResponse")
)]
struct Response {
    model: String,
    object: &'static str,
    usage: Usage,
    results: Vec<RankedDocument>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "JinaUsage"))]
struct Usage {
    prompt_tokens: u64,
    /// The tokens of all pairs of the query and a document.
    total_tokens: u64,
}

/// `{ query, documents, top_n?, return_documents? }`. Documents are returned by default. An empty
/// list of documents has an empty list of results.
fn rerank<B: Backend>(embedder: &Embedder<B>, call: Call) -> Result<Work> {
    let mut body = call.body;
    if body.flag("return_embeddings")? == Some(true) {
        let reason = "return_embeddings is true, and a reranker has no embeddings: leave it out";
        return Err(Error::input("return_embeddings", reason));
    }
    let model = body.text("model")?.filter(|model| !model.is_empty());
    let model = model.unwrap_or_else(|| shown(&embedder.info().model).to_owned());
    Ranking::read(&mut body, true)?.start(embedder, |results, tokens| Response {
        model,
        object: "list",
        usage: Usage {
            prompt_tokens: tokens,
            total_tokens: tokens,
        },
        results,
    })
}

/// The body of an error.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "JinaBody"))]
struct ErrorBody<'a> {
    /// What is wrong, and what to do.
    detail: &'a str,
}

fn tell(problem: &Problem) -> (u16, String) {
    let status = match problem.cause {
        Cause::Malformed => 400,
        Cause::Unauthenticated => 401,
        Cause::NotFound | Cause::UnknownModel => 404,
        Cause::Method => 405,
        Cause::TimedOut => 408,
        Cause::TooLarge => 413,
        Cause::Encoding => 415,
        Cause::Invalid | Cause::Empty | Cause::TooManyInputs | Cause::NotSupported => 422,
        Cause::Overloaded => 429,
        Cause::Internal => 500,
        Cause::Unavailable => 503,
    };
    let detail = &problem.message;
    (status, to_json(&ErrorBody { detail }))
}

#[cfg(test)]
fn describe(doc: &mut Document) {
    doc.errors::<ErrorBody>(tell);
    let summary = "Documents by their relevance to a query (Jina)";
    doc.post::<schema::JinaRerankRequest, Response>("/v1/rerank", "rerankV1", summary);
    doc.post::<schema::JinaRerankRequest, Response>("/rerank", "rerank", summary);
}

/// The request as a type, for the `OpenAPI` document.
#[cfg(test)]
mod schema {
    #![expect(dead_code, reason = "only the schema is used")]

    use std::num::NonZeroU32;

    use schemars::JsonSchema;

    use crate::api::MAX_INPUTS;
    use crate::api::schema::Document;

    #[derive(JsonSchema)]
    pub struct JinaRerankRequest {
        /// The model that answers. If it is missing, empty or "null", the server's default model
        /// does.
        model: Option<String>,
        #[schemars(length(min = 1))]
        query: String,
        #[schemars(length(max = MAX_INPUTS))]
        documents: Vec<Document>,
        /// The most results. By default all documents are returned.
        top_n: Option<NonZeroU32>,
        /// Whether results have the texts of the documents. The default is true.
        return_documents: Option<bool>,
    }
}
