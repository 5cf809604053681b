//! The small files of a model: their names, and what is known about each.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::maps::map;
use crate::model::families::config::Config;

/// sentence-transformers' list of modules.
pub const MODULES: &str = "modules.json";
/// Settings of a transformer or of any other module, in the module's folder.
pub const CONFIG: &str = "config.json";
/// Settings of a `LoRA` adapter, in the adapter's folder.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
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
/// What puts messages into one text, of models that are trained on conversations.
pub const CHAT_TEMPLATE: &str = "chat_template.jinja";
/// Weights of a module, in the module's folder.
pub const WEIGHTS: &str = "model.safetensors";
/// BGE-M3's head for lexical weights, beside its encoder. Most models of the family lack it.
pub const LEXICAL: &str = "sparse_linear.safetensors";
/// BGE-M3's head for late interaction, beside its encoder. Most models of the family lack it.
pub const COLBERT: &str = "colbert_linear.safetensors";

/// Settings of Stanford's ColBERT, beside its encoder.
pub const METADATA: &str = "artifact.metadata";

/// Small files by path. `None` means that the source has no file of the name.
#[derive(Default)]
pub struct Files {
    /// As the source has them.
    original: BTreeMap<String, Option<Vec<u8>>>,
    /// Files that are read instead, because the caller has stated something.
    replaced: BTreeMap<String, Option<Vec<u8>>>,
}

/// Small files that the source has, by path.
pub type PresentFiles = BTreeMap<String, Arc<Vec<u8>>>;
/// Files that are read instead, by path. `None` for files that count as absent.
pub type ReplacedFiles = BTreeMap<String, Option<Arc<Vec<u8>>>>;

impl Files {
    /// The file's bytes, if the source has it.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.get(name)?.as_deref()
    }

    fn get(&self, name: &str) -> Option<&Option<Vec<u8>>> {
        let replaced = self.replaced.get(name);
        replaced.or_else(|| self.original.get(name))
    }

    /// Whether the source itself has the file.
    pub fn is_original(&self, name: &str) -> bool {
        self.original.get(name).is_some_and(Option::is_some)
    }

    /// Whether other bytes are read instead of the source's file.
    pub fn is_replaced(&self, name: &str) -> bool {
        self.replaced.get(name).is_some_and(Option::is_some)
    }

    /// Whether the source was asked for the file.
    pub fn is_known(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether the source was asked for the file and does not have it.
    pub fn is_absent(&self, name: &str) -> bool {
        self.get(name).is_some_and(Option::is_none)
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
        self.original.insert(name.to_owned(), bytes);
    }

    /// Has `bytes` read instead of a file of the source; `None` as if the source did not have it.
    pub fn replace(&mut self, name: &str, bytes: Option<Vec<u8>>) {
        self.replaced.insert(name.to_owned(), bytes);
    }

    /// Drops all files but those that `keep` returns true for.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.original.retain(|name, _| keep(name));
        self.replaced.retain(|name, _| keep(name));
    }

    /// The files that the source has, and those that are read instead.
    pub fn into_present(self) -> (PresentFiles, ReplacedFiles) {
        let original = self.original.into_iter();
        let original = original.filter_map(|(name, file)| Some((name, file?.into())));
        let replaced = self.replaced.into_iter();
        let replaced = replaced.map(|(name, file)| (name, file.map(Into::into)));
        (map(original), map(replaced))
    }
}
