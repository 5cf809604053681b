//! The inputs of a run that wait for their pass.

use std::collections::VecDeque;

use crate::error::{Error, Result};
use crate::model::run::options::TextOptions;
use crate::model::transformer::late::Task;
use crate::model::transformer::route::Route;
use crate::text::chunk::{ChunkStep, Chunker, late_pass};
use crate::text::{Chunk, Chunking, Direction, Input, Rules, SpecialToken, Tokens};

/// A text that must not be cut is refused before it is tokenised if it has more than this many
/// characters for each token that the model takes. Words that long do not occur.
const CHARACTERS: usize = 100;

/// The inputs that wait, tokenised as passes have room for them.
pub struct Queue {
    inputs: std::vec::IntoIter<Input>,
    /// Number of the next input, for errors.
    pub number: usize,
    /// Tokenised inputs, of which the last pass had no room for the first one.
    waiting: VecDeque<Tokens>,
    /// How inputs are split into chunks, if they are.
    pub chunking: Option<Chunking>,
    /// The text that is being split.
    splitting: Option<Splitting>,
    /// The chunks of each input so far.
    pub chunks: Vec<Vec<Chunk>>,
    prompt: String,
    skip_prompt: bool,
    truncate: bool,
    direction: Direction,
    /// What a model that is made for late interaction takes the inputs for.
    pub task: Option<Task>,
    /// The prompt of the first input, which is a query that the others are ranked for.
    pub query: Option<String>,
}

/// A text that is being split.
enum Splitting {
    Chunks(Box<Chunker>),
    /// Late chunking: all chunks are known, and those before a number have had their pass.
    Passes(String, usize),
}

impl Queue {
    /// A queue of inputs that get vectors. Errors if there are none, or if one is a pair of texts.
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

    /// A queue of any inputs, or of none.
    pub fn of(inputs: Vec<Input>, prompt: String, skip_prompt: bool, options: TextOptions) -> Self {
        Self {
            inputs: inputs.into_iter(),
            number: 0,
            waiting: VecDeque::new(),
            chunking: None,
            splitting: None,
            chunks: Vec::new(),
            prompt,
            skip_prompt,
            truncate: options.truncate.unwrap_or(true),
            direction: options.direction,
            task: None,
            query: None,
        }
    }

    /// Whether no input waits.
    pub fn is_empty(&self) -> bool {
        self.inputs.as_slice().is_empty() && self.waiting.is_empty() && self.splitting.is_none()
    }

    /// The next input if it has at most `room` tokens. None also if `budget` is spent, from which
    /// splitting a text takes the bytes that it works on.
    pub fn next(
        &mut self,
        route: &Route,
        room: usize,
        budget: &mut usize,
    ) -> Result<Option<Tokens>> {
        while self.waiting.is_empty() {
            if let Some(splitting) = self.splitting.take() {
                if *budget == 0 {
                    self.splitting = Some(splitting);
                    return Ok(None);
                }
                self.split(route, splitting, budget)?;
            } else if let Some(input) = self.inputs.next() {
                self.begin(route, input)?;
            } else {
                return Ok(None);
            }
        }
        let fits = |tokens: &mut Tokens| tokens.ids.len() <= room;
        Ok(self.waiting.pop_front_if(fits))
    }

