//! Tokens of two texts as one sequence. Pairs that are too long are cut as the `tokenizers` crate
//! does with `longest_first`.

use super::Tokens;
use super::pair::{Pair, Piece};
use super::pipeline::Need;
use super::rules::{Direction, Rules};
use super::tokenizer::{COUNTED, Tokenizer, check_length};
use crate::error::{Error, Result};

/// How many tokens each of two texts keeps where both have more than `room`: the longer one is cut
/// to what the shorter leaves, and both to half of the room (the longer one to the larger half)
/// where the shorter one has more than that.
fn longest_first(first: usize, second: usize, room: usize) -> [usize; 2] {
    if first + second <= room {
        return [first, second];
    }
    let (mut short, mut long) = (first.min(second), first.max(second));
    long = long.min(room.saturating_sub(short).max(short));
    if short + long > room {
        short = room / 2;
        long = room - short;
    }
    if first > second {
        [long, short]
    } else {
        [short, long]
    }
}

impl Tokenizer {
    fn pair_template(&self) -> Result<&Pair> {
        self.frame().pair.as_ref().ok_or_else(|| {
            Error::InvalidTokenizer(
                "its post_processor has no template that puts two texts in one sequence (pair, with the sequences A and B once each, and special tokens), which a reranker needs".to_owned(),
            )
        })
    }

    /// Special tokens that are added to two texts, and the largest token type that a token has.
    pub fn pair_added(&self) -> Result<(usize, u32)> {
        let pair = self.pair_template()?;
        let types = pair.0.iter().map(|(_, kind)| *kind);
        let most = types.max().filter(|_| self.gives_types());
        Ok((pair.added(), most.unwrap_or(0)))
    }

    /// Tokens of two texts, of which `rules.prompt` goes before the first one.
    pub(super) fn pair(
        &self,
        index: usize,
        [first, second]: [&str; 2],
        rules: Rules,
    ) -> Result<Tokens> {
        let pair = self.pair_template()?;
        let first = [rules.prompt, first].concat();
        let room = rules.limit.saturating_sub(pair.added());
        let direction = self.direction(rules);
        let left = direction == Direction::Left;
        let texts = [first.as_str(), second];
        let mut enough = match (rules.limit, rules.truncate) {
            (usize::MAX, _) => usize::MAX,
            (_, true) => room.saturating_add(1),
            (_, false) => room.saturating_add(1).max(COUNTED),
        };
        let [first, second] = loop {
            let need = match enough {
                usize::MAX => Need::All,
                enough if left => Need::Last(enough),
                enough => Need::First(enough),
            };
            let ids = [self.ids(texts[0], need)?, self.ids(texts[1], need)?];
            // Which text is the longer one shows once the shorter one is there to its end.
            if !rules.truncate || ids.iter().any(|ids| ids.len() < enough) {
                break ids;
            }
            enough = enough.saturating_mul(4);
        };
        check_length(index, first.len() + second.len() + pair.added(), rules)?;
        let kept = longest_first(first.len(), second.len(), room);
        let cut = |ids: &[u32], kept: usize| -> Vec<u32> {
            let start = if left { ids.len() - kept } else { 0 };
            ids[start..start + kept].to_vec()
        };
        let truncated = kept != [first.len(), second.len()];
        let (first, second) = (cut(&first, kept[0]), cut(&second, kept[1]));
        let mut tokens = Tokens {
            truncated,
            ..Tokens::default()
        };
        for (piece, kind) in &pair.0 {
            match piece {
                Piece::First => tokens.ids.extend_from_slice(&first),
                Piece::Second => tokens.ids.extend_from_slice(&second),
                Piece::Token(id) => tokens.ids.push(*id),
            }
            tokens.types.resize(tokens.ids.len(), *kind);
        }
        if !self.gives_types() {
            tokens.types.clear();
        }
        Ok(tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What tokenizers 0.23 gives with `truncation="longest_first"`.
    #[test]
    fn the_longer_text_is_cut_first() {
        for (first, second, room, kept) in [
            (3, 4, 7, [3, 4]),
            (3, 9, 7, [3, 4]),
            (9, 3, 7, [4, 3]),
            (9, 8, 7, [4, 3]),
            (8, 9, 7, [3, 4]),
            (9, 9, 7, [3, 4]),
            (0, 9, 7, [0, 7]),
            (4, 4, 7, [3, 4]),
            (100, 1, 1, [1, 0]),
            (5, 5, 0, [0, 0]),
        ] {
            assert_eq!(longest_first(first, second, room), kept, "{first} {second}");
        }
    }
}
