//! Matchers for splits and replacements.

use unicode_categories::UnicodeCategories;

use super::cut;
use super::fields::Fields;
use super::pattern::{Pattern, Set, is_word};

/// What a matcher searches for.
pub enum Matcher {
    /// A string that is not empty.
    Text(String),
    Pattern(Pattern),
    /// Single characters of a class.
    Characters(fn(char) -> bool),
}

impl Matcher {
    /// Reads the field `pattern`: `{ "String": … }` or `{ "Regex": … }`.
    pub fn new(fields: &Fields) -> Result<Self, String> {
        let value = fields.value("pattern");
        if let Some(text) = value["String"].as_str() {
            return if text.is_empty() || text.len() > 256 {
                fields.wrong("pattern", "must have from 1 to 256 bytes")
            } else {
                Ok(Self::Text(text.to_owned()))
            };
        }
        match value["Regex"].as_str() {
            Some(pattern) => match Pattern::new(pattern) {
                Ok(pattern) => Ok(Self::Pattern(pattern)),
                Err(reason) => fields.wrong("pattern", &format!("{pattern:?} {reason}")),
            },
            None => fields.wrong("pattern", "must be a String or a Regex"),
        }
    }

    /// The least bytes of a match.
    pub fn least(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Pattern(pattern) => pattern.least(),
            Self::Characters(_) => 1,
        }
    }

    /// Calls `found` with the start and the end of each match, in order.
    pub fn matches(&self, text: &str, mut found: impl FnMut(usize, usize)) -> Result<(), String> {
        match self {
            Self::Text(part) => {
                for (at, part) in text.match_indices(part.as_str()) {
                    found(at, at + part.len());
                }
            }
            Self::Pattern(pattern) => pattern
                .matches(text, found)
                .map_err(|_| "one of its patterns takes too many steps for this text")?,
            Self::Characters(wanted) => {
                for (at, c) in text.char_indices().filter(|(_, c)| wanted(*c)) {
                    found(at, at + c.len_utf8());
                }
            }
        }
        Ok(())
    }

    /// Whether matches stay the same if a text is cut between a character of `left` and one of
    /// `right`: none spans such a place or looks across it.
    pub fn ends_between(&self, left: &Set, right: &Set) -> bool {
        match self {
            Self::Text(text) => {
                let mut pairs = text.chars().zip(text.chars().skip(1));
                !pairs.any(|(a, b)| left.has(a) && right.has(b))
            }
            Self::Pattern(pattern) => pattern.ends_between(left, right),
            Self::Characters(_) => true,
        }
    }

    /// Whether matches cover the whole of a short text.
    pub fn covers(&self, text: &str) -> bool {
        let mut done = Some(0);
        let found = self.matches(text, |start, end| {
            done = done.filter(|done| *done == start).map(|_| end);
        });
        found.is_ok() && done == Some(text.len())
    }

    /// The character that a space between words becomes when matches are replaced with `content`.
    /// None if that depends on the words, or if words change.
    pub fn replaced(&self, space: char, content: &str) -> Option<char> {
        let plain = cut::plain();
        let touches_words = match self {
            Self::Text(text) => text.chars().any(|c| plain.has(c)),
            Self::Pattern(pattern) => pattern.takes_any(&plain),
            Self::Characters(_) => true,
        };
        if touches_words || !self.ends_between(&plain, &Set::of(&[space])) {
            return None;
        }
        if !self.covers(space.encode_utf8(&mut [0; 4])) {
            return Some(space);
        }
        let mut chars = content.chars();
        chars.next().filter(|_| chars.next().is_none())
    }
}

/// Punctuation as BERT defines it.
pub fn is_punctuation(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_punctuation()
    } else {
        c.is_punctuation()
    }
}

/// `\w` of the `regex` crate, which includes joiners. The type `Whitespace` and added tokens use
/// it.
pub fn is_word_of_rust(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || c == '_';
    }
    !matches!(c, '\u{b2}' | '\u{b3}' | '\u{b9}' | '\u{bc}'..='\u{be}')
        && (is_word(c) || matches!(c, '\u{200c}' | '\u{200d}'))
}
