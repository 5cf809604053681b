//! `OpenAI`'s `POST /v1/embeddings`, with the extra fields that text-embeddings-inference takes on
//! the same route, and `GET /v1/models`.

use base64::Engine;
use serde::Serialize;

use super::{Access, Call, Fields, Format, Route, Server, model_field};
use crate::api::http::message::{Dialect, Refusal, Response as HttpResponse};
#[cfg(test)]
use crate::api::http::openapi::Document;
use crate::api::http::problem::{Cause, Problem};
use crate::api::json::Body;
use crate::api::{Pending, Work, check_filled, dense_options, shown, to_json};
use crate::backend::Backend;
use crate::error::Result;
use crate::model::embedder::Embedder;
use crate::model::run::options::EncodeOptions;
use crate::model::run::outputs::{Output, OutputDtype, Quantized};

const FIELDS: Fields = Fields {
    lists: &["input"],
    scalars: &[
        "model",
        "encoding_format",
        "dimensions",
        "output_dtype",
        "normalize",
        "prompt_name",
        "truncate",
        "truncation_direction",
        "truncate_direction",
        // Clients send these along. They have no effect on vectors.
        "user",
        "safety_identifier",
        "metadata",
        "extra_body",
        "timeout",
    ],
};

pub(super) const fn format<B: Backend + 'static>() -> Format<B> {
    Format {
        routes: const {
            &[
                Route::post("/v1/embeddings", strict)
                    .gives("dense")
                    .when(|ask| matches!(ask.dialect, Dialect::OpenAi)),
                Route::post("/embeddings", strict)
                    .gives("dense")
                    .when(|ask| matches!(ask.dialect, Dialect::OpenAi)),
                Route::head("/v1/models", Access::Full, models),
                Route::head(MODEL_PATH, Access::Full, model),
            ]
        },
        fields: FIELDS,
        model: model_field,
        key_header: None,
        tell,
        #[cfg(test)]
        document: describe,
    }
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum EncodingFormat {
    /// As lists of numbers
    #[default]
    Float,
    /// As base64 of little-endian f32, or of bytes
    Base64,
}

/// The response.
#[derive(Debug, Serialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(rename = "CreateEmbeddingResponse")
)]
pub struct Response {
    object: &'static str,
    data: Vec<Embedding>,
    model: String,
    usage: Usage,
}

#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the format's names")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
enum Vector {
    Float(Vec<f32>),
    Whole(Vec<i16>),
    Base64(String),
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Usage {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// `POST /v1/embeddings` as `OpenAI` has it.
pub(super) fn strict<B: Backend>(embedder: &Embedder<B>, call: Call) -> Result<Work> {
    start(embedder, call.body, true).map(Work::running)
}

/// Checks a request and starts it. `strict`: an unknown field is an error, as at `OpenAI`.
pub fn start<B: Backend>(
    embedder: &Embedder<B>,
    mut body: Body,
    strict: bool,
) -> Result<Pending<Response>> {
    if strict {
        body.only(&[FIELDS.lists, FIELDS.scalars].concat())?;
    }
    // It is checked, and has no effect.
    body.text("user")?;
    let inputs = body.take("input").inputs("input")?;
    check_filled("input", &inputs)?;
    let formats = [
        ("float", EncodingFormat::Float),
        ("base64", EncodingFormat::Base64),
    ];
    let format = body.word("encoding_format", &formats)?.unwrap_or_default();
    let dtypes = [
        OutputDtype::Float,
        OutputDtype::Int8,
        OutputDtype::Uint8,
        OutputDtype::Binary,
        OutputDtype::Ubinary,
    ];
    let dtypes = dtypes.map(|dtype| (dtype.name(), dtype));
    let model = body.text("model")?.filter(|model| !model.is_empty());
    let model = model.unwrap_or_else(|| shown(&embedder.info().model).to_owned());
    let options = EncodeOptions {
        output: body.word("output_dtype", &dtypes)?.unwrap_or_default(),
        ..dense_options(&mut body)?
    };
    let run = embedder.start(inputs, &options)?;
    Ok(Pending::new(run, move |output| {
        respond(output, format, model)
    }))
}

fn respond(output: Output, format: EncodingFormat, model: String) -> Response {
    let batch = output.into_dense();
    let base64 =
        |bytes: &[u8]| Vector::Base64(base64::engine::general_purpose::STANDARD.encode(bytes));
    let floats = |row: &[f32]| match format {
        EncodingFormat::Float => Vector::Float(row.to_vec()),
        EncodingFormat::Base64 => {
            base64(&row.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())
        }
    };
    let vectors: Vec<Vector> = if let Some(Quantized { dtype, codes, .. }) = &batch.quantized {
        let whole = |row: &[u8]| match format {
            EncodingFormat::Float => Vector::Whole(Quantized::numbers(row, *dtype)),
            EncodingFormat::Base64 => base64(row),
        };
        let width = dtype.width(batch.dimensions);
        codes.chunks_exact(width.max(1)).map(whole).collect()
    } else {
        let rows = batch.data.chunks_exact(batch.dimensions.max(1));
        rows.map(floats).collect()
    };
    let data = vectors
        .into_iter()
        .enumerate()
        .map(|(index, embedding)| Embedding {
            object: "embedding",
            index,
            embedding,
        });
    let tokens = batch.tokens.iter().map(|tokens| u64::from(*tokens)).sum();
    Response {
        object: "list",
        data: data.collect(),
        model,
        usage: Usage {
            prompt_tokens: tokens,
            total_tokens: tokens,
        },
    }
}

/// The response of `GET /v1/models/{id}`, and an element of that of `GET /v1/models`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u32,
    owned_by: &'static str,
}

/// The response of `GET /v1/models`.
#[derive(Serialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(rename = "ListModelsResponse")
)]
struct Models<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

