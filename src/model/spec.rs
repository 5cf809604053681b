//! A transformer encoder, described by data. Everything that the forward pass needs to know, and nothing about
//! which family or file it comes from.

use crate::backend::{Activation, Heads};
use crate::text::Batch;

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
    /// Rows of the position embedding table.
    pub position_rows: usize,
    /// Which row of it a token takes.
    pub positions: Positions,
    /// Rows of the token type table; none where the family has no such table.
    pub token_types: Option<usize>,
    /// Activation of the feed-forward block.
    pub activation: Activation,
    /// Added to the variance in every LayerNorm.
    pub norm_eps: f32,
}

/// Which learned position a token takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// Its place in the sequence, from 0.
    FromZero,
    /// RoBERTa's: counted from the row after the padding token's id, which is 1 in every published model. A padding
    /// token written in a text takes the row of its own id and is not counted.
    AfterPadding(u32),
}

impl Spec {
    /// The longest sequence that there are positions for.
    pub fn max_positions(&self) -> usize {
        match self.positions {
            Positions::FromZero => self.position_rows,
            Positions::AfterPadding(padding) => {
                self.position_rows.saturating_sub(padding as usize + 1)
            }
        }
    }

    /// The position of every token, `[tokens]`.
    pub fn position_ids(&self, batch: &Batch) -> Vec<u32> {
        let mut ids = Vec::with_capacity(batch.ids.len());
        for pair in batch.offsets.windows(2) {
            match self.positions {
                Positions::FromZero => ids.extend((0u32..).take(pair[1] - pair[0])),
                Positions::AfterPadding(padding) => {
                    let mut position = padding;
                    ids.extend(batch.ids[pair[0]..pair[1]].iter().map(|id| {
                        if *id == padding {
                            return padding;
                        }
                        position += 1;
                        position
                    }));
                }
            }
        }
        ids
    }
}
