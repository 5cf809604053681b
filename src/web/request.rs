//! Arguments of calls: JavaScript values → requests.

use js_sys::{Reflect, Uint8Array};
use serde::de::DeserializeSeed;
use wasm_bindgen::prelude::*;

use super::convert::{self, Thrown, from_js};
use crate::api::body::{self, Body, Reader};
use crate::api::http;
use crate::error::Error;
use crate::{ChunkOptions, Input};

/// A request as `fetch` takes it.
pub fn incoming(request: &JsValue) -> Thrown<http::Incoming> {
    let mut head: http::Request = from_js("request", Reflect::get(request, &"head".into())?)?;
    head.body = Uint8Array::new(&Reflect::get(request, &"body".into())?).to_vec();
    Ok(head.into())
}

/// The body of a call in a wire format: what it would be on the wire.
pub fn object(body: &JsValue) -> Thrown<Body> {
    let unusable = |why: String| Error::input("body", format!("the body cannot be used: {why}"));
    let json = js_sys::JSON::stringify(body)
        .map_err(|thrown| unusable(format!("{thrown:?}")))?
        .as_string()
        .unwrap_or_default();
    Ok(Body::of(body::read(json.into_bytes()).map_err(unusable)?)?)
}

/// Texts, or token ids.
pub fn texts(value: JsValue) -> Thrown<Vec<Input>> {
    let reader = Reader {
        levels: 2,
        most: usize::MAX,
        known: |_| None,
    };
    let value = reader.deserialize(serde_wasm_bindgen::Deserializer::from(value));
    let unusable = |error: serde_wasm_bindgen::Error| {
        Error::input("texts", format!("texts cannot be used: {error}"))
    };
    Ok(value.map_err(unusable)?.inputs("texts")?)
}

pub fn cutting(request: JsValue) -> Thrown<(Vec<Input>, ChunkOptions)> {
    let texts = texts(Reflect::get(&request, &"texts".into())?)?;
    let request: serde_json::Value = from_js("options", request)?;
    Ok((texts, convert::chunk_options(&request)?))
}

/// Texts that are tokenised or split, which must be strings.
pub fn strings(inputs: Vec<Input>) -> Thrown<Vec<String>> {
    let texts = inputs.into_iter().map(|input| match input {
        Input::Text(text) => Ok(text),
        Input::Ids(_) | Input::Pair(..) => Err(Error::input(
            "texts",
            "token ids cannot be tokenised; pass strings",
        )),
    });
    Ok(texts.collect::<crate::Result<_>>()?)
}
