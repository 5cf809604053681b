//! From a text to its tokens, in bounded steps: added tokens are found, the rest is normalized,
//! split into words, and each word is split into tokens by the model.
//!
//! A text is processed in windows, cut where no part of the tokenizer looks across (`text::cut`).
//! An [`Encoding`] is the state between two steps, so that a text of many megabytes blocks nobody
//! for long.

use std::ops::Range;

use super::added::{Added, Part};
use super::aligned::Aligned;
use super::cut::Cuts;
use super::decoder::Decoder;
use super::model::Model;
use super::normalizer::Normalizer;
use super::parts::Parts;
use super::pre_tokenizer::PreTokenizer;
use super::template::Template;
use crate::error::{Error, Result};

/// The parts of a tokenizer.
pub struct Pipeline {
    pub added: Added,
    normalizer: Normalizer,
    pre_tokenizer: PreTokenizer,
    pub model: Model,
    pub template: Template,
    pub decoder: Decoder,
    /// Where a long text may be cut.
    cuts: Cuts,
}

/// Tokens of a text, without those of the template.
#[derive(Default)]
pub struct Found {
    pub ids: Vec<u32>,
    /// The byte range of each in the text, if places were asked for.
    pub places: Vec<(usize, usize)>,
    /// The text of tokens that stand for other text than their vocabulary entry: number of the
    /// token, and the text.
    pub texts: Vec<(usize, String)>,
}

/// How many tokens are needed. There may be more in the result.
#[derive(Clone, Copy)]
pub enum Need {
    All,
    /// The first ones.
    First(usize),
    /// The last ones.
    Last(usize),
}

/// Which ends of a whole its part includes.
#[derive(Clone, Copy)]
pub struct Ends {
    pub start: bool,
    pub end: bool,
}

/// A text that is being tokenised.
#[derive(Default)]
pub struct Encoding {
    with_places: bool,
    /// Parts of the text that are to come.
    parts: std::vec::IntoIter<Part>,
    /// What is left of the current part, and whether that is all of it.
    part: Option<(Part, bool)>,
    /// The current window if it has added tokens, and its parts that are to come.
    window: Option<(Aligned, std::vec::IntoIter<Part>)>,
    /// The text that is split into words, and the words that are to come.
    words: Option<(Aligned, std::vec::IntoIter<Range<usize>>)>,
    found: Found,
    /// Tokens that [`Encoding::take`] has taken.
    taken: usize,
    /// Where the last token ends, before white space is taken off.
    end: usize,
}

impl Encoding {
    /// Takes the tokens found so far.
    pub fn take(&mut self) -> Found {
        self.taken += self.found.ids.len();
        std::mem::take(&mut self.found)
    }

    /// Whether the current window has words left.
    fn is_open(&self) -> bool {
        self.window.is_some() || self.words.is_some()
    }

    /// Adds a token that has its text from the input.
    fn push_text(&mut self, id: u32, text: &str, place: Option<(usize, usize)>) {
        if let Some(place) = place {
            self.found
                .texts
                .push((self.found.ids.len(), text.to_owned()));
            self.found.places.push(place);
            self.end = place.1;
        }
        self.found.ids.push(id);
    }
}

impl Pipeline {
    /// Builds the parts. Special tokens in texts are not recognised if `split`.
    pub fn new(parts: Parts, split: bool) -> Result<Self, String> {
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

    /// The id of a vocabulary entry.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.added.id(token).or_else(|| self.model.id(token))
    }

    /// The text of a vocabulary entry.
    pub fn entry(&self, id: u32) -> Option<&str> {
        self.added.entry(id).or_else(|| self.model.entry(id))
    }

    /// Begins to tokenise a text.
    pub fn begin(&self, text: &str, with_places: bool) -> Encoding {
        Encoding {
            with_places,
            parts: self.added.in_raw(text).into_iter(),
            ..Encoding::default()
        }
    }

    /// Tokenises about `budget` bytes more of the text, and takes them off the budget. Returns
    /// whether it was the end.
    pub fn advance(&self, text: &str, encoding: &mut Encoding, budget: &mut usize) -> Result<bool> {
        let first = encoding.found.ids.len();
        let is_done = loop {
            self.fill(encoding, budget)?;
            if *budget == 0 {
                break false;
            }
            let Some(bytes) = self.next_window(text, encoding)? else {
                break true;
            };
            *budget = budget.saturating_sub(bytes);
        };
        self.trim(text, encoding, first);
        Ok(is_done)
    }

    /// The tokens of a text, or of as many windows of it as have those that are needed.
    #[inline(never)]
    pub fn encode(&self, text: &str, with_places: bool, need: Need) -> Result<Found> {
        let count = match need {
            Need::All => usize::MAX,
            Need::First(count) => count,
            Need::Last(count) => return self.encode_last(text, count),
        };
        let mut encoding = self.begin(text, with_places);
        let mut unlimited = usize::MAX;
        while encoding.found.ids.len() < count && self.next_window(text, &mut encoding)?.is_some() {
            self.fill(&mut encoding, &mut unlimited)?;
        }
        self.trim(text, &mut encoding, 0);
        Ok(encoding.found)
    }

