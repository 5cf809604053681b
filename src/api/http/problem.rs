//! What goes wrong, and how each format tells it.

use serde::{Deserialize, Serialize};

use super::{Request, Response, to_json};
use crate::api::shown;
use crate::error::Error;

/// Why a server does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Refusal {
    /// Too many requests wait.
    Overloaded,
    /// It took too long.
    TimedOut,
    /// The server has no model of the name.
    UnknownModel,
    /// The body is larger than the server reads.
    TooLarge,
    /// The body stopped half-way.
    Incomplete,
    /// The model cannot be loaded.
    Unavailable,
    /// The server failed.
    Failed,
}

/// Whose errors a route answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    OpenAi,
    SambaNova,
    Tei,
    Chroma,
    Inworld,
}

/// What went wrong, before it is told in a format.
pub struct Problem {
    kind: Kind,
    message: String,
    param: Option<&'static str>,
    code: &'static str,
    /// The method that the path takes, if it was asked with another.
    allow: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The body is no JSON.
    Malformed,
    Invalid,
    Empty,
    TooManyInputs,
    TooLarge,
    /// The model gives vectors of another kind.
    NotSupported,
    Unauthenticated,
    NotFound,
    UnknownModel,
    Overloaded,
    TimedOut,
    /// The path takes another method.
    Method,
    Internal,
    /// The body is compressed.
    Encoding,
    /// There is no model now.
    Unavailable,
}

impl Problem {
    /// What an error becomes in a format.
    pub fn of(error: &Error, format: Format) -> Self {
        let (kind, param) = match error {
            Error::InvalidInput { param, .. } => (Kind::Invalid, Some(*param)),
            Error::InvalidDimensions { .. } => (Kind::Invalid, Some("dimensions")),
            Error::UnknownPrompt { .. } => (Kind::Invalid, Some("prompt_name")),
            Error::TokenOutOfRange { .. }
            | Error::ForeignTokens { .. }
            | Error::InputTooLong { .. }
            | Error::TextTooLong { .. } => (Kind::Invalid, Some("input")),
            Error::AnswerTooLarge { .. } => (Kind::TooLarge, Some("input")),
            Error::EmptyInput(_) => (Kind::Empty, Some("input")),
            Error::TooManyInputs { .. } => (Kind::TooManyInputs, Some("input")),
            Error::WrongModelKind { .. } => (Kind::NotSupported, Some("model")),
            _ => (Kind::Internal, None),
        };
        let message = match error {
            Error::WrongModelKind { model, kind, .. } => {
                let advice = if *kind == "sparse" {
                    "its vectors are at POST /embed_sparse"
                } else {
                    "its vectors are at POST /v1/embeddings and /embed"
                };
                format!("{} is a {kind} model: {advice}", shown(model))
            }
            // This API has no such field.
            Error::InputTooLong { .. } | Error::TextTooLong { .. } if format == Format::Inworld => {
                let message = error.to_string();
                let (what, _) = message.split_once(", or pass").unwrap_or((&message, ""));
                what.to_owned()
            }
            other => other.to_string(),
        };
        Self {
            kind,
            message,
            param,
            code: match error {
                Error::WrongModelKind { .. } => "model_not_compatible",
                other => other.code(),
            },
            allow: None,
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (kind, code, message) = match refusal {
            Refusal::Overloaded => (
                Kind::Overloaded,
                "rate_limit_exceeded",
                "too many requests wait already: try again later",
            ),
            Refusal::TimedOut => (
                Kind::TimedOut,
                "request_timeout",
                "the request took too long: send fewer or shorter texts, or try again later",
            ),
            Refusal::UnknownModel => (
                Kind::UnknownModel,
                "model_not_found",
                "there is no such model here: GET /v1/models lists those that are",
            ),
            Refusal::TooLarge => (
                Kind::TooLarge,
                "too_large",
                "the body is too large: send fewer texts at a time",
            ),
            Refusal::Incomplete => (
                Kind::Malformed,
                "invalid_body",
                "the body stopped half-way: send it again",
            ),
            Refusal::Unavailable => (
                Kind::Unavailable,
                "model_unavailable",
                "the model cannot be loaded now: try again later",
            ),
            Refusal::Failed => (Kind::Internal, "internal", "the server failed"),
        };
        let mut problem = Self::new(kind, code, message);
        problem.param = (kind == Kind::UnknownModel).then_some("model");
        problem
    }
}

impl Problem {
    pub fn new(kind: Kind, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            param: None,
            code,
            allow: None,
        }
    }

    pub fn not_found(path: &str) -> Self {
        let message = format!("there is no {path}: GET /openapi.json lists what there is");
        Self::new(Kind::NotFound, "not_found", message)
    }

    pub fn method(Request { method, path, .. }: &Request, allow: &'static str) -> Self {
        let message = format!("{path} takes {allow}, not {method}");
        Self {
            allow: Some(allow),
            ..Self::new(Kind::Method, "method_not_allowed", message)
        }
    }

