//! The model, ready for use: texts in, vectors out, in one go or in the steps of [`super::run`].

use std::collections::BTreeMap;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::config::Config;
use super::forward::{self, Weights};
use super::head::{DenseHead, Head};
use super::layout::{Encoder, MlmHead};
use super::run::{
    DenseBatch, DenseRun, EncodeOptions, Queue, SparseBatch, SparseOptions, SparseRun,
};
use super::spec::Spec;
use crate::backend::{Backend, WeightDtype};
use crate::error::{Error, Result};
use crate::text::{Batch, Input, Token, Tokenizer};

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

/// A loaded model.
pub struct Embedder<B: Backend> {
    backend: B,
    pub(super) spec: Spec,
    pub(super) tokenizer: Tokenizer,
    encoder: Encoder,
    pub(super) head: Head,
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
        Ok(DenseRun::new(
            queue,
            dimensions,
            options.normalize.unwrap_or(head.normalize),
        ))
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
        Ok(SparseRun::new(queue, options.clone()))
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

    /// Vectors of a batch, before the final normalisation.
    pub(super) fn dense(&self, head: &DenseHead, batch: &Batch) -> Result<Vec<f32>> {
        head.run(&self.backend, &self.weights, &self.states(batch)?, batch)
    }

    /// For each sequence, the largest logit of every vocabulary entry.
    pub(super) fn max_logits(&self, mlm: &MlmHead, batch: &Batch) -> Result<Vec<f32>> {
        let states = self.states(batch)?;
        let logits = forward::max_logits(
            &self.backend,
            &self.spec,
            mlm,
            &self.weights,
            &states,
            batch,
        )?;
        self.backend.read(&logits)
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
}
