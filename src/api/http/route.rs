//! Which format a request is in, and what it asks for.

use super::problem::Format;
use super::{Dialect, Incoming};

/// What a route does.
#[derive(Clone, Copy)]
pub enum Route {
    OpenAi,
    Models,
    Dense,
    Sparse,
    All,
    Similarity,
    Tokenize,
    Decode,
    Info,
    Health,
    OpenApi,
    ChromaDense,
    ChromaSparse,
    Inworld,
}

impl Route {
    /// By path, and where two formats share one, by what only Chroma's clients send.
    pub fn find(incoming: &Incoming, dialect: Dialect) -> Option<(Self, Format)> {
        let mut headers = incoming.request.headers.keys();
        let chroma = headers.any(|name| name.starts_with("x-chroma-"))
            || incoming
                .body()
                .is_some_and(|body| body.get("texts").is_some());
        let path = incoming.request.path.trim_end_matches('/');
        Some(match path {
            "/v1/embeddings" | "/embeddings" => {
                let format = match dialect {
                    Dialect::OpenAi => Format::OpenAi,
                    Dialect::SambaNova => Format::SambaNova,
                    Dialect::Tei => Format::Tei,
                };
                (Self::OpenAi, format)
            }
            "/v1/models" => (Self::Models, Format::OpenAi),
            "" => (Self::ChromaDense, Format::Chroma),
            "/embed" if chroma => (Self::ChromaDense, Format::Chroma),
            "/embed_sparse" if chroma => (Self::ChromaSparse, Format::Chroma),
            "/embed" => (Self::Dense, Format::Tei),
            "/embed_sparse" => (Self::Sparse, Format::Tei),
            "/embed_all" => (Self::All, Format::Tei),
            "/similarity" => (Self::Similarity, Format::Tei),
            "/tokenize" => (Self::Tokenize, Format::Tei),
            "/decode" => (Self::Decode, Format::Tei),
            "/info" => (Self::Info, Format::Tei),
            "/health" => (Self::Health, Format::Tei),
            "/openapi.json" => (Self::OpenApi, Format::OpenAi),
            "/ml/v1alpha/embedding:embed" => (Self::Inworld, Format::Inworld),
            _ => return None,
        })
    }

    /// The method that it takes.
    pub fn method(self) -> &'static str {
        match self {
            Self::Models | Self::Info | Self::Health | Self::OpenApi => "GET",
            _ => "POST",
        }
    }
}
