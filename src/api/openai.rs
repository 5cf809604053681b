//! OpenAI's `POST /v1/embeddings`: `CreateEmbeddingRequest` → `CreateEmbeddingResponse`, with the extra fields that
//! text-embeddings-inference takes on the same route.

use base64::Engine;
use serde::Serialize;

use super::body::Body;
use super::{Pending, check_filled, dense_options, shown};
use crate::backend::Backend;
use crate::error::Result;
use crate::model::embedder::Embedder;
use crate::model::run::options::EncodeOptions;
use crate::model::run::outputs::{Output, OutputDtype, Quantized};

/// The fields of a request. The last few are sent along by clients, and change nothing.
const FIELDS: [&str; 15] = [
    "input",
    "model",
    "encoding_format",
    "dimensions",
    "output_dtype",
    "normalize",
    "prompt_name",
    "truncate",
    "truncation_direction",
    "truncate_direction",
    "user",
    "safety_identifier",
    "metadata",
    "extra_body",
    "timeout",
];

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

/// Checks a request and starts it. `strict`: a field that the format has not is an error, as it is at `OpenAI`.
pub fn start<B: Backend>(
    embedder: &Embedder<B>,
    mut body: Body,
    strict: bool,
) -> Result<Pending<Response>> {
    if strict {
        body.only(&FIELDS)?;
    }
    // It is checked, and changes nothing here.
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

/// The response of `GET /v1/models/{id}`, and an entry of that of `GET /v1/models`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Model<'a> {
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

pub(super) fn model(id: &str) -> Model<'_> {
    Model {
        id,
        object: "model",
        created: 0,
        owned_by: "gossamer",
    }
}

pub(super) fn models<'a>(names: impl IntoIterator<Item = &'a str>) -> Models<'a> {
    Models {
        object: "list",
        data: names.into_iter().map(model).collect(),
    }
}
