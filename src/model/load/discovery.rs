//! Which files a model consists of. What one file says may make others necessary.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::model::families;
use crate::model::families::config::Config;
use crate::model::load::files::{
    ADAPTER_CONFIG, ADDED_TOKENS, CHAT_TEMPLATE, COLBERT, CONFIG, Files, LEXICAL, METADATA,
    MODEL_SETTINGS, MODULES, SPECIAL_TOKENS, TOKENIZER, TOKENIZER_CONFIG,
};
use crate::model::load::heads;
use crate::model::load::late_layout;
use crate::model::load::pipeline::{self, ModuleEntry, ROUTER, RouteEntries};
use crate::model::load::sentence;
use crate::model::load::static_files;
use crate::text;
use crate::weights;

/// Small files that are still to be asked for, sorted. None when all are known.
pub fn unknown_files(files: &Files) -> Result<Vec<String>> {
    let mut names = needed_files(files)?;
    names.push(MODEL_SETTINGS.to_owned());
    names.retain(|name| !files.is_known(name));
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// The small files that the known ones make necessary.
fn needed_files(files: &Files) -> Result<Vec<String>> {
    let mut names = vec![MODULES.to_owned()];
    let modules = modules(files)?;
    let has_modules = modules.is_some();
    let modules = modules.unwrap_or_else(|| vec![root()]);
    if let Some(router) = router(&modules) {
        names.push(router.file(ROUTER));
        if files.bytes(&router.file(ROUTER)).is_none() {
            return Ok(names);
        }
    }
    for route in routes(files, &modules)?.0 {
        for (index, module) in route.modules.iter().enumerate() {
            names.extend(match module.kind.as_str() {
                _ if index > 0 => vec![module.file(CONFIG)],
                "StaticEmbedding" => static_files::wanted(module),
                "SparseStaticEmbedding" | "IDF" => table_files(files, module)?,
                _ => encoder_files(files, module, has_modules, &route.modules[1..])?,
            });
        }
    }
    // Until modules.json is known, the files are asked for that nearly every model has in its root.
    if !has_modules {
        names.extend(transformer_files(files, &root())?);
    }
    Ok(names)
}

/// The modules of modules.json, if there is one.
pub fn modules(files: &Files) -> Result<Option<Vec<ModuleEntry>>> {
    files.bytes(MODULES).map(pipeline::entries).transpose()
}

/// The routes through `modules`, and the index of the default one.
pub fn routes(files: &Files, modules: &[ModuleEntry]) -> Result<(Vec<RouteEntries>, usize)> {
    let config = router(modules).map(|router| {
        let path = router.file(ROUTER);
        Config::parse(&path, files.required(&path)?)
    });
    pipeline::routes(modules, config.transpose()?.as_ref())
}

fn router(modules: &[ModuleEntry]) -> Option<&ModuleEntry> {
    modules.first().filter(|module| module.kind == "Router")
}

/// The transformer in the model's own folder: the only module of a model without modules.json.
pub fn root() -> ModuleEntry {
    ModuleEntry {
        kind: "Transformer".to_owned(),
        path: String::new(),
        is_pylate: false,
    }
}

/// The small files of a transformer and of the heads that may lie beside it.
fn encoder_files(
    files: &Files,
    module: &ModuleEntry,
    has_modules: bool,
    rest: &[ModuleEntry],
) -> Result<Vec<String>> {
    let mut names = transformer_files(files, module)?;
    // Older names of sentence_bert_config.json are asked for only if it is known to be absent.
    if has_modules && files.is_absent(&module.file(sentence::NAMES[0])) {
        names.extend(sentence::NAMES[1..].iter().map(|name| module.file(name)));
    }
    let config = files.config(&module.file(CONFIG))?;
    let may_be_asked = rest.iter().all(|module| module.kind == "LogitScore");
    if may_be_asked && config.as_ref().is_some_and(heads::may_ask) {
        names.push(module.file(CHAT_TEMPLATE));
    }
    if config.as_ref().is_some_and(late_layout::is_stanford) {
        names.push(module.file(METADATA));
    }
    let has_heads = |config: &Config| families::find(config).is_ok_and(|family| family.m3_heads);
    if config.is_some_and(|config| has_heads(&config)) {
        for name in [LEXICAL, COLBERT].map(|name| module.file(name)) {
            names.extend(weights::alternative(&name));
            names.push(name);
        }
    }
    Ok(names)
}

/// The small files of a transformer alone.
fn transformer_files(files: &Files, module: &ModuleEntry) -> Result<Vec<String>> {
    let names = [CONFIG, TOKENIZER, TOKENIZER_CONFIG, sentence::NAMES[0]];
    let mut names = names.map(|name| module.file(name)).to_vec();
    names.extend(token_files(files, module)?);
    // What is no model may be an adapter.
    if files.is_absent(&module.file(CONFIG)) {
        names.push(module.file(ADAPTER_CONFIG));
    }
    Ok(names)
}

/// The files of a table of weights by token.
fn table_files(files: &Files, module: &ModuleEntry) -> Result<Vec<String>> {
    let names = [CONFIG, TOKENIZER, TOKENIZER_CONFIG];
    let mut names = names.map(|name| module.file(name)).to_vec();
    names.extend(token_files(files, module)?);
    if let Some(config) = files.config(&module.file(CONFIG))? {
        names.extend(table_paths(module, &config)?);
    }
    Ok(names)
}

/// The older files of tokens, if `tokenizer_config.json` is known not to replace them.
fn token_files(files: &Files, module: &ModuleEntry) -> Result<Vec<String>> {
    let path = module.file(TOKENIZER_CONFIG);
    let config = files.config(&path)?;
    let lists_tokens = config.is_some_and(|config| text::lists_tokens(&config.into_fields()));
    if !files.is_known(&path) || lists_tokens {
        return Ok(Vec::new());
    }
    let names = [SPECIAL_TOKENS, ADDED_TOKENS];
    Ok(names.map(|name| module.file(name)).to_vec())
}

/// Where the JSON file of a table of weights may be: beside the router, or in the module's folder.
pub fn table_paths(module: &ModuleEntry, config: &Config) -> Result<Vec<String>> {
    match config.text("path")? {
        Some(path) if pipeline::is_folder(path) && !path.is_empty() => {
            Ok(vec![path.to_owned(), module.file(path)])
        }
        Some(_) => Err(config.wrong("path", "the name of a JSON file in the model's folder")),
        None => Ok(Vec::new()),
    }
}

/// Reads an index of shards: the path of the shard that holds each tensor, by the tensor's name.
pub fn shards(path: &str, index: &[u8]) -> Result<Vec<(String, String)>> {
    let folder = weights::folder(path);
    let index = Config::parse(path, index)?;
    let map = index
        .get("weight_map")
        .map(BTreeMap::<String, String>::deserialize);
    match map {
        Some(Ok(map)) if !map.is_empty() && map.values().all(|file| pipeline::is_file(file)) => {
            let shards = map.into_iter();
            Ok(shards
                .map(|(tensor, file)| (tensor, format!("{folder}{file}")))
                .collect())
        }
        _ => {
            let reason =
                "weight_map must be an object of tensors' names and files in the same folder";
            Err(Error::config(path, reason))
        }
    }
}
