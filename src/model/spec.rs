//! A transformer encoder, described by data. Everything that the forward pass needs to know, and nothing about
//! which family or file it comes from.

use crate::backend::{Activation, Heads};

/// Sizes and choices of one transformer.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Entries of the word embedding table.
    pub vocab_size: usize,
    /// Width of a token state.
    pub hidden_size: usize,
    /// Width between the two products of the feed-forward block.
    pub intermediate_size: usize,
    /// Number of layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: Heads,
    /// Rows of the position embedding table, which bounds the length of a sequence.
    pub max_positions: usize,
    /// Rows of the token type table.
    pub token_types: usize,
    /// Activation of the feed-forward block.
    pub activation: Activation,
    /// Added to the variance in every LayerNorm.
    pub norm_eps: f32,
}
