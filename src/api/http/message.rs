//! Requests, responses and the options of a server, as data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::maps::map;

/// The most requests that a server has under way, unless its options say otherwise.
pub(crate) const MAX_REQUESTS: usize = 512;

/// A request.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path of its URL.
    pub path: String,
    /// Its headers, with names in lower case.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Its body.
    #[serde(skip)]
    pub body: Vec<u8>,
}

/// How a server answers requests.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Options {
    /// Whose errors `/v1/embeddings` reports.
    pub dialect: Dialect,
    /// The keys, one of which a request must have. If there are none, requests need no key.
    pub api_keys: Vec<String>,
    /// Why the server refuses the request; the response says so in the request's format.
    pub refuse: Option<Refusal>,
    /// The names of the server's models. If there are none, the model has its own name.
    pub models: Vec<String>,
    /// The origins of web pages that may send requests; `*` allows all. By default none may.
    pub cors: Vec<String>,
    /// The largest body in bytes. Requests that announce a larger one are refused.
    pub max_body_bytes: Option<u64>,
    /// The most requests that the server has under way, for `/info` and `/ready`. The default is
    /// 512.
    pub max_requests: Option<usize>,
    /// The number of requests under way, for `/metrics` and `/ready`.
    pub under_way: usize,
}

/// Whose errors `/v1/embeddings` reports. Requests and vectors are the same in all dialects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// `{ error: { message, type, param, code } }`
    #[default]
    OpenAi,
    /// The same with the codes of `SambaNova`.
    SambaNova,
    /// `{ error, error_type }` with the statuses 413, 422 and 424, as text-embeddings-inference and
    /// Trieve have it.
    Tei,
}

/// Why a server refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Refusal {
    /// Too many requests are under way.
    Overloaded,
    /// The request took too long.
    TimedOut,
    /// The server has no model of this name.
    UnknownModel,
    /// The body is larger than [`Options::max_body_bytes`].
    TooLarge,
    /// The body ended early.
    Incomplete,
    /// The model cannot be loaded.
    Unavailable,
    /// The server was disposed of.
    Disposed,
    /// The server failed.
    Failed,
}

/// A response.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: BTreeMap<&'static str, String>,
    /// JSON, the text of `/metrics`, or nothing.
    pub body: String,
}

impl Response {
    /// A response of JSON.
    pub(crate) fn json(status: u16, body: String) -> Self {
        let content_type = ("content-type", "application/json".to_owned());
        Self {
            status,
            headers: map([content_type]),
            body,
        }
    }

    /// A response without a body.
    pub(crate) fn empty(status: u16) -> Self {
        Self {
            status,
            headers: BTreeMap::new(),
            body: String::new(),
        }
    }
}
