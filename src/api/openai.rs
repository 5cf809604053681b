//! OpenAI's `POST /v1/embeddings`: `CreateEmbeddingRequest` → `CreateEmbeddingResponse`, with the extra fields that
//! text-embeddings-inference takes on the same route.

use base64::Engine;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::input::inputs;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::embedder::Embedder;
use crate::model::options::EncodeOptions;
use crate::model::run;
use crate::text::{Direction, Input};

/// The most inputs of one request, as at OpenAI.
const MAX_INPUTS: usize = 2048;

/// The request's body. Fields that are not named here are passed over, as other servers do.
#[derive(Debug, Deserialize)]
pub struct Request {
    #[serde(default)]
    input: Value,
    model: Option<String>,
    encoding_format: Option<EncodingFormat>,
    dimensions: Option<Value>,
    normalize: Option<bool>,
    prompt_name: Option<String>,
    truncate: Option<bool>,
    truncation_direction: Option<Direction>,
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EncodingFormat {
    /// As lists of numbers
    #[default]
    Float,
    /// As base64 of little-endian f32
    Base64,
}

/// The response.
#[derive(Debug, Serialize)]
pub struct Response {
    object: &'static str,
    data: Vec<Embedding>,
    model: String,
    usage: Usage,
}

#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the format's names")]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Vector {
    Float(Vec<f32>),
    Base64(String),
}

#[derive(Debug, Serialize)]
struct Usage {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// A request at work.
pub struct Run {
    vectors: run::Run,
    format: EncodingFormat,
    model: String,
}

/// Checks a request and starts it.
pub fn start<B: Backend>(embedder: &Embedder<B>, body: Value) -> Result<Run> {
    if !body.is_object() {
        return Err(Error::input(
            "body",
            "the body must be an object with a field \"input\"",
        ));
    }
    let request: Request = serde_json::from_value(body)
        .map_err(|error| Error::input("body", format!("the body is malformed: {error}")))?;
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
    if inputs.len() > MAX_INPUTS {
        return Err(Error::TooManyInputs {
            got: inputs.len(),
            limit: MAX_INPUTS,
        });
    }
    let dimensions = request.dimensions.filter(|value| !value.is_null());
    let dimensions = dimensions.map(|value| {
        value.as_u64().ok_or_else(|| {
            Error::input(
                "dimensions",
                format!("dimensions is {value}; it must be a whole number of 1 or more"),
            )
        })
    });
    let options = EncodeOptions {
        // The format's clients expect vectors of length 1.
        normalize: Some(request.normalize.unwrap_or(true)),
        dimensions: dimensions.transpose()?,
        prompt_name: request.prompt_name,
        truncate: Some(request.truncate.unwrap_or(false)),
        truncation_direction: request.truncation_direction.unwrap_or_default(),
        ..EncodeOptions::default()
    };
    Ok(Run {
        vectors: embedder.start(inputs, &options)?,
        format: request.encoding_format.unwrap_or_default(),
        model: request
            .model
            .unwrap_or_else(|| embedder.info().model.clone()),
    })
}

impl Run {
    /// Errors count the inputs from `first`: these are a part of a longer list.
    pub fn count_from(&mut self, first: usize) {
        self.vectors.count_from(first);
    }

    /// Does one step; true when all is done.
    pub fn step<B: Backend>(&mut self, embedder: &Embedder<B>) -> Result<bool> {
        self.vectors.step(embedder)
    }

    /// The response.
    pub fn finish(self) -> Response {
        let batch = self.vectors.finish().into_dense();
        let vectors = batch.data.chunks_exact(batch.dimensions.max(1)).enumerate();
        let data = vectors.map(|(index, vector)| {
            let embedding = match self.format {
                EncodingFormat::Float => Vector::Float(vector.to_vec()),
                EncodingFormat::Base64 => {
                    let bytes: Vec<u8> = vector
                        .iter()
                        .flat_map(|value| value.to_le_bytes())
                        .collect();
                    Vector::Base64(base64::engine::general_purpose::STANDARD.encode(bytes))
                }
            };
            Embedding {
                object: "embedding",
                index,
                embedding,
            }
        });
        let tokens = batch.tokens.iter().map(|tokens| u64::from(*tokens)).sum();
        Response {
            object: "list",
            data: data.collect(),
            model: self.model,
            usage: Usage {
                prompt_tokens: tokens,
                total_tokens: tokens,
            },
        }
    }
}
