//! Text → token ids with the model's tokenizer.json, through the `tokenizers` crate and a Unigram model of our own.
//!
//! The truncation and padding that a tokenizer.json may carry are ignored: the model's own limit decides, and
//! nothing is padded.

use std::ops::Range;

use tokenizers::{PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl, TruncationDirection};

use super::Input;
use super::model::Model;
use super::parts::Parts;
use super::settings::Settings;
use super::wrappers::{Decoder, Normalizer};
use crate::error::{Error, Result};

/// Which end of a text that is too long is cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Direction {
    /// As the model's files say: the end unless they say otherwise.
    #[default]
    #[serde(skip)]
    Model,
    /// The beginning goes.
    #[serde(alias = "Left")]
    Left,
    /// The end goes.
    #[serde(alias = "Right")]
    Right,
}

/// What to do with one input.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Text put in front.
    pub prompt: &'a str,
    /// Whether pooling leaves the prompt out.
    pub skip_prompt: bool,
    /// The most tokens, special ones included.
    pub limit: usize,
    /// Whether a longer input is cut; otherwise it is an error.
    pub truncate: bool,
    /// Which end is cut.
    pub direction: Direction,
}

/// One tokenised input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Token ids, special tokens included.
    pub ids: Vec<u32>,
    /// Whether something was cut off.
    pub truncated: bool,
    /// Tokens at the start that pooling leaves out.
    pub prompt: usize,
    /// Tokens that get a vector each range; where there are none, all get one together.
    pub spans: Vec<Range<usize>>,
}

/// One token, for people to look at.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// Its entry in the vocabulary.
    pub text: String,
    /// Whether the tokenizer added it (`[CLS]`, `</s>`, …).
    pub special: bool,
    /// Byte offset of its first byte in the text; none for special tokens.
    pub start: Option<usize>,
    /// Byte offset after its last byte.
    pub stop: Option<usize>,
}

/// The crate's tokenizer around our [`Model`], with checks.
type Inner = TokenizerImpl<Model, Normalizer, PreTokenizerWrapper, PostProcessorWrapper, Decoder>;

/// A model's tokenizer.
pub struct Tokenizer {
    inner: Inner,
    /// Whether the template's special tokens are added.
    template: bool,
    /// Put after every text, behind what the template adds.
    closing: Option<u32>,
    /// Special tokens that are added to every text.
    added: usize,
    /// Which end is cut off unless a caller says so.
    direction: Direction,
    /// What the model's files change in the tokenizer, for hashes.
    changes: String,
}

impl Tokenizer {
    /// Reads tokenizer.json, changes it as the model's other files say, and builds the tokenizer.
    pub fn new(json: &[u8], settings: &Settings) -> Result<Self> {
        let mut parts = Parts::parse(json)?;
        let applied = settings.apply(&mut parts)?;
        let mut inner = build(parts).map_err(broken)?;
        inner.set_encode_special_tokens(applied.split_special_tokens);
        let added = inner.encode_fast("", true).map_err(broken)?.len();
        let mut tokenizer = Self {
            inner,
            template: true,
            closing: None,
            added,
            direction: applied.direction,
            changes: applied.changes,
        };
        if let Some(end) = applied.end {
            let template = tokenizer.inner.encode_fast("", true).map_err(broken)?;
            let id = tokenizer.id(&end);
            let ends = template.get_ids().last().copied() == id;
            if applied.closes && !ends {
                tokenizer.closing = id;
                tokenizer.added += usize::from(id.is_some());
            }
            if ends || tokenizer.closing.is_some() {
                tokenizer.changes.push_str(&end);
            }
        }
        Ok(tokenizer)
    }

    /// What the model's files change in its tokenizer.json.
    pub fn changes(&self) -> &str {
        &self.changes
    }

