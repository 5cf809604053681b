//! Heads: token states → one vector a sequence, dense or sparse.

use super::forward::Weights;
use super::layout::{Linear, MlmHead};
use super::pipeline::SparseActivation;
use crate::backend::{Activation, Backend, Pooling};
use crate::error::{Error, Result};
use crate::text::Batch;

/// What follows the transformer.
pub enum Head {
    /// Dense vectors.
    Dense(DenseHead),
    /// SPLADE: weights of vocabulary entries.
    Splade {
        /// Makes logits of states.
        mlm: MlmHead,
        /// Makes weights of logits.
        activation: SparseActivation,
    },
}

/// Steps from token states to a dense vector.
pub struct DenseHead {
    /// Pooling modes, concatenated.
    pub pooling: Vec<Pooling>,
    /// Whether the prompt's tokens count in pooling.
    pub include_prompt: bool,
    /// After pooling, in order.
    pub steps: Vec<Step>,
    /// Whether the pipeline ends with a normalisation.
    pub normalize: bool,
    /// Width of the result.
    pub dimensions: usize,
}

/// One step after pooling.
pub enum Step {
    /// A fully connected layer.
    Linear(Linear, Activation),
    /// Scaling to length 1, before the end of the pipeline.
    Normalize,
}

impl DenseHead {
    /// `[sequences, dimensions]`, before the final normalisation.
    pub fn run<B: Backend>(
        &self,
        backend: &B,
        weights: &Weights<B>,
        states: &B::Tensor,
        batch: &Batch,
    ) -> Result<Vec<f32>> {
        let none = vec![0; batch.sequences()];
        let skip = if self.include_prompt {
            &none
        } else {
            &batch.skip
        };
        let mut x = match self.pooling.as_slice() {
            [one] => backend.pool(states, &batch.offsets, skip, *one)?,
            several => {
                let parts: Vec<Vec<f32>> = several
                    .iter()
                    .map(|mode| backend.read(&backend.pool(states, &batch.offsets, skip, *mode)?))
                    .collect::<Result<_>>()?;
                backend.upload(concatenate(&parts, batch.sequences()), batch.sequences())?
            }
        };
        for step in &self.steps {
            x = match step {
                Step::Linear(linear, activation) => {
                    weights.linear(backend, &x, *linear, *activation)?
                }
                Step::Normalize => {
                    let mut values = backend.read(&x)?;
                    let width = values.len() / batch.sequences().max(1);
                    values.chunks_exact_mut(width.max(1)).for_each(l2_normalize);
                    backend.upload(values, batch.sequences())?
                }
            };
        }
        let values = backend.read(&x)?;
        if values.iter().all(|value| value.is_finite()) {
            Ok(values)
        } else {
            Err(Error::Internal("the model gave values that are not finite; its weights may be damaged: load it again".into()))
        }
    }
}

/// Rows of all parts, side by side.
fn concatenate(parts: &[Vec<f32>], rows: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(parts.iter().map(Vec::len).sum());
    for row in 0..rows {
        for part in parts {
            let width = part.len() / rows;
            out.extend_from_slice(&part[row * width..][..width]);
        }
    }
    out
}

/// Scales `row` to length 1. A row shorter than 1e-12 is divided by that, as in torch's `F.normalize`.
///
/// Summed in f64, in order: the same bits everywhere.
pub fn l2_normalize(row: &mut [f32]) {
    let squares: f64 = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    let length = squares.sqrt().max(1e-12);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "back to the vector's own precision"
    )]
    row.iter_mut()
        .for_each(|x| *x = (f64::from(*x) / length) as f32);
}

/// SPLADE weight of a vocabulary entry from its largest logit. Both forms rise with the logit, so the maximum over
/// tokens can be taken first.
pub fn sparse_weight(activation: SparseActivation, logit: f32) -> f32 {
    let weight = ln_1p(logit.max(0.0));
    match activation {
        SparseActivation::Log1pRelu => weight,
        SparseActivation::Log1pLog1pRelu => ln_1p(weight),
    }
}

/// log(1 + x) for x ≥ 0, through f64 so that engines and platforms agree on the f32.
fn ln_1p(x: f32) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "an f32 in, an f32 out")]
    let result = libm::log1p(f64::from(x)) as f32;
    result
}
