//! Splits a text into the words that the model sees.
//!
//! | type | fields |
//! |---|---|
//! | `Split` | `pattern`: a text of 1 to 256 bytes, or a pattern; `behavior`; `invert`: true or false |
//! | `Metaspace` | `replacement`: one character; `prepend_scheme`: `always`, `first` or `never`; `split`, `add_prefix_space`: true or false |
//! | `ByteLevel` | `add_prefix_space`, `use_regex`: true or false |
//! | `Punctuation` | `behavior` |
//! | `Digits` | `individual_digits`: true or false |
//! | `CharDelimiterSplit` | `delimiter`: one character |
//! | `FixedLength` | `length`: at least 1 |
//! | `BertPreTokenizer`, `Whitespace`, `WhitespaceSplit` | none |
//! | `Sequence` | `pretokenizers`: at most 64 parts, at most 8 deep |
//!
//! A behavior is `Removed`, `Isolated`, `MergedWithPrevious`, `MergedWithNext` or `Contiguous`.
//! `UnicodeScripts` is refused.

use std::ops::Range;
use std::sync::LazyLock;

use serde_json::Value;

use super::aligned::Aligned;
use super::bytes;
use super::cut::{self, Cuts};
use super::fields::{Fields, flat};
use super::matcher::{Matcher, is_punctuation, is_word_of_rust};
use super::pattern::{Pattern, Set};

/// Words as GPT-2 defines them.
static GPT2: LazyLock<Option<Matcher>> = LazyLock::new(|| {
    let pattern = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
    Pattern::new(pattern).ok().map(Matcher::Pattern)
});

/// The steps of pre-tokenization.
pub struct PreTokenizer(Vec<Step>);

enum Step {
    Split {
        pattern: Matcher,
        behavior: Behavior,
        invert: bool,
    },
    /// Runs of word characters, and runs of other characters.
    Words,
    Metaspace {
        replacement: char,
        scheme: Scheme,
        split: bool,
    },
    ByteLevel {
        prefix: bool,
        split: bool,
    },
    FixedLength(usize),
}

/// What happens to matches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behavior {
    Removed,
    Isolated,
    MergedWithPrevious,
    MergedWithNext,
    Contiguous,
}

/// Which words the replacement is put before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Always,
    First,
    Never,
}

impl PreTokenizer {
    /// Reads the field `pre_tokenizer`.
    pub fn new(json: &Value) -> Result<Self, String> {
        let mut steps = Vec::new();
        for fields in flat(json, "pre_tokenizer", "pretokenizers")? {
            let added = add(&fields, &mut steps);
            added.map_err(|reason| format!("pre_tokenizer: {reason}"))?;
        }
        Ok(Self(steps))
    }

    /// Whether the place of words in the whole text matters.
    pub fn needs_places(&self) -> bool {
        let first = |step: &Step| {
            let Step::Metaspace { scheme, .. } = step else {
                return false;
            };
            *scheme == Scheme::First
        };
        self.0.iter().any(first)
    }

    /// Splits a part of a text into words, and may change it.
    pub fn apply(&self, text: &mut Aligned, words: &mut Vec<Range<usize>>) -> Result<(), String> {
        let mut next = Vec::new();
        for step in &self.0 {
            next.clear();
            step.apply(text, words, &mut next)?;
            next.retain(|word| !word.is_empty());
            std::mem::swap(words, &mut next);
        }
        Ok(())
    }

    /// The places where words are sure to end, and the places that no step looks across. `cuts` are
    /// the places that remain after normalization.
    pub fn cuts(&self, cuts: Cuts) -> (Cuts, Cuts) {
        let mut cuts = cuts;
        // Once words end at a place, later steps see only words, and do not look across it.
        let mut sure = Cuts::NONE;
        for step in &self.0 {
            if let Some(space) = cuts.space {
                let (after, ends) = step.at_space(space);
                if ends {
                    sure.space = Some(space);
                }
                cuts.space = after.filter(|_| !ends);
            }
            if cuts.punctuation {
                let (after, ends) = step.at_punctuation();
                sure.punctuation |= ends;
                cuts.punctuation = after && !ends;
            }
        }
        (sure, cuts)
    }
}

