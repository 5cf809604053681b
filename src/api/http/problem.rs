//! What is wrong with a request. Each format reports it in its own way.

use super::message::{Options, Refusal, Request, Response};
use crate::api::shown;
use crate::error::Error;

/// The code of [`Refusal::Disposed`]. It makes no sense to try again.
const DISPOSED: &str = "disposed";

/// Returns the HTTP status and the body with which a format reports a problem.
pub type Tell = fn(&Problem) -> (u16, String);

/// A problem, before a format reports it.
pub struct Problem {
    /// The kind of problem, which decides on the status.
    pub cause: Cause,
    /// What is wrong, and what to do.
    pub message: String,
    /// The field that is wrong.
    pub param: Option<&'static str>,
    /// A stable name of the problem.
    pub code: &'static str,
    /// The methods that the path takes, if the request has another one.
    allow: Option<String>,
}

/// Kinds of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The body is no JSON.
    Malformed,
    /// The request is wrong.
    Invalid,
    /// An input is empty, or there is none.
    Empty,
    /// There are too many inputs.
    TooManyInputs,
    /// The body is too large, or the response would be.
    TooLarge,
    /// The model gives another kind of output.
    NotSupported,
    /// The key is missing or wrong.
    Unauthenticated,
    /// There is no such path.
    NotFound,
    /// There is no such model.
    UnknownModel,
    /// Too many requests are under way.
    Overloaded,
    /// The request took too long.
    TimedOut,
    /// The path takes another method.
    Method,
    /// The server failed.
    Internal,
    /// The body is compressed.
    Encoding,
    /// There is no model now.
    Unavailable,
}

impl Problem {
    /// The problem that an error is. `route_for` returns the method and the path of the route for a
    /// kind of output.
    pub fn of(error: &Error, route_for: fn(&str) -> Option<String>) -> Self {
        let (cause, param) = match error {
            Error::InvalidInput { param, .. } => (Cause::Invalid, Some(*param)),
            Error::InvalidDimensions { .. } => (Cause::Invalid, Some("dimensions")),
            Error::UnknownPrompt { .. } => (Cause::Invalid, Some("prompt_name")),
            Error::TokenOutOfRange { .. }
            | Error::TokenTooLarge { .. }
            | Error::ForeignTokens { .. }
            | Error::InputTooLong { .. }
            | Error::TextTooLong { .. } => (Cause::Invalid, Some("input")),
            Error::AnswerTooLarge { .. } => (Cause::TooLarge, Some("input")),
            Error::EmptyInput(_) => (Cause::Empty, Some("input")),
            Error::TooManyInputs { .. } => (Cause::TooManyInputs, Some("input")),
            Error::WrongModelKind { .. } => (Cause::NotSupported, Some("model")),
            _ => (Cause::Internal, None),
        };
        let (code, message) = match error {
            Error::WrongModelKind { model, kind, .. } => {
                let output = match *kind {
                    "reranker" => "scores",
                    "late-interaction" => "tokens",
                    kind => kind,
                };
                let advice = match route_for(output) {
                    Some(route) => format!("use {route}"),
                    None => "there is no route for it".to_owned(),
                };
                let message = format!("{} is a {kind} model: {advice}", shown(model));
                ("model_not_compatible", message)
            }
            other => (other.code(), other.to_string()),
        };
        Self {
            param,
            ..Self::new(cause, code, message)
        }
    }

    /// A problem without a field.
    pub fn new(cause: Cause, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            cause,
            message: message.into(),
            param: None,
            code,
            allow: None,
        }
    }

    /// A refusal of a server with these options.
    pub fn refused(refusal: Refusal, options: &Options) -> Self {
        let (cause, code, message) = match refusal {
            Refusal::Overloaded => (
                Cause::Overloaded,
                "rate_limit_exceeded",
                "too many requests are under way: try again later",
            ),
            Refusal::TimedOut => (
                Cause::TimedOut,
                "request_timeout",
                "the request took too long: send fewer or shorter texts, or try again later",
            ),
            Refusal::UnknownModel => (
                Cause::UnknownModel,
                "model_not_found",
                "there is no such model here: GET /v1/models lists those that are",
            ),
            Refusal::TooLarge => {
                let limit = options.max_body_bytes.map_or_else(String::new, |limit| {
                    format!(": this server reads at most {limit} bytes")
                });
                let message = format!("the body is too large{limit}; send fewer texts at a time");
                return Self::new(Cause::TooLarge, "too_large", message);
            }
            Refusal::Incomplete => (
                Cause::Malformed,
                "invalid_body",
                "the body ended early: send it again",
            ),
            Refusal::Unavailable => (
                Cause::Unavailable,
                "model_unavailable",
                "the model cannot be loaded now: try again later",
            ),
            Refusal::Disposed => (
                Cause::Unavailable,
                DISPOSED,
                "this server was disposed of, and answers no more requests",
            ),
            Refusal::Failed => (Cause::Internal, "internal", "the server failed"),
        };
        Self {
            param: (cause == Cause::UnknownModel).then_some("model"),
            ..Self::new(cause, code, message)
        }
    }

    /// There is no such path.
    pub fn not_found(path: &str) -> Self {
        let message = format!("there is no {path}: GET /openapi.json lists the routes");
        Self::new(Cause::NotFound, "not_found", message)
    }

    /// The path of the request takes only the methods `allow`.
    pub fn method(Request { method, path, .. }: &Request, allow: String) -> Self {
        let message = format!("{path} takes {allow}, not {method}");
        Self {
            allow: Some(allow),
            ..Self::new(Cause::Method, "method_not_allowed", message)
        }
    }

    /// The response with which a format reports the problem.
    pub fn respond(self, tell: Tell) -> Response {
        let (status, body) = tell(&self);
        let mut response = Response::json(status, body);
        if let Some(allow) = self.allow {
            response.headers.insert("allow", allow);
        }
        let header = match self.cause {
            Cause::Unauthenticated => Some(("www-authenticate", "Bearer")),
            Cause::Unavailable if self.code == DISPOSED => None,
            // In seconds.
            Cause::Overloaded | Cause::Unavailable => Some(("retry-after", "1")),
            _ => None,
        };
        let header = header.map(|(name, value)| (name, value.to_owned()));
        response.headers.extend(header);
        response
    }
}

#[cfg(test)]
impl Cause {
    /// All causes, for the `OpenAPI` document.
    pub const ALL: [Self; 15] = [
        Self::Malformed,
        Self::Invalid,
        Self::Empty,
        Self::TooManyInputs,
        Self::TooLarge,
        Self::NotSupported,
        Self::Unauthenticated,
        Self::NotFound,
        Self::UnknownModel,
        Self::Overloaded,
        Self::TimedOut,
        Self::Method,
        Self::Internal,
        Self::Encoding,
        Self::Unavailable,
    ];
}
