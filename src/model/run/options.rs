//! What a caller may ask for. All options have a default; unknown ones are refused.

use serde::Deserialize;

use crate::model::run::outputs::OutputDtype;
use crate::model::transformer::heads::TokenHead;
use crate::text::Direction;

/// How texts become tokens, the part that all calls share.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct TextOptions<'a> {
    pub prompt_name: Option<&'a str>,
    pub prompt: Option<&'a str>,
    pub instruction: Option<&'a str>,
    pub task: Option<&'a str>,
    pub truncate: Option<bool>,
    pub direction: Direction,
}

/// Options of one call: its own fields, and those of [`TextOptions`] beside them.
macro_rules! options {
    ($(#[$about:meta])* $name:ident { $($(#[$field_about:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
        pub struct $name {
            $($(#[$field_about])* pub $field: $type,)*
            /// Name of one of the model's prompts.
            pub prompt_name: Option<String>,
            /// Text to put in front; goes before a named prompt and an instruction.
            pub prompt: Option<String>,
            /// What the texts are for, in a sentence: put in front in the form that the model was trained with.
            pub instruction: Option<String>,
            /// `query` or `document`: takes that route of a model with a router, and the prompt of that name where the
            /// model has one.
            pub task: Option<String>,
            /// Cut off what is too long (the default) instead of refusing it.
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
    /// How to embed densely. The default is what the model's own files say, cutting off what is too long.
    EncodeOptions {
        /// Scale vectors to length 1; by default as the model's pipeline does.
        normalize: Option<bool>,
        /// Keep only the first so many dimensions (Matryoshka models), before normalisation.
        dimensions: Option<u64>,
        /// What the vectors' components are.
        output: OutputDtype,
        /// The pooling mode that the caller expects. It is an error if the model has another one: how a model pools is an
        /// option of loading.
        pooling: Option<String>,
    }
}

options! {
    /// How to embed sparsely.
    SparseOptions {
        /// Keep only the so many largest entries.
        top_k: Option<usize>,
        /// Keep only entries above this value; 0 by default.
        threshold: f32,
        /// Give the vocabulary's token for each entry.
        labels: bool,
    }
}

options! {
    /// How to embed each token.
    TokenOptions {
        /// Which vectors; by default those of the model's head for late interaction, where it has one.
        head: Option<TokenHead>,
        /// Scale vectors to length 1; by default those of a head for late interaction are, states are not.
        normalize: Option<bool>,
    }
}

options! {
    /// Several kinds of vectors from one forward pass.
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

/// How to cut texts in chunks.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChunkOptions {
    /// The most tokens of a chunk, special tokens and the prompt included; by default as many as the model takes.
    pub size: Option<usize>,
    /// The most tokens of a chunk that are repeated at the beginning of the next one; none by default.
    pub overlap: usize,
    /// Pool each chunk's tokens from a pass over the whole text (late chunking, Günther et al. 2024), instead of
    /// embedding each chunk by itself.
    pub late: bool,
}