fn add(fields: &Fields, steps: &mut Vec<Step>) -> Result<(), String> {
    let characters = |wanted: fn(char) -> bool, behavior| Step::Split {
        pattern: Matcher::Characters(wanted),
        behavior,
        invert: false,
    };
    let space = || characters(char::is_whitespace, Behavior::Removed);
    let step = match fields.kind {
        "BertPreTokenizer" => {
            steps.push(space());
            characters(is_punctuation, Behavior::Isolated)
        }
        "WhitespaceSplit" => space(),
        "Whitespace" => Step::Words,
        "Punctuation" => {
            let behavior = match fields.value("behavior") {
                Value::Null => Behavior::Isolated,
                _ => behavior(fields)?,
            };
            characters(is_punctuation, behavior)
        }
        "Digits" => {
            let single = fields.must_flag("individual_digits")?;
            let behavior = if single {
                Behavior::Isolated
            } else {
                Behavior::Contiguous
            };
            characters(char::is_numeric, behavior)
        }
        "CharDelimiterSplit" | "Delimiter" => Step::Split {
            pattern: Matcher::Text(fields.character("delimiter")?.to_string()),
            behavior: Behavior::Removed,
            invert: false,
        },
        "Split" => Step::Split {
            pattern: Matcher::new(fields)?,
            behavior: behavior(fields)?,
            invert: fields.must_flag("invert")?,
        },
        "Metaspace" => metaspace(fields)?,
        "ByteLevel" => Step::ByteLevel {
            prefix: fields.must_flag("add_prefix_space")?,
            split: fields.flag("use_regex")?.unwrap_or(true),
        },
        "FixedLength" => Step::FixedLength(fields.count("length", 1)?.unwrap_or(5)),
        _ => return fields.unknown(),
    };
    steps.push(step);
    Ok(())
}

fn behavior(fields: &Fields) -> Result<Behavior, String> {
    Ok(match fields.value("behavior").as_str() {
        Some("Removed") => Behavior::Removed,
        Some("Isolated") => Behavior::Isolated,
        Some("MergedWithPrevious") => Behavior::MergedWithPrevious,
        Some("MergedWithNext") => Behavior::MergedWithNext,
        Some("Contiguous") => Behavior::Contiguous,
        _ => {
            return fields.wrong(
                "behavior",
                "must be Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous",
            );
        }
    })
}

fn metaspace(fields: &Fields) -> Result<Step, String> {
    let scheme = match fields.value("prepend_scheme") {
        Value::Null => Scheme::Always,
        scheme => match scheme.as_str() {
            Some("always") => Scheme::Always,
            Some("first") => Scheme::First,
            Some("never") => Scheme::Never,
            _ => return fields.wrong("prepend_scheme", "must be always, first or never"),
        },
    };
    if fields.flag("add_prefix_space")? == Some(false) && scheme != Scheme::Never {
        return fields.wrong("add_prefix_space", "contradicts prepend_scheme");
    }
    Ok(Step::Metaspace {
        replacement: fields.character("replacement")?,
        scheme,
        split: fields.flag("split")?.unwrap_or(true),
    })
}

