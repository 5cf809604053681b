//! Heads: from token states to a dense or sparse vector for each sequence, or a vector for each
//! token.

use crate::backend::{Activation, Compute, NormKind, Pooling, ReadBack, Splade, Values};
use crate::error::{Error, Result};
use crate::model::transformer::forward::{self, Weights};
use crate::model::transformer::late::Late;
use crate::model::transformer::layout::{Linear, MlmHead, Norm, VectorId};
use crate::text::Batch;

/// Steps from token states to a dense vector.
#[derive(Clone)]
pub struct DenseHead {
    /// Pooling modes. The results of several modes are concatenated.
    pub pooling: Vec<Pooling>,
    /// Whether pooling includes the prompt's tokens.
    pub include_prompt: bool,
    /// Steps after pooling, in order.
    pub steps: Vec<Step>,
    /// Whether the result is rounded to whole numbers: `round(127 · tanh(x))`.
    pub integers: bool,
    /// Whether the last step is a normalisation.
    pub normalize: bool,
    /// Width of the resulting vector.
    pub dimensions: usize,
}

/// Which head gives the vectors of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenHead {
    /// None: states after the last layer, one for each token.
    States,
    /// The projection for late interaction. BGE-M3's gives a vector for each token but the first.
    Colbert,
}

/// The projection of token states for late interaction.
pub struct TokenProjection {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// Whether vectors are scaled to length 1 after them.
    pub normalize: bool,
    /// Width of a vector.
    pub dimensions: usize,
    /// The rules of a model that is made for late interaction. `BGE-M3` has none: it reads texts as
    /// it does for its other vectors, and the first token, whose state is the dense vector, has no
    /// vector.
    pub late: Option<Late>,
}

/// One step after pooling, or after the transformer for vectors of tokens.
#[derive(Clone, Copy)]
pub enum Step {
    /// A fully connected layer.
    Linear(Linear, Activation),
    /// A fully connected layer whose input is added to its output: as it is, or through a second
    /// matrix if the widths differ.
    Residual(Linear, Activation, Option<Linear>),
    /// A norm, and its epsilon.
    Norm(Norm, NormKind, f32),
    /// Scaling to length 1. A normalisation at the end of the pipeline is [`DenseHead::normalize`]
    /// instead.
    Normalize,
}

/// From token states to weights of vocabulary entries.
pub enum SparseHead {
    /// SPLADE
    Splade {
        /// Turns states into logits.
        mlm: MlmHead,
        /// Turns logits into weights.
        splade: Splade,
    },
    /// BGE-M3's lexical weights (Chen et al. 2024): the weight of a token's vocabulary entry is the
    /// `ReLU` of a linear function of the token's state. If a token occurs several times, its
    /// largest weight counts.
    Lexical {
        /// `[1, hidden]`
        linear: Linear,
        /// Special tokens, which get no weight.
        dropped: Vec<u32>,
    },
    /// A sparse autoencoder of a dense vector (CSR, Wen et al. 2025):
    /// `relu(encoder · (x − center) + bias)`, of which the largest are kept.
    Autoencoder {
        /// Gives the dense vector.
        dense: DenseHead,
        /// Subtracted from it, `[dimensions]`.
        center: VectorId,
        /// `[latents, dimensions]`
        encoder: Linear,
        /// Number of latents.
        latents: usize,
        /// How many are kept unless the caller says otherwise.
        kept: usize,
    },
}

