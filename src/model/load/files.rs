//! The small files of a model: their names, and what is known about each.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::families::config::Config;

/// sentence-transformers' list of modules.
pub const MODULES: &str = "modules.json";
/// Settings of a transformer or of any other module, in the module's folder.
pub const CONFIG: &str = "config.json";
/// sentence-transformers' settings of the whole model: prompts, similarity function.
pub const MODEL_SETTINGS: &str = "config_sentence_transformers.json";
/// The tokenizer.
pub const TOKENIZER: &str = "tokenizer.json";
/// Settings of the tokenizer.
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// Special tokens of older tokenizers. Not read if `tokenizer_config.json` lists the added tokens.
pub const SPECIAL_TOKENS: &str = "special_tokens_map.json";
/// Added tokens of older tokenizers. Not read if `tokenizer_config.json` lists them.
pub const ADDED_TOKENS: &str = "added_tokens.json";
/// Weights of a module, in the module's folder.
pub const WEIGHTS: &str = "model.safetensors";
/// BGE-M3's head for lexical weights, beside its encoder. Most models of the family lack it.
pub const LEXICAL: &str = "sparse_linear.safetensors";
/// BGE-M3's head for late interaction, beside its encoder. Most models of the family lack it.
pub const COLBERT: &str = "colbert_linear.safetensors";

/// Small files by path. `None` means that the source has no file of the name.
#[derive(Default)]
pub struct Files(BTreeMap<String, Option<Vec<u8>>>);

impl Files {
    /// The file's bytes, if the source has it.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name)?.as_deref()
    }

    /// Whether the source was asked for the file.
    pub fn is_known(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether the source was asked for the file and does not have it.
    pub fn is_absent(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(Option::is_none)
    }

    /// The bytes of a file that the model cannot do without.
    pub fn required(&self, name: &str) -> Result<&[u8]> {
        self.bytes(name)
            .ok_or_else(|| Error::MissingFile(name.to_owned()))
    }

    /// The file as a configuration, if the source has it.
    pub fn config(&self, name: &str) -> Result<Option<Config>> {
        self.bytes(name)
            .map(|bytes| Config::parse(name, bytes))
            .transpose()
    }

    /// Records a file, or with `None` that the source does not have it.
    pub fn insert(&mut self, name: &str, bytes: Option<Vec<u8>>) {
        self.0.insert(name.to_owned(), bytes);
    }

    /// Drops all files but those that `keep` returns true for.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.0.retain(|name, _| keep(name));
    }

    /// The files that the source has.
    pub fn into_present(self) -> BTreeMap<String, Arc<Vec<u8>>> {
        let files = self.0.into_iter();
        files
            .filter_map(|(name, file)| Some((name, file?.into())))
            .collect()
    }
}
