//! Normalizes a text before it is split into words.
//!
//! | type | fields |
//! |---|---|
//! | `BertNormalizer` | `clean_text`, `handle_chinese_chars`, `lowercase`: true or false; `strip_accents`: null, too |
//! | `Strip` | `strip_left`, `strip_right`: true or false |
//! | `Precompiled` | `precompiled_charsmap`: a whole table with replacements of at most 256 bytes |
//! | `Replace` | `pattern`: a text that is not empty, or a pattern; `content`: at most 256 bytes |
//! | `Prepend` | `prepend`: at most 256 bytes |
//! | `StripAccents`, `NFC`, `NFD`, `NFKC`, `NFKD`, `Lowercase`, `Nmt`, `ByteLevel` | none |
//! | `Sequence` | `normalizers`: at most 64 parts, at most 8 deep |
//!
//! The factor by which all steps together may lengthen a text is bounded, too.

use serde_json::Value;
use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::UnicodeNormalization;
use unicode_normalization_alignments::char::is_combining_mark;

use super::aligned::Aligned;
use super::bytes;
use super::charsmap::Charsmap;
use super::cut::Cuts;
use super::fields::{Fields, flat};
use super::matcher::Matcher;

/// The factor by which all steps together may lengthen a text.
const MOST_GROWTH: usize = 512;
/// A text that has grown by this factor, plus this many bytes, is refused.
const GROWN: (usize, usize) = (40, 1 << 16);

/// The steps of normalization.
pub struct Normalizer(Vec<Step>);

enum Step {
    Bert {
        clean: bool,
        chinese: bool,
        accents: bool,
        lowercase: bool,
    },
    Strip {
        left: bool,
        right: bool,
    },
    StripAccents,
    Form(Form),
    Lowercase,
    Nmt,
    Charsmap(Charsmap),
    Replace {
        pattern: Matcher,
        content: String,
    },
    Prepend(String),
    ByteLevel,
}

#[derive(Clone, Copy)]
enum Form {
    Nfc,
    Nfd,
    Nfkc,
    Nfkd,
}

impl Normalizer {
    /// Reads the field `normalizer`.
    pub fn new(json: &Value) -> Result<Self, String> {
        let parts = flat(json, "normalizer", "normalizers")?;
        let steps: Result<Vec<Step>, String> = parts.iter().map(Step::new).collect();
        let steps = steps.map_err(|reason| format!("normalizer: {reason}"))?;
        let mut growth = 1;
        for step in &steps {
            growth *= step.growth();
            if growth > MOST_GROWTH {
                return Err(format!(
                    "normalizer: its parts could make a text {growth} times as long; at most {MOST_GROWTH} times is allowed"
                ));
            }
        }
        Ok(Self(steps))
    }

    /// Normalizes a part of a text. `first` and `last` say whether it is the beginning and the end
    /// of the text.
    pub fn apply(&self, text: &mut Aligned, first: bool, last: bool) -> Result<(), String> {
        let most = text.text().len() * GROWN.0 + GROWN.1;
        for step in &self.0 {
            step.apply(text, first, last)?;
            if text.text().len() > most {
                return Err(format!(
                    "normalizer: the text became {} times as long, and longer",
                    GROWN.0
                ));
            }
        }
        Ok(())
    }

    /// The places where normalizing both sides separately gives the same as normalizing the whole.
    pub fn cuts(&self) -> Cuts {
        self.0.iter().fold(Cuts::ALL, |cuts, step| step.cuts(cuts))
    }
}

impl Step {
    fn new(fields: &Fields) -> Result<Self, String> {
        Ok(match fields.kind {
            "BertNormalizer" => {
                let lowercase = fields.must_flag("lowercase")?;
                Self::Bert {
                    clean: fields.must_flag("clean_text")?,
                    chinese: fields.must_flag("handle_chinese_chars")?,
                    accents: fields.flag("strip_accents")?.unwrap_or(lowercase),
                    lowercase,
                }
            }
            "Strip" => Self::Strip {
                left: fields.must_flag("strip_left")?,
                right: fields.must_flag("strip_right")?,
            },
            "StripAccents" => Self::StripAccents,
            "NFC" => Self::Form(Form::Nfc),
            "NFD" => Self::Form(Form::Nfd),
            "NFKC" => Self::Form(Form::Nfkc),
            "NFKD" => Self::Form(Form::Nfkd),
            "Lowercase" => Self::Lowercase,
            "Nmt" => Self::Nmt,
            "Precompiled" => {
                let table = fields.value("precompiled_charsmap").as_str();
                match table.and_then(Charsmap::new) {
                    Some(map) => Self::Charsmap(map),
                    None => return fields.wrong("precompiled_charsmap", "is damaged"),
                }
            }
            "Replace" => Self::Replace {
                pattern: Matcher::new(fields)?,
                content: fields.text("content")?.to_owned(),
            },
            "Prepend" => Self::Prepend(fields.text("prepend")?.to_owned()),
            "ByteLevel" => Self::ByteLevel,
            _ => return fields.unknown(),
        })
    }

    /// The factor by which the step can lengthen a text.
    fn growth(&self) -> usize {
        match self {
            Self::Replace { pattern, content } => match pattern.least() {
                0 => content.len() + 1,
                least => content.len().div_ceil(least).max(1),
            },
            Self::Charsmap(map) => map.longest().max(1),
            Self::ByteLevel => 2,
            _ => 1,
        }
    }

