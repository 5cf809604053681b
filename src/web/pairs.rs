//! Pairs of texts from JavaScript, and how to score them. Options are read by hand: a derived
//! reader of them has several KB. TypeScript has refused those that do not exist.

use js_sys::{Array, Reflect};
use wasm_bindgen::prelude::*;

use super::convert::Thrown;
use crate::error::Error;
use crate::text::Direction;
use crate::{Input, ScoreActivation, ScoreOptions};

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

/// `{ activation?, promptName?, prompt?, truncate?, truncationDirection? }`
pub fn options(value: &JsValue) -> Thrown<ScoreOptions> {
    let field = |name: &str| Reflect::get(value, &name.into());
    let text = |name: &'static str| match field(name)? {
        value if value.is_undefined() => Ok(None),
        value => match value.as_string() {
            Some(text) => Ok(Some(text)),
            None => Err(wrong(name, format!("{name} must be a string"))),
        },
    };
    let activation = match text("activation")? {
        None => None,
        Some(name) => Some(ScoreActivation::from_name(&name).ok_or_else(|| {
            let reason = format!(
                "activation is {name:?}; it must be \"identity\", \"sigmoid\" or \"softmax\""
            );
            wrong("activation", reason)
        })?),
    };
    let truncate = field("truncate")?;
    if truncate.as_bool().is_none() && !truncate.is_undefined() {
        return Err(wrong(
            "truncate",
            "truncate must be true or false".to_owned(),
        ));
    }
    let truncation_direction = match text("truncationDirection")?.as_deref() {
        None => Direction::Model,
        Some("left") => Direction::Left,
        Some("right") => Direction::Right,
        Some(other) => {
            let reason =
                format!("truncationDirection is {other:?}; it must be \"left\" or \"right\"");
            return Err(wrong("truncationDirection", reason));
        }
    };
    Ok(ScoreOptions {
        activation,
        prompt_name: text("promptName")?,
        prompt: text("prompt")?,
        truncate: truncate.as_bool(),
        truncation_direction,
    })
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
