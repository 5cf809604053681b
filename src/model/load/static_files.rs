//! The files of static embeddings.
//!
//! A repository with modules.json is read as sentence-transformers reads it: its `StaticEmbedding`
//! takes tokenizer.json as it is, its truncation included, adds no special tokens, and averages the
//! vectors of all tokens. Without modules.json, a model of model2vec's is read as model2vec 0.10
//! reads it: unknown tokens are left out of the mean, and texts are cut to 512 tokens (`max_length`
//! in config.json), after they have been cut to as many times the median length of a vocabulary
//! entry. So are 8-bit integers without weights, which sentence-transformers cannot load.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::load::files::{CONFIG, Files, TOKENIZER};
use crate::model::load::pipeline::ModuleEntry;
use crate::model::load::table::FinishedTable;
use crate::model::transformer::route::{Body, Route};

/// The most tokens of a text where nothing limits them. It is the same number in wasm and natively.
pub const UNLIMITED: usize = u32::MAX as usize;
/// model2vec's limit where config.json has none.
const MAX_LENGTH: usize = 512;

/// The small files of a `StaticEmbedding` module. config.json is model2vec's.
pub fn wanted(entry: &ModuleEntry) -> Vec<String> {
    vec![entry.file(TOKENIZER), CONFIG.to_owned()]
}

/// Whether config.json is that of a model of model2vec's.
pub fn is_model2vec(files: &Files) -> Result<bool> {
    let config = files.config(CONFIG)?;
    Ok(config.is_some_and(|config| {
        let name = config.get("model_type").and_then(Value::as_str);
        name == Some("model2vec")
    }))
}

/// Whether model2vec scales vectors to length 1.
pub fn normalizes(files: &Files) -> Result<bool> {
    match files.config(CONFIG)? {
        Some(config) => config.flag("normalize", false),
        None => Ok(false),
    }
}

/// Completes a route with what its table turned out to be. Returns whether texts are tokenised by
/// model2vec's rules.
pub fn finish(route: &mut Route, tables: &[FinishedTable], has_modules: bool) -> Result<bool> {
    let Body::Static(embedding) = &mut route.body else {
        return Ok(false);
    };
    let FinishedTable {
        table,
        only_model2vec,
        ..
    } = &tables[embedding.table];
    let [rows, columns] = table.shape();
    embedding.vocab_size = table.mapping().map_or(rows, <[u32]>::len);
    match embedding.input {
        None => embedding.head.dimensions = columns,
        Some(input) if input != columns => {
            return Err(Error::UnsupportedModel(format!(
                "the first Dense module takes {input} values, and the static table has {columns} columns; check that both belong to the same model"
            )));
        }
        Some(_) => {}
    }
    if has_modules && !only_model2vec {
        return Ok(false);
    }
    let tokenizer = &route.tokenizer;
    if table.mapping().is_none() && rows != tokenizer.size() {
        return Err(Error::InvalidTokenizer(format!(
            "it has {} tokens, and model2vec's table has {rows} rows and no mapping; check that both belong to the same model",
            tokenizer.size()
        )));
    }
    embedding.dropped = tokenizer.unknown();
    if let Some(limit) = embedding.model2vec_limit {
        let characters = limit.saturating_mul(tokenizer.median_length());
        route.tokenizer = tokenizer.with_characters(characters).into();
        route.max_tokens = limit;
    } else {
        route.max_tokens = UNLIMITED;
    }
    Ok(true)
}

/// model2vec's limit of tokens; none if config.json has null.
pub fn max_length(files: &Files) -> Result<Option<usize>> {
    const FIELD: &str = "max_length";
    let Some(config) = files.config(CONFIG)? else {
        return Ok(Some(MAX_LENGTH));
    };
    let limit = config.size_or(FIELD, MAX_LENGTH, UNLIMITED)?;
    let is_null = config.into_fields().get(FIELD).is_some_and(Value::is_null);
    Ok((!is_null).then_some(limit))
}
