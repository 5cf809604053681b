//! Heads: token states → one vector a sequence, dense or sparse, or one a token.

use super::forward::{self, Weights};
use super::layout::{Linear, MlmHead};
use crate::backend::{Activation, Backend, Pooling, Splade};
use crate::error::{Error, Result};
use crate::text::Batch;

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

/// From token states to weights of vocabulary entries.
pub enum SparseHead {
    /// SPLADE
    Splade {
        /// Makes logits of states.
        mlm: MlmHead,
        /// Makes weights of logits.
        splade: Splade,
    },
    /// BGE-M3's lexical weights (Chen et al. 2024): relu of a linear function of each token's state is the weight of
    /// that token's entry; the largest counts where a token occurs more than once.
    Lexical {
        /// `[1, hidden]`
        linear: Linear,
        /// Special tokens, which have no weight.
        dropped: Vec<u32>,
    },
}

impl DenseHead {
    /// `[sequences, dimensions]`, before the final normalisation.
    #[inline(never)]
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
        finite(backend.read(&x)?)
    }
}

impl SparseHead {
    /// Weights of vocabulary entries above 0, in ascending order of index, one list a sequence.
    pub fn run<B: Backend>(
        &self,
        backend: &B,
        vocab_size: usize,
        weights: &Weights<B>,
        states: &B::Tensor,
        batch: &Batch,
    ) -> Result<Vec<Vec<(u32, f32)>>> {
        match self {
            Self::Splade { mlm, splade } => {
                let all = forward::splade(backend, mlm, *splade, weights, states, batch)?;
                let all = finite(backend.read(&all)?)?;
                let entries = |weights: &[f32]| {
                    let weights = (0u32..).zip(weights.iter().copied());
                    weights.filter(|(_, weight)| *weight > 0.0).collect()
                };
                Ok(all.chunks_exact(vocab_size).map(entries).collect())
            }
            Self::Lexical { linear, dropped } => {
                let tokens = weights.linear(backend, states, *linear, Activation::Relu)?;
                let tokens = finite(backend.read(&tokens)?)?;
                let entries = |pair: &[usize]| {
                    let range = pair[0]..pair[1];
                    let tokens = batch.ids[range.clone()].iter().zip(&tokens[range]);
                    largest(tokens.filter(|(id, weight)| **weight > 0.0 && !dropped.contains(id)))
                };
                Ok(batch.offsets.windows(2).map(entries).collect())
            }
        }
    }
}

/// Weights from a table (inference-free queries, Geng et al. 2024): each token that occurs counts once.
pub fn look_up(table: &[f32], ids: &[u32]) -> Vec<(u32, f32)> {
    let weights = ids
        .iter()
        .filter_map(|id| table.get(*id as usize).map(|weight| (id, weight)));
    largest(weights.filter(|(_, weight)| **weight > 0.0))
}

/// One entry an id, with the largest of its weights, in ascending order.
fn largest<'a>(weights: impl Iterator<Item = (&'a u32, &'a f32)>) -> Vec<(u32, f32)> {
    let mut entries: Vec<(u32, f32)> = weights.map(|(id, weight)| (*id, *weight)).collect();
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
    entries.dedup_by_key(|(id, _)| *id);
    entries
}

/// Refuses what only damaged weights give.
pub fn finite(values: Vec<f32>) -> Result<Vec<f32>> {
    if values.iter().all(|value| value.is_finite()) {
        Ok(values)
    } else {
        Err(Error::Internal(
            "the model gave values that are not finite; its weights may be damaged: load it again"
                .to_owned(),
        ))
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
