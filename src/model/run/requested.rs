//! The vectors that a run was asked for, and how the model's raw vectors become these: cut,
//! normalised, quantised, selected.

use crate::backend::cpu;
use crate::error::Result;
use crate::model::run::merge::merge;
use crate::model::run::outputs::{
    Measure, Output, OutputDtype, Quantized, SparseVector, TokenVectors,
};
use crate::model::transformer::classifier::ScoreActivation;
use crate::model::transformer::heads::TokenHead;

/// The kinds of vectors that a run was asked for.
#[derive(Default)]
pub struct Requested {
    pub dense: Option<DenseRequest>,
    pub sparse: Option<SparseRequest>,
    pub tokens: Option<TokenRequest>,
    pub scores: Option<ScoreRequest>,
    /// If the first input is a query, and each of the others gets the score of its token vectors
    /// with those of the query: how the score is made.
    pub ranking: Option<Measure>,
}

/// Dense vectors.
pub struct DenseRequest {
    /// How many of a vector's first components are kept.
    pub dimensions: usize,
    /// Whether they are rounded to whole numbers.
    pub integers: bool,
    pub normalize: bool,
    pub output: OutputDtype,
}

/// Sparse vectors.
#[derive(Clone, Copy)]
pub struct SparseRequest {
    /// Keep at most this many entries, the largest.
    pub top_k: Option<usize>,
    /// Keep only entries above this weight.
    pub threshold: f32,
    /// Whether entries come with their tokens.
    pub labels: bool,
}

/// Scores.
#[derive(Clone, Copy)]
pub struct ScoreRequest {
    /// The number of labels, each of which has a score.
    pub labels: usize,
    /// Turns logits into scores.
    pub activation: ScoreActivation,
}

/// A vector for each token.
#[derive(Clone, Copy)]
pub struct TokenRequest {
    pub head: TokenHead,
    pub normalize: bool,
    pub output: OutputDtype,
    /// A text keeps one vector for so many of them.
    pub factor: usize,
    /// How many of its first vectors stay in any case.
    pub kept: usize,
}

impl Requested {
    /// An output without vectors, with a list for each kind that was asked for.
    pub fn empty_output(&self) -> Output {
        let output = self.dense.as_ref().map(|dense| dense.output);
        let quantized = output.filter(|output| *output != OutputDtype::Float);
        Output {
            dense: output.is_some().then(Vec::new),
            quantized: quantized.map(Quantized::new),
            dimensions: match (&self.dense, self.scores) {
                (Some(dense), _) => dense.dimensions,
                (None, Some(scores)) => scores.labels,
                (None, None) => usize::from(self.ranking.is_some()),
            },
            scores: (self.scores.is_some() || self.ranking.is_some()).then(Vec::new),
            sparse: self.sparse.is_some().then(Vec::new),
            token_vectors: self.tokens.is_some().then(Vec::new),
            ..Output::default()
        }
    }

    /// Adds a dense vector.
    pub fn push_dense(&self, out: &mut Output, vector: &[f32]) {
        let Some(request) = &self.dense else { return };
        let dense = out.dense.get_or_insert_default();
        let start = dense.len();
        dense.extend_from_slice(&vector[..request.dimensions]);
        if request.integers {
            let values = dense[start..].iter_mut();
            values.for_each(|value| *value = (127.0 * libm::tanhf(*value)).round_ties_even());
        }
        if request.normalize {
            cpu::l2_normalize(&mut dense[start..]);
        }
        if let Some(quantized) = &mut out.quantized {
            let scale = request.output.push(&dense[start..], &mut quantized.codes);
            quantized.scales.push(scale);
            dense.truncate(start);
        }
    }

    /// Adds a sparse vector of the selected entries. `label` gives the token of a vocabulary entry.
    pub fn push_sparse(
        &self,
        out: &mut Output,
        entries: Vec<(u32, f32)>,
        label: impl Fn(u32) -> String,
    ) {
        let Some(request) = self.sparse else { return };
        let vector = select(entries, request, label);
        out.sparse.get_or_insert_default().push(vector);
    }

    /// Adds the scores of an input.
    pub fn push_scores(&self, out: &mut Output, mut logits: Vec<f32>) {
        let Some(request) = self.scores else { return };
        request.activation.apply(&mut logits);
        out.scores.get_or_insert_default().append(&mut logits);
    }

    /// The vectors of one input's tokens: normalised, merged, quantised.
    pub fn tokens(&self, mut vectors: TokenVectors) -> Result<TokenVectors> {
        let Some(request) = self.tokens else {
            return Ok(vectors);
        };
        let width = vectors.dimensions.max(1);
        if request.normalize {
            let rows = vectors.data.chunks_exact_mut(width);
            rows.for_each(cpu::l2_normalize);
        }
        if request.factor > 1 {
            vectors.data = merge(&vectors.data, width, request.factor, request.kept)?;
        }
        if request.output != OutputDtype::Float {
            let mut quantized = Quantized::new(request.output);
            for row in vectors.data.chunks_exact(width) {
                let scale = request.output.push(row, &mut quantized.codes);
                quantized.scales.push(scale);
            }
            vectors.quantized = Some(quantized);
            vectors.data = Vec::new();
        }
        Ok(vectors)
    }
}

/// The entries that the request keeps, in ascending order of index.
fn select(
    mut entries: Vec<(u32, f32)>,
    request: SparseRequest,
    label: impl Fn(u32) -> String,
) -> SparseVector {
    entries.retain(|(_, weight)| *weight > request.threshold);
    if let Some(most) = request.top_k.filter(|most| *most < entries.len()) {
        // Of entries with equal weights, those with lower indices are kept.
        entries.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        entries.truncate(most);
        entries.sort_unstable_by_key(|(index, _)| *index);
    }
    let labels = request
        .labels
        .then(|| entries.iter().map(|(index, _)| label(*index)).collect());
    let (indices, values) = entries.into_iter().unzip();
    SparseVector {
        indices,
        values,
        labels,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selection_keeps_the_largest_in_order_of_index() {
        let entries = vec![(1, 3.0), (2, 1.0), (3, 2.0), (4, 3.0)];
        let all = SparseRequest {
            top_k: None,
            threshold: 0.0,
            labels: false,
        };
        let kept = |request| select(entries.clone(), request, |id| format!("t{id}"));
        assert_eq!(kept(all).indices, [1, 2, 3, 4]);
        let threshold = 1.5;
        assert_eq!(kept(SparseRequest { threshold, ..all }).indices, [1, 3, 4]);
        let top = kept(SparseRequest {
            top_k: Some(3),
            labels: true,
            ..all
        });
        assert_eq!(
            (top.indices, top.values),
            (vec![1, 3, 4], vec![3.0, 2.0, 3.0])
        );
        assert_eq!(top.labels.unwrap(), ["t1", "t3", "t4"]);
    }
}
