//! Which format a request is in, and what it asks for.

use super::problem::Format;
use super::{Dialect, Request};
use crate::api::body::Body;

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    OpenAi,
    Models,
    Model,
    /// TEI's `POST /`: what the model gives, or with two kinds of sentences their similarity.
    Root,
    Dense,
    Sparse,
    All,
    Similarity,
    Tokenize,
    Decode,
    Info,
    Health,
    Metrics,
    OpenApi,
    ChromaDense,
    ChromaSparse,
    Inworld,
}

/// Where one model is described.
pub const MODEL_PATH: &str = "/v1/models/";

impl Route {
    /// By method and path, and where two formats share these, by what only Chroma's clients send. Without a body the headers
    /// decide.
    pub fn find(head: &Request, body: Option<&Body>, dialect: Dialect) -> Option<(Self, Format)> {
        let mut headers = head.headers.keys();
        // `inputs` is TEI's word, whoever sends it.
        let chroma = match body {
            Some(body) if body.has("inputs") => false,
            Some(body) if body.has("texts") => true,
            _ => headers.any(|name| name.starts_with("x-chroma-")),
        };
        let path = head.path.trim_end_matches('/');
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
            "" if head.reads() => (Self::Health, Format::Tei),
            "" | "/embed" if chroma => (Self::ChromaDense, Format::Chroma),
            "" => (Self::Root, Format::Tei),
            "/embed_sparse" if chroma => (Self::ChromaSparse, Format::Chroma),
            "/embed" => (Self::Dense, Format::Tei),
            "/embed_sparse" => (Self::Sparse, Format::Tei),
            "/embed_all" => (Self::All, Format::Tei),
            "/similarity" => (Self::Similarity, Format::Tei),
            "/tokenize" => (Self::Tokenize, Format::Tei),
            "/decode" => (Self::Decode, Format::Tei),
            "/info" => (Self::Info, Format::Tei),
            "/health" | "/ping" => (Self::Health, Format::Tei),
            "/metrics" => (Self::Metrics, Format::Tei),
            "/openapi.json" => (Self::OpenApi, Format::OpenAi),
            "/ml/v1alpha/embedding:embed" => (Self::Inworld, Format::Inworld),
            _ if path.starts_with(MODEL_PATH) => (Self::Model, Format::OpenAi),
            _ => return None,
        })
    }

    /// The method that it takes; who takes `GET` takes `HEAD`.
    pub fn method(self) -> &'static str {
        match self {
            Self::Models
            | Self::Model
            | Self::Info
            | Self::Health
            | Self::Metrics
            | Self::OpenApi => "GET",
            _ => "POST",
        }
    }

    /// The kind of vectors that it gives, of those that `Embedder::outputs` has; none: what the model has.
    pub fn kind(self) -> Option<&'static str> {
        match self {
            Self::OpenAi | Self::Dense | Self::Similarity | Self::ChromaDense | Self::Inworld => {
                Some("dense")
            }
            Self::Sparse | Self::ChromaSparse => Some("sparse"),
            Self::All => Some("tokens"),
            _ => None,
        }
    }
}
