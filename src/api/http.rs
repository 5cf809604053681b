//! A request of any of the formats, and its answer: what a server would do, without the server.
//!
//! | method and path | format |
//! |---|---|
//! | `POST /v1/embeddings`, `/embeddings` | OpenAI's, or the [`Dialect`] that is asked for |
//! | `GET /v1/models` | OpenAI's |
//! | `POST /embed`, `/embed_sparse`, `/embed_all`, `/similarity`, `/tokenize`, `/decode`; `GET /info`, `/health` | text-embeddings-inference's |
//! | `POST /embed_sparse`, `/embed` with a header `x-chroma-…` or a field `texts`; `POST /` | Chroma's |
//! | `POST /ml/v1alpha/embedding:embed` | Inworld's |

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::{Pending, chroma, inworld, openai, tei};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::embedder::Embedder;
use crate::model::run::Run;

/// What arrived.
#[derive(Debug, Default, Deserialize)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path of its URL.
    pub path: String,
    /// Its headers, names in lower case.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Its body.
    #[serde(default)]
    pub body: String,
}

/// How requests are answered.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Options {
    /// Whose errors `/v1/embeddings` answers with.
    pub dialect: Dialect,
    /// Keys, one of which a request must have. None: all may ask.
    pub api_keys: Vec<String>,
    /// Why the server does not answer, for it to be told in the request's format.
    pub refuse: Option<Refusal>,
    /// The models of the server; none: this one.
    pub models: Vec<String>,
}

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
}

/// Whose errors `/v1/embeddings` answers with; requests and vectors are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// `{ error: { message, type, param, code } }`
    #[default]
    OpenAi,
    /// The same with the codes of `SambaNova`.
    SambaNova,
    /// Trieve's `{ error, error_type }` with 413, 422 and 424.
    Tei,
}

/// The answer.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: BTreeMap<&'static str, String>,
    /// JSON, or nothing.
    pub body: String,
}

/// A request that is being answered.
pub struct Exchange {
    format: Format,
    state: State,
}

enum State {
    Running(Box<Pending<String>>),
    Ready(Response),
}

/// Whose errors a route answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    OpenAi,
    SambaNova,
    Tei,
    Chroma,
    Inworld,
}

/// What a route does.
#[derive(Clone, Copy)]
enum Route {
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
    ChromaDense,
    ChromaSparse,
    Inworld,
}

impl Route {
    /// By path, and where two formats share one, by what only Chroma's clients send.
    fn find(request: &Request, body: Option<&Value>, options: &Options) -> Option<(Self, Format)> {
        let chroma = request
            .headers
            .keys()
            .any(|name| name.starts_with("x-chroma-"))
            || body.is_some_and(|body| body.get("texts").is_some());
        let path = request.path.trim_end_matches('/');
        Some(match path {
            "/v1/embeddings" | "/embeddings" => {
                let format = match options.dialect {
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
            "/ml/v1alpha/embedding:embed" => (Self::Inworld, Format::Inworld),
            _ => return None,
        })
    }

    fn method(self) -> &'static str {
        match self {
            Self::Models | Self::Info | Self::Health => "GET",
            _ => "POST",
        }
    }
}

/// What went wrong, before it is told in a format.
struct Problem {
    kind: Kind,
    message: String,
    param: Option<&'static str>,
    code: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
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
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let (kind, param) = match error {
            Error::InvalidInput { param, .. } => (Kind::Invalid, Some(*param)),
            Error::InvalidDimensions { .. } => (Kind::Invalid, Some("dimensions")),
            Error::UnknownPrompt { .. } => (Kind::Invalid, Some("prompt_name")),
            Error::TokenOutOfRange { .. } | Error::InputTooLong { .. } => {
                (Kind::Invalid, Some("input"))
            }
            Error::EmptyInput(_) => (Kind::Empty, Some("input")),
            Error::TooManyInputs { .. } => (Kind::TooManyInputs, Some("input")),
            Error::WrongModelKind { .. } => (Kind::NotSupported, Some("model")),
            _ => (Kind::Internal, None),
        };
        Self {
            kind,
            message: error.to_string(),
            param,
            code: match error {
                Error::WrongModelKind { .. } => "model_not_compatible",
                other => other.code(),
            },
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
        };
        let mut problem = Self::new(kind, code, message);
        problem.param = (kind == Kind::UnknownModel).then_some("model");
        problem
    }
}

