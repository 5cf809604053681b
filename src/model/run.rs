//! Embedding in bounded steps, so that a caller on an event loop can breathe, and stop, between them. No result depends
//! on how inputs fall into steps.

use serde::Deserialize;

use super::embedder::Embedder;
use super::head::{self, Head};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::text::tokenizer::Rules;
use crate::text::{Batch, Direction, Input, Tokens};

/// Tokens of one step: enough to keep the kernels busy, few enough to bound memory and the wait for a cancellation.
/// A single longer input is one step of its own.
const STEP_TOKENS: usize = 512;
/// How to embed densely. The default is what the model's own files say, cutting off what is too long.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EncodeOptions {
    /// Scale vectors to length 1; by default as the model's pipeline does.
    pub normalize: Option<bool>,
    /// Keep only the first so many dimensions (Matryoshka models), before normalisation.
    pub dimensions: Option<u64>,
    /// Name of one of the model's prompts.
    pub prompt_name: Option<String>,
    /// Text to put in front; goes before a named prompt if both are given.
    pub prompt: Option<String>,
    /// Cut off what is too long (the default) instead of refusing it.
    pub truncate: Option<bool>,
    /// Which end is cut off.
    pub truncation_direction: Direction,
}

/// How to embed sparsely.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SparseOptions {
    /// Keep only the so many largest entries.
    pub top_k: Option<usize>,
    /// Keep only entries above this value; 0 by default.
    pub threshold: f32,
    /// Give the vocabulary's token for each entry.
    pub labels: bool,
    /// Name of one of the model's prompts.
    pub prompt_name: Option<String>,
    /// Text to put in front; goes before a named prompt if both are given.
    pub prompt: Option<String>,
    /// Cut off what is too long (the default) instead of refusing it.
    pub truncate: Option<bool>,
    /// Which end is cut off.
    pub truncation_direction: Direction,
}

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

/// Inputs that wait to be tokenised and packed.
pub(super) struct Queue {
    inputs: std::iter::Enumerate<std::vec::IntoIter<Input>>,
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
        truncate: Option<bool>,
        direction: Direction,
    ) -> Result<Self> {
        if inputs.is_empty() {
            return Err(Error::EmptyInput(
                "there is nothing to embed: pass at least one text".to_owned(),
            ));
        }
        let truncate = truncate.unwrap_or(true);
        Ok(Self {
            inputs: inputs.into_iter().enumerate(),
            waiting: None,
            prompt,
            skip_prompt,
            truncate,
            direction,
        })
    }

    /// The next inputs, up to [`STEP_TOKENS`]; none when all are done.
    fn next<B: Backend>(&mut self, embedder: &Embedder<B>) -> Result<Vec<Tokens>> {
        let rules = Rules {
            prompt: &self.prompt,
            skip_prompt: self.skip_prompt,
            limit: embedder.info().max_tokens,
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
                    Some((index, input)) => {
                        let tokens = embedder.tokenizer.tokens(index, &input, rules)?;
                        check_ids(&tokens.ids, embedder.spec.vocab_size)?;
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

/// Dense embedding in steps.
pub struct DenseRun {
    queue: Queue,
    normalize: bool,
    out: DenseBatch,
}

impl DenseRun {
    pub(super) fn new(queue: Queue, dimensions: usize, normalize: bool) -> Self {
        let out = DenseBatch {
            dimensions,
            ..DenseBatch::default()
        };
        Self {
            queue,
            normalize,
            out,
        }
    }

    /// Does one step; true when all is done.
    pub fn step<B: Backend>(&mut self, embedder: &Embedder<B>) -> Result<bool> {
        let Head::Dense(head) = &embedder.head else {
            return Err(Error::Internal(
                "a dense run belongs to a dense model".to_owned(),
            ));
        };
        let taken = self.queue.next(embedder)?;
        if taken.is_empty() {
            return Ok(true);
        }
        let vectors = embedder.dense(head, &Batch::pack(&taken))?;
        for vector in vectors.chunks_exact(head.dimensions) {
            let start = self.out.data.len();
            self.out
                .data
                .extend_from_slice(&vector[..self.out.dimensions]);
            if self.normalize {
                head::l2_normalize(&mut self.out.data[start..]);
            }
        }
        self.out.tokens.extend(taken.iter().map(count));
        self.out
            .truncated
            .extend(taken.iter().map(|tokens| tokens.truncated));
        Ok(false)
    }

    /// The vectors, in the order of the inputs.
    pub fn finish(self) -> DenseBatch {
        self.out
    }
}

/// Sparse embedding in steps.
pub struct SparseRun {
    queue: Queue,
    options: SparseOptions,
    out: SparseBatch,
}

impl SparseRun {
    pub(super) fn new(queue: Queue, options: SparseOptions) -> Self {
        Self {
            queue,
            options,
            out: SparseBatch::default(),
        }
    }

    /// Does one step; true when all is done.
    pub fn step<B: Backend>(&mut self, embedder: &Embedder<B>) -> Result<bool> {
        let Head::Splade { mlm, activation } = &embedder.head else {
            return Err(Error::Internal(
                "a sparse run belongs to a sparse model".to_owned(),
            ));
        };
        let taken = self.queue.next(embedder)?;
        if taken.is_empty() {
            return Ok(true);
        }
        let batch = Batch::pack(&taken);
        let logits = embedder.max_logits(mlm, &batch)?;
        for logits in logits.chunks_exact(embedder.spec.vocab_size) {
            let entries = logits
                .iter()
                .map(|logit| head::sparse_weight(*activation, *logit));
            let vector = select(entries, &self.options, |id| {
                embedder.tokenizer.entry(id).unwrap_or_default()
            });
            self.out.vectors.push(vector);
        }
        self.out.tokens.extend(taken.iter().map(count));
        Ok(false)
    }

    /// The vectors, in the order of the inputs.
    pub fn finish(self) -> SparseBatch {
        self.out
    }
}

/// The entries that the options keep, in ascending order of index.
fn select(
    weights: impl Iterator<Item = f32>,
    options: &SparseOptions,
    label: impl Fn(u32) -> String,
) -> SparseVector {
    let mut entries: Vec<(u32, f32)> = (0u32..)
        .zip(weights)
        .filter(|(_, weight)| *weight > options.threshold)
        .collect();
    if let Some(most) = options.top_k.filter(|most| *most < entries.len()) {
        // Of equal weights the lower index stays.
        entries.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        entries.truncate(most);
        entries.sort_unstable_by_key(|(index, _)| *index);
    }
    let labels = options
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
        let weights = [0.0, 3.0, 1.0, 2.0, 3.0];
        let kept =
            |options: SparseOptions| select(weights.into_iter(), &options, |id| format!("t{id}"));
        assert_eq!(kept(SparseOptions::default()).indices, [1, 2, 3, 4]);
        assert_eq!(
            kept(SparseOptions {
                threshold: 1.5,
                ..Default::default()
            })
            .indices,
            [1, 3, 4]
        );
        let top = kept(SparseOptions {
            top_k: Some(3),
            labels: true,
            ..Default::default()
        });
        assert_eq!(
            (top.indices, top.values),
            (vec![1, 3, 4], vec![3.0, 2.0, 3.0])
        );
        assert_eq!(top.labels.unwrap(), ["t1", "t3", "t4"]);
    }
}
