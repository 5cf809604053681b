//! Inworld's `POST /ml/v1alpha/embedding:embed`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{MAX_INPUTS, Pending, check_count, parse, vectors};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::embedder::Embedder;
use crate::model::options::EncodeOptions;
use crate::text::Input;

#[derive(Deserialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(rename = "InworldRequest")
)]
pub(super) struct Request {
    #[cfg_attr(test, schemars(length(min = 1)))]
    inputs: Vec<Text>,
    #[expect(
        dead_code,
        reason = "required; an embedder is one model, so none is chosen by it"
    )]
    model: ModelId,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "InworldText"))]
struct Text {
    text: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "checked, not used")]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(rename = "InworldModelId")
)]
struct ModelId {
    model: String,
    #[serde(default)]
    service_provider: ServiceProvider,
}

/// Who runs the model; it is always this library.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
enum ServiceProvider {
    #[default]
    #[serde(rename = "SERVICE_PROVIDER_UNSPECIFIED")]
    Unspecified,
    #[serde(rename = "SERVICE_PROVIDER_INWORLD")]
    Inworld,
    #[serde(rename = "SERVICE_PROVIDER_OPENAI")]
    OpenAi,
}

/// The response.
#[derive(Serialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(rename = "InworldResponse")
)]
pub struct Response {
    embeddings: Vec<Embedding>,
}

#[derive(Serialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(rename = "InworldEmbedding")
)]
struct Embedding {
    values: Vec<f32>,
}

/// `{ inputs: [{ text }], model: { model, serviceProvider } }`
pub(super) fn start<B: Backend>(embedder: &Embedder<B>, body: Value) -> Result<Pending<Response>> {
    let request: Request = parse(body)?;
    if request.inputs.is_empty() {
        return Err(Error::EmptyInput(
            "inputs is an empty list: pass at least one".to_owned(),
        ));
    }
    check_count(request.inputs.len(), MAX_INPUTS)?;
    let texts = request
        .inputs
        .into_iter()
        .map(|input| Input::Text(input.text));
    let options = EncodeOptions {
        truncate: Some(false),
        ..EncodeOptions::default()
    };
    let run = embedder.start(texts.collect(), &options)?;
    Ok(Pending::new(run, |output| Response {
        embeddings: vectors(output)
            .into_iter()
            .map(|values| Embedding { values })
            .collect(),
    }))
}
