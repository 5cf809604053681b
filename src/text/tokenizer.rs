//! Text → token ids with the model's tokenizer.json: added tokens are found, the rest is normalized
//! and split into words, the model splits words into tokens, and the template adds special tokens.
//!
//! Every part is an enum whose fields are checked when the file is read (`text::fields`), and a few
//! texts are then tokenised, so that a tokenizer that loads does not fail later. The results are
//! those of the `tokenizers` crate. The truncation and padding of a tokenizer.json are ignored: the
//! model's own limit applies, and nothing is padded.
//!
//! A long text is tokenised in windows, which are cut where no part looks across (`text::cut`).
//! With a limit, only as many windows are tokenised as are needed to reach it.

use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;

use super::Input;
use super::added::Added;
use super::aligned::Aligned;
use super::cut::Cuts;
use super::decoder::Decoder;
use super::model::Model;
use super::normalizer::Normalizer;
use super::parts::Parts;
use super::pre_tokenizer::PreTokenizer;
use super::settings::Settings;
use super::template::Template;
use crate::error::{Error, Result};

/// The number of tokens up to which a text that is too long is counted exactly.
const COUNTED: usize = 100_000;
/// Texts that are tokenised when a tokenizer is made, to find parts that fail.
const SAMPLES: [&str; 3] = ["", "Hello world", " \u{e9}\u{4e2d}\u{1f600}\u{378}\n1st. "];

/// Which end of a text that is too long is truncated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Direction {
    /// As the model's files say, by default the end.
    #[default]
    #[serde(skip)]
    Model,
    /// The beginning is removed.
    #[serde(alias = "Left")]
    Left,
    /// The end is removed.
    #[serde(alias = "Right")]
    Right,
}

/// How to tokenise one input.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Text that is put before the input.
    pub prompt: &'a str,
    /// Whether pooling omits the prompt.
    pub skip_prompt: bool,
    /// The most tokens, including special tokens.
    pub limit: usize,
    /// Whether a longer input is truncated. Otherwise it is an error.
    pub truncate: bool,
    /// Which end is truncated.
    pub direction: Direction,
}

/// One tokenised input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Token ids, including special tokens.
    pub ids: Vec<u32>,
    /// Whether tokens were removed.
    pub truncated: bool,
    /// Number of tokens at the start that pooling omits.
    pub prompt: usize,
    /// Ranges of tokens that get one vector each. If empty, all tokens together get one.
    pub spans: Vec<Range<usize>>,
}

/// One token, for display.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// Its entry in the vocabulary.
    pub text: String,
    /// Whether the tokenizer added it (`[CLS]`, `</s>`, …).
    pub special: bool,
    /// Byte offset of its start in the text; none for special tokens.
    pub start: Option<usize>,
    /// Byte offset of its end.
    pub stop: Option<usize>,
}

/// The parts of a tokenizer.
struct Steps {
    added: Added,
    normalizer: Normalizer,
    pre_tokenizer: PreTokenizer,
    model: Model,
    template: Template,
    decoder: Decoder,
    /// Where a long text may be cut.
    cuts: Cuts,
}

/// Tokens of a text, without special tokens of the template.
#[derive(Default)]
struct Found {
    ids: Vec<u32>,
    /// The range of each token in the text, if places were requested.
    places: Vec<(usize, usize)>,
    /// Indices and texts of tokens whose display text is not their entry.
    texts: Vec<(usize, String)>,
}

/// How many tokens are needed, at least.
#[derive(Clone, Copy)]
enum Extent {
    All,
    /// From the beginning.
    First(usize),
    /// From the end.
    Last(usize),
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
    steps: Arc<Steps>,
    /// Whether the template's special tokens are added.
    template: bool,
    /// Appended to every text, after the template's tokens.
    eos: Option<u32>,
    /// Which end is truncated unless the caller says otherwise.
    direction: Direction,
    /// A description of what the model's files change in the tokenizer, for hashes.
    changes: String,
    /// The limit of tokens in tokenizer.json.
    truncation: Option<usize>,
    /// The most characters of a text, where a text is cut before it is tokenised.
    characters: Option<usize>,
}