impl Step {
    #[expect(clippy::too_many_lines, reason = "an arm for each kind of part")]
    fn apply(
        &self,
        text: &mut Aligned,
        words: &[Range<usize>],
        out: &mut Vec<Range<usize>>,
    ) -> Result<(), String> {
        match self {
            Self::Split {
                pattern,
                behavior,
                invert,
            } => {
                let mut parts = Vec::new();
                for word in words {
                    split(
                        text.text(),
                        word,
                        pattern,
                        *behavior,
                        *invert,
                        &mut parts,
                        out,
                    )?;
                }
            }
            Self::Words => {
                for word in words {
                    let mut start = word.start;
                    let mut kind = None;
                    for (at, c) in text.text()[word.clone()].char_indices() {
                        let at = word.start + at;
                        let next = (!c.is_whitespace()).then(|| is_word_of_rust(c));
                        if next != kind {
                            if kind.is_some() {
                                out.push(start..at);
                            }
                            start = at;
                            kind = next;
                        }
                    }
                    if kind.is_some() {
                        out.push(start..word.end);
                    }
                }
            }
            Self::Metaspace {
                replacement,
                scheme,
                split: splits,
            } => {
                let replacement_text = replacement.to_string();
                let mut new = text.rebuilt();
                let mut parts = Vec::with_capacity(words.len());
                for word in words {
                    let start = new.len();
                    let old = &text.text()[word.clone()];
                    let prepended = match scheme {
                        Scheme::Always => true,
                        Scheme::First => text.place(word.clone()).is_some_and(|place| place.0 == 0),
                        Scheme::Never => false,
                    };
                    if prepended && !old.starts_with([' ', *replacement]) {
                        new.put(&replacement_text, word.start);
                    }
                    let mut done = word.start;
                    for (at, _) in old.match_indices(' ') {
                        let at = word.start + at;
                        new.take(done..at);
                        new.put(&replacement_text, at);
                        done = at + 1;
                    }
                    new.take(done..word.end);
                    parts.push(start..new.len());
                }
                *text = new.done();
                if *splits {
                    let pattern = Matcher::Text(replacement_text);
                    let behavior = Behavior::MergedWithNext;
                    let mut found = Vec::new();
                    for word in &parts {
                        split(
                            text.text(),
                            word,
                            &pattern,
                            behavior,
                            false,
                            &mut found,
                            out,
                        )?;
                    }
                } else {
                    out.append(&mut parts);
                }
            }
            Self::ByteLevel {
                prefix,
                split: splits,
            } => {
                let mut parts = words.to_vec();
                if *prefix {
                    let mut new = text.rebuilt();
                    for word in &mut parts {
                        let start = new.len();
                        if !text.text()[word.clone()].starts_with(' ') {
                            new.put(" ", word.start);
                        }
                        new.take(word.clone());
                        *word = start..new.len();
                    }
                    *text = new.done();
                }
                if let Some(pattern) = GPT2.as_ref().filter(|_| *splits) {
                    let mut found = Vec::new();
                    let mut next = Vec::with_capacity(2 * parts.len());
                    for word in &parts {
                        let isolated = Behavior::Isolated;
                        split(
                            text.text(),
                            word,
                            pattern,
                            isolated,
                            false,
                            &mut found,
                            &mut next,
                        )?;
                    }
                    parts = next;
                }
                let mut new = text.rebuilt();
                for word in parts {
                    let start = new.len();
                    let old = text.text()[word.clone()].bytes();
                    for (at, byte) in (word.start..).zip(old) {
                        new.put(bytes::character(byte).encode_utf8(&mut [0; 4]), at);
                    }
                    out.push(start..new.len());
                }
                *text = new.done();
            }
            Self::FixedLength(length) => {
                for word in words {
                    let mut start = word.start;
                    let cuts = text.text()[word.clone()].char_indices().step_by(*length);
                    for (at, _) in cuts.skip(1) {
                        out.push(start..word.start + at);
                        start = word.start + at;
                    }
                    out.push(start..word.end);
                }
            }
        }
        Ok(())
    }

