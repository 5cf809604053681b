//! What a loader needs next.

use crate::error::Error;

/// What a [`Loader`](crate::Loader) needs next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Small files: provide each, or `None` if the source does not have it.
    Small(Vec<String>),
    /// A weight file: push its bytes and end it, or provide `None` if the source does not have it.
    Stream {
        /// Its path in the model's folder.
        file: String,
        /// All weight files that are known so far, in the order in which they are streamed, for
        /// progress.
        files: Vec<String>,
    },
    /// Nothing: the model can be finished.
    Ready,
}

/// The error about something that the loader did not ask for.
pub fn misuse(what: &str) -> Error {
    Error::Internal(format!(
        "the loader was called out of order: it did not ask for {what}"
    ))
}
