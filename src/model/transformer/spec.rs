//! A transformer encoder, described by data. Everything that the forward pass needs to know, and nothing about
//! which family or file it comes from.

use crate::backend::{Activation, Gate, Heads, Mask, NormKind};
use crate::text::Batch;

/// Sizes and choices of one transformer.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Entries of the word embedding table.
    pub vocab_size: usize,
    /// Width of a token state.
    pub hidden_size: usize,
    /// Width of the embedding tables. If it is not `hidden_size`, a projection follows the embeddings.
    pub embedding_size: usize,
    /// Width between the two products of the feed-forward block.
    pub intermediate_size: usize,
    /// Attention heads.
    pub heads: Heads,
    /// Factor of attention's scores.
    pub attention_scale: f32,
    /// How each layer attends.
    pub layers: Vec<LayerSpec>,
    /// Whether all layers have the same weights, as in ALBERT.
    pub shared_layers: bool,
    /// Learned positions, added to the embeddings.
    pub positions: Positions,
    /// Distances between tokens, added to attention's scores.
    pub relative: Option<Relative>,
    /// The longest sequence that the model is made for.
    pub max_positions: usize,
    /// Rows of the token type table; none where the family has no such table.
    pub token_types: Option<usize>,
    /// Factor of the embeddings.
    pub embedding_scale: f32,
    /// Activation of the feed-forward block.
    pub activation: Activation,
    /// The gate of the feed-forward block, if it is gated.
    pub gate: Option<Gate>,
    /// Which norm.
    pub norm: NormKind,
    /// Added under the root in every norm.
    pub norm_eps: f32,
    /// Which modules have biases.
    pub biases: Biases,
}

/// How one layer attends.
#[derive(Clone, Copy, Debug, Default)]
pub struct LayerSpec {
    /// Who sees whom.
    pub mask: Mask,
    /// Rotary position embeddings, where the family has them.
    pub rope: Option<Rope>,
}

/// Rotary position embeddings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// Change of the frequencies for sequences that are longer than those of the first training.
    pub scaling: RopeScaling,
}

/// Changes of the frequencies of rotary position embeddings, by the names of transformers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// None.
    None,
    /// All frequencies are divided by `factor`.
    Linear {
        /// Above 0.
        factor: f64,
    },
    /// Llama 3.1's: frequencies of long wavelengths are divided by `factor`, those of short ones are
    /// kept, and those between are interpolated.
    Llama3 {
        /// Above 0.
        factor: f64,
        /// Wavelengths above `original / low` are long.
        low: f64,
        /// Wavelengths below `original / high` are short.
        high: f64,
        /// Sequence length of the first training.
        original: f64,
    },
    /// NTK-aware scaling of Alibaba's GTE models: frequency number `i` is divided by
    /// `factor^(2 (i + 1) / head size)`.
    Ntk {
        /// Above 0.
        factor: f64,
    },
    /// YaRN (Peng et al. 2023): frequencies that turn more than `fast` times in the original length
    /// are kept, those that turn less than `slow` times are divided by `factor`, with a linear ramp
    /// between. Cosines and sines are multiplied by `attention`.
    Yarn {
        /// Above 0.
        factor: f64,
        /// Factor of cosines and sines.
        attention: f64,
        /// Rotations above which a frequency is kept.
        fast: f64,
        /// Rotations below which a frequency is divided.
        slow: f64,
        /// Sequence length of the first training.
        original: f64,
        /// Whether the ends of the ramp are rounded to whole indices.
        truncate: bool,
    },
}

/// Which modules have biases.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "five independent facts")]
pub struct Biases {
    /// Query, key and value projections.
    pub qkv: bool,
    /// Projection of the attention's output.
    pub attention_output: bool,
    /// First product of the feed-forward block.
    pub ffn_up: bool,
    /// Second product of the feed-forward block.
    pub ffn_down: bool,
    /// Norms.
    pub norm: bool,
}

impl Biases {
    /// In every module.
    pub const ALL: Self = Self {
        qkv: true,
        attention_output: true,
        ffn_up: true,
        ffn_down: true,
        norm: true,
    };
    /// In none.
    pub const NONE: Self = Self {
        qkv: false,
        attention_output: false,
        ffn_up: false,
        ffn_down: false,
        norm: false,
    };
}

/// Which learned position a token takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// None is added.
    None,
    /// Its place in the sequence, from 0, in a table of `rows`.
    FromZero {
        /// Rows of the table.
        rows: usize,
    },
    /// RoBERTa's: counted from the row after the padding token's id, which is 1 in every published model. A padding
    /// token written in a text takes the row of its own id and is not counted.
    AfterPadding {
        /// Rows of the table.
        rows: usize,
        /// The padding token's id.
        padding: u32,
    },
}

/// What the distance between two tokens adds to their score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relative {
    /// T5's (Raffel et al. 2020): a learned number for each head and each of `buckets` ranges of distances, half of
    /// them for keys after the query; beyond `max_distance` all are one.
    Buckets {
        /// Rows of the table.
        buckets: usize,
        /// Where the last bucket begins.
        max_distance: usize,
    },
    /// ALiBi (Press et al. 2021), in both directions: minus the distance, times a slope of each head's own.
    Alibi,
}

impl Positions {
    /// Rows of the table of learned positions.
    pub fn rows(self) -> Option<usize> {
        match self {
            Self::None => None,
            Self::FromZero { rows } | Self::AfterPadding { rows, .. } => Some(rows),
        }
    }

    /// The longest sequence that the table has rows for.
    pub fn longest(self) -> usize {
        match self {
            Self::None => usize::MAX,
            Self::FromZero { rows } => rows,
            Self::AfterPadding { rows, padding } => rows.saturating_sub(padding as usize + 1),
        }
    }

    /// The row of every token, `[tokens]`.
    pub fn ids(self, batch: &Batch) -> Vec<u32> {
        let mut ids = Vec::with_capacity(batch.ids.len());
        for pair in batch.offsets.windows(2) {
            match self {
                Self::None => {}
                Self::FromZero { .. } => ids.extend((0u32..).take(pair[1] - pair[0])),
                Self::AfterPadding { padding, .. } => {
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
