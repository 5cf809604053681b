//! Text → token ids with the model's tokenizer.json: the tokens of the text as the `Pipeline`
//! gives them, cut to the model's limit, with the template's special tokens around them.
//!
//! Each part is an enum whose fields are checked when the file is read (`text::fields`). A few
//! texts are tokenised then, too: a tokenizer that loads does not fail later. The results are those
//! of the `tokenizers` crate. The truncation and padding of a tokenizer.json are not applied: the
//! model's own limit applies, and nothing is padded.

use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;

use super::Input;
use super::parts::Parts;
use super::pipeline::{Encoding, Ends, Found, Need, Pipeline, broken};
use super::question::Question;
use super::rules::{Direction, Rules};
use super::settings::Settings;
use super::template::{SpecialToken, Template};
use crate::error::{Error, Result};
use crate::full::Full;

/// If a text has too many tokens, the error counts them exactly up to this number.
pub(super) const COUNTED: usize = 100_000;
/// Texts that are tokenised when a tokenizer is built, to find texts that it fails on.
const SAMPLES: [&str; 3] = ["", "Hello world", " \u{e9}\u{4e2d}\u{1f600}\u{378}\n1st. "];

/// One tokenised input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Token ids, special tokens included.
    pub ids: Vec<u32>,
    /// Whether a part of the input was cut off.
    pub truncated: bool,
    /// Token types; none where all are 0.
    pub types: Vec<u32>,
    /// Tokens at the start that pooling leaves out.
    pub prompt: usize,
    /// Ranges of tokens that get a vector each. If there are none, all tokens get one vector.
    pub spans: Vec<Range<usize>>,
    /// Tokens at the end that no token attends to.
    pub unattended: usize,
    /// Places of tokens that get no vector of their own, in ascending order.
    pub dropped: Vec<usize>,
}

/// A token as `tokenize` describes it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// Its vocabulary entry.
    pub text: String,
    /// Whether the tokenizer added it (`[CLS]`, `</s>`, …).
    pub special: bool,
    /// Byte offset of its first byte in the text; none for special tokens.
    pub start: Option<usize>,
    /// Byte offset after its last byte.
    pub stop: Option<usize>,
}

/// A text whose tokens are described in steps, see [`Tokenizer::describe_next`].
pub struct Description {
    encoding: Encoding,
    add_special_tokens: bool,
    is_begun: bool,
}

/// The first or the last characters of a text.
fn cut_characters(text: &str, most: usize, direction: Direction) -> &str {
    let mut places = text.char_indices().map(|(at, _)| at);
    match direction {
        Direction::Left if most == 0 => "",
        Direction::Left => places.nth_back(most - 1).map_or(text, |at| &text[at..]),
        _ => places.nth(most).map_or(text, |at| &text[..at]),
    }
}

/// A model's tokenizer.
pub struct Tokenizer {
    pipeline: Arc<Pipeline>,
    /// Whether the template's special tokens are added.
    template: bool,
    /// Which end is cut off unless the caller says otherwise.
    direction: Direction,
    /// Whether the model is given the token types of pairs.
    types: bool,
    /// What the model's other files change in tokenizer.json, for hashes.
    changes: String,
    /// The limit of tokens in tokenizer.json.
    truncation: Option<usize>,
    /// The most characters of a text, if texts are cut before they are tokenised.
    characters: Option<usize>,
    /// The question that pairs of texts are put into, if the model is a decoder that is asked one.
    question: Option<Full<Arc<Question>>>,
    /// A token that does not count at the end of an input.
    padding: Option<u32>,
    /// The ids of the mask token, or else of the end of a text, and of unknown text, by the files
    /// and the tokenizer's class.
    named: [Option<u32>; 2],
}