impl Problem {
    fn new(kind: Kind, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            param: None,
            code,
        }
    }

    fn respond(&self, format: Format) -> Response {
        let message = &self.message;
        let (status, body) = match format {
            Format::OpenAi | Format::SambaNova => {
                let status = match self.kind {
                    Kind::Unauthenticated => 401,
                    Kind::NotFound | Kind::UnknownModel => 404,
                    Kind::Method => 405,
                    Kind::TimedOut => 408,
                    Kind::TooLarge => 413,
                    Kind::Overloaded => 429,
                    Kind::Internal => 500,
                    _ => 400,
                };
                let kind = match self.kind {
                    Kind::Unauthenticated if format == Format::SambaNova => "authentication_error",
                    Kind::Overloaded => "rate_limit_error",
                    Kind::TimedOut => "timeout_error",
                    Kind::Internal => "server_error",
                    _ => "invalid_request_error",
                };
                let code = match self.kind {
                    Kind::Unauthenticated if format == Format::SambaNova => {
                        "invalid_authentication"
                    }
                    Kind::Overloaded if format == Format::SambaNova => "insufficient_quota",
                    Kind::Malformed | Kind::Invalid | Kind::Empty | Kind::TooManyInputs
                        if format == Format::SambaNova =>
                    {
                        "invalid_request_error"
                    }
                    _ => self.code,
                };
                let error =
                    json!({ "message": message, "type": kind, "param": self.param, "code": code });
                (status, json!({ "error": error }))
            }
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
                    Kind::Invalid => (422, "validation"),
                    Kind::NotSupported | Kind::Internal => (424, "backend"),
                };
                (status, json!({ "error": message, "error_type": kind }))
            }
            Format::Chroma => {
                let status = match self.kind {
                    Kind::Unauthenticated => 401,
                    Kind::NotFound => 404,
                    Kind::Method => 405,
                    Kind::TooManyInputs | Kind::TooLarge => 413,
                    Kind::NotSupported => 501,
                    Kind::Internal => 500,
                    Kind::TimedOut => 408,
                    Kind::Overloaded => 429,
                    Kind::Malformed | Kind::Invalid | Kind::Empty | Kind::UnknownModel => 400,
                };
                (status, json!({ "error": message }))
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
                    Kind::NotSupported => (501, 12),
                    Kind::Internal => (500, 13),
                    _ => (400, 3),
                };
                (
                    status,
                    json!({ "code": code, "message": message, "details": [] }),
                )
            }
        };
        json_response(status, body.to_string())
    }
}

fn json_response(status: u16, body: String) -> Response {
    let content_type = ("content-type", "application/json".to_owned());
    Response {
        status,
        headers: BTreeMap::from([content_type]),
        body,
    }
}

impl Exchange {
    /// Reads a request and starts what it asks for. Whatever is wrong with it becomes its answer.
    pub fn start<B: Backend>(embedder: &Embedder<B>, request: &Request, options: &Options) -> Self {
        let json = (!request.body.is_empty()).then(|| serde_json::from_str::<Value>(&request.body));
        let body = json.as_ref().and_then(|json| json.as_ref().ok());
        let Some((route, format)) = Route::find(request, body, options) else {
            let message = format!(
                "there is no {}; see the routes in the documentation",
                request.path
            );
            let problem = Problem::new(Kind::NotFound, "not_found", message);
            return Self::ready(Format::OpenAi, problem.respond(Format::OpenAi));
        };
        let refuse = |problem: &Problem| Self::ready(format, problem.respond(format));
        if request.method != route.method() {
            let message = format!(
                "{} takes {}, not {}",
                request.path,
                route.method(),
                request.method
            );
            let mut exchange = refuse(&Problem::new(Kind::Method, "method_not_allowed", message));
            if let State::Ready(response) = &mut exchange.state {
                response.headers.insert("allow", route.method().to_owned());
            }
            return exchange;
        }
        if !matches!(route, Route::Health) && !options.admits(request) {
            let message = "the API key is missing or wrong: send one that this server was given";
            return refuse(&Problem::new(
                Kind::Unauthenticated,
                "invalid_api_key",
                message,
            ));
        }
        if let Some(refusal) = options.refuse {
            return refuse(&Problem::from(refusal));
        }
        let body = match json {
            Some(Ok(body)) => body,
            None => Value::Null,
            Some(Err(error)) => {
                let message = format!("the body is no JSON: {error}");
                return refuse(&Problem::new(Kind::Malformed, "invalid_json", message));
            }
        };
        match begin(embedder, route, request, options, body) {
            Ok(state) => Self { format, state },
            Err(error) => refuse(&Problem::from(&error)),
        }
    }

