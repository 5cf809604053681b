//! What a model is made for.

use crate::error::{Error, Result};

/// A kind of model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One vector per text.
    Dense,
    /// Weights of vocabulary entries, one list per text.
    Sparse,
    /// Scores of pairs of texts (a cross-encoder).
    Reranker,
    /// A vector for each token of a text (late interaction, `ColBERT`).
    LateInteraction,
}

impl Kind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Sparse => "sparse",
            Self::Reranker => "reranker",
            Self::LateInteraction => "late-interaction",
        }
    }

    /// The kind of a name.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "dense" => Ok(Self::Dense),
            "sparse" => Ok(Self::Sparse),
            "reranker" => Ok(Self::Reranker),
            "late-interaction" => Ok(Self::LateInteraction),
            _ => Err(Error::input(
                "kind",
                format!(
                    "kind is {name:?}; it must be \"dense\", \"sparse\", \"reranker\" or \"late-interaction\""
                ),
            )),
        }
    }
}