impl<'a> Model<'a> {
    fn new(id: &'a str) -> Self {
        Self {
            id,
            object: "model",
            created: 0,
            owned_by: "gossamer",
        }
    }
}

/// The path of one model.
const MODEL_PATH: &str = "/v1/models/{id}";

/// `GET /v1/models`
fn models(server: &Server) -> Option<Result<HttpResponse, Problem>> {
    if server.models.is_empty() {
        return None;
    }
    let list = Models {
        object: "list",
        data: server.models.iter().map(|name| Model::new(name)).collect(),
    };
    Some(Ok(HttpResponse::json(200, to_json(&list))))
}

/// `GET /v1/models/{id}`
fn model(server: &Server) -> Option<Result<HttpResponse, Problem>> {
    if server.models.is_empty() {
        return None;
    }
    let path = server.head.path.trim_end_matches('/');
    let id = path.get(MODEL_PATH.len() - "{id}".len()..)?;
    let id = id.replace("%2F", "/");
    let found = server.models.iter().find(|name| **name == id);
    let problem = || Problem::refused(Refusal::UnknownModel, server.options);
    let found = found.ok_or_else(problem);
    Some(found.map(|name| HttpResponse::json(200, to_json(&Model::new(name)))))
}

/// The body of an error.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "OpenAiBody"))]
pub(super) struct ErrorBody<'a> {
    error: ErrorObject<'a>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "OpenAiError"))]
struct ErrorObject<'a> {
    /// What is wrong, and what to do.
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    /// The field that is wrong.
    param: Option<&'a str>,
    code: &'a str,
}

pub(in crate::api) fn tell(problem: &Problem) -> (u16, String) {
    write(problem, kind(problem.cause), problem.code)
}

/// The `type` of an error.
pub(super) fn kind(cause: Cause) -> &'static str {
    match cause {
        Cause::Overloaded => "rate_limit_error",
        Cause::TimedOut => "timeout_error",
        Cause::Internal | Cause::Unavailable => "server_error",
        _ => "invalid_request_error",
    }
}

/// The status and the body of an error.
pub(super) fn write(problem: &Problem, kind: &str, code: &str) -> (u16, String) {
    let status = match problem.cause {
        Cause::Unauthenticated => 401,
        Cause::NotFound | Cause::UnknownModel => 404,
        Cause::Method => 405,
        Cause::TimedOut => 408,
        Cause::TooLarge => 413,
        Cause::Encoding => 415,
        Cause::Overloaded => 429,
        Cause::Internal => 500,
        Cause::Unavailable => 503,
        _ => 400,
    };
    let error = ErrorObject {
        message: &problem.message,
        kind,
        param: problem.param,
        code,
    };
    (status, to_json(&ErrorBody { error }))
}

#[cfg(test)]
fn describe(doc: &mut Document) {
    doc.errors::<ErrorBody>(tell);
    describe_embeddings(doc);
    doc.answer::<Models>("/v1/models", "listModels", "The models of this server");
    doc.answer::<Model>(MODEL_PATH, "retrieveModel", "One of them");
}

/// Describes `/v1/embeddings`, which other formats have too, with errors of their own.
#[cfg(test)]
pub(super) fn describe_embeddings(doc: &mut Document) {
    let summary = "Dense vectors";
    doc.post::<schema::CreateEmbeddingRequest, Response>(
        "/v1/embeddings",
        "createEmbedding",
        summary,
    );
    doc.post::<schema::CreateEmbeddingRequest, Response>(
        "/embeddings",
        "createEmbeddingShort",
        summary,
    );
}

/// The request as a type, for the `OpenAPI` document.
#[cfg(test)]
pub(super) mod schema {
    #![expect(dead_code, reason = "only the schema is used")]

    use std::num::NonZeroU32;

    use schemars::JsonSchema;

    use crate::api::schema::Inputs;
    use crate::model::run::outputs::OutputDtype;
    use crate::text::Direction;

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
        /// The model that answers. If it is missing, empty or "null", the server's default model
        /// does.
        model: Option<String>,
        encoding_format: Option<EncodingFormat>,
        dimensions: Option<NonZeroU32>,
        /// What the components of vectors are, as at Voyage AI: 8-bit integers take a quarter of
        /// the space, bits a 32nd.
        output_dtype: Option<OutputDtype>,
        /// Whether vectors are scaled to length 1. The default is true.
        normalize: Option<bool>,
        /// The name of one of the model's own prompts, which is put before each text.
        prompt_name: Option<String>,
        /// Whether a text that is too long is truncated. By default it is an error.
        truncate: Option<bool>,
        /// Which end is cut off. `truncate_direction` is read too.
        truncation_direction: Option<Direction>,
        /// Has no effect.
        user: Option<String>,
    }
}