    /// The tokens of as many windows at the end of a text as have `count`.
    fn encode_last(&self, text: &str, count: usize) -> Result<Found> {
        let mut windows: Vec<Vec<u32>> = Vec::new();
        let (mut total, mut unlimited) = (0, usize::MAX);
        for (id, part) in self.added.in_raw(text).into_iter().rev() {
            let mut end = part.end;
            while end > part.start && total < count {
                let window = match id {
                    Some(_) => part.clone(),
                    None => self.cuts.last(text, part.start..end),
                };
                let ends = Ends {
                    start: window.start == part.start,
                    end: end == part.end,
                };
                end = window.start;
                let mut last = Encoding::default();
                self.open(text, id, window, ends, &mut last)?;
                self.fill(&mut last, &mut unlimited)?;
                total += last.found.ids.len();
                windows.push(last.found.ids);
            }
        }
        windows.reverse();
        Ok(Found {
            ids: windows.concat(),
            ..Found::default()
        })
    }

    /// Opens the next window. Returns its size in bytes; none at the end of the text.
    fn next_window(&self, text: &str, encoding: &mut Encoding) -> Result<Option<usize>> {
        let next = || Some((encoding.parts.next()?, true));
        let Some(((id, part), start)) = encoding.part.take().or_else(next) else {
            return Ok(None);
        };
        let window = match id {
            Some(_) => part.clone(),
            None => self.cuts.first(text, part.clone()),
        };
        let end = window.end == part.end;
        if !end {
            encoding.part = Some(((id, window.end..part.end), false));
        }
        let bytes = window.len();
        self.open(text, id, window, Ends { start, end }, encoding)?;
        Ok(Some(bytes))
    }

    /// Adds the added token `id`, or normalizes the window and splits it into words.
    fn open(
        &self,
        text: &str,
        id: Option<u32>,
        window: Range<usize>,
        ends: Ends,
        encoding: &mut Encoding,
    ) -> Result<()> {
        let part = &text[window.clone()];
        let with_places = encoding.with_places;
        if let Some(id) = id {
            encoding.push_text(id, part, with_places.then_some((window.start, window.end)));
            return Ok(());
        }
        let track = with_places || (window.start == 0 && self.pre_tokenizer.needs_places());
        let mut aligned = Aligned::new(part, window.start, track);
        let normalized = self.normalizer.apply(&mut aligned, ends.start, ends.end);
        normalized.map_err(broken)?;
        let parts = self.added.in_normalized(aligned.text());
        if let [(None, _)] = parts.as_slice() {
            encoding.words = Some(self.split(aligned)?);
        } else {
            encoding.window = Some((aligned, parts.into_iter()));
        }
        Ok(())
    }

    /// Splits a text without added tokens into words.
    fn split(&self, mut text: Aligned) -> Result<(Aligned, std::vec::IntoIter<Range<usize>>)> {
        let mut words = Vec::new();
        words.push(0..text.text().len());
        let split = self.pre_tokenizer.apply(&mut text, &mut words);
        split.map_err(broken)?;
        Ok((text, words.into_iter()))
    }

    /// Adds the tokens of the current window, until the budget is spent.
    fn fill(&self, encoding: &mut Encoding, budget: &mut usize) -> Result<()> {
        while encoding.is_open() && *budget > 0 {
            if let Some((text, mut words)) = encoding.words.take() {
                while *budget > 0
                    && let Some(word) = words.next()
                {
                    *budget = budget.saturating_sub(word.len());
                    self.word(&text, word, encoding)?;
                }
                encoding.words = (!words.as_slice().is_empty()).then_some((text, words));
            } else if let Some((text, mut parts)) = encoding.window.take() {
                match parts.next() {
                    None => continue,
                    Some((None, range)) => encoding.words = Some(self.split(text.part(range))?),
                    Some((Some(id), range)) => {
                        *budget = budget.saturating_sub(range.len());
                        let place = text.place(range.clone()).filter(|_| encoding.with_places);
                        encoding.push_text(id, &text.text()[range], place);
                    }
                }
                encoding.window = Some((text, parts));
            }
        }
        Ok(())
    }

    /// Adds the tokens of a word.
    fn word(&self, text: &Aligned, word: Range<usize>, encoding: &mut Encoding) -> Result<()> {
        let start = word.start;
        let part = &text.text()[word];
        let Encoding {
            with_places,
            found,
            end,
            ..
        } = encoding;
        let tokenized = self.model.tokenize(part, &mut |id, bytes| {
            if *with_places {
                let here = start + bytes.start..start + bytes.end;
                if self.model.is_unknown(id) {
                    found.texts.push((found.ids.len(), part[bytes].to_owned()));
                }
                let place = text.place(here).unwrap_or((*end, *end));
                found.places.push(place);
                *end = place.1;
            }
            found.ids.push(id);
        });
        tokenized.map_err(broken)
    }

    /// Takes white space off the places of tokens from number `first` on, as the template says: as
    /// many characters of the text as the token has.
    fn trim(&self, all: &str, encoding: &mut Encoding, first: usize) {
        let is_space = |c: &char| *c == '\u{120}' || c.is_whitespace();
        let taken = encoding.taken;
        let found = &mut encoding.found;
        for prefix in &self.template.trims {
            let before = found.texts.partition_point(|(at, _)| *at < first);
            let mut texts = found.texts[before..].iter().peekable();
            let places = found.places.iter_mut().zip(&found.ids);
            for (number, ((start, stop), id)) in places.enumerate().skip(first) {
                let own = texts.next_if(|(at, _)| *at == number);
                let text = own
                    .map(|(_, text)| text.as_str())
                    .or_else(|| self.entry(*id));
                let text = text.unwrap_or_default();
                let mut leading = text.chars().take_while(is_space).count();
                let trailing = text.chars().rev().take_while(is_space).count();
                // A single leading space may be one that the tokenizer added.
                if leading == 1 && *prefix && (taken + number == 0 || *start == 0) {
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

/// The error of a text that the tokenizer fails on.
pub fn broken(reason: String) -> Error {
    Error::InvalidTokenizer(reason)
}
