//! Tokenises a [`Question`] about a query and a document.

use super::Tokens;
use super::pipeline::Need;
use super::question::{Part, Piece, Question, fill};
use super::rules::{Direction, Rules};
use super::tokenizer::{COUNTED, Tokenizer, check_length};
use crate::error::{Error, Result};

impl Tokenizer {
    /// The number of tokens of the question with empty texts.
    pub fn question_tokens(&self, question: &Question) -> Result<usize> {
        let mut tokens = 0;
        for piece in &question.plain {
            tokens += self.ids(&fill(piece, "", ["", ""]), Need::All)?.len();
        }
        Ok(tokens)
    }

    /// Tokens of a question about two texts.
    pub(super) fn ask(
        &self,
        index: usize,
        question: &Question,
        texts: [&str; 2],
        rules: Rules,
    ) -> Result<Tokens> {
        let pieces = match (&question.prompted, rules.prompt) {
            (_, "") => &question.plain,
            (Some(pieces), _) => pieces,
            (None, _) => {
                return Err(Error::input(
                    "prompt",
                    "the model's chat template has no place for a prompt (a message of the role \"system\")",
                ));
            }
        };
        let mut lists = Vec::new();
        for piece in pieces {
            lists.push(self.part_ids(&fill(piece, rules.prompt, texts), rules)?);
        }
        let count = lists.iter().map(Vec::len).sum();
        check_length(index, count, rules)?;
        if !question.restored {
            let left = self.direction(rules) == Direction::Left;
            cut(pieces, &mut lists, rules.limit, left);
        }
        let mut ids = lists.concat();
        // A question of exactly `limit` tokens has its end replaced, too: the end of a text may
        // have merged into one token with what follows it.
        if ids.len() >= rules.limit {
            match self.direction(rules) {
                Direction::Left => drop(ids.drain(..ids.len() - rules.limit)),
                _ => ids.truncate(rules.limit),
            }
            if question.restored {
                let end = self.end_of(pieces, rules.prompt)?;
                let kept = end.len().min(ids.len());
                let at = ids.len() - kept;
                ids[at..].copy_from_slice(&end[end.len() - kept..]);
            }
        }
        Ok(Tokens {
            truncated: count > rules.limit,
            ids,
            ..Tokens::default()
        })
    }

    /// The ids of a piece. Ids beyond the limit are left out, since they are cut off later.
    fn part_ids(&self, text: &str, rules: Rules) -> Result<Vec<u32>> {
        let enough = rules.limit.saturating_add(1);
        let need = match self.direction(rules) {
            _ if rules.limit == usize::MAX => Need::All,
            _ if !rules.truncate => Need::First(enough.max(COUNTED)),
            Direction::Left => Need::Last(enough),
            _ => Need::First(enough),
        };
        self.ids(text, need)
    }

    /// The last tokens of the question, which do not depend on the texts. They are the common
    /// suffix of two questions.
    fn end_of(&self, pieces: &[Piece], prompt: &str) -> Result<Vec<u32>> {
        // These texts share no token, and have different numbers of tokens.
        let [first, second] = ["0", "1 2 3 4"].map(|text| {
            let ids = pieces
                .iter()
                .map(|piece| self.ids(&fill(piece, prompt, [text, text]), Need::All));
            ids.collect::<Result<Vec<_>>>()
        });
        let (first, second) = (first?.concat(), second?.concat());
        let both = first.iter().rev().zip(second.iter().rev());
        let same = both.take_while(|(one, other)| one == other).count();
        let is_end = same < first.len().min(second.len());
        Ok(first[first.len() - if is_end { same } else { 0 }..].to_vec())
    }
}

/// Truncates the pieces with texts to the room that the other pieces leave. If the query and the
/// document are in two pieces, the query's gets at most three quarters of the room, and the
/// document's gets the rest.
fn cut(pieces: &[Piece], lists: &mut [Vec<u32>], limit: usize, left: bool) {
    let place = |part| pieces.iter().position(|piece| piece.contains(part));
    let (Some(query), Some(document)) = (place(&Part::Query), place(&Part::Document)) else {
        return;
    };
    let length = |own: &dyn Fn(usize) -> bool, lists: &[Vec<u32>]| -> usize {
        let own = lists.iter().enumerate().filter(|(at, _)| own(*at));
        own.map(|(_, ids)| ids.len()).sum()
    };
    let shorten = |list: &mut Vec<u32>, most: usize| {
        if left {
            list.drain(..list.len().saturating_sub(most));
        } else {
            list.truncate(most);
        }
    };
    let is_text = |at: usize| at == query || at == document;
    let room = limit.saturating_sub(length(&|at| !is_text(at), lists));
    if query == document {
        shorten(&mut lists[document], room);
        return;
    }
    // What is between the two is part of the room.
    let between = length(&|at| query < at && at < document, lists);
    let all = room.saturating_add(between);
    shorten(&mut lists[query], all / 4 * 3 + all % 4 * 3 / 4);
    let rest = room.saturating_sub(lists[query].len());
    shorten(&mut lists[document], rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_and_nothing_else() {
        let question = Question::marked(&["", "{query}", "", "{document}", ""], "{query}");
        let lengths = |lengths: [usize; 5], limit| {
            let mut lists: Vec<Vec<u32>> = lengths.map(|length| vec![0; length]).into();
            cut(&question.plain, &mut lists, limit, limit % 2 == 1);
            lists.iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(lengths([3, 5, 1, 9, 2], 40), [3, 5, 1, 9, 2]);
        // A room of 35 with the piece between: 26 for the query, 8 for the document.
        assert_eq!(lengths([3, 50, 1, 50, 2], 40), [3, 26, 1, 8, 2]);
        assert_eq!(lengths([3, 5, 1, 50, 2], 40), [3, 5, 1, 29, 2]);
        assert_eq!(lengths([3, 5, 1, 5, 2], 4), [3, 0, 1, 0, 2]);
        assert_eq!(lengths([3, 5, 1, 50, 2], 39), [3, 5, 1, 28, 2]);
    }
}
