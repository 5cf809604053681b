//! The tokenizers of a model, from tokenizer.json and the settings beside it.

use std::sync::Arc;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::families::config::Config;
use crate::model::load::files::{
    ADDED_TOKENS, CONFIG, Files, SPECIAL_TOKENS, TOKENIZER, TOKENIZER_CONFIG,
};
use crate::model::load::fingerprint::Fingerprint;
use crate::model::load::pipeline::ModuleEntry;
use crate::model::load::sentence;
use crate::text::{self, Settings, Tokenizer};

/// Builds the tokenizers of a model's routes, each once: routes often share one.
pub struct Tokenizers<'a> {
    files: &'a Files,
    /// By the path and the settings that each was built from.
    built: Vec<(String, Settings, Arc<Tokenizer>)>,
    /// Hash of all of them.
    hash: Fingerprint,
}

/// What a tokenizer depends on besides its own files.
#[derive(Clone, Copy)]
pub struct Use {
    /// Rows of the embedding table.
    pub rows: usize,
    /// Name of the token at the end of every text. Part of the hash if the tokenizer adds special
    /// tokens.
    pub last: &'static str,
    /// Whether sentence-transformers' own files want texts in lower case.
    pub lowercase: bool,
}

impl<'a> Tokenizers<'a> {
    /// No tokenizers yet.
    pub fn new(files: &'a Files) -> Self {
        Self {
            files,
            built: Vec::new(),
            hash: Fingerprint::new(""),
        }
    }

    /// Hash of all tokenizers that were built.
    pub fn hash(&self) -> u64 {
        self.hash.0
    }

    /// The tokenizer of a module.
    pub fn get(&mut self, module: &ModuleEntry, usage: Use) -> Result<Arc<Tokenizer>> {
        let path = module.file(TOKENIZER);
        let bytes = self.files.required(&path)?;
        let settings = self.settings(module, usage)?;
        let built = self.built.iter().find(|(other, others, _)| {
            *others == settings && self.files.bytes(other) == Some(bytes)
        });
        if let Some((.., tokenizer)) = built {
            return Ok(Arc::clone(tokenizer));
        }
        let tokenizer = Arc::new(Tokenizer::new(bytes, &settings)?);
        self.hash.update_bytes(bytes);
        self.hash.update_bytes(tokenizer.changes().as_bytes());
        if tokenizer.added() > 0 {
            self.hash.update_bytes(usage.last.as_bytes());
        }
        self.built.push((path, settings, Arc::clone(&tokenizer)));
        Ok(tokenizer)
    }

    /// The tokenizer of a module by tokenizer.json alone, and without special tokens.
    pub fn alone(&mut self, module: &ModuleEntry) -> Result<Tokenizer> {
        let bytes = self.files.required(&module.file(TOKENIZER))?;
        self.hash.update_bytes(bytes);
        Ok(Tokenizer::new(bytes, &Settings::default())?.without_special_tokens())
    }

    fn settings(&self, module: &ModuleEntry, usage: Use) -> Result<Settings> {
        let fields = |name: &str| -> Result<_> {
            let config = self.files.config(&module.file(name))?;
            Ok(config.map(Config::into_fields).unwrap_or_default())
        };
        let (config, model) = (fields(TOKENIZER_CONFIG)?, fields(CONFIG)?);
        let older = |name: &str| {
            if text::lists_tokens(&config) {
                Ok(serde_json::Map::new())
            } else {
                fields(name)
            }
        };
        let text = |field: &str| model.get(field).and_then(Value::as_str).map(str::to_owned);
        Ok(Settings {
            special_tokens: older(SPECIAL_TOKENS)?,
            added_tokens: older(ADDED_TOKENS)?,
            model_type: text("model_type").unwrap_or_default(),
            class: text("tokenizer_class"),
            lowercase_text: usage.lowercase,
            rows: usage.rows,
            config,
        })
    }

    /// The maximum number of tokens that the tokenizer's own files state. `usize::MAX` if they
    /// state none.
    pub fn max_tokens(&self, module: &ModuleEntry) -> Result<usize> {
        let limit = match self.files.config(&module.file(TOKENIZER_CONFIG))? {
            Some(config) => sentence::limit(&config, "model_max_length")?,
            None => None,
        };
        Ok(limit.unwrap_or(usize::MAX))
    }
}

/// Checks that every id of the tokenizer has a row in an embedding table of `rows` rows.
pub fn check_ids(tokenizer: &Tokenizer, rows: usize) -> Result<()> {
    let last = tokenizer.last();
    if (last as usize) < rows {
        return Ok(());
    }
    Err(Error::InvalidTokenizer(format!(
        "it has the token id {last}, and the model's embedding table has {rows} rows (vocab_size in config.json); check that both belong to the same model"
    )))
}
