//! Added tokens: they are searched for in a text before the model sees it.

use std::collections::HashSet;
use std::ops::Range;

use super::aligned::Aligned;
use super::cut::{Cuts, plain};
use super::matcher::is_word_of_rust;
use super::model::Model;
use super::normalizer::Normalizer;
use super::parts::AddedToken;
use super::vocabulary::{Entries, Hash, Vocabulary};

/// The most bytes of a token.
const LONGEST: usize = 512;

/// All added tokens.
pub struct Added {
    tokens: Vec<Token>,
    /// Tokens that are searched for in the raw text.
    raw: Finder,
    /// Tokens that are searched for in the normalized text.
    normalized: Finder,
    special: HashSet<String>,
}

struct Token {
    id: u32,
    rules: AddedToken,
    /// The token after normalization.
    form: String,
}

/// A part of a text: the id of an added token, or none, and the range of bytes.
pub type Part = (Option<u32>, Range<usize>);

impl Added {
    /// Takes tokens in the order of the file. Tokens that the model lacks get the next ids,
    /// whatever ids the file gives. With `split`, special tokens in a text are not searched for.
    pub fn new(
        list: Vec<AddedToken>,
        split: bool,
        model: &Model,
        normalizer: &Normalizer,
    ) -> Result<Self, String> {
        let mut added = Self {
            tokens: Vec::new(),
            raw: Finder::new(Vec::new())?,
            normalized: Finder::new(Vec::new())?,
            special: HashSet::new(),
        };
        let mut places = std::collections::HashMap::new();
        let mut next = u32::try_from(model.size()).map_err(|_| "it has too many entries")?;
        for token in list {
            if token.content.is_empty() {
                continue;
            }
            if token.content.len() > LONGEST {
                return Err(format!(
                    "added_tokens: a content has more than {LONGEST} bytes"
                ));
            }
            let known = places.get(&token.content).copied();
            let id = known.map(|place: usize| added.tokens[place].id);
            let id = id.or_else(|| model.id(&token.content));
            let id = if let Some(id) = id {
                id
            } else {
                next = next.checked_add(1).ok_or("it has too many entries")?;
                next - 1
            };
            let mut form = Aligned::new(&token.content, 0, false);
            if token.normalized {
                normalizer.apply(&mut form, true, true)?;
            }
            if token.special {
                added.special.insert(token.content.clone());
            }
            let token = Token {
                id,
                form: form.text().to_owned(),
                rules: token,
            };
            if let Some(place) = known {
                added.tokens[place] = token;
            } else {
                places.insert(token.rules.content.clone(), added.tokens.len());
                added.tokens.push(token);
            }
        }
        let finder = |normalized: bool| {
            let tokens = added.tokens.iter().enumerate();
            let tokens = tokens.filter(|(_, token)| {
                let hidden = split && added.special.contains(&token.rules.content);
                token.rules.normalized == normalized && !hidden
            });
            Finder::new(
                tokens
                    .map(|(place, token)| (token.form.as_str(), place))
                    .collect(),
            )
        };
        (added.raw, added.normalized) = (finder(false)?, finder(true)?);
        Ok(added)
    }

    /// The id of a token.
    pub fn id(&self, content: &str) -> Option<u32> {
        let mut tokens = self.tokens.iter();
        Some(tokens.find(|token| token.rules.content == content)?.id)
    }

    /// The token with an id, as it appears in texts.
    pub fn entry(&self, id: u32) -> Option<&str> {
        // The last of several tokens with one id counts.
        let token = self.tokens.iter().rev().find(|token| token.id == id)?;
        Some(if token.form.is_empty() {
            &token.rules.content
        } else {
            &token.form
        })
    }

    /// Whether a token is special.
    pub fn is_special(&self, content: &str) -> bool {
        self.special.contains(content)
    }

    /// Number of tokens that the model lacks.
    pub fn beyond(&self, model: &Model) -> usize {
        let tokens = self.tokens.iter();
        tokens
            .filter(|token| model.id(&token.rules.content).is_none())
            .count()
    }

