//! A request of any of the formats, and its answer: what a server would do, without the server.
//!
//! | method and path | format |
//! |---|---|
//! | `POST /v1/embeddings`, `/embeddings` | OpenAI's, or the [`Dialect`] that is asked for |
//! | `GET /v1/models`, `/v1/models/{id}` | OpenAI's |
//! | `POST /embed`, `/embed_sparse`, `/embed_all`, `/similarity`, `/tokenize`, `/decode`, `/`; `GET /info`, `/health`, `/ping`, `/`, `/metrics` | text-embeddings-inference's |
//! | `POST /embed_sparse`, `/embed`, `/` with a field `texts`, or a header `x-chroma-…` and no field `inputs` | Chroma's |
//! | `POST /ml/v1alpha/embedding:embed` | Inworld's |
//! | `GET /openapi.json` | the OpenAPI document of all of them |

mod cors;
#[cfg(test)]
mod openapi;
mod problem;
mod route;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::cors::Cors;
pub use self::problem::Refusal;
use self::problem::{Format, Kind, Problem};
use self::route::{MODEL_PATH, Route};
use super::body::{self, Body, Field};
use super::{Pending, chroma, inworld, openai, shown, tei};
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
    #[serde(skip)]
    pub body: Vec<u8>,
}

impl Request {
    /// Whether it asks for no more than to be told something.
    fn reads(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD")
    }

    /// The model that Chroma's clients ask for.
    fn header_model(&self) -> Option<&str> {
        self.headers.get(MODEL_HEADER).map(String::as_str)
    }
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
    /// The largest body that is read, in bytes: requests that announce a larger one are refused.
    pub max_body_bytes: Option<u64>,
    /// Requests that the server has under way at most, for `/info`.
    pub max_requests: Option<usize>,
    /// Requests that are under way, for `/metrics`.
    pub under_way: usize,
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
    /// Without its body.
    head: Request,
    body: Result<Field, String>,
}

impl From<Request> for Incoming {
    fn from(mut head: Request) -> Self {
        let body = body::read(std::mem::take(&mut head.body));
        Self { head, body }
    }
}

impl Incoming {
    /// The model that is asked for, in whichever way the request's format has; none: the default one, which is what clients
    /// mean by an empty name and by `null` as a string.
    pub fn model(&self) -> Option<&str> {
        fn text(field: &Field) -> Option<&str> {
            match field {
                Field::Text(text) => Some(text),
                _ => None,
            }
        }
        let named = || match self.body()?.get("model") {
            Field::Object(model) => text(model.get("model")),
            other => text(other),
        };
        let model = self.head.header_model().or_else(named);
        model.filter(|model| !matches!(*model, "" | "null"))
    }

    /// The kind of vectors that is asked for, one of those that `Embedder::outputs` has; none: any will do. The default model
    /// is to be one of this kind.
    pub fn kind(&self) -> Option<&'static str> {
        let (route, _) = Route::find(&self.head, self.body(), Dialect::default())?;
        route.kind()
    }

    fn body(&self) -> Option<&Body> {
        match &self.body {
            Ok(Field::Object(body)) => Some(body),
            _ => None,
        }
    }
}

/// Written by the test in `openapi.rs`, from the types.
const OPENAPI: &str = include_str!("openapi.json");

/// Where Chroma's clients name the model.
const MODEL_HEADER: &str = "x-chroma-embedding-model";

/// Requests that a server has under way at most, unless it says otherwise.
const MAX_REQUESTS: usize = 512;

/// The answer.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: BTreeMap<&'static str, String>,
    /// JSON, the text of `/metrics`, or nothing.
    pub body: String,
}

/// A request that is being answered.
pub struct Exchange {
    format: Format,
    state: State,
    cors: Cors,
    /// Whether the answer goes without its body.
    head: bool,
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

    /// As it is sent: `head` without its body.
    fn sent(mut self, cors: Cors, head: bool) -> Self {
        if head {
            self.body.clear();
        }
        cors.add_to(&mut self);
        self
    }
}

