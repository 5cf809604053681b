//! Inputs that wait for their pass.

use std::collections::VecDeque;

use crate::error::{Error, Result};
use crate::model::run::options::TextOptions;
use crate::model::transformer::route::Route;
use crate::text::tokenizer::Rules;
use crate::text::{Chunk, Chunking, Direction, Input, Token, Tokens};

/// Characters of a text for each token that the model takes, beyond which it is not even tokenised unless it may be cut.
const CHARACTERS: usize = 100;

/// Inputs that wait to be tokenised and packed.
pub struct Queue {
    inputs: std::vec::IntoIter<Input>,
    /// Number of the next input, for errors.
    pub number: usize,
    /// Tokenised, but more than the last step could take.
    waiting: VecDeque<Tokens>,
    /// How inputs are cut, if they are.
    pub chunking: Option<Chunking>,
    /// The chunks of each input that was cut.
    pub chunks: Vec<Vec<Chunk>>,
    prompt: String,
    skip_prompt: bool,
    truncate: bool,
    direction: Direction,
}

impl Queue {
    /// Refuses a list of none.
    pub fn new(
        inputs: Vec<Input>,
        prompt: String,
        skip_prompt: bool,
        options: TextOptions,
    ) -> Result<Self> {
        if inputs.is_empty() {
            return Err(Error::EmptyInput(
                "there is nothing to embed: pass at least one text".to_owned(),
            ));
        }
        if inputs.iter().any(|input| matches!(input, Input::Pair(..))) {
            return Err(Error::input(
                "input",
                "pairs of texts have scores, not vectors",
            ));
        }
        Ok(Self::of(inputs, prompt, skip_prompt, options))
    }

    /// Takes any list: none of no inputs is an error.
    pub fn of(inputs: Vec<Input>, prompt: String, skip_prompt: bool, options: TextOptions) -> Self {
        Self {
            inputs: inputs.into_iter(),
            number: 0,
            waiting: VecDeque::new(),
            chunking: None,
            chunks: Vec::new(),
            prompt,
            skip_prompt,
            truncate: options.truncate.unwrap_or(true),
            direction: options.direction,
        }
    }

    /// Whether no input waits.
    pub fn is_empty(&self) -> bool {
        self.inputs.as_slice().is_empty() && self.waiting.is_empty()
    }

    /// The next input, if it has at most `room` tokens.
    pub fn next(&mut self, route: &Route, room: usize) -> Result<Option<Tokens>> {
        while self.waiting.is_empty() {
            let Some(input) = self.inputs.next() else {
                return Ok(None);
            };
            self.tokenize(route, &input)?;
        }
        let fits = |tokens: &mut Tokens| tokens.ids.len() <= room;
        Ok(self.waiting.pop_front_if(fits))
    }

    fn tokenize(&mut self, route: &Route, input: &Input) -> Result<()> {
        let rules = Rules {
            prompt: &self.prompt,
            skip_prompt: self.skip_prompt,
            limit: route.max_tokens,
            truncate: self.truncate,
            direction: self.direction,
        };
        if self.chunking.is_none() {
            check_input(self.number, route, input, rules)?;
        }
        let tokens = match (self.chunking, input) {
            (None, _) => vec![route.tokenizer.tokens(self.number, input, rules)?],
            (Some(chunking), Input::Text(text)) if chunking.late => {
                let tokenizer = &route.tokenizer;
                let (chunks, passes) = tokenizer.late_chunks(self.number, text, rules, chunking)?;
                self.chunks.push(chunks);
                passes
            }
            (Some(chunking), Input::Text(text)) => {
                let tokenizer = &route.tokenizer;
                let chunks = tokenizer.chunks(self.number, text, rules, chunking)?;
                let (chunks, tokens) = chunks.into_iter().unzip();
                self.chunks.push(chunks);
                tokens
            }
            (Some(_), Input::Ids(_) | Input::Pair(..)) => {
                return Err(Error::input(
                    "texts",
                    "token ids cannot be cut in chunks: they have no sentences; pass texts",
                ));
            }
        };
        self.number += 1;
        for tokens in &tokens {
            check_ids(&tokens.ids, route.vocab_size())?;
        }
        self.waiting.extend(tokens);
        Ok(())
    }
}

/// Refuses a text that would take long only to be refused, and token ids that are not the model's own tokenizer's.
pub(in crate::model) fn check_input(
    index: usize,
    route: &Route,
    input: &Input,
    rules: Rules,
) -> Result<()> {
    let check_text = |text: &str| {
        let limit = route.max_tokens.saturating_mul(CHARACTERS);
        // A character has a byte at least.
        if rules.truncate || text.len() <= limit {
            return Ok(());
        }
        let characters = text.chars().count();
        if characters <= limit {
            return Ok(());
        }
        Err(Error::TextTooLong {
            index,
            characters,
            limit,
        })
    };
    match input {
        Input::Text(text) => check_text(text),
        Input::Pair(first, second) => check_text(first).and_then(|()| check_text(second)),
        Input::Ids(ids) => {
            check_ids(ids, route.vocab_size())?;
            let (before, after) = route.tokenizer.frame()?;
            let ids_of =
                |tokens: &[Token]| -> Vec<u32> { tokens.iter().map(|token| token.id).collect() };
            let inner = ids.strip_prefix(ids_of(&before).as_slice());
            if inner.is_some_and(|rest| rest.ends_with(&ids_of(&after))) {
                return Ok(());
            }
            let names = |tokens: &[Token]| {
                let names: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
                names.join(" ")
            };
            Err(Error::ForeignTokens {
                index,
                expected: format!("{} … {}", names(&before), names(&after)),
            })
        }
    }
}

fn check_ids(ids: &[u32], size: usize) -> Result<()> {
    match ids.iter().find(|id| **id as usize >= size) {
        Some(id) => Err(Error::TokenOutOfRange {
            id: u64::from(*id),
            size,
        }),
        None => Ok(()),
    }
}