impl Tokenizer {
    /// Reads tokenizer.json, applies the settings of the model's other files, and builds the
    /// tokenizer.
    pub fn new(json: &[u8], settings: &Settings) -> Result<Self> {
        let mut parts = Parts::parse(json)?;
        let truncation = parts.truncation.get("max_length").and_then(Value::as_u64);
        let applied = settings.apply(&mut parts)?;
        let pipeline = Pipeline::new(parts, applied.split_special_tokens);
        let mut pipeline = pipeline.map_err(Error::InvalidTokenizer)?;
        if let Some(pair) = applied.pair {
            pipeline.template.pair = Some(pair);
        }
        for sample in SAMPLES {
            pipeline.encode(sample, false, Need::All)?;
        }
        let mut changes = applied.changes;
        if let Some(end) = applied.end {
            let id = pipeline.id(&end);
            let Template { before, after, .. } = &pipeline.template;
            let last = after.last().or(before.last());
            let ends = last.map(|(id, _)| *id) == id;
            let eos = id.filter(|_| applied.closes && !ends);
            if ends || eos.is_some() {
                changes.push_str(&end);
            }
            if let Some(id) = eos {
                let name = pipeline.entry(id).unwrap_or_default().to_owned();
                pipeline.template.after.push((id, name));
                // No reference says where this token goes in a pair.
                pipeline.template.pair = None;
            }
        }
        let named = applied.named.map(|token| pipeline.id(&token?));
        Ok(Self {
            named,
            pipeline: Arc::new(pipeline),
            template: true,
            direction: applied.direction,
            types: applied.token_types,
            changes,
            truncation: truncation.and_then(|limit| usize::try_from(limit).ok()),
            characters: None,
            question: None,
            padding: None,
        })
    }

    /// What the model's other files change in tokenizer.json, as text for hashes.
    pub fn changes(&self) -> &str {
        &self.changes
    }

    /// Whether the model is given the token types of pairs.
    pub(super) fn gives_types(&self) -> bool {
        self.types
    }

    /// Ids of a text without those of the template.
    pub(super) fn ids(&self, text: &str, need: Need) -> Result<Vec<u32>> {
        Ok(self.pipeline.encode(text, false, need)?.ids)
    }

    /// Which end is cut off, left or right.
    pub(super) fn direction(&self, rules: Rules) -> Direction {
        match rules.direction {
            Direction::Model => self.direction,
            asked => asked,
        }
    }

    /// The same tokenizer, which adds no special tokens.
    #[must_use]
    pub fn without_special_tokens(&self) -> Self {
        Self {
            pipeline: Arc::clone(&self.pipeline),
            named: self.named,
            template: false,
            direction: self.direction,
            types: self.types,
            changes: self.changes.clone(),
            truncation: self.truncation,
            characters: self.characters,
            question: self.question.clone(),
            padding: self.padding,
        }
    }

    /// The same tokenizer for a reranker. Pairs of texts are put into `question`, if there is one.
    /// The score is that of the last token that is not `padding`.
    #[must_use]
    pub fn with_question(
        &self,
        question: Option<Full<Arc<Question>>>,
        padding: Option<u32>,
    ) -> Self {
        Self {
            pipeline: Arc::clone(&self.pipeline),
            template: self.template,
            changes: self.changes.clone(),
            question,
            padding,
            ..*self
        }
    }

    /// The question that pairs of texts are put into, if the model is a decoder that is asked one.
    pub fn question(&self) -> Option<&Question> {
        self.question.as_deref().map(AsRef::as_ref)
    }

    /// The same tokenizer, which cuts texts to this many characters before it tokenises them. It
    /// cuts off the end unless the caller says otherwise.
    #[must_use]
    pub fn with_characters(&self, most: usize) -> Self {
        Self {
            characters: Some(most),
            direction: Direction::Right,
            template: self.template,
            ..self.without_special_tokens()
        }
    }

    /// The limit of tokens in tokenizer.json, which is not applied here.
    pub fn truncation(&self) -> Option<usize> {
        self.truncation
    }

