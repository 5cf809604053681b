//! A route: from texts to whatever vectors its heads give. Most models have one; models with a Router have one for
//! queries and one for documents.

use std::rc::Rc;

use super::forward::{self, Weights};
use super::head::{DenseHead, SparseHead};
use super::layout::{Encoder, Linear, VectorId};
use super::options::TokenHead;
use super::spec::Spec;
use crate::backend::Backend;
use crate::error::Result;
use crate::text::{Batch, Tokenizer};

/// One way through a model.
pub struct Route {
    /// The router's name for it; empty where there is no router.
    pub name: String,
    /// Makes tokens of texts.
    pub tokenizer: Rc<Tokenizer>,
    /// The most tokens of one input, special tokens included.
    pub max_tokens: usize,
    /// What happens to the tokens.
    pub body: Body,
}

/// What happens to tokens.
pub enum Body {
    /// A transformer and its heads.
    Transformer(Box<Transformer>),
    /// A weight for each vocabulary entry, and no transformer: sparse vectors only.
    Table {
        /// `[vocab]`
        weights: VectorId,
        /// Its length.
        vocab_size: usize,
    },
}

/// A transformer and its heads.
pub struct Transformer {
    /// What it is.
    pub spec: Spec,
    /// Where its weights are.
    pub encoder: Encoder,
    /// Gives dense vectors.
    pub dense: Option<DenseHead>,
    /// Gives sparse vectors.
    pub sparse: Option<SparseHead>,
    /// Gives token vectors for late interaction (Khattab & Zaharia 2020).
    pub colbert: Option<Linear>,
}

impl Transformer {
    /// States of all tokens after the last layer.
    pub fn states<B: Backend>(
        &self,
        backend: &B,
        weights: &Weights<B>,
        batch: &Batch,
    ) -> Result<B::Tensor> {
        forward::forward(backend, &self.spec, &self.encoder, weights, batch)
    }
}

impl Route {
    /// Entries of the vocabulary that ids and sparse vectors refer to.
    pub fn vocab_size(&self) -> usize {
        match &self.body {
            Body::Transformer(transformer) => transformer.spec.vocab_size,
            Body::Table { vocab_size, .. } => *vocab_size,
        }
    }

    /// Its dense head.
    pub fn dense(&self) -> Option<&DenseHead> {
        match &self.body {
            Body::Transformer(transformer) => transformer.dense.as_ref(),
            Body::Table { .. } => None,
        }
    }

    /// The head that token vectors come from unless the caller says otherwise.
    pub fn token_head(&self) -> TokenHead {
        match &self.body {
            Body::Transformer(transformer) if transformer.colbert.is_some() => TokenHead::Colbert,
            _ => TokenHead::States,
        }
    }

    /// Whether it gives sparse vectors.
    pub fn is_sparse(&self) -> bool {
        match &self.body {
            Body::Transformer(transformer) => transformer.sparse.is_some(),
            Body::Table { .. } => true,
        }
    }
}
