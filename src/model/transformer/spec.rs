//! A transformer encoder as data: everything that the forward pass needs to know, and nothing about
//! the family or file that it comes from.

use crate::backend::{Activation, Gate, Heads, Mask, NormKind};
use crate::full::Full;
use crate::text::Batch;

/// Sizes and choices of one transformer.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Entries of the word embedding table.
    pub vocab_size: usize,
    /// Width of a token state.
    pub hidden_size: usize,
    /// Width of the embedding tables. If it is not `hidden_size`, a projection follows the
    /// embeddings.
    pub embedding_size: usize,
    /// Width of the feed-forward block between its two linear layers.
    pub intermediate_size: usize,
    /// Attention heads.
    pub heads: Heads,
    /// Attention scores are multiplied by this.
    pub attention_scale: f32,
    /// Bound of the scaled scores, if they have one.
    pub attention_cap: Option<f32>,
    /// How each layer attends.
    pub layers: Vec<LayerSpec>,
    /// Whether all layers have the same weights, as in ALBERT.
    pub shared_layers: bool,
    /// Learned position embeddings, added to the word embeddings.
    pub positions: Positions,
    /// Relative position bias, added to attention scores.
    pub relative: Option<Relative>,
    /// The longest sequence that the model is made for.
    pub max_positions: usize,
    /// Rows of the token type table; none if the family has no such table.
    pub token_types: Option<usize>,
    /// Embeddings are multiplied by this.
    pub embedding_scale: f32,
    /// Activation of the feed-forward block.
    pub activation: Activation,
    /// The gate of the feed-forward block, if it is gated.
    pub gate: Option<Gate>,
    /// The kind of norm.
    pub norm: NormKind,
    /// Added to the variance in every norm.
    pub norm_eps: f32,
    /// Which modules have biases.
    pub biases: Biases,
    /// The experts of the layers that have them.
    pub experts: Option<Full<Experts>>,
    /// Changes of the weights for each of several tasks.
    pub adapters: Option<Full<Adapters>>,
    /// Width of the projection of the states after the last norm, if there is one.
    pub projection: Option<usize>,
}

impl Spec {
    /// Width of the states that heads take.
    pub fn output_size(&self) -> usize {
        self.projection.unwrap_or(self.hidden_size)
    }
}

/// Experts in place of a feed-forward block (Shazeer et al. 2017): every token takes `top` of them.
#[derive(Clone, Copy, Debug)]
pub struct Experts {
    /// Number of experts.
    pub count: usize,
    /// Number of those that a token takes: the ones that the router gives most.
    pub top: usize,
}

/// Adapters of low rank (`LoRA`, Hu et al. 2021) of all linear layers and embeddings, one for each
/// task: `x · Wᵀ` becomes `x · Wᵀ + scale · (x · Aᵀ) · Bᵀ`.
#[derive(Clone, Debug)]
pub struct Adapters {
    /// Rows of A, and columns of B.
    pub rank: usize,
    /// Factor of what is added.
    pub scale: f32,
    /// Names of the tasks.
    pub tasks: Vec<String>,
}

/// How one layer attends.
#[derive(Clone, Copy, Debug, Default)]
pub struct LayerSpec {
    /// Which tokens attend to which.
    pub mask: Mask,
    /// Rotary position embeddings, if the family has them.
    pub rope: Option<Rope>,
    /// Whether it has experts in place of a feed-forward block.
    pub experts: bool,
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
    /// Llama 3.1's: frequencies of long wavelengths are divided by `factor`, those of short ones
    /// are kept, and those between are interpolated.
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
    /// First linear layer of the feed-forward block.
    pub ffn_up: bool,
    /// Second linear layer of the feed-forward block.
    pub ffn_down: bool,
    /// Norms.
    pub norm: bool,
}

impl Biases {
    /// Every module has one.
    pub const ALL: Self = Self {
        qkv: true,
        attention_output: true,
        ffn_up: true,
        ffn_down: true,
        norm: true,
    };
    /// No module has one.
    pub const NONE: Self = Self {
        qkv: false,
        attention_output: false,
        ffn_up: false,
        ffn_down: false,
        norm: false,
    };
}

/// Which row of the learned position table a token uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// There are no learned positions.
    None,
    /// The token's index in the sequence, from 0.
    FromZero {
        /// Rows of the table.
        rows: usize,
    },
    /// RoBERTa's: counted from the row after the padding token's id. A padding token that a text
    /// contains uses the row of its id and is not counted.
    AfterPadding {
        /// Rows of the table.
        rows: usize,
        /// The padding token's id, 1 in every published model.
        padding: u32,
    },
}

/// What the distance between two tokens adds to their attention score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relative {
    /// T5's (Raffel et al. 2020): a learned number for each head and each of `buckets` ranges of
    /// distances. Half of the ranges are for keys after the query. All distances beyond
    /// `max_distance` share a range.
    Buckets {
        /// Rows of the table.
        buckets: usize,
        /// The distance at which the last bucket begins.
        max_distance: usize,
    },
    /// Positions are compared with contents.
    Disentangled(Full<Disentangled>),
    /// ALiBi (Press et al. 2021) in both directions: minus the distance, times a slope that depends
    /// on the head.
    Alibi,
}

/// Disentangled attention (He et al. 2021). Each distance, or range of distances, has a vector, of
/// which a layer makes a query and a key as it does of tokens. A score is the product of query and
/// key, and what these and those of the distance between them add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disentangled {
    /// Half of the rows of the table of vectors.
    pub span: usize,
    /// The distance of the last range, if distances beyond half of `span` share logarithmic ranges.
    pub longest: Option<usize>,
    /// Whether the product of a token's query and a distance's key is added.
    pub to_positions: bool,
    /// Whether the product of a distance's query and a token's key is added.
    pub to_contents: bool,
    /// Whether the vectors go through a norm.
    pub norm: bool,
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
