//! Late interaction (`ColBERT`, Khattab & Zaharia 2020): a query and a document are compared by the
//! vectors of their tokens. Queries and documents become tokens in ways of their own, and not every
//! token has a vector.

use crate::error::{Error, Result};
use crate::model::run::outputs::Measure;
use crate::text::{Input, Rules, Tokenizer, Tokens};

/// How texts become tokens, and which of these have vectors.
#[derive(Clone, Debug)]
pub struct Late {
    /// Queries.
    pub query: Side,
    /// Documents.
    pub document: Side,
    /// Whether white space around a text is removed.
    pub strips: bool,
    /// Whether such a text is lower-cased then, special tokens in it, too.
    pub lowercases: bool,
    /// Whether a task selects the prompt of its name.
    pub prompts: bool,
    /// How a document's score is made.
    pub measure: Measure,
}

/// What texts are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// To be compared with documents.
    Query,
    /// To be found.
    Document,
}

/// How the texts of one task become tokens.
#[derive(Clone, Debug)]
pub struct Side {
    /// The most tokens, special tokens and marker included.
    pub limit: usize,
    /// The token that is put after the first one.
    pub marker: Option<u32>,
    /// Tokens that have no vector, in ascending order.
    pub skipped: Vec<u32>,
    /// What short texts are filled up with.
    pub expansion: Option<Expansion>,
}

/// Tokens at the end of short queries.
#[derive(Clone, Copy, Debug)]
pub struct Expansion {
    /// The token, a mask.
    pub token: u32,
    /// The number of tokens that a text has with them.
    pub length: usize,
    /// Whether tokens attend to them. They attend to the text's own tokens in either case.
    pub attended: bool,
}

impl Task {
    /// The task of a name that `Model::route` has accepted.
    pub fn from_name(name: Option<&str>) -> Result<Self> {
        match name {
            Some("query") => Ok(Self::Query),
            Some("document") => Ok(Self::Document),
            _ => Err(Error::input(
                "task",
                "this model reads queries and documents in different ways; say which these texts are: task \"query\" or \"document\"",
            )),
        }
    }
}

impl Late {
    /// The most tokens of a document.
    pub fn limit(&self) -> usize {
        self.document.limit
    }

    /// The rules of a task.
    pub fn side(&self, task: Task) -> &Side {
        match task {
            Task::Query => &self.query,
            Task::Document => &self.document,
        }
    }

    /// Tokens of input number `index`, which the errors name.
    pub fn tokens(
        &self,
        task: Task,
        tokenizer: &Tokenizer,
        index: usize,
        input: &Input,
        rules: Rules,
    ) -> Result<Tokens> {
        match input {
            Input::Text(text) if self.strips => {
                let text = [rules.prompt, text].concat();
                let text = text.trim_matches(is_space);
                let text = Input::Text(if self.lowercases {
                    text.to_lowercase()
                } else {
                    text.to_owned()
                });
                let rules = Rules {
                    prompt: "",
                    ..rules
                };
                self.side(task).tokens(tokenizer, index, &text, rules)
            }
            input => self.side(task).tokens(tokenizer, index, input, rules),
        }
    }
}

impl Side {
    fn tokens(
        &self,
        tokenizer: &Tokenizer,
        index: usize,
        input: &Input,
        rules: Rules,
    ) -> Result<Tokens> {
        let added = usize::from(self.marker.is_some());
        let rules = Rules {
            limit: self.limit - added,
            ..rules
        };
        let tokens = tokenizer.tokens(index, input, rules);
        let mut tokens = tokens.map_err(|error| match error {
            Error::InputTooLong {
                index,
                tokens,
                limit,
            } => Error::InputTooLong {
                index,
                tokens: tokens + added,
                limit: limit + added,
            },
            error => error,
        })?;
        let ids = &mut tokens.ids;
        if let Some(marker) = self.marker {
            ids.insert(ids.len().min(1), marker);
        }
        if let Some(expansion) = self.expansion {
            let missing = expansion.length.saturating_sub(ids.len());
            ids.resize(ids.len() + missing, expansion.token);
            if !expansion.attended {
                tokens.unattended = missing;
            }
        }
        let is_skipped = |id: &u32| self.skipped.binary_search(id).is_ok();
        let places = tokens.ids.iter().enumerate();
        let dropped = places.filter(|(_, id)| is_skipped(id));
        tokens.dropped = dropped.map(|(at, _)| at).collect();
        Ok(tokens)
    }

    /// The most expansion tokens that nothing attends to and that are not attended by themselves,
    /// as the distance from the last of them to the last token of a text of `least` tokens.
    pub fn reach(&self, least: usize) -> usize {
        match self.expansion {
            Some(expansion) if !expansion.attended => expansion.length.saturating_sub(least),
            _ => 0,
        }
    }
}

/// White space as Python's `str.strip` has it.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}
