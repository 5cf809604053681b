//! Answers HTTP requests of all formats, without a server: the caller reads bytes from its
//! connections, and writes the responses.
//!
//! | method and path | format |
//! |---|---|
//! | `POST /v1/embeddings`, `/embeddings` | `OpenAI`'s, or that of the [`Dialect`] |
//! | `GET /v1/models`, `/v1/models/{id}` | `OpenAI`'s |
//! | `POST /embed`, `/embed_sparse`, `/embed_all`, `/similarity`, `/rerank`, `/predict`, `/tokenize`, `/decode`, `/`; `GET /info`, `/health`, `/ping`, `/`, `/metrics` | text-embeddings-inference's |
//! | `POST /embed_sparse`, `/embed`, `/` with a field `texts`, or a header `x-chroma-…` and no field `inputs` | Chroma's |
//! | `POST /ml/v1alpha/embedding:embed` | Inworld's |
//! | `POST /v2/rerank`, `/v1/rerank` of Cohere's clients | Cohere's |
//! | `POST /v1/rerank`, `/rerank` with a field `documents` | Jina's |
//! | `GET /openapi.json`, `/ready` | the server's own |

mod cors;
pub(super) mod message;
#[cfg(test)]
pub(super) mod openapi;
pub(super) mod problem;

pub use self::message::{Dialect, Options, Refusal, Request, Response};

use self::cors::Cors;
use self::problem::{Cause, Problem, Tell};
use super::body;
use super::formats::{self, Access, Answer, Ask, Call, Format, Route, Server, openai};
use super::json::{Body, Field};
use super::{Work, shown};
use crate::backend::Backend;
use crate::backend::either::Either;
use crate::model::embedder::Embedder;
use crate::model::run::Run;

/// A request whose body has been read.
pub struct Incoming {
    /// The request without its body.
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
    /// Returns the model that the request names; `None`: the default one. Clients that mean the
    /// default model may send an empty name, or the string `null`.
    pub fn model(&self) -> Option<&str> {
        let found = self.find(Dialect::default())?;
        let model = (found.format.model)(&self.head, self.body());
        model.filter(|model| !matches!(*model, "" | "null"))
    }

    /// Returns the kind of output that the request asks for, one of those of `Embedder::outputs`;
    /// `None`: any. A server must choose a default model that has this kind of output.
    pub fn kind(&self) -> Option<&'static str> {
        self.find(Dialect::default())?.route.output
    }

    fn find(&self, dialect: Dialect) -> Option<Found<Either>> {
        find(&self.ask(dialect))
    }

    fn ask(&self, dialect: Dialect) -> Ask<'_> {
        Ask {
            head: &self.head,
            body: self.body(),
            dialect,
        }
    }

    fn body(&self) -> Option<&Body> {
        match &self.body {
            Ok(Field::Object(body)) => Some(body),
            _ => None,
        }
    }
}

/// The route of a request, and its format.
struct Found<B: Backend + 'static> {
    format: &'static Format<B>,
    route: &'static Route<B>,
}

/// Finds the route of a request: of those with its path that accept it, the one that takes its
/// method, or else the first. It does not depend on `B`.
fn find<B: Backend + 'static>(ask: &Ask) -> Option<Found<B>> {
    let path = ask.head.path.trim_end_matches('/');
    let mut other = None;
    for format in formats::all::<B>() {
        for route in format.routes {
            if !route.has_path(path) || !(route.when)(ask) {
                continue;
            }
            if route.takes(&ask.head.method) {
                return Some(Found { format, route });
            }
            other.get_or_insert(Found { format, route });
        }
    }
    other
}

/// Returns the methods that a path takes, as in the header `allow`.
fn allowed(path: &str) -> String {
    let path = path.trim_end_matches('/');
    let takes = |method: &&str| {
        let mut routes = formats::all::<Either>()
            .iter()
            .flat_map(|format| format.routes);
        routes.any(|route| route.method == *method && route.has_path(path))
    };
    let methods: Vec<&str> = ["GET", "POST"].into_iter().filter(takes).collect();
    methods.join(", ")
}