impl Tokenizer {
    /// Reads tokenizer.json, changes it as the model's other files say, and builds the tokenizer.
    pub fn new(json: &[u8], settings: &Settings) -> Result<Self> {
        let mut parts = Parts::parse(json)?;
        let truncation = parts.truncation.get("max_length").and_then(Value::as_u64);
        let applied = settings.apply(&mut parts)?;
        let steps = Steps::new(parts, applied.split_special_tokens);
        let steps = steps.map_err(Error::InvalidTokenizer)?;
        for sample in SAMPLES {
            steps.encode(sample, false, Extent::All)?;
        }
        let mut tokenizer = Self {
            steps: Arc::new(steps),
            template: true,
            eos: None,
            direction: applied.direction,
            changes: applied.changes,
            truncation: truncation.and_then(|limit| usize::try_from(limit).ok()),
            characters: None,
        };
        if let Some(end) = applied.end {
            let id = tokenizer.id(&end);
            let template = &tokenizer.steps.template;
            let last = template.after.last().or(template.before.last());
            let ends = last.map(|(id, _)| *id) == id;
            tokenizer.eos = id.filter(|_| applied.closes && !ends);
            if ends || tokenizer.eos.is_some() {
                tokenizer.changes.push_str(&end);
            }
        }
        Ok(tokenizer)
    }

    /// A description of what the model's files change in its tokenizer.json.
    pub fn changes(&self) -> &str {
        &self.changes
    }

    /// Which end is truncated: left or right.
    fn direction(&self, rules: Rules) -> Direction {
        match rules.direction {
            Direction::Model => self.direction,
            asked => asked,
        }
    }

    /// Disables special tokens.
    #[must_use]
    pub fn without_special_tokens(&self) -> Self {
        Self {
            steps: Arc::clone(&self.steps),
            template: false,
            eos: None,
            direction: self.direction,
            changes: self.changes.clone(),
            truncation: self.truncation,
            characters: self.characters,
        }
    }

    /// The same tokenizer, which cuts texts to so many characters before it tokenises them. It truncates the end unless the
    /// caller says otherwise.
    #[must_use]
    pub fn with_characters(&self, most: usize) -> Self {
        Self {
            characters: Some(most),
            direction: Direction::Right,
            template: self.template,
            eos: self.eos,
            ..self.without_special_tokens()
        }
    }

    /// The limit of tokens in tokenizer.json, which is not applied here.
    pub fn truncation(&self) -> Option<usize> {
        self.truncation
    }

    /// The id of text that the vocabulary lacks.
    pub fn unknown(&self) -> Option<u32> {
        self.steps.model.unknown()
    }

    /// The median number of characters of an entry, rounded down.
    pub fn median_length(&self) -> usize {
        let entries = (0..=self.last()).filter_map(|id| self.steps.entry(id));
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
        let steps = &self.steps;
        steps.added.id(token).or_else(|| steps.model.id(token))
    }

    /// Number of entries, including added tokens.
    pub fn size(&self) -> usize {
        self.steps.model.size() + self.steps.added.beyond(&self.steps.model)
    }

    /// The largest id that a text may have.
    pub fn last(&self) -> u32 {
        let steps = &self.steps;
        let template = steps.template.before.iter().chain(&steps.template.after);
        let template = template.filter(|_| self.template).map(|(id, _)| *id).max();
        let last = steps.model.last().max(steps.added.last()).max(template);
        last.max(self.eos).unwrap_or(0)
    }

    /// Number of special tokens that are added to every text.
    pub fn added(&self) -> usize {
        let template = &self.steps.template;
        let around = template.before.len() + template.after.len();
        usize::from(self.template) * around + usize::from(self.eos.is_some())
    }

