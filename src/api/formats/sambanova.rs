//! `SambaNova`'s `POST /v1/embeddings`: requests and responses are `OpenAI`'s, error codes are its
//! own.

use super::{Fields, Format, Route, model_field, openai};
use crate::api::http::message::Dialect;
#[cfg(test)]
use crate::api::http::openapi::Document;
use crate::api::http::problem::{Cause, Problem};
use crate::backend::Backend;

pub const fn format<B: Backend + 'static>() -> Format<B> {
    Format {
        routes: const {
            &[
                Route::post("/v1/embeddings", openai::strict)
                    .gives("dense")
                    .when(|ask| matches!(ask.dialect, Dialect::SambaNova)),
                Route::post("/embeddings", openai::strict)
                    .gives("dense")
                    .when(|ask| matches!(ask.dialect, Dialect::SambaNova)),
            ]
        },
        // OpenAI's file has them.
        fields: Fields {
            lists: &[],
            scalars: &[],
        },
        model: model_field,
        key_header: None,
        tell,
        #[cfg(test)]
        document: describe,
    }
}

fn tell(problem: &Problem) -> (u16, String) {
    let (kind, code) = match problem.cause {
        Cause::Unauthenticated => ("authentication_error", "invalid_authentication"),
        Cause::Overloaded => (openai::kind(problem.cause), "insufficient_quota"),
        Cause::Malformed | Cause::Invalid | Cause::Empty | Cause::TooManyInputs => {
            (openai::kind(problem.cause), "invalid_request_error")
        }
        cause => (openai::kind(cause), problem.code),
    };
    openai::write(problem, kind, code)
}

#[cfg(test)]
fn describe(doc: &mut Document) {
    doc.errors::<openai::ErrorBody>(tell);
    openai::describe_embeddings(doc);
}
