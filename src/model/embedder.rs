//! The model, ready for use: texts in, vectors out.
//!
//! Work is done in bounded steps ([`DenseRun`], [`SparseRun`]), so that a caller on an event loop can breathe, and
//! stop, between them. No result depends on how inputs fall into steps.

use std::collections::BTreeMap;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::config::Config;
use super::forward::{self, Weights};
use super::head::{self, DenseHead, Head};
use super::layout::Encoder;
use super::spec::Spec;
use crate::backend::{Backend, WeightDtype};
use crate::error::{Error, Result};
use crate::text::tokenizer::Rules;
use crate::text::{Batch, Direction, Input, Token, Tokenizer, Tokens};

/// Tokens of one step: enough to keep the kernels busy, few enough to bound memory and the wait for a cancellation.
/// A single longer input is one step of its own.
const STEP_TOKENS: usize = 512;
/// Raised whenever the numbers that a model gives change, so that vectors of two versions are told apart.
const NUMERICS: u32 = 1;

/// Texts that a model wants in front of its inputs, by name.
#[derive(Clone, Debug, Default)]
pub struct Prompts {
    /// Name → text.
    pub named: BTreeMap<String, String>,
    /// The one that is used unless the caller says otherwise.
    pub default: Option<String>,
}

impl Prompts {
    /// From `config_sentence_transformers.json`.
    pub(super) fn read(config: &Config) -> Result<Self> {
        let named = match config.get("prompts") {
            None => BTreeMap::new(),
            Some(prompts) => BTreeMap::deserialize(prompts)
                .map_err(|_| config.wrong("prompts", "an object of strings"))?,
        };
        Ok(Self {
            named,
            default: config.text("default_prompt_name")?.map(str::to_owned),
        })
    }

    fn find(&self, name: &str) -> Result<&str> {
        self.named
            .get(name)
            .map(String::as_str)
            .ok_or_else(|| Error::UnknownPrompt {
                name: name.to_owned(),
                known: if self.named.is_empty() {
                    "none".to_owned()
                } else {
                    self.named
                        .keys()
                        .map(|name| format!("{name:?}"))
                        .collect::<Vec<_>>()
                        .join(", ")
                },
            })
    }
}

/// What a loaded model is.
#[derive(Clone, Debug)]
pub struct Info {
    /// Name that the caller gave it.
    pub model: String,
    /// Commit or branch, where known.
    pub revision: Option<String>,
    /// Model family.
    pub family: &'static str,
    /// The most tokens of one input, special tokens included.
    pub max_tokens: usize,
    /// How the weights are held.
    pub dtype: WeightDtype,
    /// Parameters that the model uses.
    pub parameters: usize,
    /// Prompts from the model's own files.
    pub prompts: Prompts,
    /// How its vectors are to be compared: `cosine`, `dot`, `euclidean` or `manhattan`.
    pub similarity: String,
    /// The steps after the transformer, for [`Embedder::space_id`].
    pub(super) pipeline: String,
    /// Hash of all weights.
    pub(super) fingerprint: u64,
}

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

/// A loaded model.
pub struct Embedder<B: Backend> {
    backend: B,
    spec: Spec,
    tokenizer: Tokenizer,
    encoder: Encoder,
    head: Head,
    weights: Weights<B>,
    info: Info,
}

impl<B: Backend> Embedder<B> {
    pub(super) fn new(
        backend: B,
        spec: Spec,
        tokenizer: Tokenizer,
        encoder: Encoder,
        head: Head,
        weights: Weights<B>,
        info: Info,
    ) -> Self {
        Self {
            backend,
            spec,
            tokenizer,
            encoder,
            head,
            weights,
            info,
        }
    }

