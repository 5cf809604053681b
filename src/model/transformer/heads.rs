//! Heads: token states → one vector a sequence, dense or sparse, or one a token.

use crate::backend::{Activation, Backend, Pooling, Splade, Values, Wanted};
use crate::error::{Error, Result};
use crate::model::transformer::forward::{self, Weights};
use crate::model::transformer::layout::{Linear, MlmHead};
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
    ) -> Result<B::Tensor> {
        let none = vec![0; batch.sequences()];
        let skip = if self.include_prompt {
            &none
        } else {
            &batch.skip
        };
        let pool = |mode: &Pooling| backend.pool(states, &batch.offsets, skip, *mode);
        let x = match self.pooling.as_slice() {
            [one] => pool(one)?,
            several => {
                let parts: Vec<_> = several.iter().map(pool).collect::<Result<_>>()?;
                backend.concatenate(&parts.iter().collect::<Vec<_>>())?
            }
        };
        self.after_pooling(backend, weights, x)
    }

    /// The steps after pooling.
    pub fn after_pooling<B: Backend>(
        &self,
        backend: &B,
        weights: &Weights<B>,
        mut x: B::Tensor,
    ) -> Result<B::Tensor> {
        for step in &self.steps {
            x = match step {
                Step::Linear(linear, activation) => {
                    weights.linear(backend, &x, *linear, *activation)?
                }
                Step::Normalize => backend.normalize(&x)?,
            };
        }
        Ok(x)
    }
}

impl SparseHead {
    /// What [`SparseHead::entries`] makes entries of.
    pub fn run<B: Backend>(
        &self,
        backend: &B,
        weights: &Weights<B>,
        states: &B::Tensor,
        batch: &Batch,
    ) -> Result<Wanted<B::Tensor>> {
        match self {
            Self::Splade { mlm, splade } => {
                forward::splade(backend, mlm, *splade, weights, states, batch).map(Wanted::Positive)
            }
            Self::Lexical { linear, .. } => weights
                .linear(backend, states, *linear, Activation::Relu)
                .map(Wanted::Positive),
        }
    }

    /// Weights of vocabulary entries above 0, in ascending order of index, one list a sequence.
    pub fn entries(
        &self,
        values: Values,
        vocab_size: usize,
        batch: &Batch,
    ) -> Result<Vec<Vec<(u32, f32)>>> {
        let Values::Positive(values) = values else {
            return Err(Error::Internal("positive values were asked for".to_owned()));
        };
        check_finite(values.iter().map(|(_, weight)| *weight))?;
        let mut left = values.as_slice();
        // Places ascend, so that those of a sequence lie together.
        let mut up_to = |end: usize| {
            let (own, rest) = left.split_at(left.partition_point(|(at, _)| (*at as usize) < end));
            left = rest;
            own
        };
        Ok(match self {
            Self::Splade { .. } => {
                let own = |sequence: usize| {
                    let first = sequence * vocab_size;
                    let own = up_to(first + vocab_size).iter();
                    #[expect(
                        clippy::cast_possible_truncation,
                        reason = "less than the place itself"
                    )]
                    own.map(|(at, weight)| (at - first as u32, *weight))
                        .collect()
                };
                (0..batch.sequences()).map(own).collect()
            }
            Self::Lexical { dropped, .. } => {
                let own = |end: &usize| {
                    let tokens = up_to(*end).iter();
                    let tokens = tokens.map(|(at, weight)| (&batch.ids[*at as usize], weight));
                    largest(tokens.filter(|(id, _)| !dropped.contains(id)))
                };
                batch.offsets[1..].iter().map(own).collect()
            }
        })
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

/// All values of a tensor, none of which may be anything but a number.
pub fn all(values: Values) -> Result<Vec<f32>> {
    let Values::All(values) = values else {
        return Err(Error::Internal("all values were asked for".to_owned()));
    };
    check_finite(values.iter().copied())?;
    Ok(values)
}

/// Refuses what only damaged weights give.
fn check_finite(mut values: impl Iterator<Item = f32>) -> Result<()> {
    if values.all(f32::is_finite) {
        Ok(())
    } else {
        Err(Error::Internal(
            "the model gave values that are not finite; its weights may be damaged: load it again"
                .to_owned(),
        ))
    }
}
