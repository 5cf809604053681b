//! Cohere's `POST /v2/rerank`, and `POST /v1/rerank` for Cohere's clients: others send Jina's
//! requests there.

use serde::Serialize;

use super::ranking::{self, RankedDocument, Ranking};
use super::{Ask, Call, Fields, Format, Route, model_field};
#[cfg(test)]
use crate::api::http::openapi::Document;
use crate::api::http::problem::{Cause, Problem};
use crate::api::json::{Body, Field};
use crate::api::{Work, id, to_json};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::embedder::Embedder;

pub(super) const fn format<B: Backend + 'static>() -> Format<B> {
    Format {
        routes: const {
            &[
                Route::post("/v2/rerank", v2).gives("scores"),
                Route::post("/v1/rerank", v1)
                    .gives("scores")
                    .when(is_cohere),
            ]
        },
        fields: Fields {
            lists: &["documents", "rank_fields"],
            scalars: &[
                "query",
                "model",
                "top_n",
                "max_tokens_per_doc",
                "max_chunks_per_doc",
                "return_documents",
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

/// Whether a request to `/v1/rerank` is Cohere's: its clients send headers of their own, and two
/// fields are only Cohere's.
fn is_cohere(ask: &Ask) -> bool {
    let header = |name: &str| ask.head.headers.get(name);
    let own = |name| header(name).is_some_and(|value| value.starts_with("cohere"));
    let fields = ["max_chunks_per_doc", "rank_fields"];
    own("x-fern-sdk-name")
        || own("user-agent")
        || header("x-client-name").is_some()
        || ask
            .body
            .is_some_and(|body| fields.iter().any(|name| body.has(name)))
}

/// The response.
#[derive(Serialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(rename = "CohereRerankResponse")
)]
struct Response {
    /// A random UUID.
    id: String,
    results: Vec<RankedDocument>,
    meta: Meta,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "CohereMeta"))]
struct Meta {
    api_version: ApiVersion,
    tokens: Tokens,
}

#[derive(Serialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(rename = "CohereApiVersion")
)]
struct ApiVersion {
    version: &'static str,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "CohereTokens"))]
struct Tokens {
    /// The tokens of all pairs of the query and a document.
    input_tokens: u64,
}

/// `/v2/rerank`: `{ query, documents, top_n?, max_tokens_per_doc? }`. Cohere has removed
/// `return_documents` here, but clients still send it.
fn v2<B: Backend>(embedder: &Embedder<B>, call: Call) -> Result<Work> {
    let mut body = call.body;
    let mut ranking = read(&mut body)?;
    if let Some(most) = ranking::at_least_one(&mut body, "max_tokens_per_doc")? {
        ranking.truncate(embedder, usize::try_from(most).unwrap_or(usize::MAX))?;
    }
    start(embedder, ranking, "2")
}

/// `/v1/rerank`: `{ query, documents, top_n?, return_documents?, max_chunks_per_doc? }`
fn v1<B: Backend>(embedder: &Embedder<B>, call: Call) -> Result<Work> {
    let mut body = call.body;
    // A limit, which is kept: a document is one chunk.
    ranking::at_least_one(&mut body, "max_chunks_per_doc")?;
    start(embedder, read(&mut body)?, "1")
}

/// Reads the fields of both versions.
fn read(body: &mut Body) -> Result<Ranking> {
    // It is checked, and has no effect: the server has chosen the model.
    body.text("model")?;
    let fields = match body.get("rank_fields") {
        Field::Null => Vec::new(),
        _ => body.strings("rank_fields")?,
    };
    if let Some(other) = fields.iter().find(|field| *field != "text") {
        let short: String = other.chars().take(40).collect();
        let reason = format!(
            "rank_fields has {short:?}; documents are ranked by their field text alone: put what is to be ranked there"
        );
        return Err(Error::input("rank_fields", reason));
    }
    let ranking = Ranking::read(body, false)?;
    if ranking.is_empty() {
        let reason = "documents is an empty list: pass at least one document";
        return Err(Error::EmptyInput(reason.to_owned()));
    }
    Ok(ranking)
}

fn start<B: Backend>(
    embedder: &Embedder<B>,
    ranking: Ranking,
    version: &'static str,
) -> Result<Work> {
    ranking.start(embedder, move |results, tokens| Response {
        id: id::random(),
        results,
        meta: Meta {
            api_version: ApiVersion { version },
            tokens: Tokens {
                input_tokens: tokens,
            },
        },
    })
}

/// The body of an error.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "CohereBody"))]
struct ErrorBody<'a> {
    /// What is wrong, and what to do.
    message: &'a str,
}

fn tell(problem: &Problem) -> (u16, String) {
    let status = match problem.cause {
        Cause::Unauthenticated => 401,
        Cause::NotFound | Cause::UnknownModel => 404,
        Cause::Method => 405,
        Cause::TooLarge => 413,
        Cause::Encoding => 415,
        Cause::Overloaded => 429,
        Cause::Internal => 500,
        Cause::Unavailable => 503,
        Cause::TimedOut => 504,
        Cause::Malformed
        | Cause::Invalid
        | Cause::Empty
        | Cause::TooManyInputs
        | Cause::NotSupported => 400,
    };
    let message = &problem.message;
    (status, to_json(&ErrorBody { message }))
}

#[cfg(test)]
fn describe(doc: &mut Document) {
    doc.errors::<ErrorBody>(tell);
    let summary = "Documents by their relevance to a query (Cohere)";
    doc.post::<schema::CohereRerankRequest, Response>("/v2/rerank", "rerankV2", summary);
    doc.post::<schema::CohereRerankV1Request, Response>("/v1/rerank", "rerankV1", summary);
}

/// The requests as types, for the `OpenAPI` document.
#[cfg(test)]
mod schema {
    #![expect(dead_code, reason = "only the schemas are used")]

    use std::num::NonZeroU32;

    use schemars::JsonSchema;

    use crate::api::MAX_INPUTS;
    use crate::api::schema::Document;

    #[derive(JsonSchema)]
    pub struct CohereRerankRequest {
        /// The model that answers. If it is missing, empty or "null", the server's default model
        /// does.
        model: Option<String>,
        #[schemars(length(min = 1))]
        query: String,
        #[schemars(length(min = 1, max = MAX_INPUTS))]
        documents: Vec<Document>,
        /// The most results. By default all documents are returned.
        top_n: Option<NonZeroU32>,
        /// Whether results have the texts of the documents.
        return_documents: Option<bool>,
        /// A longer document is truncated.
        max_tokens_per_doc: Option<NonZeroU32>,
    }

    #[derive(JsonSchema)]
    pub struct CohereRerankV1Request {
        model: Option<String>,
        #[schemars(length(min = 1))]
        query: String,
        #[schemars(length(min = 1, max = MAX_INPUTS))]
        documents: Vec<Document>,
        top_n: Option<NonZeroU32>,
        /// Whether results have the texts of the documents.
        return_documents: Option<bool>,
        /// Has no effect: a document is one chunk.
        max_chunks_per_doc: Option<NonZeroU32>,
    }
}
