//! A route: from texts to whatever vectors its heads give. Most models have one; models with a Router have one for
//! queries and one for documents.

use std::sync::Arc;

use crate::backend::Backend;
use crate::error::Result;
use crate::model::run::options::TokenHead;
#[cfg(not(target_arch = "wasm32"))]
use crate::model::transformer::candle::Candle;
use crate::model::transformer::forward::{self, Weights};
use crate::model::transformer::heads::{DenseHead, SparseHead};
use crate::model::transformer::layout::{Encoder, Linear, VectorId};
use crate::model::transformer::spec::Spec;
use crate::model::transformer::static_table::StaticEmbedding;
use crate::text::{Batch, Tokenizer};

/// One way through a model.
pub struct Route {
    /// The router's name for it; empty where there is no router.
    pub name: String,
    /// Makes tokens of texts.
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
    /// The mean of tokens' vectors in a table, and no transformer: dense vectors only.
    Static(Box<StaticEmbedding>),
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
    /// Makes states of tokens.
    pub encoder: AnyEncoder,
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Gives dense vectors.
    pub dense: Option<DenseHead>,
    /// Gives sparse vectors.
    pub sparse: Option<SparseHead>,
    /// Gives token vectors for late interaction (Khattab & Zaharia 2020).
    pub colbert: Option<Linear>,
}

/// Whose code runs a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Road {
    /// Our forward pass, in any dtype.
    Native,
    /// candle-transformers, in f32.
    Candle,
}

/// What makes states of tokens.
pub enum AnyEncoder {
    /// Our forward pass.
    Native {
        /// What the transformer is.
        spec: Box<Spec>,
        /// Where its weights are.
        encoder: Encoder,
    },
    /// candle-transformers'.
    #[cfg(not(target_arch = "wasm32"))]
    Candle {
        /// The weight file that it wants whole.
        file: usize,
        /// The model.
        candle: Box<Candle>,
    },
}

impl Transformer {
    /// States of all tokens after the last layer, `[tokens, hidden]`.
    pub fn states<B: Backend>(
        &self,
        backend: &B,
        weights: &Weights<B>,
        batch: &Batch,
    ) -> Result<B::Tensor> {
        match &self.encoder {
            AnyEncoder::Native { spec, encoder } => {
                forward::forward(backend, spec, encoder, weights, batch)
            }
            #[cfg(not(target_arch = "wasm32"))]
            AnyEncoder::Candle { candle, .. } => {
                let mut states = Vec::new();
                for pair in batch.offsets.windows(2) {
                    states.extend(candle.states(&batch.ids[pair[0]..pair[1]])?);
                }
                backend.upload(states, batch.ids.len())
            }
        }
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

    /// Its dense head.
    pub fn dense(&self) -> Option<&DenseHead> {
        match &self.body {
            Body::Transformer(transformer) => transformer.dense.as_ref(),
            Body::Static(embedding) => Some(&embedding.head),
            Body::Table { .. } => None,
        }
    }

    /// Whether it gives vectors of tokens. sentence-transformers' `StaticEmbedding` has none.
    pub fn gives_tokens(&self) -> bool {
        matches!(&self.body, Body::Transformer(transformer) if transformer.dense.is_some())
    }

    /// The head that token vectors come from unless the caller says otherwise.
    pub fn token_head(&self) -> TokenHead {
        match &self.body {
            Body::Transformer(transformer) if transformer.colbert.is_some() => TokenHead::Colbert,
            _ => TokenHead::States,
        }
    }

    /// Which road its transformer takes.
    pub fn road(&self) -> Road {
        match &self.body {
            #[cfg(not(target_arch = "wasm32"))]
            Body::Transformer(transformer)
                if matches!(transformer.encoder, AnyEncoder::Candle { .. }) =>
            {
                Road::Candle
            }
            _ => Road::Native,
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
