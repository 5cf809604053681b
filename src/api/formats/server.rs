//! The server's own routes: `GET /openapi.json`, which describes the routes of all formats, and
//! `GET /ready`, a readiness probe. Errors are `OpenAI`'s.

use super::{Access, Fields, Format, Route, Server, openai};
use crate::api::http::message::{MAX_REQUESTS, Response};
#[cfg(test)]
use crate::api::http::openapi::Document;
use crate::api::http::problem::Problem;
use crate::backend::Backend;
use crate::full::{self, IS_FULL};

/// Written by the test in `http/openapi.rs`, from the types. The common build does not have it.
pub const OPENAPI: &str = if IS_FULL {
    include_str!("../http/openapi.json")
} else {
    ""
};

pub const fn format<B: Backend + 'static>() -> Format<B> {
    Format {
        routes: const {
            &[
                Route::head("/openapi.json", Access::Key, |_| Some(document())),
                Route::head("/ready", Access::Open, |server| Some(Ok(ready(server)))),
            ]
        },
        fields: Fields {
            lists: &[],
            scalars: &[],
        },
        model: |_, _| None,
        key_header: None,
        tell: openai::tell,
        #[cfg(test)]
        document: describe,
    }
}

fn document() -> Result<Response, Problem> {
    full::need("the OpenAPI document").map_err(|error| Problem::of(&error, |_| None))?;
    Ok(Response::json(200, OPENAPI.to_owned()))
}

/// 200 if the server takes another request now, else 503.
fn ready(server: &Server) -> Response {
    let most = server.options.max_requests.unwrap_or(MAX_REQUESTS);
    let full = server.options.under_way >= most;
    Response::empty(if full { 503 } else { 200 })
}

#[cfg(test)]
fn describe(doc: &mut Document) {
    doc.errors::<openai::ErrorBody>(openai::tell);
    doc.get("/openapi.json", "openapi", "This document");
    doc.get("/ready", "ready", "Whether the server takes requests now");
}