impl DenseHead {
    /// `[sequences, dimensions]`, before the final normalisation.
    #[inline(never)]
    pub fn run<B: Compute>(
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
    pub fn after_pooling<B: Compute>(
        &self,
        backend: &B,
        weights: &Weights<B>,
        x: B::Tensor,
    ) -> Result<B::Tensor> {
        run(&self.steps, backend, weights, x)
    }
}

impl TokenProjection {
    /// `[tokens, dimensions]`, before the normalisation at the end.
    pub fn run<B: Compute>(
        &self,
        backend: &B,
        weights: &Weights<B>,
        states: B::Tensor,
    ) -> Result<B::Tensor> {
        run(&self.steps, backend, weights, states)
    }
}

/// Does steps in order.
fn run<B: Compute>(
    steps: &[Step],
    backend: &B,
    weights: &Weights<B>,
    mut x: B::Tensor,
) -> Result<B::Tensor> {
    for step in steps {
        x = step.run(backend, weights, &x)?;
    }
    Ok(x)
}

impl Step {
    fn run<B: Compute>(
        &self,
        backend: &B,
        weights: &Weights<B>,
        x: &B::Tensor,
    ) -> Result<B::Tensor> {
        match self {
            Self::Linear(linear, activation) => weights.linear(backend, x, *linear, *activation),
            Self::Residual(linear, activation, shortcut) => {
                let sum = weights.linear(backend, x, *linear, *activation)?;
                match shortcut {
                    Some(shortcut) => {
                        let own = weights.linear(backend, x, *shortcut, Activation::Identity)?;
                        backend.add(&sum, &own, 1.0, Activation::Identity)
                    }
                    None => backend.add(&sum, x, 1.0, Activation::Identity),
                }
            }
            Self::Norm(norm, kind, eps) => backend.norm(x, None, weights.norm(*norm, *kind, *eps)),
            Self::Normalize => backend.normalize(x),
        }
    }
}

impl SparseHead {
    /// The values that [`SparseHead::entries`] turns into entries.
    pub fn run<B: Compute>(
        &self,
        backend: &B,
        weights: &Weights<B>,
        states: &B::Tensor,
        batch: &Batch,
    ) -> Result<ReadBack<B::Tensor>> {
        match self {
            Self::Splade { mlm, splade } => {
                forward::splade(backend, mlm, *splade, weights, states, batch)
                    .map(ReadBack::Positive)
            }
            Self::Lexical { linear, .. } => weights
                .linear(backend, states, *linear, Activation::Relu)
                .map(ReadBack::Positive),
            Self::Autoencoder {
                dense,
                center,
                encoder,
                ..
            } => {
                let mut x = dense.run(backend, weights, states, batch)?;
                if dense.normalize {
                    x = backend.normalize(&x)?;
                }
                let center = weights.vector(*center).iter().map(|value| -value);
                let center: Vec<f32> = center.collect();
                let center = backend.upload(center.repeat(batch.sequences()), batch.sequences())?;
                let x = backend.add(&x, &center, 1.0, Activation::Identity)?;
                weights
                    .linear(backend, &x, *encoder, Activation::Relu)
                    .map(ReadBack::Positive)
            }
        }
    }

    /// Number of entries that a vector can have: of `vocab_size` vocabulary entries, or of latents.
    pub fn size(&self, vocab_size: usize) -> usize {
        match self {
            Self::Autoencoder { latents, .. } => *latents,
            Self::Splade { .. } | Self::Lexical { .. } => vocab_size,
        }
    }

    /// The most entries of a vector unless the caller says otherwise.
    pub fn most(&self) -> Option<usize> {
        match self {
            Self::Autoencoder { kept, .. } => Some(*kept),
            Self::Splade { .. } | Self::Lexical { .. } => None,
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
        // Indices ascend, so that the values of a sequence are adjacent.
        let mut up_to = |end: usize| {
            let (own, rest) = left.split_at(left.partition_point(|(at, _)| (*at as usize) < end));
            left = rest;
            own
        };
        let size = self.size(vocab_size);
        Ok(match self {
            Self::Splade { .. } | Self::Autoencoder { .. } => {
                let own = |sequence: usize| {
                    let first = sequence * size;
                    let own = up_to(first + size).iter();
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

/// Weights from a table (inference-free queries, Geng et al. 2024). A token that occurs several
/// times counts once.
pub fn look_up(table: &[f32], ids: &[u32]) -> Vec<(u32, f32)> {
    let weights = ids
        .iter()
        .filter_map(|id| table.get(*id as usize).map(|weight| (id, weight)));
    largest(weights.filter(|(_, weight)| **weight > 0.0))
}

/// An entry for each id, with the largest of its weights, in ascending order of id.
fn largest<'a>(weights: impl Iterator<Item = (&'a u32, &'a f32)>) -> Vec<(u32, f32)> {
    let mut entries: Vec<(u32, f32)> = weights.map(|(id, weight)| (*id, *weight)).collect();
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
    entries.dedup_by_key(|(id, _)| *id);
    entries
}

/// All values of a tensor. Errors if one is not finite.
pub fn all(values: Values) -> Result<Vec<f32>> {
    let Values::All(values) = values else {
        return Err(Error::Internal("all values were asked for".to_owned()));
    };
    check_finite(values.iter().copied())?;
    Ok(values)
}

/// Errors if a value is not finite, which only damaged weights cause.
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