/// Returns the method and the path of the first route for models that give this kind of output.
fn route_for(output: &str) -> Option<String> {
    let mut routes = formats::all::<Either>()
        .iter()
        .flat_map(|format| format.routes);
    let route = routes.find(|route| route.output == Some(output))?;
    Some(format!("{} {}", route.method, route.path))
}

/// A request that is being answered.
pub struct Exchange {
    tell: Tell,
    work: Work,
    cors: Cors,
    /// Whether the response is sent without its body.
    head: bool,
}

impl Response {
    /// Completes the response for sending. `head`: without its body.
    fn sent(mut self, cors: Cors, head: bool) -> Self {
        if head {
            self.body.clear();
        }
        cors.add_to(&mut self);
        self
    }
}

impl Exchange {
    /// Starts to answer a request. An error in it becomes the response.
    pub fn start<B: Backend + 'static>(
        embedder: &Embedder<B>,
        incoming: Incoming,
        options: &Options,
    ) -> Self {
        let cors = Cors::new(&incoming.head, &options.cors);
        let head = incoming.head.method == "HEAD";
        let found = find::<B>(&incoming.ask(options.dialect));
        let tell = tell(found.as_ref());
        let work = match cors.preflight() {
            Some(response) => Work::Ready(response),
            None => begin(embedder, found, incoming, options)
                .unwrap_or_else(|problem| Work::Ready(problem.respond(tell))),
        };
        Self {
            tell,
            work,
            cors,
            head,
        }
    }

    /// Returns the run that computes the response, if there is one, so that steps of other runs can
    /// process some of its inputs.
    pub fn run(&mut self) -> Option<&mut Run> {
        match &mut self.work {
            Work::Running(pending) => Some(&mut pending.run),
            Work::Ready(_) => None,
        }
    }

    /// Whether the run has ended, with an error or without. One more step takes up the error.
    pub fn is_done(&self) -> bool {
        match &self.work {
            Work::Running(pending) => pending.run.is_done(),
            Work::Ready(_) => true,
        }
    }

    /// Does one step, together with other runs, see [`Run::step_with`]. Returns true when the
    /// response is ready.
    pub fn step_with<B: Backend>(
        &mut self,
        embedder: &Embedder<B>,
        others: &mut [&mut Run],
    ) -> bool {
        let Some(run) = self.run() else {
            return true;
        };
        run.step_with(embedder, others).unwrap_or_else(|error| {
            self.work = Work::Ready(Problem::of(&error, route_for).respond(self.tell));
            true
        })
    }

    /// Returns the response.
    pub fn finish(self) -> Response {
        let response = match self.work {
            Work::Running(pending) => Response::json(200, pending.finish()),
            Work::Ready(response) => response,
        };
        response.sent(self.cors, self.head)
    }
}

/// Answers a request by its method, path and headers, if that is possible: preflights, unknown
/// paths, wrong methods, missing keys, bodies that are not read, [`Options::refuse`], and routes
/// that need no model. `None`: read the body, and start an [`Exchange`].
pub fn admit(head: &Request, options: &Options) -> Option<Response> {
    let cors = Cors::new(head, &options.cors);
    let found: Option<Found<Either>> = find(&Ask {
        head,
        body: None,
        dialect: options.dialect,
    });
    let tell = tell(found.as_ref());
    let response = match cors.preflight() {
        Some(response) => response,
        None => match admissible(found, head, options) {
            Ok(found) => answer_by_head(found.route, head, options, None)?
                .unwrap_or_else(|problem| problem.respond(tell)),
            Err(problem) => problem.respond(tell),
        },
    };
    Some(response.sent(cors, head.method == "HEAD"))
}

/// How the problems of a request are reported; those of an unknown path as by `OpenAI`.
fn tell<B: Backend + 'static>(found: Option<&Found<B>>) -> Tell {
    found.map_or(openai::tell, |found| found.format.tell)
}