    fn rules(&self, route: &Route) -> Rules<'_> {
        Rules {
            prompt: &self.prompt,
            skip_prompt: self.skip_prompt,
            limit: route.max_tokens,
            truncate: self.truncate,
            direction: self.direction,
        }
    }

    /// Tokenises an input, or begins to split it.
    fn begin(&mut self, route: &Route, input: Input) -> Result<()> {
        if let Some(prompt) = self.query.take() {
            let rules = Rules {
                prompt: &prompt,
                ..self.rules(route)
            };
            check_input(self.number, route, &input, rules)?;
            let tokens = route.tokens(Some(Task::Query), self.number, &input, rules)?;
            return self.push(route, tokens);
        }
        let rules = self.rules(route);
        match (self.chunking, input) {
            (None, input) => {
                check_input(self.number, route, &input, rules)?;
                let tokens = route.tokens(self.task, self.number, &input, rules)?;
                self.number += 1;
                self.push(route, tokens)
            }
            (Some(chunking), Input::Text(text)) => {
                let tokenizer = &route.tokenizer;
                let chunker = Chunker::new(tokenizer, self.number, text, rules, chunking)?;
                self.splitting = Some(Splitting::Chunks(Box::new(chunker)));
                self.chunks.push(Vec::new());
                Ok(())
            }
            (Some(_), Input::Ids(_) | Input::Pair(..)) => Err(Error::input(
                "texts",
                "token ids cannot be cut in chunks: they have no sentences; pass texts",
            )),
        }
    }

    /// Works on a text until there are tokens for a pass, the budget is spent, or the text is done.
    fn split(&mut self, route: &Route, mut splitting: Splitting, budget: &mut usize) -> Result<()> {
        let late = self.chunking.is_some_and(|chunking| chunking.late);
        let step = match &mut splitting {
            Splitting::Chunks(chunker) => {
                chunker.next(&route.tokenizer, self.rules(route), budget)?
            }
            Splitting::Passes(text, done) => {
                let chunks = self.chunks.last().map_or(&[][..], Vec::as_slice);
                if *done == chunks.len() {
                    self.number += 1;
                    return Ok(());
                }
                let (tokenizer, rules) = (&route.tokenizer, self.rules(route));
                let first = chunks[*done].bytes.start;
                let (tokens, end) = late_pass(tokenizer, self.number, text, rules, chunks, *done)?;
                *budget = budget.saturating_sub(chunks[end - 1].bytes.end - first);
                *done = end;
                self.splitting = Some(splitting);
                return self.push(route, tokens);
            }
        };
        match (step, splitting) {
            (ChunkStep::Chunk(chunk, tokens), splitting) => {
                if let Some(chunks) = self.chunks.last_mut() {
                    chunks.push(chunk);
                }
                self.splitting = Some(splitting);
                if !late {
                    return self.push(route, tokens);
                }
            }
            (ChunkStep::Done, Splitting::Chunks(chunker)) if late => {
                self.splitting = Some(Splitting::Passes(chunker.into_text(), 0));
            }
            (ChunkStep::Done, _) => self.number += 1,
            (ChunkStep::Pending, splitting) => self.splitting = Some(splitting),
        }
        Ok(())
    }

    fn push(&mut self, route: &Route, tokens: Tokens) -> Result<()> {
        check_ids(&tokens.ids, route.vocab_size())?;
        self.waiting.push_back(tokens);
        Ok(())
    }
}

/// Errors if a text would take long only to be refused, or if token ids are not from the model's
/// own tokenizer: these begin and end with the special tokens of its template.
pub fn check_input(index: usize, route: &Route, input: &Input, rules: Rules) -> Result<()> {
    let check_text = |text: &str| {
        let limit = route.max_tokens.saturating_mul(CHARACTERS);
        // The number of bytes is at least the number of characters, and needs no counting.
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
            let frame = route.tokenizer.frame();
            let same = |(own, (id, _)): (&u32, &SpecialToken)| own == id;
            let (before, after) = (&frame.before, &frame.after);
            let rest = ids.get(before.len()..).unwrap_or_default();
            let end = rest.len().checked_sub(after.len()).map(|at| &rest[at..]);
            if ids.len() >= before.len()
                && ids.iter().zip(before).all(same)
                && end.is_some_and(|end| end.iter().zip(after).all(same))
            {
                return Ok(());
            }
            let names = |tokens: &[SpecialToken]| {
                let names: Vec<&str> = tokens.iter().map(|(_, name)| name.as_str()).collect();
                names.join(" ")
            };
            Err(Error::ForeignTokens {
                index,
                expected: format!("{} … {}", names(before), names(after)),
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