impl Exchange {
    /// Starts what a request asks for. Whatever is wrong with it becomes its answer.
    pub fn start<B: Backend>(
        embedder: &Embedder<B>,
        incoming: Incoming,
        options: &Options,
    ) -> Self {
        let cors = Cors::new(&incoming.head, &options.cors);
        let head = incoming.head.method == "HEAD";
        let found = Route::find(&incoming.head, incoming.body(), options.dialect);
        let format = found.map_or(Format::OpenAi, |(_, format)| format);
        let state = match cors.preflight() {
            Some(response) => State::Ready(response),
            None => begin(embedder, found, incoming, options)
                .unwrap_or_else(|problem| State::Ready(problem.respond(format))),
        };
        Self {
            format,
            state,
            cors,
            head,
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
            self.state = State::Ready(Problem::of(&error, self.format).respond(self.format));
            true
        })
    }

    /// The answer.
    pub fn finish(self) -> Response {
        let response = match self.state {
            State::Running(pending) => Response::json(200, pending.finish()),
            State::Ready(response) => response,
        };
        response.sent(self.cors, self.head)
    }
}

/// Answers a request by its head alone (method, path and headers; the body is not looked at), where that is enough: a
/// preflight, an unknown path, a wrong method, a missing key, a body that will not be read, [`Options::refuse`], and what can
/// be told without a model. `None`: read the body, and start an [`Exchange`].
pub fn admit(head: &Request, options: &Options) -> Option<Response> {
    let cors = Cors::new(head, &options.cors);
    let found = Route::find(head, None, options.dialect);
    let format = found.map_or(Format::OpenAi, |(_, format)| format);
    let response = match cors.preflight() {
        Some(response) => response,
        None => match admissible(found, head, options) {
            Ok(route) => told(route, head, options, None)?.unwrap_or_else(|it| it.respond(format)),
            Err(problem) => problem.respond(format),
        },
    };
    Some(response.sent(cors, head.method == "HEAD"))
}

/// What is wrong with a request's head, if anything is.
fn admissible(
    found: Option<(Route, Format)>,
    head: &Request,
    options: &Options,
) -> Result<Route, Problem> {
    let (route, _) = found.ok_or_else(|| Problem::not_found(&head.path))?;
    let method = route.method();
    if head.method != method && !(method == "GET" && head.reads()) {
        let is_root = head.path.trim_end_matches('/').is_empty();
        let allow = if is_root { "GET, POST" } else { method };
        return Err(Problem::method(head, allow));
    }
    // Whoever asks whether the server is up is told so at once, however much it has to do.
    if matches!(route, Route::Health) {
        return Ok(route);
    }
    if !options.admits(head) {
        let message = "the API key is missing or wrong: send one that this server was given";
        let kind = Kind::Unauthenticated;
        return Err(Problem::new(kind, "invalid_api_key", message));
    }
    if matches!(route, Route::OpenApi | Route::Metrics) {
        return Ok(route);
    }
    if let Some(refusal) = options.refuse {
        return Err(Problem::from(refusal));
    }
    let header = |name: &str| head.headers.get(name).map(|value| value.trim());
    let encoding = header("content-encoding").unwrap_or_default();
    if !matches!(encoding, "" | "identity") {
        let message = "the body is compressed, and this server reads none that are: leave the header content-encoding out";
        let kind = Kind::Encoding;
        return Err(Problem::new(kind, "unsupported_encoding", message));
    }
    let size = header("content-length").and_then(|size| size.parse::<u64>().ok());
    if size > options.max_body_bytes.or(size) {
        return Err(Problem::from(Refusal::TooLarge));
    }
    Ok(route)
}

/// What can be told without a body: by `own`, the model's name, or if the server's names are known. `None`: nothing.
fn told(
    route: Route,
    head: &Request,
    options: &Options,
    own: Option<&str>,
) -> Option<Result<Response, Problem>> {
    let listed = options.models.iter().map(String::as_str);
    let mut names: Vec<&str> = listed.collect();
    if names.is_empty() {
        names.extend(own);
    }
    let text = match route {
        Route::Health => return Some(Ok(Response::empty(200))),
        Route::OpenApi => OPENAPI.to_owned(),
        Route::Metrics => {
            let mut response = Response::empty(200);
            let kind = "text/plain; version=0.0.4".to_owned();
            response.headers.insert("content-type", kind);
            response.body = format!(
                "# HELP te_queue_size Requests that are under way\n# TYPE te_queue_size gauge\nte_queue_size {}\n",
                options.under_way
            );
            return Some(Ok(response));
        }
        Route::Models | Route::Model if names.is_empty() => return None,
        Route::Models => to_json(&openai::models(names)),
        Route::Model => {
            let wanted = head.path.trim_end_matches('/').strip_prefix(MODEL_PATH);
            let wanted = wanted.unwrap_or_default().replace("%2F", "/");
            let Some(name) = names.into_iter().find(|name| *name == wanted) else {
                return Some(Err(Problem::from(Refusal::UnknownModel)));
            };
            to_json(&openai::model(name))
        }
        _ => return None,
    };
    Some(Ok(Response::json(200, text)))
}

