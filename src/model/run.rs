//! Embedding in bounded steps, so that a caller on an event loop can breathe, and stop, between them. No result depends
//! on how inputs fall into steps.

use super::embedder::Embedder;
use super::head;
use super::options::{TextOptions, TokenHead};
use super::route::{Body, Route, Transformer};
use crate::backend::{Activation, Backend};
use crate::error::{Error, Result};
use crate::text::tokenizer::Rules;
use crate::text::{Batch, Direction, Input, Tokens};

/// Tokens of one step: enough to keep the kernels busy, few enough to bound memory and the wait for a cancellation.
/// A single longer input is one step of its own.
const STEP_TOKENS: usize = 512;

/// Dense vectors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DenseBatch {
    /// All vectors, row by row, `[inputs, dimensions]`.
    pub data: Vec<f32>,
    /// Width of a vector.
    pub dimensions: usize,
    /// Tokens that were read of each input.
    pub tokens: Vec<u32>,
    /// Whether something of the input was cut off.
    pub truncated: Vec<bool>,
}

/// One sparse vector: entries in ascending order of index.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseVector {
    /// Ids of vocabulary entries.
    pub indices: Vec<u32>,
    /// Their weights.
    pub values: Vec<f32>,
    /// Their tokens, if asked for.
    pub labels: Option<Vec<String>>,
}

/// Sparse vectors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseBatch {
    /// One for each input.
    pub vectors: Vec<SparseVector>,
    /// Tokens that were read of each input.
    pub tokens: Vec<u32>,
}

/// The vectors of one input's tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenVectors {
    /// Row by row, `[vectors, dimensions]`.
    pub data: Vec<f32>,
    /// Width of a vector.
    pub dimensions: usize,
}

/// What a run gives: the kinds of vectors that were asked for, each with one entry an input.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// Dense vectors, row by row.
    pub dense: Option<Vec<f32>>,
    /// Width of a dense vector.
    pub dimensions: usize,
    /// Sparse vectors.
    pub sparse: Option<Vec<SparseVector>>,
    /// Vectors of tokens.
    pub token_vectors: Option<Vec<TokenVectors>>,
    /// Tokens that were read of each input.
    pub tokens: Vec<u32>,
    /// Whether something of the input was cut off.
    pub truncated: Vec<bool>,
}

impl Output {
    /// The dense vectors, none if they were not asked for.
    pub fn into_dense(self) -> DenseBatch {
        DenseBatch {
            data: self.dense.unwrap_or_default(),
            dimensions: self.dimensions,
            tokens: self.tokens,
            truncated: self.truncated,
        }
    }

    /// The sparse vectors, none if they were not asked for.
    pub fn into_sparse(self) -> SparseBatch {
        SparseBatch {
            vectors: self.sparse.unwrap_or_default(),
            tokens: self.tokens,
        }
    }
}

/// Inputs that wait to be tokenised and packed.
pub(super) struct Queue {
    inputs: std::vec::IntoIter<Input>,
    /// Number of the next input, for errors.
    number: usize,
    /// Tokenised, but more than the last step could take.
    waiting: Option<Tokens>,
    prompt: String,
    skip_prompt: bool,
    truncate: bool,
    direction: Direction,
}

impl Queue {
    pub(super) fn new(
        inputs: Vec<Input>,
        prompt: String,
        skip_prompt: bool,
        options: TextOptions,
    ) -> Result<Self> {
        if inputs.is_empty() {
            return Err(Error::EmptyInput(
                "there is nothing to embed: pass at least one text".to_owned(),
            ));
        }
        Ok(Self {
            inputs: inputs.into_iter(),
            number: 0,
            waiting: None,
            prompt,
            skip_prompt,
            truncate: options.truncate.unwrap_or(true),
            direction: options.direction,
        })
    }

    /// The next inputs, up to [`STEP_TOKENS`]; none when all are done.
    fn next(&mut self, route: &Route) -> Result<Vec<Tokens>> {
        let rules = Rules {
            prompt: &self.prompt,
            skip_prompt: self.skip_prompt,
            limit: route.max_tokens,
            truncate: self.truncate,
            direction: self.direction,
        };
        let mut taken: Vec<Tokens> = Vec::new();
        let mut total = 0;
        loop {
            let tokens = match self.waiting.take() {
                Some(tokens) => tokens,
                None => match self.inputs.next() {
                    None => return Ok(taken),
                    Some(input) => {
                        let tokens = route.tokenizer.tokens(self.number, &input, rules)?;
                        self.number += 1;
                        check_ids(&tokens.ids, route.vocab_size())?;
                        tokens
                    }
                },
            };
            if !taken.is_empty() && total + tokens.ids.len() > STEP_TOKENS {
                self.waiting = Some(tokens);
                return Ok(taken);
            }
            total += tokens.ids.len();
            taken.push(tokens);
        }
    }
}

fn check_ids(ids: &[u32], size: usize) -> Result<()> {
    match ids.iter().find(|id| **id as usize >= size) {
        Some(id) => Err(Error::TokenOutOfRange {
            id: u64::from(*id),
            size,
        }),
        None => Ok(()),
    }
}

fn count(tokens: &Tokens) -> u32 {
    u32::try_from(tokens.ids.len()).unwrap_or(u32::MAX)
}

/// What is asked of dense vectors.
pub(super) struct Dense {
    pub dimensions: usize,
    pub normalize: bool,
}

/// What is asked of sparse vectors.
#[derive(Clone, Copy)]
pub(super) struct Sparse {
    pub top_k: Option<usize>,
    pub threshold: f32,
    pub labels: bool,
}