    /// What the model is.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The backend that it runs on.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// `dense` or `sparse`.
    pub fn kind(&self) -> &'static str {
        match self.head {
            Head::Dense(_) => "dense",
            Head::Splade { .. } => "sparse",
        }
    }

    /// Width of a vector: for sparse models, entries of the vocabulary.
    pub fn dimensions(&self) -> usize {
        match &self.head {
            Head::Dense(head) => head.dimensions,
            Head::Splade { .. } => self.spec.vocab_size,
        }
    }

    /// Whether vectors have length 1 unless the caller says otherwise.
    pub fn normalized(&self) -> bool {
        matches!(&self.head, Head::Dense(head) if head.normalize)
    }

    /// Bytes of packed weights.
    pub fn weight_bytes(&self) -> usize {
        let matrices = self
            .weights
            .matrices
            .iter()
            .flatten()
            .map(|matrix| self.backend.bytes(matrix));
        let vectors = self
            .weights
            .vectors
            .iter()
            .map(|vector| size_of_val(vector.as_slice()));
        matrices.chain(vectors).sum()
    }

    /// Names the space that the model's vectors live in: equal for equal weights, dtype and pipeline.
    pub fn space_id(&self) -> String {
        let info = &self.info;
        let text = format!(
            "{NUMERICS} {:016x} {:?} {} {} {:?} {:?} {}",
            info.fingerprint,
            info.revision,
            info.dtype.name(),
            info.pipeline,
            info.prompts.default,
            info.prompts.named,
            info.max_tokens
        );
        let digest = Sha256::digest(text);
        let (first, _) = digest.as_chunks::<16>();
        format!("{:032x}", u128::from_be_bytes(first[0]))
    }

    /// Tokens of a text, for people to look at.
    pub fn tokenize(&self, text: &str, add_special_tokens: bool) -> Result<Vec<Token>> {
        self.tokenizer.describe(text, add_special_tokens)
    }

    /// Embeds densely, in one go.
    pub fn encode(&self, inputs: Vec<Input>, options: &EncodeOptions) -> Result<DenseBatch> {
        let mut run = self.start(inputs, options)?;
        while !run.step(self)? {}
        Ok(run.finish())
    }

    /// Embeds sparsely, in one go.
    pub fn encode_sparse(
        &self,
        inputs: Vec<Input>,
        options: &SparseOptions,
    ) -> Result<SparseBatch> {
        let mut run = self.start_sparse(inputs, options)?;
        while !run.step(self)? {}
        Ok(run.finish())
    }

    /// Embeds densely, step by step.
    pub fn start(&self, inputs: Vec<Input>, options: &EncodeOptions) -> Result<DenseRun> {
        let Head::Dense(head) = &self.head else {
            return Err(self.wrong_kind("ask it for sparse vectors (encodeSparse, embedSparse)"));
        };
        let dimensions = match options.dimensions {
            None => head.dimensions,
            Some(got) => usize::try_from(got)
                .ok()
                .filter(|got| (1..=head.dimensions).contains(got))
                .ok_or(Error::InvalidDimensions {
                    got,
                    limit: head.dimensions,
                })?,
        };
        let prompt = self.prompt(options.prompt.as_deref(), options.prompt_name.as_deref())?;
        let queue = Queue::new(
            inputs,
            prompt,
            !head.include_prompt,
            options.truncate,
            options.truncation_direction,
        )?;
        let normalize = options.normalize.unwrap_or(head.normalize);
        Ok(DenseRun {
            queue,
            normalize,
            out: DenseBatch {
                dimensions,
                ..DenseBatch::default()
            },
        })
    }

    /// Embeds sparsely, step by step.
    pub fn start_sparse(&self, inputs: Vec<Input>, options: &SparseOptions) -> Result<SparseRun> {
        if matches!(self.head, Head::Dense(_)) {
            return Err(self.wrong_kind(
                "ask it for dense vectors (encode, embeddings.create), or load a SPLADE model",
            ));
        }
        if !options.threshold.is_finite() || options.threshold < 0.0 {
            return Err(Error::input(
                "threshold",
                "threshold must be a number of 0 or more",
            ));
        }
        let prompt = self.prompt(options.prompt.as_deref(), options.prompt_name.as_deref())?;
        let queue = Queue::new(
            inputs,
            prompt,
            false,
            options.truncate,
            options.truncation_direction,
        )?;
        Ok(SparseRun {
            queue,
            options: options.clone(),
            out: SparseBatch::default(),
        })
    }

    fn wrong_kind(&self, advice: &'static str) -> Error {
        Error::WrongModelKind {
            model: self.info.model.clone(),
            kind: self.kind(),
            advice,
        }
    }

    fn prompt(&self, text: Option<&str>, name: Option<&str>) -> Result<String> {
        let prompts = &self.info.prompts;
        let prompt = match (text, name.or(prompts.default.as_deref())) {
            (Some(text), _) => text,
            (None, Some(name)) => prompts.find(name)?,
            (None, None) => "",
        };
        Ok(prompt.to_owned())
    }

    fn states(&self, batch: &Batch) -> Result<B::Tensor> {
        forward::forward(
            &self.backend,
            &self.spec,
            &self.encoder,
            &self.weights,
            batch,
        )
    }

    fn dense(&self, head: &DenseHead, batch: &Batch) -> Result<Vec<f32>> {
        head.run(&self.backend, &self.weights, &self.states(batch)?, batch)
    }
}

/// Inputs that wait to be tokenised and packed.
struct Queue {
    inputs: std::iter::Enumerate<std::vec::IntoIter<Input>>,
    /// Tokenised, but more than the last step could take.
    waiting: Option<Tokens>,
    prompt: String,
    skip_prompt: bool,
    truncate: bool,
    direction: Direction,
}

impl Queue {
    fn new(
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
            limit: embedder.info.max_tokens,
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
        let states = embedder.states(&batch)?;
        let logits = forward::max_logits(
            &embedder.backend,
            &embedder.spec,
            mlm,
            &embedder.weights,
            &states,
            &batch,
        )?;
        let logits = embedder.backend.read(&logits)?;
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
