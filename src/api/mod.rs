//! Wire formats: the request and response objects of other APIs, translated to and from the crate's
//! own types.
//!
//! Each format is one file of [`formats`]: its routes, its fields, its requests, its responses and
//! its errors. [`http`] finds the route of a request and answers it. Nothing here depends on
//! tensors or on JavaScript.
//!
//! The files build on each other in this order: [`json`] reads JSON; `http/message.rs` and
//! `http/problem.rs` define the requests, responses and problems that the formats use; [`formats`]
//! has the formats and their list; [`body`] and [`http`] look names and routes up in that list.

pub mod body;
mod formats;
pub mod http;
mod id;
mod json;
#[cfg(test)]
mod schema;

use serde::Serialize;

pub use self::formats::{openai, tei};

use self::http::message::Response;
use self::json::Body;
use crate::error::{Error, Result};
use crate::model::run::Run;
use crate::model::run::options::EncodeOptions;
use crate::model::run::outputs::Output;
use crate::text::Input;

/// The most inputs of one request. `OpenAI` has the same limit.
const MAX_INPUTS: usize = 2048;

/// A request that is being computed. When its run is done, the run's output becomes the response.
pub struct Pending<T> {
    /// What is computed.
    pub run: Run,
    finish: Box<dyn FnOnce(Output) -> T>,
}

impl<T: 'static> Pending<T> {
    fn new(run: Run, finish: impl FnOnce(Output) -> T + 'static) -> Self {
        Self {
            run,
            finish: Box::new(finish),
        }
    }

    /// Returns the response. The run must be done.
    pub fn finish(self) -> T {
        (self.finish)(self.run.finish())
    }

    /// Converts the response with `then`.
    pub fn map<U: 'static>(self, then: impl FnOnce(T) -> U + 'static) -> Pending<U> {
        let finish = self.finish;
        Pending::new(self.run, move |output| then(finish(output)))
    }
}

/// What a route makes of a request.
enum Work {
    /// A run, whose output becomes the JSON of the response.
    Running(Box<Pending<String>>),
    /// A response that needs no run.
    Ready(Response),
}

impl Work {
    fn running<T: Serialize + 'static>(pending: Pending<T>) -> Self {
        Self::Running(Box::new(pending.map(|response| to_json(&response))))
    }

    fn ready(response: &impl Serialize) -> Self {
        Self::Ready(Response::json(200, to_json(response)))
    }
}

/// Serialises a response. The responses consist of lists, strings, finite numbers and objects with
/// string keys, which can all be written.
fn to_json(response: &impl Serialize) -> String {
    serde_json::to_string(response).unwrap_or_default()
}

/// Errors if a list has no inputs, or an input without text. `param` is the name of its field.
fn check_filled(param: &str, inputs: &[Input]) -> Result<()> {
    let empty = |input: &Input| match input {
        Input::Text(text) => text.is_empty(),
        Input::Pair(first, second) => first.is_empty() && second.is_empty(),
        Input::Ids(_) => false,
    };
    let what = match inputs.iter().position(empty) {
        _ if inputs.is_empty() => format!("{param} is an empty list: pass at least one text"),
        Some(index) => format!("{param}[{index}] is an empty string: leave it out"),
        None => return Ok(()),
    };
    Err(Error::EmptyInput(what))
}

/// Reads the options of dense vectors. By default, vectors have length 1, and a text that is too
/// long is an error.
fn dense_options(body: &mut Body) -> Result<EncodeOptions> {
    Ok(EncodeOptions {
        normalize: Some(body.flag("normalize")?.unwrap_or(true)),
        dimensions: body.whole("dimensions")?,
        prompt_name: body.text("prompt_name")?,
        truncate: Some(body.flag("truncate")?.unwrap_or(false)),
        truncation_direction: body.direction()?,
        ..EncodeOptions::default()
    })
}

/// Returns the public name of a model. Only the last part of a folder or an address is shown: the
/// rest would tell strangers about the machine.
fn shown(model: &str) -> &str {
    let hub = model.split('/').count() <= 2 && !model.starts_with(['/', '.', '~']);
    if hub && !model.contains('\\') {
        return model;
    }
    let mut parts = model.rsplit(['/', '\\']);
    parts.find(|part| !part.is_empty()).unwrap_or(model)
}

/// Splits an output into its dense vectors.
fn vectors(output: Output) -> Vec<Vec<f32>> {
    let batch = output.into_dense();
    let rows = batch.data.chunks_exact(batch.dimensions.max(1));
    rows.map(<[f32]>::to_vec).collect()
}