    /// The id of the mask token; where there is none, that of the end of a text.
    pub fn mask(&self) -> Option<u32> {
        self.named[0]
    }

    /// The id of the token that transformers takes for a token that the vocabulary lacks.
    pub fn unknown_token(&self) -> Option<u32> {
        self.named[1]
    }

    /// The id of text that the vocabulary lacks.
    pub fn unknown(&self) -> Option<u32> {
        self.pipeline.model.unknown()
    }

    /// The median number of characters of a vocabulary entry, rounded down.
    pub fn median_length(&self) -> usize {
        let entries = (0..=self.last()).filter_map(|id| self.pipeline.entry(id));
        let mut lengths: Vec<usize> = entries.map(|entry| entry.chars().count()).collect();
        lengths.sort_unstable();
        let middle = lengths.len() / 2;
        match lengths.get(middle) {
            Some(upper) if lengths.len().is_multiple_of(2) => (lengths[middle - 1] + upper) / 2,
            Some(middle) => *middle,
            None => 0,
        }
    }

    /// The id of a vocabulary entry.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.pipeline.id(token)
    }

    /// Number of vocabulary entries, added tokens included.
    pub fn size(&self) -> usize {
        self.pipeline.model.size() + self.pipeline.added.beyond(&self.pipeline.model)
    }

    /// The largest id that a text can get.
    pub fn last(&self) -> u32 {
        let Pipeline { model, added, .. } = &*self.pipeline;
        let (before, after) = self.around();
        let around = before.iter().chain(after).map(|(id, _)| *id).max();
        model.last().max(added.last()).max(around).unwrap_or(0)
    }

    /// Number of special tokens that are added to every text.
    pub fn added(&self) -> usize {
        let (before, after) = self.around();
        before.len() + after.len()
    }

    /// The vocabulary entry of `id`.
    pub fn entry(&self, id: u32) -> Option<String> {
        self.pipeline.entry(id).map(str::to_owned)
    }

    /// The text that tokens stand for.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        let tokens = ids.iter().filter_map(|id| self.pipeline.entry(*id));
        let is_left_out =
            |token: &&str| skip_special_tokens && self.pipeline.added.is_special(token);
        let tokens = tokens.filter(|token| !is_left_out(token));
        let tokens = tokens.map(str::to_owned).collect();
        self.pipeline.decoder.decode(tokens).map_err(broken)
    }

    /// The special tokens that the model puts before and after a text: ids and names.
    pub fn frame(&self) -> &Template {
        &self.pipeline.template
    }

    /// The special tokens that this tokenizer puts before and after a text.
    fn around(&self) -> (&[SpecialToken], &[SpecialToken]) {
        let Template { before, after, .. } = self.frame();
        if self.template {
            (before, after)
        } else {
            (&[], &[])
        }
    }

    /// Tokens with the special tokens around them.
    fn framed(&self, inner: &[u32]) -> Vec<u32> {
        let (before, after) = self.around();
        let mut ids = Vec::with_capacity(inner.len() + self.added());
        ids.extend(before.iter().map(|(id, _)| *id));
        ids.extend_from_slice(inner);
        ids.extend(after.iter().map(|(id, _)| *id));
        ids
    }

    /// Tokens of input number `index`, which the errors name.
    pub fn tokens(&self, index: usize, input: &Input, rules: Rules) -> Result<Tokens> {
        let mut tokens = self.all_tokens(index, input, rules)?;
        if let Some(padding) = self.padding {
            while tokens.ids.len() > 1 && tokens.ids.last() == Some(&padding) {
                tokens.ids.pop();
            }
            tokens.types.truncate(tokens.ids.len());
        }
        Ok(tokens)
    }

    fn all_tokens(&self, index: usize, input: &Input, rules: Rules) -> Result<Tokens> {
        match (input, &self.question) {
            (Input::Pair(first, second), question) => {
                let texts = [first.as_str(), second];
                let tokens = match question {
                    Some(question) => self.ask(index, question, texts, rules)?,
                    None => self.pair(index, texts, rules)?,
                };
                if tokens.ids.is_empty() {
                    return Err(Error::EmptyInput(format!(
                        "pair {index} has no tokens: both of its texts are empty"
                    )));
                }
                Ok(tokens)
            }
            (Input::Text(_), Some(_)) => Err(Error::input(
                "input",
                format!(
                    "input {index} is one text, and the model is asked about a query and a document: pass both"
                ),
            )),
            (Input::Text(text), None) => self.text(index, text, rules),
            (Input::Ids(ids), _) => {
                let mut ids = ids.clone();
                let truncated = ids.len() > rules.limit;
                check_length(index, ids.len(), rules)?;
                match self.direction(rules) {
                    Direction::Left => drop(ids.drain(..ids.len().saturating_sub(rules.limit))),
                    _ => ids.truncate(rules.limit),
                }
                Ok(Tokens {
                    ids,
                    truncated,
                    ..Tokens::default()
                })
            }
        }
    }

    #[inline(never)]
    fn text(&self, index: usize, text: &str, rules: Rules) -> Result<Tokens> {
        let with_prompt;
        let text = if rules.prompt.is_empty() {
            text
        } else {
            with_prompt = [rules.prompt, text].concat();
            &with_prompt
        };
        let direction = self.direction(rules);
        let whole = text;
        let text = match self.characters {
            Some(most) if rules.limit != usize::MAX => cut_characters(text, most, direction),
            _ => text,
        };
        let is_cut = text.len() < whole.len();
        if is_cut && !rules.truncate {
            return Err(Error::TextTooLong {
                index,
                characters: whole.chars().count(),
                limit: self.characters.unwrap_or(0),
            });
        }
        let room = rules.limit.saturating_sub(self.added());
        let enough = room.saturating_add(1);
        let need = match direction {
            _ if rules.limit == usize::MAX => Need::All,
            _ if !rules.truncate => Need::First(enough.max(COUNTED)),
            Direction::Left => Need::Last(enough),
            _ => Need::First(enough),
        };
        let found = self.pipeline.encode(text, false, need)?.ids;
        let truncated = is_cut || found.len() > room;
        check_length(index, found.len() + self.added(), rules)?;
        let kept = match direction {
            Direction::Left => &found[found.len().saturating_sub(room)..],
            _ => &found[..room.min(found.len())],
        };
        let ids = self.framed(kept);
        if ids.len() > rules.limit {
            return Err(Error::InvalidTokenizer(format!(
                "it adds {} tokens to a text, and the limit is {}",
                self.added(),
                rules.limit
            )));
        }
        Ok(Tokens {
            ids,
            truncated,
            prompt: self.prompt_length(rules)?,
            ..Tokens::default()
        })
    }

    /// Begins to look for the places of a text's tokens, without special tokens.
    pub(super) fn begin_places(&self, text: &str) -> Encoding {
        self.pipeline.begin(text, true)
    }

    /// Does about `budget` bytes more of the text, and takes them off the budget. Returns the byte
    /// ranges of all tokens when it was the end.
    pub(super) fn next_places(
        &self,
        text: &str,
        encoding: &mut Encoding,
        budget: &mut usize,
    ) -> Result<Option<Vec<(usize, usize)>>> {
        let is_done = self.pipeline.advance(text, encoding, budget)?;
        Ok(is_done.then(|| encoding.take().places))
    }

    /// As [`Self::tokens`] of a text that is not cut, with a span for each of some ranges of its
    /// bytes, in order. The first span includes all tokens before it if `ends.start`, and the last
    /// one all tokens after it if `ends.end`.
    pub(super) fn spanned(
        &self,
        text: &str,
        ranges: &[Range<usize>],
        rules: Rules,
        ends: Ends,
    ) -> Result<Tokens> {
        let with_prompt = [rules.prompt, text].concat();
        let Found { ids, places, .. } = self.pipeline.encode(&with_prompt, true, Need::All)?;
        let mut tokens = Tokens {
            ids: self.framed(&ids),
            prompt: self.prompt_length(rules)?,
            ..Tokens::default()
        };
        // Places are of the tokens without special ones.
        let lead = self.around().0.len();
        for range in ranges {
            let start = range.start + rules.prompt.len();
            let start = places.partition_point(|(_, end)| *end <= start);
            let end = range.end + rules.prompt.len();
            let end = places.partition_point(|(start, _)| *start < end);
            tokens.spans.push(lead + start..lead + end.max(start));
        }
        if let Some(first) = tokens.spans.first_mut().filter(|_| ends.start) {
            first.start = tokens.prompt;
        }
        if let Some(last) = tokens.spans.last_mut().filter(|_| ends.end) {
            last.end = tokens.ids.len();
        }
        Ok(tokens)
    }

    /// The number of tokens at the start that pooling leaves out: those of the prompt alone without
    /// the closing special token, as sentence-transformers counts them.
    fn prompt_length(&self, rules: Rules) -> Result<usize> {
        if !rules.skip_prompt || rules.prompt.is_empty() {
            return Ok(0);
        }
        let found = self.pipeline.encode(rules.prompt, false, Need::All)?;
        let (before, after) = self.around();
        Ok(found.ids.len() + before.len() + after.len().saturating_sub(1))
    }

    /// The tokens of a text, none cut off.
    pub fn describe(&self, text: &str, add_special_tokens: bool) -> Result<Vec<Token>> {
        let mut description = self.begin_description(text, add_special_tokens);
        let (mut all, mut unlimited) = (Vec::new(), usize::MAX);
        while !self.describe_next(text, &mut description, &mut unlimited, &mut all)? {}
        Ok(all)
    }

    /// Begins to describe the tokens of a text.
    pub fn begin_description(&self, text: &str, add_special_tokens: bool) -> Description {
        Description {
            encoding: self.pipeline.begin(text, true),
            add_special_tokens,
            is_begun: false,
        }
    }

    /// Adds the tokens of about `budget` bytes more of the text to `tokens`, and takes them off the
    /// budget. Returns whether it was the end.
    pub fn describe_next(
        &self,
        text: &str,
        description: &mut Description,
        budget: &mut usize,
        tokens: &mut Vec<Token>,
    ) -> Result<bool> {
        let special = |(id, text): &SpecialToken| Token {
            id: *id,
            text: text.clone(),
            special: true,
            start: None,
            stop: None,
        };
        let frame = self.frame();
        if description.add_special_tokens && !description.is_begun {
            tokens.extend(frame.before.iter().map(special));
        }
        description.is_begun = true;
        let is_done = self
            .pipeline
            .advance(text, &mut description.encoding, budget)?;
        let found = description.encoding.take();
        tokens.reserve(found.ids.len());
        let mut texts = found.texts.into_iter().peekable();
        for (number, (id, (start, stop))) in found.ids.iter().zip(found.places).enumerate() {
            let own = texts.next_if(|(at, _)| *at == number);
            tokens.push(Token {
                id: *id,
                text: own.map_or_else(|| self.entry(*id).unwrap_or_default(), |(_, text)| text),
                special: false,
                start: Some(start),
                stop: Some(stop),
            });
        }
        if is_done && description.add_special_tokens {
            tokens.extend(frame.after.iter().map(special));
        }
        Ok(is_done)
    }
}

pub(super) fn check_length(index: usize, tokens: usize, rules: Rules) -> Result<()> {
    if tokens > rules.limit && !rules.truncate {
        return Err(Error::InputTooLong {
            index,
            tokens,
            limit: rules.limit,
        });
    }
    Ok(())
}
