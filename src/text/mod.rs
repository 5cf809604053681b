//! Strings → token ids → the packed [`Batch`] that the forward pass takes.

mod added;
mod aligned;
mod asking;
pub mod batch;
mod bpe;
mod bytes;
mod charsmap;
pub mod chunk;
mod cut;
mod decoder;
mod fields;
mod matcher;
mod model;
mod normalizer;
mod pair;
mod pair_tokens;
mod parts;
pub(crate) mod pattern;
mod pipeline;
mod pre_tokenizer;
pub mod question;
mod rules;
mod settings;
mod template;
pub mod tokenizer;
mod unigram;
mod vocabulary;
mod wordpiece;

pub use batch::Batch;
pub use chunk::{Chunk, Chunking};

/// Bytes of text that one step works on: a few milliseconds.
pub const STEP: usize = 1 << 15;

pub use rules::{Direction, Rules};
pub use settings::{Settings, lists_tokens};
pub use template::SpecialToken;
pub use tokenizer::{Token, Tokenizer, Tokens};

/// One thing to embed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Text, tokenised by the model's tokenizer.
    Text(String),
    /// Token ids, special tokens included, used as they are.
    Ids(Vec<u32>),
    /// Two texts, for models that score pairs.
    Pair(String, String),
}

impl From<&str> for Input {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