    /// Status and body as `OpenAI` has them, or `SambaNova`.
    fn openai(&self, sambanova: bool) -> (u16, String) {
        let status = match self.kind {
            Kind::Unauthenticated => 401,
            Kind::NotFound | Kind::UnknownModel => 404,
            Kind::Method => 405,
            Kind::TimedOut => 408,
            Kind::TooLarge => 413,
            Kind::Encoding => 415,
            Kind::Overloaded => 429,
            Kind::Internal => 500,
            Kind::Unavailable => 503,
            _ => 400,
        };
        let kind = match self.kind {
            Kind::Unauthenticated if sambanova => "authentication_error",
            Kind::Overloaded => "rate_limit_error",
            Kind::TimedOut => "timeout_error",
            Kind::Internal | Kind::Unavailable => "server_error",
            _ => "invalid_request_error",
        };
        let code = match self.kind {
            Kind::Unauthenticated if sambanova => "invalid_authentication",
            Kind::Overloaded if sambanova => "insufficient_quota",
            Kind::Malformed | Kind::Invalid | Kind::Empty | Kind::TooManyInputs if sambanova => {
                "invalid_request_error"
            }
            _ => self.code,
        };
        let error = OpenAiError {
            message: &self.message,
            kind,
            param: self.param,
            code,
        };
        (status, to_json(&OpenAiBody { error }))
    }

    /// The problem as `format` tells it.
    pub fn respond(&self, format: Format) -> Response {
        let message = &self.message;
        let (status, body) = match format {
            Format::OpenAi => self.openai(false),
            Format::SambaNova => self.openai(true),
            Format::Tei => {
                let (status, kind) = match self.kind {
                    Kind::Malformed => (400, "validation"),
                    Kind::Empty => (400, "empty"),
                    Kind::Unauthenticated => (401, "unauthenticated"),
                    Kind::NotFound | Kind::UnknownModel => (404, "not_found"),
                    Kind::TimedOut => (408, "timeout"),
                    Kind::Overloaded => (429, "overloaded"),
                    Kind::Method => (405, "method"),
                    Kind::TooManyInputs | Kind::TooLarge => (413, "validation"),
                    Kind::Encoding => (415, "validation"),
                    Kind::Unavailable => (503, "unhealthy"),
                    Kind::Invalid => (422, "validation"),
                    Kind::NotSupported | Kind::Internal => (424, "backend"),
                };
                let body = TeiBody {
                    error: message,
                    error_type: kind,
                };
                (status, to_json(&body))
            }
            Format::Chroma => {
                let status = match self.kind {
                    Kind::Unauthenticated => 401,
                    Kind::NotFound => 404,
                    Kind::Method => 405,
                    Kind::TooManyInputs | Kind::TooLarge => 413,
                    Kind::Encoding => 415,
                    Kind::NotSupported => 501,
                    Kind::Internal => 500,
                    Kind::Unavailable => 503,
                    Kind::TimedOut => 408,
                    Kind::Overloaded => 429,
                    Kind::Malformed | Kind::Invalid | Kind::Empty | Kind::UnknownModel => 400,
                };
                (status, to_json(&ChromaBody { error: message }))
            }
            Format::Inworld => {
                // Codes of google.rpc, and the statuses that its gateway gives them.
                let (status, code) = match self.kind {
                    Kind::Unauthenticated => (401, 16),
                    Kind::NotFound | Kind::UnknownModel => (404, 5),
                    Kind::TimedOut => (504, 4),
                    Kind::Overloaded => (429, 8),
                    Kind::Method => (405, 12),
                    Kind::TooLarge => (413, 3),
                    Kind::Encoding => (415, 3),
                    Kind::Unavailable => (503, 14),
                    Kind::NotSupported => (501, 12),
                    Kind::Internal => (500, 13),
                    _ => (400, 3),
                };
                let body = RpcStatus {
                    code,
                    message,
                    details: [],
                };
                (status, to_json(&body))
            }
        };
        let mut response = Response::json(status, body);
        let mut add = |name, value: &str| response.headers.insert(name, value.to_owned());
        if let Some(allow) = self.allow {
            add("allow", allow);
        }
        match self.kind {
            Kind::Unauthenticated => drop(add("www-authenticate", "Bearer")),
            // In seconds.
            Kind::Overloaded | Kind::Unavailable => drop(add("retry-after", "1")),
            _ => {}
        }
        response
    }
}

/// An error as `OpenAI` and `SambaNova` tell it.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct OpenAiBody<'a> {
    error: OpenAiError<'a>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct OpenAiError<'a> {
    /// What is wrong, and what to do.
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    /// The field that is wrong.
    param: Option<&'a str>,
    code: &'a str,
}

/// An error as text-embeddings-inference and Trieve tell it.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct TeiBody<'a> {
    /// What is wrong, and what to do.
    error: &'a str,
    error_type: &'a str,
}

/// An error as Chroma tells it.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct ChromaBody<'a> {
    /// What is wrong, and what to do.
    error: &'a str,
}

/// An error as Inworld tells it: google.rpc.Status.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct RpcStatus<'a> {
    /// A number of google.rpc.Code.
    code: u8,
    /// What is wrong, and what to do.
    message: &'a str,
    details: [(); 0],
}
