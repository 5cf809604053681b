//! The wire formats, one per file.
//!
//! A new format takes a file here, its `mod` line and its line in [`all`]. A format is a
//! [`Format`]: a table of routes with their handlers, the names of its fields, and how it reports
//! errors.

mod chroma;
mod cohere;
mod inworld;
mod jina;
pub mod openai;
mod ranking;
mod sambanova;
pub mod server;
pub mod tei;

use super::Work;
use super::http::message::{Dialect, Options, Request, Response};
#[cfg(test)]
use super::http::openapi::Document;
use super::http::problem::{Problem, Tell};
use super::json::{Body, Field};
use crate::backend::Backend;
use crate::error::Result;
use crate::model::embedder::Embedder;

/// All formats. If several have a route of the same path, the first one whose `when` accepts the
/// request answers it.
pub const fn all<B: Backend + 'static>() -> &'static [Format<B>] {
    const {
        &[
            openai::format(),
            sambanova::format(),
            chroma::format(),
            cohere::format(),
            jina::format(),
            tei::format(),
            inworld::format(),
            server::format(),
        ]
    }
}

/// A wire format.
pub struct Format<B: Backend + 'static> {
    /// Its routes.
    pub routes: &'static [Route<B>],
    /// The fields of its requests.
    pub fields: Fields,
    /// Returns the model that a request names, which may be an empty string.
    pub model: for<'a> fn(&'a Request, Option<&'a Body>) -> Option<&'a str>,
    /// The header in which its clients send a key, beside `authorization`.
    pub key_header: Option<&'static str>,
    /// How it reports errors.
    pub tell: Tell,
    /// Describes its routes in the `OpenAPI` document.
    #[cfg(test)]
    pub document: fn(&mut Document),
}

/// Names of fields. What they hold is kept when a body is read; other fields are skipped.
pub struct Fields {
    /// Fields that may hold a list or an object.
    pub lists: &'static [&'static str],
    /// Fields that hold a boolean, a number or a string.
    pub scalars: &'static [&'static str],
}

/// A route of a format.
pub struct Route<B: Backend + 'static> {
    /// `GET` or `POST`. A route for `GET` takes `HEAD` too.
    pub method: &'static str,
    /// Its path. `{id}` at the end stands for any text.
    pub path: &'static str,
    /// The kind of output that the model must have, one of those of `Embedder::outputs`; `None`:
    /// any.
    pub output: Option<&'static str>,
    /// Whether it answers a request with its path. Routes of several formats may share a path.
    pub when: fn(&Ask) -> bool,
    /// What is checked before it answers.
    pub access: Access,
    /// Answers a request.
    pub answer: Answer<B>,
}

/// What is checked before a route answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: a probe asks whether the server works.
    Open,
    /// The key. The route answers while the server refuses other requests.
    Key,
    /// The key, whether the server takes requests, and the size and encoding of the body.
    Full,
}

/// How a route answers.
pub enum Answer<B: Backend> {
    /// By the head of a request, without a model. `None`: the names of the models must be known.
    Head(fn(&Server) -> Option<Result<Response, Problem>>),
    /// By the model.
    Model(fn(&Embedder<B>, Call) -> Result<Work>),
}

/// The parts of a request that choose its route.
pub struct Ask<'a> {
    /// The request. Its body is not looked at.
    pub head: &'a Request,
    /// Its body, if that has been read and is an object.
    pub body: Option<&'a Body>,
    /// The option of the server.
    pub dialect: Dialect,
}

/// A request to a route that needs no model, and what is known of the server.
pub struct Server<'a> {
    /// The request, without its body.
    pub head: &'a Request,
    /// The options of the server.
    pub options: &'a Options,
    /// The names of its models; none if they are not known yet.
    pub models: Vec<&'a str>,
}

/// A request to a model.
pub struct Call<'a> {
    /// The request, without its body.
    pub head: &'a Request,
    /// The options of the server.
    pub options: &'a Options,
    /// Its body; empty for `GET`.
    pub body: Body,
}

impl<B: Backend + 'static> Route<B> {
    const fn new(method: &'static str, path: &'static str, answer: Answer<B>) -> Self {
        Self {
            method,
            path,
            output: None,
            when: |_| true,
            access: Access::Full,
            answer,
        }
    }

    /// A route that takes a body, and is answered by a model.
    const fn post(path: &'static str, answer: fn(&Embedder<B>, Call) -> Result<Work>) -> Self {
        Self::new("POST", path, Answer::Model(answer))
    }

    /// A route without a body that is answered by a model.
    const fn get(path: &'static str, answer: fn(&Embedder<B>, Call) -> Result<Work>) -> Self {
        Self::new("GET", path, Answer::Model(answer))
    }

    /// A route without a body that needs no model.
    const fn head(
        path: &'static str,
        access: Access,
        answer: fn(&Server) -> Option<Result<Response, Problem>>,
    ) -> Self {
        Self {
            access,
            ..Self::new("GET", path, Answer::Head(answer))
        }
    }

    /// The route for a model that gives this kind of output.
    const fn gives(self, output: &'static str) -> Self {
        Self {
            output: Some(output),
            ..self
        }
    }

    /// The route for the requests that `when` accepts.
    const fn when(self, when: fn(&Ask) -> bool) -> Self {
        Self { when, ..self }
    }

    /// Whether the route has this path, which ends in no slash.
    pub fn has_path(&self, path: &str) -> bool {
        match self.path.strip_suffix("{id}") {
            Some(start) => path.starts_with(start),
            None => self.path.trim_end_matches('/') == path,
        }
    }

    /// Whether the route takes this method.
    pub fn takes(&self, method: &str) -> bool {
        self.method == method || (self.method == "GET" && method == "HEAD")
    }
}

/// Finds the field of this name that a format has, and whether it may hold a list or an object.
pub fn field<B: Backend + 'static>(name: &str) -> Option<(&'static str, bool)> {
    let find = |names: &mut dyn Iterator<Item = &'static [&'static str]>| {
        names.flatten().copied().find(|known| *known == name)
    };
    let fields = || all::<B>().iter().map(|format| &format.fields);
    let list = find(&mut fields().map(|fields| fields.lists));
    let scalar = || find(&mut fields().map(|fields| fields.scalars));
    list.map(|name| (name, true))
        .or_else(|| scalar().map(|name| (name, false)))
}

/// Returns the string in the field `model`, where most formats have the model's name.
fn model_field<'a>(_: &'a Request, body: Option<&'a Body>) -> Option<&'a str> {
    text(body?.get("model"))
}

/// Returns the string that a field holds.
fn text(field: &Field) -> Option<&str> {
    match field {
        Field::Text(text) => Some(text),
        _ => None,
    }
}
