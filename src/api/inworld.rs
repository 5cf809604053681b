//! Inworld's `POST /ml/v1alpha/embedding:embed`.

use serde::Serialize;

use super::body::{Body, Field};
use super::{Pending, check_filled, vectors};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::embedder::Embedder;
use crate::model::run::options::EncodeOptions;
use crate::text::Input;

/// Who runs the model; it is always this library. Protobuf's JSON has an enum's values as names or numbers.
const PROVIDERS: [(&str, ()); 3] = [
    ("SERVICE_PROVIDER_UNSPECIFIED", ()),
    ("SERVICE_PROVIDER_INWORLD", ()),
    ("SERVICE_PROVIDER_OPENAI", ()),
];

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
pub(super) fn start<B: Backend>(
    embedder: &Embedder<B>,
    mut body: Body,
) -> Result<Pending<Response>> {
    let Some(mut model) = body.object("model")? else {
        let reason = "model is missing; pass { model, serviceProvider }, which may be empty";
        return Err(Error::input("model", reason));
    };
    model.text("model")?;
    for name in ["serviceProvider", "service_provider"] {
        // The number of an enum's value has 32 bits.
        let is_number = |number: f64| {
            number.fract() == 0.0 && (-2_147_483_648.0..=2_147_483_647.0).contains(&number)
        };
        if !matches!(model.get(name), Field::Number(number) if is_number(*number)) {
            model.word(name, &PROVIDERS)?;
        }
    }
    // As everywhere in protobuf's JSON, null is as good as absent.
    let text = |mut input: Body| Ok(Input::Text(input.text("text")?.unwrap_or_default()));
    let texts = body.objects("inputs")?.into_iter().map(text);
    let texts = texts.collect::<Result<Vec<_>>>()?;
    check_filled("inputs", &texts)?;
    let options = EncodeOptions {
        truncate: Some(false),
        ..EncodeOptions::default()
    };
    let run = embedder.start(texts, &options)?;
    Ok(Pending::new(run, |output| Response {
        embeddings: vectors(output)
            .into_iter()
            .map(|values| Embedding { values })
            .collect(),
    }))
}
