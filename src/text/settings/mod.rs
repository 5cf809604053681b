//! Applies the files beside a tokenizer.json to it: `tokenizer_config.json`, `added_tokens.json`,
//! `special_tokens_map.json`, config.json and `sentence_bert_config.json`.
//!
//! The result is that of transformers 5. A tokenizer class that it knows builds normalizer,
//! pre-tokenizer and template itself, and uses only the vocabulary of tokenizer.json; for any other
//! class tokenizer.json is used as it is. docs/tokenizers.md lists every field, and the differences
//! of transformers 4.

mod added;
mod classes;
mod files;
mod rebuild;
mod token;

use serde_json::Value;

use self::files::wrong;
pub use self::files::{Settings, lists_tokens};
use self::rebuild::lowercase;
use self::token::{content_of, token};
use super::pair::Pair;
use super::parts::Parts;
use super::rules::Direction;
use crate::error::Result;

/// Properties of a tokenizer besides its parts.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// What the settings changed, for hashes. Empty if nothing.
    pub changes: String,
    /// The end at which long texts are truncated.
    pub direction: Direction,
    /// Whether special tokens in a text are treated as text.
    pub split_special_tokens: bool,
    /// The token at the end of every text, if the files name one.
    pub end: Option<String>,
    /// Whether it is added if the template does not add it.
    pub closes: bool,
    /// The template of the tokenizer's class for two texts, which replaces the file's.
    pub pair: Option<Pair>,
    /// Whether the model is given token types.
    pub token_types: bool,
    /// The mask token, or else the end of a text, and the unknown token.
    pub named: [Option<String>; 2],
}

impl Settings {
    /// Applies the settings to the parts of a tokenizer.json.
    pub fn apply(&self, parts: &mut Parts) -> Result<Applied> {
        let mut applied = Applied {
            direction: self.direction(parts)?,
            split_special_tokens: self.flag("split_special_tokens")? == Some(true),
            ..Applied::default()
        };
        let code = self.config.get("auto_map");
        if code.is_some_and(|code| code.is_array() || code.get("AutoTokenizer").is_some()) {
            return Err(wrong(
                "auto_map",
                "names code of the model's own for its tokenizer, which cannot be run here; save the tokenizer with transformers' own class",
            ));
        }
        if self.model_type == "mistral" && self.flag("fix_mistral_regex")? == Some(true) {
            return Err(wrong(
                "fix_mistral_regex",
                "changes the tokenizer as it is loaded, which is not implemented; save it with the change made",
            ));
        }
        let class = self.class(parts)?;
        applied.token_types = self.token_types();
        let named = |field: &str| match self.get(field) {
            Some(value) => content_of(value).map(str::to_owned),
            None => class.and_then(|class| Some(class.token(field)?.content)),
        };
        let mask = named("mask_token").or_else(|| named("eos_token"));
        applied.named = [mask, named("unk_token")];
        let changes = &mut applied.changes;
        self.add_tokens(parts, class, changes)?;
        if let Some(class) = class {
            applied.pair = self.rebuild(parts, class, changes)?;
        }
        if self.lowercase_text {
            lowercase(&mut parts.normalizer, changes);
        }
        if applied.split_special_tokens {
            changes.push_str("split");
        }
        if applied.direction == Direction::Left {
            changes.push_str("left");
        }
        if self.flag("add_eos_token")? == Some(true) {
            let end = self.get("eos_token").filter(|value| !value.is_null());
            let end = end
                .map(|value| token("eos_token", value, true))
                .transpose()?;
            applied.end = end.map(|token| token.content);
            // transformers 4 adds it, and such models were trained with it. Version 5 ignores the
            // field.
            applied.closes = self.model_type == "mistral";
        }
        Ok(applied)
    }

    /// The end at which texts are truncated.
    fn direction(&self, parts: &Parts) -> Result<Direction> {
        let side = self.config.get("truncation_side");
        let side = side.or_else(|| parts.truncation.get("direction"));
        match side.map(Value::as_str) {
            None | Some(Some("right" | "Right")) => Ok(Direction::Right),
            Some(Some("left" | "Left")) => Ok(Direction::Left),
            Some(_) => Err(wrong("truncation_side", "must be \"left\" or \"right\"")),
        }
    }
}
