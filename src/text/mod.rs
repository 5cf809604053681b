//! Strings → token ids → the packed [`Batch`] that the forward pass takes.

pub mod batch;
pub mod chunk;
mod model;
mod parts;
mod settings;
pub mod tokenizer;
mod unigram;
mod wrappers;

pub use batch::Batch;
pub use chunk::{Chunk, Chunking};
pub use settings::{Settings, lists_tokens};
pub use tokenizer::{Direction, Token, Tokenizer, Tokens};

/// One thing to embed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Text, tokenised by the model's tokenizer.
    Text(String),
    /// Token ids, special tokens included, used as they are.
    Ids(Vec<u32>),
}

impl From<&str> for Input {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