/// Checks the method, path and headers of a request.
fn admissible<B: Backend + 'static>(
    found: Option<Found<B>>,
    head: &Request,
    options: &Options,
) -> Result<Found<B>, Problem> {
    let found = found.ok_or_else(|| Problem::not_found(&head.path))?;
    if !found.route.takes(&head.method) {
        return Err(Problem::method(head, allowed(&head.path)));
    }
    let access = found.route.access;
    if access == Access::Open {
        return Ok(found);
    }
    if !options.admits(head) {
        let message = "the API key is missing or wrong: send one that this server was given";
        let cause = Cause::Unauthenticated;
        return Err(Problem::new(cause, "invalid_api_key", message));
    }
    if access == Access::Key {
        return Ok(found);
    }
    if let Some(refusal) = options.refuse {
        return Err(Problem::refused(refusal, options));
    }
    let header = |name: &str| head.headers.get(name).map(|value| value.trim());
    let encoding = header("content-encoding").unwrap_or_default();
    if !matches!(encoding, "" | "identity") {
        let message = "the body is compressed, which this server cannot read: send it without content-encoding";
        let cause = Cause::Encoding;
        return Err(Problem::new(cause, "unsupported_encoding", message));
    }
    let size = header("content-length").and_then(|size| size.parse::<u64>().ok());
    if size > options.max_body_bytes.or(size) {
        return Err(Problem::refused(Refusal::TooLarge, options));
    }
    Ok(found)
}

/// Answers a request without a model, if its route needs none. `own` is the name of the only model,
/// if it is known.
fn answer_by_head<B: Backend + 'static>(
    route: &Route<B>,
    head: &Request,
    options: &Options,
    own: Option<&str>,
) -> Option<Result<Response, Problem>> {
    let Answer::Head(answer) = route.answer else {
        return None;
    };
    let mut models: Vec<&str> = options.models.iter().map(String::as_str).collect();
    if models.is_empty() {
        models.extend(own);
    }
    answer(&Server {
        head,
        options,
        models,
    })
}

/// Checks a request, and starts its route.
fn begin<B: Backend + 'static>(
    embedder: &Embedder<B>,
    found: Option<Found<B>>,
    Incoming { head, body }: Incoming,
    options: &Options,
) -> Result<Work, Problem> {
    let route = admissible(found, &head, options)?.route;
    let own = shown(&embedder.info().model);
    if let Some(response) = answer_by_head(route, &head, options, Some(own)) {
        return response.map(Work::Ready);
    }
    let Answer::Model(answer) = route.answer else {
        return Err(Problem::refused(Refusal::Failed, options));
    };
    let body = match route.method {
        "GET" => Ok(Body::default()),
        _ => Body::of(body.map_err(|error| {
            let message = format!("the body is no JSON: {error}");
            Problem::new(Cause::Malformed, "invalid_json", message)
        })?),
    };
    let call = |body| Call {
        head: &head,
        options,
        body,
    };
    let begun = body.and_then(|body| answer(embedder, call(body)));
    begun.map_err(|error| Problem::of(&error, route_for))
}

impl Options {
    /// Whether a request has one of the keys, in `Authorization: Bearer …` or `Basic …`, or in the
    /// header that a format has for it.
    fn admits(&self, head: &Request) -> bool {
        use sha2::{Digest, Sha256};
        if self.api_keys.is_empty() {
            return true;
        }
        let header = |name| head.headers.get(name).map(String::as_str);
        let bearer = header("authorization").and_then(|value| value.split_once(' '));
        let own = formats::all::<Either>()
            .iter()
            .filter_map(|format| header(format.key_header?));
        let given = bearer.map(|(_, rest)| rest.trim()).into_iter().chain(own);
        // All hashes are compared, so that the time that it takes tells nothing about a key. An
        // empty key is none.
        let given = given.filter(|key| !key.is_empty());
        given.fold(false, |admitted, given| {
            let given = Sha256::digest(given);
            let keys = self.api_keys.iter();
            let matches = keys.map(|key| Sha256::digest(key) == given);
            matches.fold(admitted, |any, one| any | one)
        })
    }
}
