//! The `WordPiece` model (Wu et al. 2016): takes the longest matching entry, repeatedly.

use std::ops::Range;

use super::vocabulary::{Hash, Ids};

/// The model.
pub struct WordPiece {
    ids: Ids,
    unknown: u32,
    /// Put before every token of a word but the first.
    prefix: String,
    /// The most characters of a word. Longer words are unknown.
    longest: usize,
}

impl WordPiece {
    pub fn new(ids: Ids, unknown: u32, prefix: String, longest: usize) -> Self {
        Self {
            ids,
            unknown,
            prefix,
            longest,
        }
    }

    /// The token for words that cannot be split into entries.
    pub fn unknown(&self) -> u32 {
        self.unknown
    }

    /// Sets the unknown token, with the prefix and the longest word of BERT's class. Returns
    /// whether this is a change.
    pub fn set_unknown(&mut self, unknown: u32) -> bool {
        const LONGEST: usize = 100;
        let old = (
            std::mem::replace(&mut self.unknown, unknown),
            std::mem::replace(&mut self.prefix, "##".to_owned()),
            std::mem::replace(&mut self.longest, LONGEST),
        );
        old != (unknown, self.prefix.clone(), LONGEST)
    }

    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Calls `token` with the id and the bytes of each token of a word.
    pub fn tokenize(&self, word: &str, token: &mut impl FnMut(u32, Range<usize>)) {
        let mut tokens: Vec<(u32, Range<usize>)> = Vec::new();
        let fits = word.len() <= self.longest || word.chars().count() <= self.longest;
        let mut start = 0;
        while fits && start < word.len() {
            let Some((id, end)) = self.longest_at(word, start) else {
                break;
            };
            tokens.push((id, start..end));
            start = end;
        }
        if fits && start == word.len() {
            tokens.into_iter().for_each(|(id, bytes)| token(id, bytes));
        } else {
            token(self.unknown, 0..word.len());
        }
    }

    /// The longest entry that matches at a byte: its id and its end.
    fn longest_at(&self, word: &str, start: usize) -> Option<(u32, usize)> {
        let vocabulary = self.ids.vocabulary();
        let prefix = if start == 0 { "" } else { &self.prefix };
        let mut hash = Hash::START.then(prefix.as_bytes());
        let mut end = start;
        let mut best = None;
        for c in word[start..].chars() {
            let next = end + c.len_utf8();
            hash = hash.then(&word.as_bytes()[end..next]);
            end = next;
            if !vocabulary.may_begin(hash) {
                break;
            }
            let piece = &word.as_bytes()[start..end];
            if let Some(place) = vocabulary.find_in_two(prefix.as_bytes(), piece, hash) {
                best = Some((self.ids.at(place), end));
            }
        }
        best
    }
}
