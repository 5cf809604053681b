//! Turns tokens into text.
//!
//! | type | fields |
//! |---|---|
//! | `BPEDecoder` | `suffix`: at most 256 bytes |
//! | `WordPiece` | `prefix`: at most 256 bytes; `cleanup`: true or false |
//! | `Metaspace` | `replacement`: one character; `prepend_scheme` |
//! | `CTC` | `pad_token`, `word_delimiter_token`: at most 256 bytes; `cleanup`: true or false |
//! | `Replace` | `pattern`: a text that is not empty, or a pattern; `content`: at most 256 bytes |
//! | `Strip` | `content`: one character; `start`, `stop`: whole numbers |
//! | `ByteLevel`, `ByteFallback`, `Fuse` | none |
//! | `Sequence` | `decoders`: at most 64 parts, at most 8 deep |

use serde_json::Value;

use super::bytes;
use super::fields::{Fields, flat};
use super::matcher::Matcher;

/// The factor by which all replacements together may lengthen a text.
const MOST_GROWTH: usize = 512;

/// Turns tokens into text.
pub struct Decoder(Vec<Step>);

enum Step {
    Suffix(String),
    WordPiece {
        prefix: String,
        cleanup: bool,
    },
    Metaspace {
        replacement: char,
        prepended: bool,
    },
    Ctc {
        pad: String,
        delimiter: String,
        cleanup: bool,
    },
    Replace {
        pattern: Matcher,
        content: String,
    },
    Strip {
        content: char,
        start: usize,
        stop: usize,
    },
    ByteLevel,
    ByteFallback,
    Fuse,
}

impl Decoder {
    /// Reads the field `decoder`.
    pub fn new(json: &Value) -> Result<Self, String> {
        let parts = flat(json, "decoder", "decoders")?;
        let steps: Result<Vec<Step>, String> = parts.iter().map(Step::new).collect();
        let steps = steps.map_err(|reason| format!("decoder: {reason}"))?;
        let mut growth = 1;
        for step in &steps {
            if let Step::Replace { pattern, content } = step {
                growth *= (content.len() + 1).div_ceil(pattern.least().max(1));
            }
            if growth > MOST_GROWTH {
                return Err(format!(
                    "decoder: its parts could make a text more than {MOST_GROWTH} times as long"
                ));
            }
        }
        Ok(Self(steps))
    }

    /// The text of tokens.
    pub fn decode(&self, mut tokens: Vec<String>) -> Result<String, String> {
        if self.0.is_empty() {
            return Ok(tokens.join(" "));
        }
        for step in &self.0 {
            step.apply(&mut tokens)?;
        }
        Ok(tokens.concat())
    }
}

impl Step {
    fn new(fields: &Fields) -> Result<Self, String> {
        let text = |field: &str| fields.text(field).map(str::to_owned);
        Ok(match fields.kind {
            "BPEDecoder" => Self::Suffix(text("suffix")?),
            "WordPiece" => Self::WordPiece {
                prefix: text("prefix")?,
                cleanup: fields.must_flag("cleanup")?,
            },
            "Metaspace" => {
                let prepended = match fields.value("prepend_scheme") {
                    Value::Null => fields.flag("add_prefix_space")? != Some(false),
                    scheme => match scheme.as_str() {
                        Some("always" | "first") => true,
                        Some("never") => false,
                        _ => {
                            return fields
                                .wrong("prepend_scheme", "must be always, first or never");
                        }
                    },
                };
                Self::Metaspace {
                    replacement: fields.character("replacement")?,
                    prepended,
                }
            }
            "CTC" => Self::Ctc {
                pad: text("pad_token")?,
                delimiter: text("word_delimiter_token")?,
                cleanup: fields.must_flag("cleanup")?,
            },
            "Replace" => Self::Replace {
                pattern: Matcher::new(fields)?,
                content: text("content")?,
            },
            "Strip" => Self::Strip {
                content: fields.character("content")?,
                start: fields.count("start", 0)?.unwrap_or(0),
                stop: fields.count("stop", 0)?.unwrap_or(0),
            },
            "ByteLevel" => Self::ByteLevel,
            "ByteFallback" => Self::ByteFallback,
            "Fuse" => Self::Fuse,
            _ => return fields.unknown(),
        })
    }

