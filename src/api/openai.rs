//! OpenAI's `POST /v1/embeddings`: `CreateEmbeddingRequest` → `CreateEmbeddingResponse`, with the extra fields that
//! text-embeddings-inference takes on the same route.

use base64::Engine;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::input::inputs;
#[cfg(test)]
use super::input::schema;
use super::{MAX_INPUTS, Pending, check_count, dense_options, parse};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::embedder::Embedder;
use crate::model::options::EncodeOptions;
use crate::model::output::Output;
use crate::model::output::{OutputDtype, Quantized};
use crate::text::{Direction, Input};

/// The request's body.
#[derive(Deserialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(rename = "CreateEmbeddingRequest", transform = schema::null_is_missing)
)]
pub(super) struct Request {
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "schema::NotEmptyInputs"))]
    input: Value,
    /// The model that answers; without it, the server's default one.
    model: Option<String>,
    encoding_format: Option<EncodingFormat>,
    #[cfg_attr(test, schemars(with = "Option<std::num::NonZeroU32>"))]
    dimensions: Option<Value>,
    /// What the components of vectors are, as at Voyage AI: whole numbers take a quarter of the place, bits a 32nd.
    output_dtype: Option<OutputDtype>,
    /// Whether vectors get length 1; they do by default.
    normalize: Option<bool>,
    /// One of the model's own prompts, to be put in front.
    prompt_name: Option<String>,
    /// Whether what is too long is cut off; by default it is an error.
    truncate: Option<bool>,
    /// Which end is cut off. `truncate_direction` is read too.
    #[serde(alias = "truncate_direction")]
    truncation_direction: Option<Direction>,
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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

/// Checks a request and starts it.
pub fn start<B: Backend>(embedder: &Embedder<B>, body: Value) -> Result<Pending<Response>> {
    let request: Request = parse(body)?;
    let inputs = inputs("input", &request.input)?;
    if inputs.is_empty() {
        return Err(Error::EmptyInput(
            "input is an empty list: pass at least one text".to_owned(),
        ));
    }
    if let Some(index) = inputs
        .iter()
        .position(|input| *input == Input::Text(String::new()))
    {
        return Err(Error::EmptyInput(format!(
            "input {index} is an empty string: leave it out"
        )));
    }
    check_count(inputs.len(), MAX_INPUTS)?;
    let options = dense_options(
        request.normalize,
        request.dimensions,
        request.prompt_name,
        request.truncate,
        request.truncation_direction,
    )?;
    let format = request.encoding_format.unwrap_or_default();
    let model = request
        .model
        .unwrap_or_else(|| embedder.info().model.clone());
    let options = EncodeOptions {
        output: request.output_dtype.unwrap_or_default(),
        ..options
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

/// One model of a list of models.
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
pub(super) struct Models<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

pub(super) fn models<'a>(names: impl IntoIterator<Item = &'a str>) -> Models<'a> {
    let model = |id| Model {
        id,
        object: "model",
        created: 0,
        owned_by: "gossamer",
    };
    Models {
        object: "list",
        data: names.into_iter().map(model).collect(),
    }
}
