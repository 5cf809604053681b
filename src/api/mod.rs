//! Wire formats: other people's request and response objects, to and from the crate's own.
//!
//! Each format is a module that reads a body into a [`Pending`]: a run, and what becomes of its output. [`http`] finds the
//! format of a request by its path and headers, and writes the errors of each. Nothing here knows of tensors or of
//! JavaScript.

pub mod chroma;
pub mod http;
pub mod input;
pub mod inworld;
pub mod openai;
pub mod tei;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::options::EncodeOptions;
use crate::model::output::Output;
use crate::model::run::Run;
use crate::text::Direction;

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

/// Reads a body's fields. Those that are not known are passed over, as other servers do.
fn parse<T: DeserializeOwned>(body: Value) -> Result<T> {
    if !body.is_object() {
        return Err(Error::input("body", "the body must be a JSON object"));
    }
    serde_json::from_value(body)
        .map_err(|error| Error::input("body", format!("the body is malformed: {error}")))
}

fn check_count(got: usize, limit: usize) -> Result<()> {
    if got > limit {
        return Err(Error::TooManyInputs { got, limit });
    }
    Ok(())
}

/// Options of dense vectors, with the formats' defaults: vectors of length 1, and nothing cut off.
fn dense_options(
    normalize: Option<bool>,
    dimensions: Option<Value>,
    prompt_name: Option<String>,
    truncate: Option<bool>,
    direction: Option<Direction>,
) -> Result<EncodeOptions> {
    let dimensions = dimensions.filter(|value| !value.is_null());
    let whole = |value: Value| {
        value.as_u64().ok_or_else(|| {
            Error::input(
                "dimensions",
                format!("dimensions is {value}; it must be a whole number of 1 or more"),
            )
        })
    };
    Ok(EncodeOptions {
        normalize: Some(normalize.unwrap_or(true)),
        dimensions: dimensions.map(whole).transpose()?,
        prompt_name,
        truncate: Some(truncate.unwrap_or(false)),
        truncation_direction: direction.unwrap_or_default(),
        ..EncodeOptions::default()
    })
}

/// The dense vectors of an output, one by one.
fn vectors(output: Output) -> Vec<Vec<f32>> {
    let batch = output.into_dense();
    let rows = batch.data.chunks_exact(batch.dimensions.max(1));
    rows.map(<[f32]>::to_vec).collect()
}