    /// What a space between words becomes, or none if the step looks across the place before it;
    /// and whether a word is sure to end there.
    fn at_space(&self, space: char) -> (Option<char>, bool) {
        let plain = cut::plain();
        let spaces = Set::of(&[space]);
        let space_text = space.to_string();
        match self {
            Self::Split {
                pattern,
                behavior,
                invert,
            } => {
                if !pattern.ends_between(&plain, &spaces) {
                    return (None, false);
                }
                let takes_space = pattern.covers(&space_text);
                // Letters and digits are matched as whole words, or not at all.
                let takes_words = ["a", "Z", "a0Bz"].iter().all(|word| pattern.covers(word));
                match (behavior, invert) {
                    (Behavior::Removed | Behavior::Isolated | Behavior::MergedWithNext, false)
                        if takes_space && !takes_words =>
                    {
                        (Some(space), true)
                    }
                    (Behavior::Isolated, false) if takes_words => (Some(space), true),
                    (Behavior::Removed | Behavior::Isolated, false) => (Some(space), false),
                    _ if matches!(pattern, Matcher::Characters(_))
                        && !takes_space
                        && !takes_words =>
                    {
                        (Some(space), false)
                    }
                    _ => (None, false),
                }
            }
            Self::Words => (Some(space), space.is_whitespace()),
            Self::Metaspace {
                replacement, split, ..
            } => {
                if space == ' ' || space == *replacement {
                    (Some(*replacement), *split)
                } else {
                    (None, false)
                }
            }
            Self::ByteLevel { split, .. } => {
                let ends = *split
                    && space == ' '
                    && GPT2
                        .as_ref()
                        .is_some_and(|gpt2| gpt2.ends_between(&plain, &spaces));
                (None, ends)
            }
            Self::FixedLength(_) => (None, false),
        }
    }

    /// Whether the step does not look across a place between a Han character and punctuation, and
    /// whether a word is sure to end there.
    fn at_punctuation(&self) -> (bool, bool) {
        match self {
            Self::Split {
                pattern,
                behavior: Behavior::Isolated,
                invert: false,
            } => {
                let marks = Set::of(&cut::PUNCTUATION);
                let local = pattern.ends_between(&cut::han(), &marks);
                let takes_han = ["中", "中文字"].iter().all(|word| pattern.covers(word));
                let mut marks = cut::PUNCTUATION.iter();
                let takes_marks = marks.all(|mark| pattern.covers(mark.encode_utf8(&mut [0; 4])));
                (
                    local,
                    local && takes_han || takes_marks && matches!(pattern, Matcher::Characters(_)),
                )
            }
            Self::Split {
                pattern: Matcher::Characters(_),
                behavior: Behavior::Removed,
                invert: false,
            } => (true, false),
            Self::ByteLevel {
                prefix: false,
                split: true,
            } => (false, true),
            _ => (false, false),
        }
    }
}

/// Splits a word at matches.
fn split(
    text: &str,
    word: &Range<usize>,
    pattern: &Matcher,
    behavior: Behavior,
    invert: bool,
    parts: &mut Vec<(Range<usize>, bool)>,
    out: &mut Vec<Range<usize>>,
) -> Result<(), String> {
    parts.clear();
    let mut done = word.start;
    pattern.matches(&text[word.clone()], |start, end| {
        let (start, end) = (word.start + start, word.start + end);
        if start > done {
            parts.push((done..start, invert));
        }
        parts.push((start..end, !invert));
        done = end;
    })?;
    if done < word.end {
        parts.push((done..word.end, invert));
    }
    let mut matched_before = false;
    let first = out.len();
    match behavior {
        Behavior::Removed => {
            let kept = parts.drain(..).filter(|(_, matched)| !matched);
            out.extend(kept.map(|(range, _)| range));
        }
        Behavior::Isolated => out.extend(parts.drain(..).map(|(range, _)| range)),
        Behavior::Contiguous | Behavior::MergedWithPrevious => {
            for (range, matched) in parts.drain(..) {
                let joins = match behavior {
                    Behavior::Contiguous => matched == matched_before,
                    _ => matched && !matched_before,
                };
                matched_before = matched;
                match out[first..].last_mut() {
                    Some(last) if joins => last.end = range.end,
                    _ => out.push(range),
                }
            }
        }
        Behavior::MergedWithNext => {
            for (range, matched) in parts.drain(..).rev() {
                let joins = matched && !matched_before;
                matched_before = matched;
                match out[first..].last_mut() {
                    Some(last) if joins => last.start = range.start,
                    _ => out.push(range),
                }
            }
            out[first..].reverse();
        }
    }
    Ok(())
}
