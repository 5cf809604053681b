//! Options of calls. All have a default; unknown ones are an error.

use serde::Deserialize;

use crate::model::run::outputs::OutputDtype;
use crate::model::transformer::classifier::ScoreActivation;
use crate::model::transformer::heads::TokenHead;
use crate::text::Direction;

/// How texts become tokens: the options that all calls have.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct TextOptions<'a> {
    pub prompt_name: Option<&'a str>,
    pub prompt: Option<&'a str>,
    pub instruction: Option<&'a str>,
    pub task: Option<&'a str>,
    pub truncate: Option<bool>,
    pub direction: Direction,
}

/// Defines the options of a call: its own fields, and those of [`TextOptions`].
macro_rules! options {
    ($(#[$about:meta])* $name:ident { $($(#[$field_about:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
        pub struct $name {
            $($(#[$field_about])* pub $field: $type,)*
            /// Name of one of the model's prompts.
            pub prompt_name: Option<String>,
            /// Text to put before each input. Takes precedence over `prompt_name` and
            /// `instruction`.
            pub prompt: Option<String>,
            /// A sentence that says what the texts are for. It is put before each input in the form
            /// that the model was trained with.
            pub instruction: Option<String>,
            /// `query`, `document`, or another task of the model: selects that route of a model
            /// with a router or with adapters, and the prompt of that name if the model has one.
            pub task: Option<String>,
            /// Whether inputs that are too long are cut off (the default) or are an error.
            pub truncate: Option<bool>,
            /// Which end is cut off.
            pub truncation_direction: Direction,
        }

        impl $name {
            pub(in crate::model) fn text(&self) -> TextOptions<'_> {
                TextOptions {
                    prompt_name: self.prompt_name.as_deref(),
                    prompt: self.prompt.as_deref(),
                    instruction: self.instruction.as_deref(),
                    task: self.task.as_deref(),
                    truncate: self.truncate,
                    direction: self.truncation_direction,
                }
            }
        }
    };
}

options! {
    /// Options of dense vectors.
    EncodeOptions {
        /// Whether vectors are scaled to length 1. The default is what the model's files say.
        normalize: Option<bool>,
        /// Keep only this many of the first dimensions (Matryoshka models). Vectors are cut before
        /// normalisation.
        dimensions: Option<u64>,
        /// Format of the vectors' components.
        output: OutputDtype,
        /// The pooling mode that the caller expects. It is an error if the model has another one:
        /// how a model pools is an option of loading.
        pooling: Option<String>,
    }
}

options! {
    /// Options of sparse vectors.
    SparseOptions {
        /// Keep only this many entries, the largest.
        top_k: Option<usize>,
        /// Keep only entries above this weight. The default is 0.
        threshold: f32,
        /// Whether each entry comes with its vocabulary token.
        labels: bool,
    }
}

options! {
    /// Options of vectors of tokens.
    TokenOptions {
        /// Which head gives them. The default is the model's head for late interaction, or else its
        /// states.
        head: Option<TokenHead>,
        /// Whether vectors are scaled to length 1. By default those of a head for late interaction
        /// are, unless the model's files say otherwise, and states are not.
        normalize: Option<bool>,
        /// Keeps one vector for so many of a document's tokens: similar vectors are replaced by
        /// their mean. The first vector stays. The default is 1, which keeps all.
        pool_factor: Option<usize>,
        /// Format of the vectors' components: floats, or 8-bit integers with a scale for each
        /// vector.
        output: OutputDtype,
    }
}

options! {
    /// Options of several kinds of vectors from one forward pass.
    MultiOptions {
        /// Give dense vectors.
        dense: bool,
        /// Give sparse vectors.
        sparse: bool,
        /// Give a vector for each token.
        tokens: bool,
        /// As in [`EncodeOptions`], for dense vectors.
        normalize: Option<bool>,
        /// As in [`EncodeOptions`].
        dimensions: Option<u64>,
        /// As in [`SparseOptions`].
        top_k: Option<usize>,
        /// As in [`SparseOptions`].
        threshold: f32,
        /// As in [`SparseOptions`].
        labels: bool,
    }
}

/// How to score pairs of texts.
#[derive(Clone, Debug, Default)]
pub struct ScoreOptions {
    /// What makes scores of the model's logits; by default what its files say, or else a sigmoid
    /// for one label and nothing for several.
    pub activation: Option<ScoreActivation>,
    /// Name of one of the model's prompts, which goes before the first text of a pair.
    pub prompt_name: Option<String>,
    /// Text to put in front of the first text of a pair; goes before a named prompt.
    pub prompt: Option<String>,
    /// Cut off what is too long of the longer text of a pair (the default) instead of refusing it.
    pub truncate: Option<bool>,
    /// Which end is cut off.
    pub truncation_direction: Direction,
}

impl ScoreOptions {
    pub(in crate::model) fn text(&self) -> TextOptions<'_> {
        TextOptions {
            prompt_name: self.prompt_name.as_deref(),
            prompt: self.prompt.as_deref(),
            instruction: None,
            task: None,
            truncate: self.truncate,
            direction: self.truncation_direction,
        }
    }
}

/// How texts are split into chunks.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChunkOptions {
    /// The most tokens of a chunk, special tokens and the prompt included. The default is the
    /// model's limit.
    pub size: Option<usize>,
    /// The most tokens of a chunk that the next one repeats. The default is none.
    pub overlap: usize,
    /// Whether each chunk's tokens are pooled from a pass over the whole text (late chunking,
    /// Günther et al. 2024), instead of from a pass over the chunk alone.
    pub late: bool,
}
