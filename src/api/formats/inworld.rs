//! Inworld's `POST /ml/v1alpha/embedding:embed`.

use serde::Serialize;

use super::{Call, Fields, Format, Route, text};
#[cfg(test)]
use crate::api::http::openapi::Document;
use crate::api::http::problem::{Cause, Problem};
use crate::api::json::{Body, Field};
use crate::api::{Pending, Work, check_filled, to_json, vectors};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::embedder::Embedder;
use crate::model::run::options::EncodeOptions;
use crate::text::Input;

const PATH: &str = "/ml/v1alpha/embedding:embed";

pub(super) const fn format<B: Backend + 'static>() -> Format<B> {
    Format {
        routes: const { &[Route::post(PATH, start).gives("dense")] },
        fields: Fields {
            lists: &["inputs", "model"],
            scalars: &["text", "serviceProvider", "service_provider"],
        },
        model: |_, body| match body?.get("model") {
            Field::Object(model) => text(model.get("model")),
            _ => None,
        },
        key_header: None,
        tell,
        #[cfg(test)]
        document: describe,
    }
}

/// The providers that a request may name. This library always computes the vectors itself.
/// Protobuf's JSON writes the values of an enum as names or as numbers.
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
fn start<B: Backend>(embedder: &Embedder<B>, call: Call) -> Result<Work> {
    let mut body = call.body;
    let Some(mut model) = body.object("model")? else {
        let reason = "model is missing; pass { model, serviceProvider }, which may be empty";
        return Err(Error::input("model", reason));
    };
    model.text("model")?;
    for name in ["serviceProvider", "service_provider"] {
        // An enum's number has 32 bits.
        let is_number = match model.get(name) {
            Field::Whole(number) => i32::try_from(*number).is_ok(),
            Field::Number(number) => number.fract() == 0.0 && *number >= f64::from(i32::MIN),
            _ => false,
        };
        if !is_number {
            model.word(name, &PROVIDERS)?;
        }
    }
    // In protobuf's JSON, null means the same as a missing field.
    let text = |mut input: Body| Ok(Input::Text(input.text("text")?.unwrap_or_default()));
    let texts = body.objects("inputs")?.into_iter().map(text);
    let texts = texts.collect::<Result<Vec<_>>>()?;
    check_filled("inputs", &texts)?;
    let options = EncodeOptions {
        truncate: Some(false),
        ..EncodeOptions::default()
    };
    let run = embedder.start(texts, &options)?;
    Ok(Work::running(Pending::new(run, |output| Response {
        embeddings: vectors(output)
            .into_iter()
            .map(|values| Embedding { values })
            .collect(),
    })))
}

/// The body of an error: google.rpc.Status.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RpcStatus<'a> {
    /// A number of google.rpc.Code.
    code: u8,
    /// What is wrong, and what to do.
    message: &'a str,
    details: [(); 0],
}

/// Reports a problem with a code of google.rpc, and the status that its HTTP gateway has for that.
fn tell(problem: &Problem) -> (u16, String) {
    let (status, code) = match problem.cause {
        Cause::Unauthenticated => (401, 16),
        Cause::NotFound | Cause::UnknownModel => (404, 5),
        Cause::TimedOut => (504, 4),
        Cause::Overloaded => (429, 8),
        Cause::Method => (405, 12),
        Cause::TooLarge => (413, 3),
        Cause::Encoding => (415, 3),
        Cause::Unavailable => (503, 14),
        Cause::NotSupported => (501, 12),
        Cause::Internal => (500, 13),
        _ => (400, 3),
    };
    // This API has no field `truncate`.
    let advice = problem.message.split_once(", or pass `truncate");
    let body = RpcStatus {
        code,
        message: advice.map_or(&problem.message, |(rest, _)| rest),
        details: [],
    };
    (status, to_json(&body))
}

#[cfg(test)]
fn describe(doc: &mut Document) {
    doc.errors::<RpcStatus>(tell);
    doc.post::<schema::InworldRequest, Response>(PATH, "embedInworld", "Dense vectors (Inworld)");
}

/// The request as a type, for the `OpenAPI` document.
#[cfg(test)]
mod schema {
    #![expect(dead_code, reason = "only the schema is used")]

    use schemars::JsonSchema;

    use crate::api::MAX_INPUTS;

    #[derive(JsonSchema)]
    pub struct InworldRequest {
        #[schemars(length(min = 1, max = MAX_INPUTS))]
        inputs: Vec<InworldText>,
        model: InworldModelId,
    }

    #[derive(JsonSchema)]
    pub struct InworldText {
        #[schemars(length(min = 1))]
        text: String,
    }

    /// As in all of protobuf's JSON, names may also be written with underscores, and null means the
    /// same as a missing field.
    #[derive(JsonSchema)]
    #[serde(rename_all = "camelCase")]
    pub struct InworldModelId {
        /// The server's default model if it is empty.
        model: Option<String>,
        service_provider: Option<ServiceProvider>,
    }

    /// Who runs the model. It is always this library.
    #[derive(JsonSchema)]
    #[serde(untagged)]
    pub enum ServiceProvider {
        Name(ProviderName),
        Number(i32),
    }

    #[derive(JsonSchema)]
    pub enum ProviderName {
        #[serde(rename = "SERVICE_PROVIDER_UNSPECIFIED")]
        Unspecified,
        #[serde(rename = "SERVICE_PROVIDER_INWORLD")]
        Inworld,
        #[serde(rename = "SERVICE_PROVIDER_OPENAI")]
        OpenAi,
    }
}
