//! Calls that need no pass through the model, in bounded steps: tokens of texts, and where they are
//! split into chunks.

use crate::backend::Backend;
use crate::error::Result;
use crate::model::loaded::Model;
use crate::text::chunk::{ChunkStep, Chunker};
use crate::text::tokenizer::Description;
use crate::text::{Chunk, Chunking, Direction, Rules, Token};

/// What a call costs even for an empty text, in bytes of text that take as long.
const OVERHEAD: usize = 16;

/// What a step gives.
#[derive(Debug, PartialEq, Eq)]
pub enum TextStep<T> {
    /// Items of the current text, and whether it has no more.
    Items(Vec<T>, bool),
    /// All texts are done.
    Done,
}

/// Tokenises texts in steps.
pub struct TokenRun {
    texts: std::vec::IntoIter<String>,
    add_special_tokens: bool,
    current: Option<(String, Description)>,
}

impl TokenRun {
    pub(in crate::model) fn new(texts: Vec<String>, add_special_tokens: bool) -> Self {
        Self {
            texts: texts.into_iter(),
            add_special_tokens,
            current: None,
        }
    }

    /// Tokenises about `budget` bytes, and takes them off the budget.
    pub fn step<B: Backend>(
        &mut self,
        model: &impl AsRef<Model<B>>,
        budget: &mut usize,
    ) -> Result<TextStep<Token>> {
        let tokenizer = &model.as_ref().default_route().tokenizer;
        let special = self.add_special_tokens;
        let begin = |text: String| {
            let description = tokenizer.begin_description(&text, special);
            (text, description)
        };
        let current = self.current.take();
        let current = current.or_else(|| self.texts.next().map(begin));
        let Some((text, mut description)) = current else {
            return Ok(TextStep::Done);
        };
        *budget = budget.saturating_sub(OVERHEAD);
        let mut tokens = Vec::new();
        let is_end = tokenizer.describe_next(&text, &mut description, budget, &mut tokens)?;
        self.current = (!is_end).then_some((text, description));
        Ok(TextStep::Items(tokens, is_end))
    }
}

/// Splits texts into chunks in steps.
pub struct ChunkRun {
    texts: std::vec::IntoIter<String>,
    /// Number of the next text, for errors.
    number: usize,
    /// Index of the model's route.
    route: usize,
    prompt: String,
    chunking: Chunking,
    current: Option<Chunker>,
}

impl ChunkRun {
    pub(in crate::model) fn new(
        texts: Vec<String>,
        route: usize,
        prompt: String,
        chunking: Chunking,
    ) -> Self {
        Self {
            texts: texts.into_iter(),
            number: 0,
            route,
            prompt,
            chunking,
            current: None,
        }
    }

    /// Errors number the texts from `first`: they are a part of a longer list.
    pub fn count_from(&mut self, first: usize) {
        self.number = first;
    }

    /// Works until there is a chunk, or on about `budget` bytes, and takes these off the budget.
    pub fn step<B: Backend>(
        &mut self,
        model: &impl AsRef<Model<B>>,
        budget: &mut usize,
    ) -> Result<TextStep<Chunk>> {
        let route = &model.as_ref().routes[self.route];
        let rules = Rules {
            prompt: &self.prompt,
            skip_prompt: false,
            limit: route.max_tokens,
            truncate: true,
            direction: Direction::Model,
        };
        let tokenizer = &route.tokenizer;
        let begin = |text| Chunker::new(tokenizer, self.number, text, rules, self.chunking);
        let current = self.current.take().map(Ok);
        let current = current.or_else(|| self.texts.next().map(begin));
        let Some(mut chunker) = current.transpose()? else {
            return Ok(TextStep::Done);
        };
        *budget = budget.saturating_sub(OVERHEAD);
        let (items, is_end) = match chunker.next(tokenizer, rules, budget)? {
            ChunkStep::Chunk(chunk, _) => (vec![chunk], false),
            ChunkStep::Pending => (Vec::new(), false),
            ChunkStep::Done => (Vec::new(), true),
        };
        self.number += usize::from(is_end);
        self.current = (!is_end).then_some(chunker);
        Ok(TextStep::Items(items, is_end))
    }
}
