//! What a model's other files say about its tokenizer: tokenizer_config.json, added_tokens.json and their like.

use super::parts::Parts;
use crate::error::Result;

/// Changes to a tokenizer.json.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether texts are lower-cased before anything else, whatever the tokenizer does (`do_lower_case` of
    /// `sentence_bert_config.json`).
    pub lowercase_text: bool,
}

impl Settings {
    /// Changes the parts of a tokenizer.json.
    #[expect(
        clippy::unnecessary_wraps,
        clippy::unused_self,
        reason = "nothing is changed yet"
    )]
    pub fn apply(&self, _: &mut Parts) -> Result<()> {
        Ok(())
    }
}
