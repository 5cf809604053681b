//! Where a long text may be cut into windows, so that the tokens of the windows are those of the
//! whole text.
//!
//! Two kinds of places are considered: before a single space between an ASCII letter or digit and
//! an ASCII letter, and between a Han character and a punctuation mark. When a tokenizer is loaded,
//! each of its parts says whether its result depends on both sides of such a place ([`Cuts`]). If
//! one does, texts are tokenised as a whole.

use std::ops::Range;

use super::pattern::Set;

/// The least bytes of a window, unless the text is shorter.
const WINDOW: usize = 4096;
/// Punctuation marks of [`Cuts::punctuation`].
pub const PUNCTUATION: [char; 7] = ['，', '。', '、', '！', '？', '；', '：'];
/// Han characters of [`Cuts::punctuation`].
const HAN: (u32, u32) = (0x4e00, 0x9fff);

/// The places where a text may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cuts {
    /// Before a space. The parts so far have replaced the space with this character.
    pub space: Option<char>,
    /// Between a Han character and punctuation.
    pub punctuation: bool,
}

impl Cuts {
    /// All places.
    pub const ALL: Self = Self {
        space: Some(' '),
        punctuation: true,
    };
    /// No place.
    pub const NONE: Self = Self {
        space: None,
        punctuation: false,
    };

    /// Whether a text may be cut before its byte `at`.
    fn may_cut(self, text: &str, at: usize) -> bool {
        let bytes = text.as_bytes();
        match bytes[at] {
            b' ' if self.space.is_some() => {
                at > 0
                    && bytes[at - 1].is_ascii_alphanumeric()
                    && bytes.get(at + 1).is_some_and(u8::is_ascii_alphabetic)
            }
            0xe3 | 0xef if self.punctuation => {
                let (before, after) = text.split_at(at);
                after.starts_with(PUNCTUATION)
                    && before.ends_with(|c: char| (HAN.0..=HAN.1).contains(&(c as u32)))
            }
            _ => false,
        }
    }

    /// The first window of a part of a text.
    pub fn first(self, text: &str, part: Range<usize>) -> Range<usize> {
        let cut = (part.start + WINDOW..part.end).find(|at| self.may_cut(text, *at));
        part.start..cut.filter(|_| self != Self::NONE).unwrap_or(part.end)
    }

    /// The last window of a part of a text.
    pub fn last(self, text: &str, part: Range<usize>) -> Range<usize> {
        let most = part.end.saturating_sub(WINDOW).max(part.start);
        let cut = (part.start + 1..most)
            .rev()
            .find(|at| self.may_cut(text, *at));
        cut.filter(|_| self != Self::NONE).unwrap_or(part.start)..part.end
    }
}

/// ASCII letters and digits.
pub fn plain() -> Set {
    Set::new(vec![(48, 57), (65, 90), (97, 122)])
}

/// The Han characters of [`Cuts::punctuation`].
pub fn han() -> Set {
    Set::new(vec![HAN])
}
