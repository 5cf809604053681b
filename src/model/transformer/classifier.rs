//! The head of a reranker (a cross-encoder): the states of a pair's tokens → a number for each label.

use crate::backend::{Activation, Compute, NormKind, Pooling};
use crate::error::Result;
use crate::model::transformer::forward::Weights;
use crate::model::transformer::layout::{Linear, Norm};
use crate::text::Batch;

/// A head for sequence classification.
pub struct Classifier {
    /// Which state it reads.
    pub pooling: Pooling,
    /// Dense layer, …
    pub dense: Linear,
    /// … activation, …
    pub activation: Activation,
    /// … and a norm, where there is one, before …
    pub norm: Option<(Norm, NormKind, f32)>,
    /// … the product that gives the logits, `[labels, hidden]`.
    pub output: Linear,
    /// Names of the labels.
    pub labels: Vec<String>,
    /// What makes scores of logits unless the caller says otherwise.
    pub scores: ScoreActivation,
}

impl Classifier {
    /// Logits, `[sequences, labels]`.
    pub fn run<B: Compute>(
        &self,
        backend: &B,
        weights: &Weights<B>,
        states: &B::Tensor,
        batch: &Batch,
    ) -> Result<B::Tensor> {
        let skip = vec![0; batch.sequences()];
        let mut x = backend.pool(states, &batch.offsets, &skip, self.pooling)?;
        x = weights.linear(backend, &x, self.dense, self.activation)?;
        if let Some((norm, kind, eps)) = self.norm {
            x = backend.norm(&x, None, weights.norm(norm, kind, eps))?;
        }
        weights.linear(backend, &x, self.output, Activation::Identity)
    }
}

/// What makes scores of logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoreActivation {
    /// Scores are the logits.
    Identity,
    /// 1 / (1 + e⁻ˣ) of each logit: from 0 to 1.
    Sigmoid,
    /// Probabilities of a pair's labels, 1 in sum.
    Softmax,
}

impl ScoreActivation {
    /// The activation of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "identity" => Some(Self::Identity),
            "sigmoid" => Some(Self::Sigmoid),
            "softmax" => Some(Self::Softmax),
            _ => None,
        }
    }

    /// Makes scores of the logits of one sequence; through f64, so that engines and platforms agree on the f32.
    #[expect(clippy::cast_possible_truncation, reason = "f32s in, f32s out")]
    pub(in crate::model) fn apply(self, logits: &mut [f32]) {
        match self {
            Self::Identity => {}
            Self::Sigmoid => {
                for x in logits {
                    *x = (1.0 / (1.0 + libm::exp(-f64::from(*x)))) as f32;
                }
            }
            Self::Softmax => {
                let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let power = |x: f32| libm::exp(f64::from(x) - f64::from(most));
                let sum: f64 = logits.iter().map(|x| power(*x)).sum();
                for x in logits {
                    *x = (power(*x) / sum) as f32;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(activation: ScoreActivation, logits: &[f32]) -> Vec<f32> {
        let mut scores = logits.to_vec();
        activation.apply(&mut scores);
        scores
    }

    #[test]
    fn large_logits_are_no_trouble() {
        let sigmoid = applied(ScoreActivation::Sigmoid, &[0.0, 200.0, -200.0]);
        assert_eq!(sigmoid[..2], [0.5, 1.0]);
        assert!((0.0..1e-30).contains(&sigmoid[2]));
        let softmax = applied(ScoreActivation::Softmax, &[1e30, 1e30, -1e30]);
        assert_eq!(softmax, [0.5, 0.5, 0.0]);
        assert_eq!(applied(ScoreActivation::Identity, &[3.5]), [3.5]);
    }
}
