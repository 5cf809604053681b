//! Where a long text may be cut into windows without changing its tokens.
//!
//! Two kinds of places are considered: before a single space between a letter or digit of ASCII and
//! a letter of ASCII, and between a Han character and a punctuation mark. At load each part of a
//! tokenizer says whether it looks across such a place ([`Cuts`]). If one does, texts are tokenised
//! in one piece.

use std::ops::Range;

use super::pattern::Set;

/// The least bytes of a window, unless the text is shorter.
const WINDOW: usize = 4096;
/// Punctuation before which a text may be cut after a Han character.
pub const PUNCTUATION: [char; 7] = ['，', '。', '、', '！', '？', '；', '：'];
/// Han characters after which a text may be cut before punctuation.
const HAN: (u32, u32) = (0x4e00, 0x9fff);

/// The places where a text may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cuts {
    /// Before a space. The parts so far have replaced the space by this character.
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

/// Letters and digits of ASCII.
pub fn plain() -> Set {
    Set::new(vec![(48, 57), (65, 90), (97, 122)])
}

/// The Han characters of [`Cuts::punctuation`].
pub fn han() -> Set {
    Set::new(vec![HAN])
}
