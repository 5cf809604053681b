//! A request of any of the formats, and its answer: what a server would do, without the server.
//!
//! | method and path | format |
//! |---|---|
//! | `POST /v1/embeddings`, `/embeddings` | OpenAI's, or the [`Dialect`] that is asked for |
//! | `GET /v1/models` | OpenAI's |
//! | `POST /embed`, `/embed_sparse`, `/embed_all`, `/similarity`, `/tokenize`, `/decode`; `GET /info`, `/health` | text-embeddings-inference's |
//! | `POST /embed_sparse`, `/embed` with a header `x-chroma-…` or a field `texts`; `POST /` | Chroma's |
//! | `POST /ml/v1alpha/embedding:embed` | Inworld's |
//! | `GET /openapi.json` | the OpenAPI document of all of them |

mod cors;
#[cfg(test)]
mod openapi;
mod problem;
mod route;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::cors::Cors;
pub use self::problem::Refusal;
use self::problem::{Format, Kind, Problem};
use self::route::Route;
use super::{Pending, chroma, inworld, openai, tei};
use crate::backend::Backend;
use crate::error::Error;
use crate::model::embedder::Embedder;
use crate::model::run::Run;

/// What arrived.
#[derive(Clone, Debug, Default, Deserialize)]
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
    /// Origins of pages that may ask; `*` is all. None by default.
    pub cors: Vec<String>,
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

/// A request whose body has been read.
pub struct Incoming {
    request: Request,
    /// None: there is no body.
    json: Option<serde_json::Result<Value>>,
}

impl From<Request> for Incoming {
    fn from(request: Request) -> Self {
        let json = (!request.body.is_empty()).then(|| serde_json::from_str(&request.body));
        Self { request, json }
    }
}

impl Incoming {
    /// The model that is asked for, in whichever way the request's format has.
    pub fn model(&self) -> Option<&str> {
        if let Some(model) = self.request.headers.get(MODEL_HEADER) {
            return Some(model);
        }
        let model = self.body()?.get("model")?;
        model.as_str().or_else(|| model.get("model")?.as_str())
    }

    fn body(&self) -> Option<&Value> {
        self.json.as_ref()?.as_ref().ok()
    }
}

/// Written by the test in `openapi.rs`, from the types.
const OPENAPI: &str = include_str!("openapi.json");

/// Where Chroma's clients name the model.
const MODEL_HEADER: &str = "x-chroma-embedding-model";

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
    cors: Cors,
}

enum State {
    Running(Box<Pending<String>>),
    Ready(Response),
}

impl Response {
    fn json(status: u16, body: String) -> Self {
        let content_type = ("content-type", "application/json".to_owned());
        Self {
            status,
            headers: BTreeMap::from([content_type]),
            body,
        }
    }

    fn empty(status: u16) -> Self {
        Self {
            status,
            headers: BTreeMap::new(),
            body: String::new(),
        }
    }
}

impl Exchange {
    /// Starts what a request asks for. Whatever is wrong with it becomes its answer.
    pub fn start<B: Backend>(
        embedder: &Embedder<B>,
        incoming: Incoming,
        options: &Options,
    ) -> Self {
        let cors = Cors::new(&incoming.request, &options.cors);
        let found = Route::find(&incoming, options.dialect);
        let format = found.map_or(Format::OpenAi, |(_, format)| format);
        let state = match cors.preflight() {
            Some(response) => State::Ready(response),
            None => begin(embedder, found.map(|(route, _)| route), incoming, options)
                .unwrap_or_else(|problem| State::Ready(problem.respond(format))),
        };
        Self {
            format,
            state,
            cors,
        }
    }

    /// The run that is under way, if one is, for steps of others to take inputs of it along.
    pub fn run(&mut self) -> Option<&mut Run> {
        match &mut self.state {
            State::Running(pending) => Some(&mut pending.run),
            State::Ready(_) => None,
        }
    }

    /// Whether no step is left to do but one that tells how it ended.
    pub fn is_done(&self) -> bool {
        match &self.state {
            State::Running(pending) => pending.run.is_done(),
            State::Ready(_) => true,
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
        let mut response = match self.state {
            State::Running(pending) => Response::json(200, pending.finish()),
            State::Ready(response) => response,
        };
        self.cors.add_to(&mut response);
        response
    }
}

/// Answers a request by its head alone (method, path and headers; the body is not looked at), where that is enough: a
/// preflight, an unknown path, a wrong method, a missing key, or [`Options::refuse`]. `None`: read the body, and
/// start an [`Exchange`].
pub fn admit(head: &Request, options: &Options) -> Option<Response> {
    let cors = Cors::new(head, &options.cors);
    let incoming = Incoming::from(Request {
        body: String::new(),
        ..head.clone()
    });
    let found = Route::find(&incoming, options.dialect);
    let format = found.map_or(Format::OpenAi, |(_, format)| format);
    let mut response = match cors.preflight() {
        Some(response) => response,
        None => admissible(found.map(|(route, _)| route), head, options)
            .err()?
            .respond(format),
    };
    cors.add_to(&mut response);
    Some(response)
}

/// What is wrong with a request's head, if anything is.
fn admissible(
    route: Option<Route>,
    request: &Request,
    options: &Options,
) -> Result<Route, Problem> {
    let route = route.ok_or_else(|| Problem::not_found(&request.path))?;
    if request.method != route.method() {
        return Err(Problem::method(request, route.method()));
    }
    if !matches!(route, Route::Health) && !options.admits(request) {
        let message = "the API key is missing or wrong: send one that this server was given";
        let kind = Kind::Unauthenticated;
        return Err(Problem::new(kind, "invalid_api_key", message));
    }
    match options.refuse {
        Some(refusal) => Err(Problem::from(refusal)),
        None => Ok(route),
    }
}

/// Looks whether a request may be answered, and starts what it asks for.
fn begin<B: Backend>(
    embedder: &Embedder<B>,
    route: Option<Route>,
    incoming: Incoming,
    options: &Options,
) -> Result<State, Problem> {
    let Incoming { request, json } = incoming;
    let route = admissible(route, &request, options)?;
    let body = json.transpose().map_err(|error| {
        let message = format!("the body is no JSON: {error}");
        Problem::new(Kind::Malformed, "invalid_json", message)
    })?;
    let body = body.unwrap_or(Value::Null);
    perform(embedder, route, &request, options, body).map_err(|error| Problem::from(&error))
}

/// Starts what a route does.
fn perform<B: Backend>(
    embedder: &Embedder<B>,
    route: Route,
    request: &Request,
    options: &Options,
    body: Value,
) -> Result<State, Error> {
    fn running<T: Serialize + 'static>(pending: Pending<T>) -> State {
        State::Running(Box::new(pending.map(|response| to_json(&response))))
    }
    fn ready(response: &impl Serialize) -> State {
        State::Ready(Response::json(200, to_json(response)))
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
        Route::Health => State::Ready(Response::empty(200)),
        Route::OpenApi => State::Ready(Response::json(200, OPENAPI.to_owned())),
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
fn needs_model(request: &Request) -> Result<(), Error> {
    if request.headers.contains_key(MODEL_HEADER) {
        return Ok(());
    }
    let reason = format!("the header {MODEL_HEADER} is missing");
    Err(Error::input(MODEL_HEADER, reason))
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
