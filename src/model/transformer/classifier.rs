//! The head of a reranker (a cross-encoder): the states of a pair's tokens → a number for each
//! label.

use crate::model::transformer::heads::DenseHead;

/// A head whose output is a number for each label.
pub struct Classifier {
    /// Gives the logits, `[sequences, labels]`.
    pub head: DenseHead,
    /// Names of the labels.
    pub labels: Vec<String>,
    /// What makes scores of logits unless the caller says otherwise.
    pub scores: ScoreActivation,
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

    /// Makes scores of the logits of one sequence; through f64, so that engines and platforms agree
    /// on the f32.
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