    #[expect(clippy::too_many_lines, reason = "an arm for each kind of part")]
    fn apply(&self, text: &mut Aligned, first: bool, last: bool) -> Result<(), String> {
        match self {
            Self::Bert {
                clean,
                chinese,
                accents,
                lowercase,
            } => {
                let put = |c: char, out: &mut String| {
                    if *lowercase {
                        lower(c, out);
                    } else {
                        out.push(c);
                    }
                };
                // ASCII characters have no accents.
                let forms = *accents && !text.text().is_ascii();
                text.each(|c, out| {
                    let is_kept = matches!(c, '\t' | '\n' | '\r');
                    let is_space = is_kept || c.is_whitespace();
                    let is_control = if c.is_ascii() {
                        c.is_ascii_control()
                    } else {
                        c == '\u{fffd}' || c.is_other()
                    };
                    let is_gone = is_control && !is_kept;
                    if *clean && is_gone {
                        return;
                    }
                    let c = if *clean && is_space { ' ' } else { c };
                    let around = *chinese && is_chinese(c);
                    if around {
                        out.push(' ');
                    }
                    if forms {
                        out.push(c);
                    } else {
                        put(c, out);
                    }
                    if around {
                        out.push(' ');
                    }
                });
                if forms {
                    Form::Nfd.apply(text);
                    text.each(|c, out| {
                        if !c.is_mark_nonspacing() {
                            put(c, out);
                        }
                    });
                }
            }
            Self::Strip { left, right } => {
                let old = text.text();
                let mut part = old;
                if *right && last {
                    part = part.trim_end();
                }
                let end = part.len();
                if *left && first {
                    part = part.trim_start();
                }
                text.keep(end - part.len()..end);
            }
            Self::StripAccents => text.each(|c, out| {
                if !is_combining_mark(c) {
                    out.push(c);
                }
            }),
            Self::Form(form) => form.apply(text),
            Self::Lowercase => text.each(lower),
            Self::Nmt => text.each(|c, out| match c as u32 {
                1..=8 | 0xb | 0xe..=0x1f | 0x7f | 0x8f | 0x9f => {}
                9
                | 0xa
                | 0xc
                | 0xd
                | 0x1680
                | 0x200b..=0x200f
                | 0x2028
                | 0x2029
                | 0x2581
                | 0xfeff
                | 0xfffd => out.push(' '),
                _ => out.push(c),
            }),
            Self::Charsmap(map) => map.apply(text),
            Self::Replace { pattern, content } => {
                let mut matches = Vec::new();
                pattern.matches(text.text(), |start, end| matches.push((start, end)))?;
                if matches.is_empty() {
                    return Ok(());
                }
                let mut new = text.rebuilt();
                let mut done = 0;
                for (start, end) in matches {
                    new.take(done..start);
                    new.put(content, end.saturating_sub(1));
                    done = end;
                }
                new.take(done..text.text().len());
                *text = new.done();
            }
            Self::Prepend(prefix) => {
                if first && !text.text().is_empty() {
                    let mut new = text.rebuilt();
                    new.put(prefix, 0);
                    new.take(0..text.text().len());
                    *text = new.done();
                }
            }
            Self::ByteLevel => text.each(bytes::encode),
        }
        Ok(())
    }

    fn cuts(&self, cuts: Cuts) -> Cuts {
        match self {
            // These change single characters, or clusters that end before ASCII and before
            // punctuation.
            Self::Bert { .. }
            | Self::StripAccents
            | Self::Lowercase
            | Self::Strip { .. }
            | Self::Form(Form::Nfc | Form::Nfd) => cuts,
            Self::Form(_) | Self::Nmt | Self::Charsmap(_) | Self::Prepend(_) => Cuts {
                punctuation: false,
                ..cuts
            },
            Self::Replace { pattern, content } => Cuts {
                space: cuts
                    .space
                    .and_then(|space| pattern.replaced(space, content)),
                punctuation: false,
            },
            Self::ByteLevel => Cuts::NONE,
        }
    }
}

impl Form {
    fn apply(self, text: &mut Aligned) {
        if text.text().is_ascii() {
            return;
        }
        let old = text.text().to_owned();
        match self {
            Self::Nfc => text.transform(old.nfc()),
            Self::Nfd => text.transform(old.nfd()),
            Self::Nfkc => text.transform(old.nfkc()),
            Self::Nfkd => text.transform(old.nfkd()),
        }
    }
}

fn lower(c: char, out: &mut String) {
    if c.is_ascii() {
        out.push(c.to_ascii_lowercase());
    } else {
        out.extend(c.to_lowercase());
    }
}

/// CJK characters as BERT defines them.
fn is_chinese(c: char) -> bool {
    matches!(
        c as u32,
        0x4E00..=0x9FFF
            | 0x3400..=0x4DBF
            | 0x20000..=0x2A6DF
            | 0x2A700..=0x2B73F
            | 0x2B740..=0x2B81F
            | 0x2B920..=0x2CEAF
            | 0xF900..=0xFAFF
            | 0x2F800..=0x2FA1F
    )
}