    #[expect(clippy::too_many_lines, reason = "an arm for each kind of part")]
    fn apply(&self, tokens: &mut Vec<String>) -> Result<(), String> {
        match self {
            Self::Suffix(suffix) => {
                let last = tokens.len().saturating_sub(1);
                for (at, token) in tokens.iter_mut().enumerate() {
                    *token = replace(token, suffix, if at == last { "" } else { " " });
                }
            }
            Self::WordPiece { prefix, cleanup } => {
                for (at, token) in tokens.iter_mut().enumerate() {
                    if at > 0 {
                        *token = match token.strip_prefix(prefix.as_str()) {
                            Some(rest) => rest.to_owned(),
                            None => format!(" {token}"),
                        };
                    }
                    if *cleanup {
                        *token = cleaned(token);
                    }
                }
            }
            Self::Metaspace {
                replacement,
                prepended,
            } => {
                for (at, token) in tokens.iter_mut().enumerate() {
                    let space = if at == 0 && *prepended { "" } else { " " };
                    *token = token.replace(*replacement, space);
                }
            }
            Self::Ctc {
                pad,
                delimiter,
                cleanup,
            } => {
                tokens.dedup();
                for token in tokens.iter_mut() {
                    *token = replace(token, pad, "");
                    if *cleanup {
                        *token = replace(&cleaned(token), delimiter, " ");
                    }
                }
                tokens.retain(|token| !token.is_empty());
            }
            Self::Replace { pattern, content } => {
                for token in tokens {
                    let mut new = String::new();
                    let mut done = 0;
                    pattern.matches(token, |start, end| {
                        new.push_str(&token[done..start]);
                        new.push_str(content);
                        done = end;
                    })?;
                    new.push_str(&token[done..]);
                    *token = new;
                }
            }
            Self::Strip {
                content,
                start,
                stop,
            } => {
                for token in tokens {
                    let run = |chars: &mut dyn Iterator<Item = char>, most: usize| {
                        chars.take(most).take_while(|c| c == content).count() * content.len_utf8()
                    };
                    let first = run(&mut token.chars(), *start);
                    let rest = &token[first..];
                    let last = rest.len() - run(&mut rest.chars().rev(), *stop);
                    *token = rest[..last].to_owned();
                }
            }
            Self::ByteLevel => {
                let mut all = Vec::new();
                for token in tokens.iter() {
                    match token
                        .chars()
                        .map(bytes::decode)
                        .collect::<Option<Vec<u8>>>()
                    {
                        Some(bytes) => all.extend(bytes),
                        None => all.extend_from_slice(token.as_bytes()),
                    }
                }
                *tokens = vec![String::from_utf8_lossy(&all).into_owned()];
            }
            Self::ByteFallback => {
                let mut new = Vec::new();
                let mut run = Vec::new();
                let flush = |run: &mut Vec<u8>, new: &mut Vec<String>| {
                    let bytes = std::mem::take(run);
                    let count = bytes.len();
                    match String::from_utf8(bytes) {
                        Ok(text) if count > 0 => new.push(text),
                        Ok(_) => {}
                        Err(_) => new.extend(std::iter::repeat_n("\u{fffd}".to_owned(), count)),
                    }
                };
                for token in tokens.drain(..) {
                    let digits = token
                        .strip_prefix("<0x")
                        .and_then(|rest| rest.strip_suffix('>'));
                    let digits = digits.filter(|digits| digits.len() == 2);
                    let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                    if let Some(byte) = byte {
                        run.push(byte);
                    } else {
                        flush(&mut run, &mut new);
                        new.push(token);
                    }
                }
                flush(&mut run, &mut new);
                *tokens = new;
            }
            Self::Fuse => *tokens = vec![tokens.concat()],
        }
        Ok(())
    }
}

/// Replaces a string that is not empty.
fn replace(text: &str, old: &str, new: &str) -> String {
    if old.is_empty() {
        text.to_owned()
    } else {
        text.replace(old, new)
    }
}

/// Removes the spaces before punctuation and in contractions that joining tokens has added.
fn cleaned(text: &str) -> String {
    const PAIRS: [(&str, &str); 11] = [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" do not", " don't"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    PAIRS
        .iter()
        .fold(text.to_owned(), |text, (old, new)| text.replace(old, new))
}
