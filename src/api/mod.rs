//! Wire formats: other people's request and response objects, to and from the crate's own.
//!
//! Each format is a module that turns a [`Body`] into a [`Pending`]: a run, and what becomes of its output. [`http`] finds the
//! format of a request by its path, headers and body, and writes the errors of each. Nothing here knows of tensors or of
//! JavaScript.

pub mod body;
pub mod chroma;
pub mod http;
pub mod inworld;
pub mod openai;
#[cfg(test)]
mod schema;
pub mod tei;

use self::body::Body;
use crate::error::{Error, Result};
use crate::model::run::Run;
use crate::model::run::options::EncodeOptions;
use crate::model::run::outputs::Output;
use crate::text::Input;

/// The most inputs of one request, as at OpenAI.
const MAX_INPUTS: usize = 2048;

/// A request at work: when the run is done, its output becomes the response.
pub struct Pending<T> {
    /// What is to be computed.
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

    /// The response, once the run is done.
    pub fn finish(self) -> T {
        (self.finish)(self.run.finish())
    }

    /// What becomes of the response.
    pub fn map<U: 'static>(self, then: impl FnOnce(T) -> U + 'static) -> Pending<U> {
        let finish = self.finish;
        Pending::new(self.run, move |output| then(finish(output)))
    }
}

/// Refuses a list of no inputs, and inputs without text. `param` is its field.
fn check_filled(param: &str, inputs: &[Input]) -> Result<()> {
    let empty = |input: &Input| matches!(input, Input::Text(text) if text.is_empty());
    let what = match inputs.iter().position(empty) {
        _ if inputs.is_empty() => format!("{param} is an empty list: pass at least one text"),
        Some(index) => format!("{param}[{index}] is an empty string: leave it out"),
        None => return Ok(()),
    };
    Err(Error::EmptyInput(what))
}

/// Reads options of dense vectors, with the formats' defaults: vectors of length 1, and nothing cut off.
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

/// A model's name for others: of a folder or an address the last part, since the rest tells of the machine.
fn shown(model: &str) -> &str {
    let hub = model.split('/').count() <= 2 && !model.starts_with(['/', '.', '~']);
    if hub && !model.contains('\\') {
        return model;
    }
    let mut parts = model.rsplit(['/', '\\']);
    parts.find(|part| !part.is_empty()).unwrap_or(model)
}

/// The dense vectors of an output, one by one.
fn vectors(output: Output) -> Vec<Vec<f32>> {
    let batch = output.into_dense();
    let rows = batch.data.chunks_exact(batch.dimensions.max(1));
    rows.map(<[f32]>::to_vec).collect()
}