/// What is asked of the vectors of tokens.
#[derive(Clone, Copy)]
pub(super) struct PerToken {
    pub head: TokenHead,
    pub normalize: bool,
}

/// Embedding in steps.
pub struct Run {
    queue: Queue,
    /// Index of the embedder's route.
    route: usize,
    dense: Option<Dense>,
    sparse: Option<Sparse>,
    per_token: Option<PerToken>,
    out: Output,
}

impl Run {
    pub(super) fn new(
        queue: Queue,
        route: usize,
        dense: Option<Dense>,
        sparse: Option<Sparse>,
        per_token: Option<PerToken>,
    ) -> Self {
        let out = Output {
            dense: dense.is_some().then(Vec::new),
            dimensions: dense.as_ref().map_or(0, |dense| dense.dimensions),
            sparse: sparse.is_some().then(Vec::new),
            token_vectors: per_token.is_some().then(Vec::new),
            ..Output::default()
        };
        Self {
            queue,
            route,
            dense,
            sparse,
            per_token,
            out,
        }
    }

    /// Errors count the inputs from `first`: these are a part of a longer list.
    pub fn count_from(&mut self, first: usize) {
        self.queue.number = first;
    }

    /// Does one step; true when all is done.
    pub fn step<B: Backend>(&mut self, embedder: &Embedder<B>) -> Result<bool> {
        let route = &embedder.routes[self.route];
        let taken = self.queue.next(route)?;
        if taken.is_empty() {
            return Ok(true);
        }
        match &route.body {
            Body::Table { weights, .. } => {
                let table = embedder.weights.vector(*weights);
                let entries = taken.iter().map(|tokens| head::look_up(table, &tokens.ids));
                self.keep(route, entries.collect());
            }
            Body::Transformer(transformer) => {
                self.transform(embedder, route, transformer, &Batch::pack(&taken))?;
            }
        }
        self.out.tokens.extend(taken.iter().map(count));
        let truncated = taken.iter().map(|tokens| tokens.truncated);
        self.out.truncated.extend(truncated);
        Ok(false)
    }

    /// One forward pass, and all that is asked of it.
    fn transform<B: Backend>(
        &mut self,
        embedder: &Embedder<B>,
        route: &Route,
        transformer: &Transformer,
        batch: &Batch,
    ) -> Result<()> {
        let (backend, weights) = (embedder.backend(), &embedder.weights);
        let states = transformer.states(backend, weights, batch)?;
        if let (Some(dense), Some(head)) = (&self.dense, &transformer.dense) {
            let vectors = head.run(backend, weights, &states, batch)?;
            let out = self.out.dense.get_or_insert_default();
            for vector in vectors.chunks_exact(head.dimensions) {
                let start = out.len();
                out.extend_from_slice(&vector[..dense.dimensions]);
                if dense.normalize {
                    head::l2_normalize(&mut out[start..]);
                }
            }
        }
        if let (Some(_), Some(head)) = (&self.sparse, &transformer.sparse) {
            let entries = head.run(backend, transformer.vocab_size, weights, &states, batch)?;
            self.keep(route, entries);
        }
        if let Some(per_token) = self.per_token {
            let (vectors, skip) = match (per_token.head, transformer.colbert) {
                // The first token's vector is the dense one.
                (TokenHead::Colbert, Some(linear)) => (
                    weights.linear(backend, &states, linear, Activation::Identity)?,
                    1,
                ),
                _ => (states, 0),
            };
            let mut values = head::finite(backend.read(&vectors)?)?;
            let width = values.len() / batch.ids.len().max(1);
            if per_token.normalize {
                values.chunks_exact_mut(width).for_each(head::l2_normalize);
            }
            let out = self.out.token_vectors.get_or_insert_default();
            out.extend(batch.offsets.windows(2).map(|pair| TokenVectors {
                data: values[(pair[0] + skip).min(pair[1]) * width..pair[1] * width].to_vec(),
                dimensions: width,
            }));
        }
        Ok(())
    }

    /// Adds sparse vectors of what the options keep.
    fn keep(&mut self, route: &Route, all: Vec<Vec<(u32, f32)>>) {
        let Some(sparse) = self.sparse else { return };
        let label = |id| route.tokenizer.entry(id).unwrap_or_default();
        let vectors = all
            .into_iter()
            .map(|entries| select(entries, sparse, label));
        self.out.sparse.get_or_insert_default().extend(vectors);
    }

    /// The vectors, in the order of the inputs.
    pub fn finish(self) -> Output {
        self.out
    }
}

/// The entries that the options keep, in ascending order of index.
fn select(
    mut entries: Vec<(u32, f32)>,
    sparse: Sparse,
    label: impl Fn(u32) -> String,
) -> SparseVector {
    entries.retain(|(_, weight)| *weight > sparse.threshold);
    if let Some(most) = sparse.top_k.filter(|most| *most < entries.len()) {
        // Of equal weights the lower index stays.
        entries.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        entries.truncate(most);
        entries.sort_unstable_by_key(|(index, _)| *index);
    }
    let labels = sparse
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
        let all = Sparse {
            top_k: None,
            threshold: 0.0,
            labels: false,
        };
        let kept = |sparse| select(entries.clone(), sparse, |id| format!("t{id}"));
        assert_eq!(kept(all).indices, [1, 2, 3, 4]);
        let threshold = 1.5;
        assert_eq!(kept(Sparse { threshold, ..all }).indices, [1, 3, 4]);
        let top = kept(Sparse {
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
