//! A route: the way from texts to the vectors of its heads. Most models have one route. Models with
//! a Router have one for queries and one for documents.

use std::sync::Arc;

use crate::backend::Compute;
use crate::error::Result;
use crate::model::kind::Kind;
use crate::model::transformer::classifier::Classifier;
use crate::model::transformer::forward::{self, Weights};
use crate::model::transformer::heads::{DenseHead, SparseHead, TokenHead, TokenProjection};
use crate::model::transformer::late::{Late, Task};
use crate::model::transformer::layout::{Encoder, VectorId};
use crate::model::transformer::spec::Spec;
use crate::model::transformer::static_table::TableId;
use crate::text::{Batch, Input, Rules, Tokenizer, Tokens};

/// A way through a model.
pub struct Route {
    /// The router's name for it; empty if there is no router.
    pub name: String,
    /// Turns texts into tokens.
    pub tokenizer: Arc<Tokenizer>,
    /// The most tokens of one input, special tokens included.
    pub max_tokens: usize,
    /// What happens to the tokens.
    pub body: Body,
}

/// What happens to tokens.
pub enum Body {
    /// A transformer and its heads.
    Transformer(Box<Transformer>),
    /// The mean of tokens' vectors in a table. There is no transformer, and only dense vectors are
    /// given.
    Static(Box<StaticEmbedding>),
    /// A weight for each vocabulary entry. There is no transformer, and only sparse vectors are
    /// given.
    Table {
        /// `[vocab]`
        weights: VectorId,
        /// Length of the table.
        vocab_size: usize,
    },
}

/// A transformer and its heads.
pub struct Transformer {
    /// What it is.
    pub spec: Box<Spec>,
    /// Where its weights are.
    pub encoder: Box<Encoder>,
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Gives dense vectors.
    pub dense: Option<DenseHead>,
    /// Gives sparse vectors.
    pub sparse: Option<SparseHead>,
    /// Gives token vectors for late interaction (Khattab & Zaharia 2020).
    pub colbert: Option<TokenProjection>,
    /// Gives scores of pairs; then there is no other head.
    pub classifier: Option<Classifier>,
}

/// A text's vector as the mean of its tokens' vectors.
pub struct StaticEmbedding {
    /// Which table.
    pub table: TableId,
    /// The steps after the mean.
    pub head: DenseHead,
    /// Width that the first of the steps takes, if there is one that has a width.
    pub input: Option<usize>,
    /// Number of token ids: rows of the table, or entries of its mapping.
    pub vocab_size: usize,
    /// A token that is left out of the mean.
    pub dropped: Option<u32>,
    /// The most tokens of a text where model2vec's rules hold, which the table decides.
    pub model2vec_limit: Option<usize>,
}

impl Transformer {
    /// States of all tokens after the last layer, `[tokens, hidden]`.
    pub fn states<B: Compute>(
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
            Body::Transformer(transformer) => transformer.vocab_size,
            Body::Static(embedding) => embedding.vocab_size,
            Body::Table { vocab_size, .. } => *vocab_size,
        }
    }

    /// Its transformer, if it has one.
    pub fn transformer(&self) -> Option<&Transformer> {
        match &self.body {
            Body::Transformer(transformer) => Some(transformer),
            Body::Static(_) | Body::Table { .. } => None,
        }
    }

    /// The dense head.
    pub fn dense(&self) -> Option<&DenseHead> {
        match &self.body {
            Body::Transformer(transformer) => transformer.dense.as_ref(),
            Body::Static(embedding) => Some(&embedding.head),
            Body::Table { .. } => None,
        }
    }

    /// Whether it gives vectors of tokens. sentence-transformers' `StaticEmbedding` has none.
    pub fn gives_tokens(&self) -> bool {
        matches!(
            &self.body,
            Body::Transformer(transformer) if transformer.dense.is_some() || transformer.colbert.is_some()
        )
    }

    /// The projection of token states for late interaction.
    pub fn colbert(&self) -> Option<&TokenProjection> {
        match &self.body {
            Body::Transformer(transformer) => transformer.colbert.as_ref(),
            Body::Static(_) | Body::Table { .. } => None,
        }
    }

    /// The rules of a model that is made for late interaction.
    pub fn late(&self) -> Option<&Late> {
        self.colbert()?.late.as_ref()
    }

    /// Tokens of input number `index`, which the errors name. `task` is what a model that is made
    /// for late interaction takes it for.
    pub fn tokens(
        &self,
        task: Option<Task>,
        index: usize,
        input: &Input,
        rules: Rules,
    ) -> Result<Tokens> {
        match (self.late(), task) {
            (Some(late), Some(task)) => late.tokens(task, &self.tokenizer, index, input, rules),
            _ => self.tokenizer.tokens(index, input, rules),
        }
    }

    /// The head that gives scores.
    pub fn classifier(&self) -> Option<&Classifier> {
        match &self.body {
            Body::Transformer(transformer) => transformer.classifier.as_ref(),
            Body::Static(_) | Body::Table { .. } => None,
        }
    }

    /// What the route is for.
    pub fn kind(&self) -> Kind {
        if self.classifier().is_some() {
            Kind::Reranker
        } else if self.late().is_some() {
            Kind::LateInteraction
        } else if self.dense().is_some() {
            Kind::Dense
        } else {
            Kind::Sparse
        }
    }

    /// The head of token vectors, unless the caller asks for another one.
    pub fn token_head(&self) -> TokenHead {
        if self.colbert().is_some() {
            TokenHead::Colbert
        } else {
            TokenHead::States
        }
    }

    /// The head that gives sparse vectors.
    pub fn sparse(&self) -> Option<&SparseHead> {
        match &self.body {
            Body::Transformer(transformer) => transformer.sparse.as_ref(),
            Body::Static(_) | Body::Table { .. } => None,
        }
    }

    /// Width of a sparse vector, and whether its entries are those of the vocabulary, which have
    /// names.
    pub fn sparse_size(&self) -> (usize, bool) {
        let size = self.vocab_size();
        match self.sparse() {
            Some(head @ SparseHead::Autoencoder { .. }) => (head.size(size), false),
            _ => (size, true),
        }
    }

    /// Whether it gives sparse vectors.
    pub fn is_sparse(&self) -> bool {
        match &self.body {
            Body::Transformer(transformer) => transformer.sparse.is_some(),
            Body::Static(_) => false,
            Body::Table { .. } => true,
        }
    }
}