    /// The largest id.
    pub fn last(&self) -> Option<u32> {
        self.tokens.iter().map(|token| token.id).max()
    }

    /// Splits a raw text at added tokens.
    pub fn in_raw(&self, text: &str) -> Vec<Part> {
        self.find(&self.raw, text)
    }

    /// Splits a normalized text at added tokens.
    pub fn in_normalized(&self, text: &str) -> Vec<Part> {
        self.find(&self.normalized, text)
    }

    /// The places that no token that is searched for in normalized text spans.
    pub fn cuts(&self, cuts: Cuts) -> Cuts {
        let mut tokens = self.tokens.iter().filter(|token| token.rules.normalized);
        let plain = plain();
        let crosses = |token: &Token| {
            let mut pairs = token.form.chars().zip(token.form.chars().skip(1));
            token.rules.rstrip
                || pairs.any(|(left, right)| plain.has(left) && Some(right) == cuts.space)
        };
        Cuts {
            space: cuts.space.filter(|_| !tokens.clone().any(crosses)),
            punctuation: cuts.punctuation
                && tokens.all(|token| token.form.is_ascii() && !token.rules.rstrip),
        }
    }

    fn find(&self, finder: &Finder, text: &str) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut done = 0;
        let mut at = 0;
        while let Some((place, found)) = finder.next(text, at) {
            at = found.end;
            let Token {
                id, rules: token, ..
            } = &self.tokens[place];
            let (mut start, mut stop) = (found.start, found.end);
            let is_word = |c: Option<char>| c.is_some_and(is_word_of_rust);
            let before = text[..start].chars().next_back();
            if token.single_word && (is_word(before) || is_word(text[stop..].chars().next())) {
                continue;
            }
            if token.lstrip {
                start = text[..start].trim_end().len().max(done);
            }
            if token.rstrip {
                stop = text.len() - text[stop..].trim_start().len();
            }
            // The token before has already taken the white space between them.
            if stop <= start {
                continue;
            }
            if done < start {
                parts.push((None, done..start));
            }
            parts.push((Some(*id), start..stop));
            done = stop;
        }
        if done < text.len() {
            parts.push((None, done..text.len()));
        }
        parts
    }
}

/// Finds the longest token at the first place where one begins.
struct Finder {
    vocabulary: Vocabulary,
    /// The index of each entry's token.
    places: Vec<usize>,
    /// The first bytes of all tokens.
    firsts: [bool; 256],
}

impl Finder {
    fn new(texts: Vec<(&str, usize)>) -> Result<Self, String> {
        let mut entries = Entries::default();
        let mut places = Vec::new();
        let mut firsts = [false; 256];
        for (text, place) in texts {
            let Some(first) = text.bytes().next() else {
                continue;
            };
            firsts[usize::from(first)] = true;
            if !entries.push(text) {
                return Err("added_tokens: too many".to_owned());
            }
            places.push(place);
        }
        Ok(Self {
            vocabulary: Vocabulary::new(entries)?,
            places,
            firsts,
        })
    }

    /// The first token at or after byte `from`: its index and its range.
    fn next(&self, text: &str, from: usize) -> Option<(usize, Range<usize>)> {
        if self.places.is_empty() {
            return None;
        }
        let bytes = text.as_bytes();
        let starts = (from..bytes.len()).filter(|at| self.firsts[usize::from(bytes[*at])]);
        for start in starts {
            let mut hash = Hash::START;
            let mut longest = None;
            for end in start + 1..=bytes.len() {
                hash = hash.then(&bytes[end - 1..end]);
                if !text.is_char_boundary(end) {
                    continue;
                }
                if !self.vocabulary.may_begin(hash) {
                    break;
                }
                if let Some(place) = self.vocabulary.find(&bytes[start..end], hash) {
                    longest = Some((self.places[place], start..end));
                }
            }
            if longest.is_some() {
                return longest;
            }
        }
        None
    }
}