    fn ready(format: Format, response: Response) -> Self {
        Self {
            format,
            state: State::Ready(response),
        }
    }

    /// The run that is under way, if one is, for steps of others to take inputs of it along.
    pub fn run(&mut self) -> Option<&mut Run> {
        match &mut self.state {
            State::Running(pending) => Some(&mut pending.run),
            State::Ready(_) => None,
        }
    }

    /// Does one step, together with other runs, see [`Run::step_with`]; true when the answer is ready.
    pub fn step_with<B: Backend>(
        &mut self,
        embedder: &Embedder<B>,
        others: &mut [&mut Run],
    ) -> bool {
        let Some(run) = self.run() else {
            return true;
        };
        run.step_with(embedder, others).unwrap_or_else(|error| {
            self.state = State::Ready(Problem::from(&error).respond(self.format));
            true
        })
    }

    /// The answer.
    pub fn finish(self) -> Response {
        match self.state {
            State::Running(pending) => json_response(200, pending.finish()),
            State::Ready(response) => response,
        }
    }
}

/// Starts what a route does.
fn begin<B: Backend>(
    embedder: &Embedder<B>,
    route: Route,
    request: &Request,
    options: &Options,
    body: Value,
) -> Result<State> {
    fn running<T: Serialize + 'static>(pending: Pending<T>) -> State {
        State::Running(Box::new(pending.map(|response| to_json(&response))))
    }
    fn ready(response: &impl Serialize) -> State {
        State::Ready(json_response(200, to_json(response)))
    }
    Ok(match route {
        Route::OpenAi => running(openai::start(embedder, body)?),
        Route::Models if options.models.is_empty() => {
            ready(&openai::models([embedder.info().model.as_str()]))
        }
        Route::Models => ready(&openai::models(options.models.iter().map(String::as_str))),
        Route::Dense => running(tei::start_dense(embedder, body)?),
        Route::Sparse => running(tei::start_sparse(embedder, body)?),
        Route::All => running(tei::start_all(embedder, body)?),
        Route::Similarity => running(tei::start_similarity(embedder, body)?),
        Route::Tokenize => ready(&tei::tokenize(embedder, body)?),
        Route::Decode => ready(&tei::decode(embedder, body)?),
        Route::Info => ready(&tei::info(embedder)),
        Route::Health => State::Ready(Response {
            status: 200,
            headers: BTreeMap::new(),
            body: String::new(),
        }),
        Route::ChromaDense => {
            needs_model(request)?;
            running(chroma::start_dense(embedder, body)?)
        }
        Route::ChromaSparse => {
            needs_model(request)?;
            running(chroma::start_sparse(embedder, body)?)
        }
        Route::Inworld => running(inworld::start(embedder, body)?),
    })
}

/// Chroma's service must be told the model. Which one is not looked at: an embedder is one.
fn needs_model(request: &Request) -> Result<()> {
    const HEADER: &str = "x-chroma-embedding-model";
    if request.headers.contains_key(HEADER) {
        return Ok(());
    }
    Err(Error::input(
        HEADER,
        format!("the header {HEADER} is missing"),
    ))
}

fn to_json(response: &impl Serialize) -> String {
    // Lists, strings, finite numbers and objects with text keys: all of them can be written.
    serde_json::to_string(response).unwrap_or_default()
}

impl Options {
    /// Whether a request has one of the keys, as `Authorization: Bearer …` or `Basic …`, or `x-chroma-token`.
    fn admits(&self, request: &Request) -> bool {
        use sha2::{Digest, Sha256};
        if self.api_keys.is_empty() {
            return true;
        }
        let authorization = request.headers.get("authorization").map(|value| {
            let credentials = value.split_once(' ').map_or("", |(_, rest)| rest);
            credentials.trim()
        });
        let token = request.headers.get("x-chroma-token").map(String::as_str);
        let Some(given) = authorization.or(token) else {
            return false;
        };
        // Hashes are compared, and all of them: how long that takes tells nothing about a key.
        let given = Sha256::digest(given);
        let matches = self.api_keys.iter().map(|key| Sha256::digest(key) == given);
        matches.fold(false, |any, one| any | one)
    }
}
