//! Pairs of texts from JavaScript.

use js_sys::{Array, Reflect};
use wasm_bindgen::prelude::*;

use super::Thrown;
use crate::Input;
use crate::error::Error;

/// `[[text, text], …]`
pub fn pairs(value: &JsValue) -> Thrown<Vec<Input>> {
    let read = |(index, pair): (usize, JsValue)| {
        let texts = pair.dyn_ref::<Array>().filter(|pair| pair.length() == 2);
        let text = |at| texts.and_then(|pair| pair.get(at).as_string());
        match (text(0), text(1)) {
            (Some(first), Some(second)) => Ok(Input::Pair(first, second)),
            _ => Err(wrong(
                "pairs",
                format!("pair {index} is no list of two strings"),
            )),
        }
    };
    list(
        value,
        "pairs",
        "a list of pairs of texts: [[query, document], …]",
    )?
    .enumerate()
    .map(read)
    .collect()
}

/// `{ query, documents }`
pub fn documents(request: &JsValue) -> Thrown<(String, Vec<String>)> {
    let field = |name: &str| Reflect::get(request, &name.into());
    let query = field("query")?.as_string();
    let query = query.ok_or_else(|| wrong("query", "the query is no string".to_owned()))?;
    let read = |(index, document): (usize, JsValue)| {
        let text = document.as_string();
        text.ok_or_else(|| wrong("documents", format!("document {index} is no string")))
    };
    let documents = list(&field("documents")?, "documents", "a list of strings")?
        .enumerate()
        .map(read)
        .collect::<Thrown<_>>()?;
    Ok((query, documents))
}

fn list(
    value: &JsValue,
    name: &'static str,
    wanted: &str,
) -> Thrown<impl Iterator<Item = JsValue>> {
    let list = value.dyn_ref::<Array>();
    let list = list.ok_or_else(|| wrong(name, format!("{name} must be {wanted}")))?;
    Ok(list.iter().collect::<Vec<_>>().into_iter())
}

fn wrong(param: &'static str, reason: String) -> JsValue {
    Error::input(param, reason).into()
}