/// Looks whether a request may be answered, and starts what it asks for.
fn begin<B: Backend>(
    embedder: &Embedder<B>,
    found: Option<(Route, Format)>,
    Incoming { head, body }: Incoming,
    options: &Options,
) -> Result<State, Problem> {
    let route = admissible(found, &head, options)?;
    let own = shown(&embedder.info().model);
    if let Some(response) = told(route, &head, options, Some(own)) {
        return response.map(State::Ready);
    }
    let body = body.map_err(|error| {
        let message = format!("the body is no JSON: {error}");
        Problem::new(Kind::Malformed, "invalid_json", message)
    })?;
    let format = found.map_or(Format::OpenAi, |(_, format)| format);
    let begun = perform(embedder, route, &head, options, body, format);
    begun.map_err(|error| Problem::of(&error, format))
}

/// Starts what a route does.
fn perform<B: Backend>(
    embedder: &Embedder<B>,
    route: Route,
    head: &Request,
    options: &Options,
    body: Field,
    format: Format,
) -> Result<State, Error> {
    fn running<T: Serialize + 'static>(pending: Pending<T>) -> State {
        State::Running(Box::new(pending.map(|response| to_json(&response))))
    }
    fn ready(response: &impl Serialize) -> State {
        State::Ready(Response::json(200, to_json(response)))
    }
    fn chroma<T: Serialize + 'static>(started: chroma::Started<T>) -> State {
        match started {
            chroma::Started::Running(pending) => running(*pending),
            chroma::Started::Empty(response) => ready(&response),
        }
    }
    if matches!(route, Route::Info) {
        let most = options.max_requests.unwrap_or(MAX_REQUESTS);
        return Ok(ready(&tei::info(embedder, most)));
    }
    let body = Body::of(body)?;
    let route = match route {
        Route::Root if matches!(body.get("inputs"), Field::Object(_)) => Route::Similarity,
        Route::Root if embedder.kind() == "sparse" => Route::Sparse,
        other => other,
    };
    Ok(match route {
        // TEI passes over fields that it does not know, and what speaks its dialect may send some.
        Route::OpenAi => running(openai::start(embedder, body, format != Format::Tei)?),
        Route::Sparse => running(tei::start_sparse(embedder, body, true)?),
        Route::All => running(tei::start_all(embedder, body, true)?),
        Route::Similarity => running(tei::start_similarity(embedder, body)?),
        Route::Tokenize => ready(&tei::tokenize(embedder, body)?),
        Route::Decode => ready(&tei::decode(embedder, body)?),
        Route::ChromaDense => {
            needs_model(head)?;
            chroma(chroma::start_dense(embedder, body)?)
        }
        Route::ChromaSparse => {
            needs_model(head)?;
            chroma(chroma::start_sparse(embedder, body)?)
        }
        Route::Inworld => running(inworld::start(embedder, body)?),
        _ => running(tei::start_dense(embedder, body)?),
    })
}

/// Chroma's service must be told the model. Which one is not looked at: an embedder is one.
fn needs_model(head: &Request) -> Result<(), Error> {
    if head.header_model().is_some() {
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
    fn admits(&self, head: &Request) -> bool {
        use sha2::{Digest, Sha256};
        if self.api_keys.is_empty() {
            return true;
        }
        let header = |name| head.headers.get(name).map(String::as_str);
        let bearer = header("authorization").and_then(|value| value.split_once(' '));
        let given = [
            bearer.map(|(_, rest)| rest.trim()),
            header("x-chroma-token"),
        ];
        // Hashes are compared, and all of them: how long that takes tells nothing about a key. An empty key is none.
        let given = given.into_iter().flatten().filter(|key| !key.is_empty());
        given.fold(false, |admitted, given| {
            let given = Sha256::digest(given);
            let keys = self.api_keys.iter();
            let matches = keys.map(|key| Sha256::digest(key) == given);
            matches.fold(admitted, |any, one| any | one)
        })
    }
}