    /// Adds no special tokens to any text.
    #[must_use]
    pub fn without_special_tokens(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            template: false,
            closing: None,
            added: 0,
            direction: self.direction,
            changes: self.changes.clone(),
        }
    }

    /// The id of a vocabulary entry.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Number of entries, added tokens included.
    pub fn size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Special tokens that are added to every text.
    pub fn added(&self) -> usize {
        self.added
    }

    /// The vocabulary entry of `id`.
    pub fn entry(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The text that tokens stand for.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        self.inner.decode(ids, skip_special_tokens).map_err(broken)
    }

    /// Tokens of input number `index`, which the errors name.
    pub fn tokens(&self, index: usize, input: &Input, rules: Rules) -> Result<Tokens> {
        match input {
            Input::Text(text) => self.text(index, text, rules),
            Input::Ids(ids) => {
                let mut ids = ids.clone();
                let truncated = ids.len() > rules.limit;
                check_length(index, ids.len(), rules)?;
                match self.direction(rules) {
                    TruncationDirection::Right => ids.truncate(rules.limit),
                    TruncationDirection::Left => {
                        drop(ids.drain(..ids.len().saturating_sub(rules.limit)));
                    }
                }
                Ok(Tokens {
                    ids,
                    truncated,
                    ..Tokens::default()
                })
            }
        }
    }

    /// Which end is cut off.
    fn direction(&self, rules: Rules) -> TruncationDirection {
        let asked = (rules.direction != Direction::Model).then_some(rules.direction);
        match asked.unwrap_or(self.direction) {
            Direction::Left => TruncationDirection::Left,
            _ => TruncationDirection::Right,
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
        let mut encoding = self.inner.encode_fast(text, false).map_err(broken)?;
        let room = rules.limit.saturating_sub(self.added);
        let truncated = encoding.len() > room;
        check_length(index, encoding.len() + self.added, rules)?;
        encoding.truncate(room, 0, self.direction(rules));
        let encoding = self
            .inner
            .post_process(encoding, None, self.template)
            .map_err(broken)?;
        let prompt = if rules.skip_prompt && !rules.prompt.is_empty() {
            self.prompt_length(rules.prompt)?
        } else {
            0
        };
        let mut ids = encoding.get_ids().to_vec();
        ids.extend(self.closing);
        if ids.len() > rules.limit {
            // Positions end at the limit.
            return Err(Error::InvalidTokenizer(
                "its template adds more to a text than to an empty one".to_owned(),
            ));
        }
        Ok(Tokens {
            ids,
            truncated,
            prompt,
            spans: Vec::new(),
        })
    }

    /// Where the tokens of a text are in it, in bytes, without special tokens.
    pub(super) fn places(&self, text: &str) -> Result<Vec<(usize, usize)>> {
        let encoding = self.inner.encode(text, false).map_err(broken)?;
        Ok(encoding.get_offsets().to_vec())
    }

    /// As [`Self::tokens`] of a text that is not cut, with a span for each of some ranges of its bytes, in order. The
    /// first span takes in what is in front of it if `opens`, and the last what is behind it if `closes`.
    pub(super) fn spanned(
        &self,
        text: &str,
        ranges: &[Range<usize>],
        rules: Rules,
        (opens, closes): (bool, bool),
    ) -> Result<Tokens> {
        let mut tokens = self.text(
            0,
            text,
            Rules {
                limit: usize::MAX,
                ..rules
            },
        )?;
        let with_prompt = [rules.prompt, text].concat();
        let encoding = self
            .inner
            .encode(with_prompt.as_str(), false)
            .map_err(broken)?;
        let places = encoding.get_offsets();
        // Where these are among all, special tokens included.
        let mut windows = tokens.ids.windows(places.len().max(1));
        let lead = windows.position(|ids| ids == encoding.get_ids());
        let lead = lead.unwrap_or_default();
        for range in ranges {
            let start = range.start + rules.prompt.len();
            let start = places.partition_point(|(_, end)| *end <= start);
            let end = range.end + rules.prompt.len();
            let end = places.partition_point(|(start, _)| *start < end);
            tokens.spans.push(lead + start..lead + end.max(start));
        }
        if let Some(first) = tokens.spans.first_mut().filter(|_| opens) {
            first.start = tokens.prompt;
        }
        if let Some(last) = tokens.spans.last_mut().filter(|_| closes) {
            last.end = tokens.ids.len();
        }
        Ok(tokens)
    }

    /// Tokens that a prompt takes at the start of a text: those of the prompt alone without the closing special
    /// token, as sentence-transformers counts them.
    fn prompt_length(&self, prompt: &str) -> Result<usize> {
        let encoding = self.inner.encode_fast(prompt, true).map_err(broken)?;
        let closing = encoding
            .get_special_tokens_mask()
            .last()
            .is_some_and(|special| *special == 1);
        Ok(encoding.len() - usize::from(closing))
    }

    /// Tokens of a text as people want to see them: nothing is cut off.
    pub fn describe(&self, text: &str, add_special_tokens: bool) -> Result<Vec<Token>> {
        let encoding = self
            .inner
            .encode(text, add_special_tokens)
            .map_err(broken)?;
        let parts = encoding.get_ids().iter().zip(encoding.get_tokens());
        let places = encoding
            .get_special_tokens_mask()
            .iter()
            .zip(encoding.get_offsets());
        let closing = self.closing.filter(|_| add_special_tokens);
        Ok(parts
            .zip(places)
            .map(|((id, text), (special, (start, stop)))| {
                let special = *special == 1;
                Token {
                    id: *id,
                    text: text.clone(),
                    special,
                    start: (!special).then_some(*start),
                    stop: (!special).then_some(*stop),
                }
            })
            .chain(closing.map(|id| Token {
                id,
                text: self.entry(id).unwrap_or_default(),
                special: true,
                start: None,
                stop: None,
            }))
            .collect())
    }
}

impl Tokenizer {
    /// The special tokens that are put before and behind every text.
    pub fn frame(&self) -> Result<(Vec<Token>, Vec<Token>)> {
        let mut all = self.describe("a", true)?;
        let inner = |token: &Token| !token.special;
        // Without a token for a letter nothing tells what is behind it.
        let first = all.iter().position(inner).unwrap_or(all.len());
        let mut after = all.split_off(first);
        let last = after.iter().rposition(inner).map_or(0, |last| last + 1);
        after.drain(..last);
        Ok((all, after))
    }
}

/// Makes a tokenizer of checked parts.
fn build(parts: Parts) -> tokenizers::Result<Inner> {
    fn part<T: serde::de::DeserializeOwned>(
        json: serde_json::Value,
    ) -> serde_json::Result<Option<T>> {
        serde_json::from_value(json)
    }
    let mut inner = TokenizerImpl::new(parts.model);
    inner.with_normalizer(part::<Normalizer>(parts.normalizer)?)?;
    inner.with_pre_tokenizer(part::<PreTokenizerWrapper>(parts.pre_tokenizer)?);
    inner.with_post_processor(part::<PostProcessorWrapper>(parts.post_processor)?);
    inner.with_decoder(part::<Decoder>(parts.decoder)?);
    inner.add_tokens(parts.added_tokens.into_iter().map(|added| added.token))?;
    Ok(inner)
}

fn check_length(index: usize, tokens: usize, rules: Rules) -> Result<()> {
    if tokens > rules.limit && !rules.truncate {
        return Err(Error::InputTooLong {
            index,
            tokens,
            limit: rules.limit,
        });
    }
    Ok(())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
fn broken(error: tokenizers::Error) -> Error {
    Error::InvalidTokenizer(error.to_string())
}