    /// The vocabulary entry of `id`.
    pub fn entry(&self, id: u32) -> Option<String> {
        self.steps.entry(id).map(str::to_owned)
    }

    /// The text of token ids.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        let tokens = ids.iter().filter_map(|id| self.steps.entry(*id));
        let is_left_out = |token: &&str| skip_special_tokens && self.steps.added.is_special(token);
        let tokens = tokens.filter(|token| !is_left_out(token));
        let tokens = tokens.map(str::to_owned).collect();
        self.steps.decoder.decode(tokens).map_err(broken)
    }

    /// Puts the template's tokens around others.
    fn around(&self, inner: &[u32]) -> Vec<u32> {
        let Template { before, after, .. } = &self.steps.template;
        let (before, after) = if self.template {
            (before.as_slice(), after.as_slice())
        } else {
            (&[][..], &[][..])
        };
        let mut ids = Vec::with_capacity(inner.len() + self.added());
        ids.extend(before.iter().map(|(id, _)| *id));
        ids.extend_from_slice(inner);
        ids.extend(after.iter().map(|(id, _)| *id));
        ids.extend(self.eos);
        ids
    }

    /// Tokens of input number `index`. Errors name that number.
    pub fn tokens(&self, index: usize, input: &Input, rules: Rules) -> Result<Tokens> {
        match input {
            Input::Text(text) => self.text(index, text, rules),
            Input::Ids(ids) => {
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
        let wanted = match direction {
            _ if rules.limit == usize::MAX => Extent::All,
            _ if !rules.truncate => Extent::First(enough.max(COUNTED)),
            Direction::Left => Extent::Last(enough),
            _ => Extent::First(enough),
        };
        let found = self.steps.encode(text, false, wanted)?.ids;
        let truncated = is_cut || found.len() > room;
        check_length(index, found.len() + self.added(), rules)?;
        let kept = match direction {
            Direction::Left => &found[found.len().saturating_sub(room)..],
            _ => &found[..room.min(found.len())],
        };
        let ids = self.around(kept);
        if ids.len() > rules.limit {
            return Err(Error::InvalidTokenizer(format!(
                "it adds {} tokens to a text, and the limit is {}",
                self.added(),
                rules.limit
            )));
        }
        let prompt = if rules.skip_prompt && !rules.prompt.is_empty() {
            self.prompt_length(rules.prompt)?
        } else {
            0
        };
        Ok(Tokens {
            ids,
            truncated,
            prompt,
            spans: Vec::new(),
        })
    }

    /// The range of each of a text's tokens in bytes, without special tokens.
    pub(super) fn places(&self, text: &str) -> Result<Vec<(usize, usize)>> {
        Ok(self.steps.encode(text, true, Extent::All)?.places)
    }

    /// As [`Self::tokens`] of a text that is not truncated, with a span for each of some ranges of
    /// its bytes, in order. With `opens`, the first span includes the tokens before it; with
    /// `closes`, the last one includes the tokens after it.
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
        let places = self.places(&with_prompt)?;
        // Spans count special tokens.
        let before = self.steps.template.before.len();
        let lead = if self.template { before } else { 0 };
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

    /// Number of tokens of a prompt at the start of a text: those of the prompt on its own, without
    /// the closing special token, as sentence-transformers counts them.
    fn prompt_length(&self, prompt: &str) -> Result<usize> {
        let found = self.steps.encode(prompt, false, Extent::All)?.ids.len();
        let Template { before, after, .. } = &self.steps.template;
        let around = before.len() + after.len().saturating_sub(1);
        Ok(found + usize::from(self.template) * around)
    }

    /// Tokens of a text for display, without truncation.
    pub fn describe(&self, text: &str, add_special_tokens: bool) -> Result<Vec<Token>> {
        let found = self.steps.encode(text, true, Extent::All)?;
        let Template { before, after, .. } = &self.steps.template;
        let special = |(id, text): &(u32, String)| Token {
            id: *id,
            text: text.clone(),
            special: true,
            start: None,
            stop: None,
        };
        let mut tokens = Vec::with_capacity(found.ids.len() + self.added());
        if add_special_tokens {
            tokens.extend(before.iter().map(special));
        }
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
        if add_special_tokens {
            tokens.extend(after.iter().map(special));
        }
        if let Some(id) = self.eos.filter(|_| add_special_tokens) {
            tokens.push(special(&(id, self.entry(id).unwrap_or_default())));
        }
        Ok(tokens)
    }
}

impl Tokenizer {
    /// The special tokens before and after every text.
    pub fn frame(&self) -> Result<(Vec<Token>, Vec<Token>)> {
        let mut all = self.describe("a", true)?;
        let inner = |token: &Token| !token.special;
        // If a letter has no token, the tokens after the text cannot be told apart.
        let first = all.iter().position(inner).unwrap_or(all.len());
        let mut after = all.split_off(first);
        let last = after.iter().rposition(inner).map_or(0, |last| last + 1);
        after.drain(..last);
        Ok((all, after))
    }
}

impl Steps {
    fn new(parts: Parts, split: bool) -> std::result::Result<Self, String> {
        let model = parts.model;
        let normalizer = Normalizer::new(&parts.normalizer)?;
        let pre_tokenizer = PreTokenizer::new(&parts.pre_tokenizer)?;
        let tokens = parts.added_tokens.into_iter().map(|added| added.token);
        let added = Added::new(tokens.collect(), split, &model, &normalizer)?;
        let (sure, open) = pre_tokenizer.cuts(added.cuts(normalizer.cuts()));
        let by_model = open.space.filter(|space| model.ends_before(*space));
        Ok(Self {
            cuts: Cuts {
                space: sure.space.or(by_model),
                punctuation: sure.punctuation,
            },
            template: Template::new(&parts.post_processor)?,
            decoder: Decoder::new(&parts.decoder)?,
            added,
            normalizer,
            pre_tokenizer,
            model,
        })
    }

    fn entry(&self, id: u32) -> Option<&str> {
        self.added.entry(id).or_else(|| self.model.entry(id))
    }

    /// The tokens of a text, or of as many windows as are needed for the wanted ones.
    #[inline(never)]
    fn encode(&self, text: &str, with_places: bool, wanted: Extent) -> Result<Found> {
        let parts = self.added.in_raw(text);
        let mut found = Found::default();
        if let Extent::Last(count) = wanted {
            let mut windows: Vec<Vec<u32>> = Vec::new();
            let mut total = 0;
            for (id, part) in parts.into_iter().rev() {
                let mut end = part.end;
                while end > part.start && total < count {
                    let window = match id {
                        Some(_) => part.clone(),
                        None => self.cuts.last(text, part.start..end),
                    };
                    let ends = (window.start == part.start, end == part.end);
                    end = window.start;
                    let mut last = Found::default();
                    self.part(text, id, window, ends, false, &mut last)
                        .map_err(broken)?;
                    total += last.ids.len();
                    windows.push(last.ids);
                }
            }
            windows.reverse();
            found.ids = windows.concat();
            return Ok(found);
        }
        let count = match wanted {
            Extent::First(count) => count,
            _ => usize::MAX,
        };
        for (id, part) in parts {
            let mut start = part.start;
            while start < part.end && found.ids.len() < count {
                let window = match id {
                    Some(_) => part.clone(),
                    None => self.cuts.first(text, start..part.end),
                };
                let ends = (start == part.start, window.end == part.end);
                start = window.end;
                self.part(text, id, window, ends, with_places, &mut found)
                    .map_err(broken)?;
            }
        }
        if with_places {
            self.trim(text, &mut found);
        }
        Ok(found)
    }

    /// Adds the tokens of a window of a part between added tokens. The window may be at the
    /// beginning or the end of the part.
    fn part(
        &self,
        text: &str,
        added: Option<u32>,
        window: Range<usize>,
        (first, last): (bool, bool),
        with_places: bool,
        found: &mut Found,
    ) -> std::result::Result<(), String> {
        let part = &text[window.clone()];
        if let Some(id) = added {
            found.add_text(id, part, with_places.then_some((window.start, window.end)));
            return Ok(());
        }
        let track = with_places || (window.start == 0 && self.pre_tokenizer.needs_places());
        let mut aligned = Aligned::new(part, window.start, track);
        self.normalizer.apply(&mut aligned, first, last)?;
        let parts = self.added.in_normalized(aligned.text());
        // The words between added tokens are split together, so that the text is changed once.
        let mut words: Vec<Range<usize>> = Vec::new();
        if parts.iter().all(|(id, _)| id.is_none()) {
            words.extend(parts.into_iter().map(|(_, range)| range));
            return self.words(&mut aligned, words, with_places, found);
        }
        for (id, range) in parts {
            if let Some(id) = id {
                let place = aligned.place(range.clone()).filter(|_| with_places);
                found.add_text(id, &aligned.text()[range], place);
            } else {
                let mut piece = aligned.part(range.clone());
                words.clear();
                words.push(0..range.len());
                self.words(&mut piece, std::mem::take(&mut words), with_places, found)?;
            }
        }
        Ok(())
    }

    /// Adds the tokens of a text that has no added tokens.
    fn words(
        &self,
        text: &mut Aligned,
        mut words: Vec<Range<usize>>,
        with_places: bool,
        found: &mut Found,
    ) -> std::result::Result<(), String> {
        self.pre_tokenizer.apply(text, &mut words)?;
        for word in words {
            let start = word.start;
            let part = &text.text()[word];
            self.model.tokenize(part, &mut |id, bytes| {
                if with_places {
                    let here = start + bytes.start..start + bytes.end;
                    if self.model.is_unknown(id) {
                        found.texts.push((found.ids.len(), part[bytes].to_owned()));
                    }
                    let before = found
                        .places
                        .last()
                        .map_or((0, 0), |place| (place.1, place.1));
                    found.places.push(text.place(here).unwrap_or(before));
                }
                found.ids.push(id);
            })?;
        }
        Ok(())
    }

    /// Removes white space from the places of tokens, as the template says: as many characters of
    /// the text as the token has.
    fn trim(&self, all: &str, found: &mut Found) {
        let is_space = |c: &char| *c == '\u{120}' || c.is_whitespace();
        for prefix in &self.template.trims {
            let mut texts = found.texts.iter().peekable();
            let places = found.places.iter_mut().zip(&found.ids);
            for (number, ((start, stop), id)) in places.enumerate() {
                let own = texts.next_if(|(at, _)| *at == number);
                let text = own
                    .map(|(_, text)| text.as_str())
                    .or_else(|| self.entry(*id));
                let text = text.unwrap_or_default();
                let mut leading = text.chars().take_while(is_space).count();
                let trailing = text.chars().rev().take_while(is_space).count();
                // The one leading space may have been added by the tokenizer.
                if leading == 1 && *prefix && (number == 0 || *start == 0) {
                    leading = 0;
                }
                if let Some(part) = all.get(*start..*stop) {
                    let first = part.char_indices().nth(leading);
                    *start = first.map_or(*stop, |(at, _)| *start + at);
                }
                let mut chars = all[..*stop].char_indices();
                if trailing > 0
                    && let Some((at, _)) = chars.nth_back(trailing - 1)
                {
                    *stop = at.max(*start);
                }
            }
        }
    }
}

impl Found {
    /// Adds a token whose display text is the input.
    fn add_text(&mut self, id: u32, text: &str, place: Option<(usize, usize)>) {
        if let Some(place) = place {
            self.texts.push((self.ids.len(), text.to_owned()));
            self.places.push(place);
        }
        self.ids.push(id);
    }
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

fn broken(reason: String) -> Error {
    Error::InvalidTokenizer(reason)
}
