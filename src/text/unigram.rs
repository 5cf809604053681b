//! The Unigram model (Kudo 2018). Its results are those of the `tokenizers` crate, including ties:
//! scores are added in f64 and in the order of that crate.

use std::ops::Range;

use super::vocabulary::{Entries, Hash, Vocabulary};

/// The score of an unknown character relative to the lowest score, as in sentencepiece.
const UNKNOWN_PENALTY: f64 = 10.0;
/// Pieces and their scores, in the order of their ids.
#[derive(Clone, Debug, Default)]
pub struct Pieces {
    entries: Entries,
    scores: Vec<f64>,
    exact: Exact,
}

/// Ids and exact scores of the pieces whose score the `tokenizers` crate reads with a rounding
/// error.
type Exact = Vec<(usize, f64)>;

impl Pieces {
    /// Adds a piece, with its score as the crate reads it and its exact score. Returns false if
    /// there is no room for more.
    pub fn push(&mut self, piece: &str, score: f64, exact: f64) -> bool {
        if score.to_bits() != exact.to_bits() {
            self.exact.push((self.scores.len(), exact));
        }
        self.scores.push(score);
        self.entries.push(piece)
    }
}

/// The model.
pub struct Unigram {
    vocabulary: Vocabulary,
    scores: Vec<f64>,
    exact: Exact,
    unknown: Option<usize>,
    unknown_score: f64,
    byte_fallback: bool,
}

/// The best segmentation up to a place in a text.
#[derive(Clone, Copy)]
struct Node {
    score: f64,
    /// Start of its last piece, or none if no piece ends here.
    start: Option<usize>,
    id: usize,
}

impl Unigram {
    /// Indexes the pieces. The error says what is wrong with them.
    pub fn new(
        mut pieces: Pieces,
        unknown: Option<usize>,
        byte_fallback: bool,
    ) -> Result<Self, String> {
        let count = pieces.scores.len();
        if unknown.is_some_and(|id| id >= count) {
            return Err(format!(
                "unk_id must be less than the {count} entries of the vocabulary"
            ));
        }
        if let Some(id) = pieces.scores.iter().position(|score| !score.is_finite()) {
            return Err(format!("the score of entry {id} is not finite"));
        }
        pieces.scores.shrink_to_fit();
        pieces.exact.shrink_to_fit();
        Ok(Self {
            vocabulary: Vocabulary::new(pieces.entries)?,
            unknown_score: unknown_score(&pieces.scores),
            scores: pieces.scores,
            exact: pieces.exact,
            unknown,
            byte_fallback,
        })
    }

    /// The pieces. The index of each is its id.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The piece for unknown characters.
    pub fn unknown(&self) -> Option<usize> {
        self.unknown
    }

    /// Sets the piece for unknown characters, without fallback to bytes. Returns whether this is a
    /// change, or none if there is no such piece. transformers builds this model from the numbers
    /// of the file as Python reads them, that is exactly. Exact scores therefore replace the
    /// crate's: rounding decides between segmentations of equal probability.
    pub fn set_unknown(&mut self, id: usize) -> Option<bool> {
        self.score(id)?;
        for (id, score) in std::mem::take(&mut self.exact) {
            self.scores[id] = score;
        }
        self.unknown_score = unknown_score(&self.scores);
        let old = (
            self.unknown.replace(id),
            std::mem::take(&mut self.byte_fallback),
        );
        Some(old != (Some(id), false))
    }

    /// The score of a piece.
    pub fn score(&self, id: usize) -> Option<f64> {
        self.scores.get(id).copied()
    }

    /// The id of a piece.
    fn id(&self, piece: &str) -> Option<usize> {
        self.vocabulary.place(piece)
    }

    /// The segmentation of highest probability (Viterbi), as (start, end, id) from the end of the
    /// text to its beginning. Among equal ones, the last piece that begins first wins.
    fn best(&self, text: &str) -> Result<Vec<(usize, usize, usize)>, String> {
        let bytes = text.as_bytes();
        let unreached = Node {
            score: 0.0,
            start: None,
            id: 0,
        };
        let mut nodes = vec![unreached; bytes.len() + 1];
        for (start, first) in text.char_indices() {
            let so_far = nodes[start].score;
            let mut reach = |end: usize, id: usize, score: f64| {
                let node = &mut nodes[end];
                let score = score + so_far;
                if node.start.is_none() || score > node.score {
                    *node = Node {
                        score,
                        start: Some(start),
                        id,
                    };
                }
            };
            let single = start + first.len_utf8();
            let mut has_single = false;
            let mut hash = Hash::START;
            let mut end = start;
            for character in text[start..].chars() {
                let next = end + character.len_utf8();
                hash = hash.then(&bytes[end..next]);
                end = next;
                if !self.vocabulary.may_begin(hash) {
                    break;
                }
                if let Some(id) = self.vocabulary.find(&bytes[start..end], hash) {
                    has_single |= end == single;
                    reach(end, id, self.scores[id]);
                }
            }
            if !has_single {
                let id = self.unknown.ok_or("the text has a character that the vocabulary lacks, and the tokenizer has no unknown token (unk_id)")?;
                reach(single, id, self.unknown_score);
            }
        }
        let mut path = Vec::new();
        let mut end = bytes.len();
        while let Some(start) = nodes[end].start {
            path.push((start, end, nodes[end].id));
            end = start;
        }
        Ok(path)
    }

    /// Calls `token` with the id and the bytes of each token of a text.
    pub fn tokenize(
        &self,
        text: &str,
        token: &mut impl FnMut(u32, Range<usize>),
    ) -> Result<(), String> {
        // Ids are smaller than the number of pieces, which fits into a u32.
        let mut token = |id: usize, bytes| token(u32::try_from(id).unwrap_or(u32::MAX), bytes);
        // Adjacent unknown characters are one piece.
        let mut spans: Vec<(usize, usize, bool)> = Vec::new();
        for (start, end, id) in self.best(text)?.into_iter().rev() {
            let unknown = Some(id) == self.unknown;
            match spans.last_mut() {
                Some((_, last, true)) if unknown => *last = end,
                _ => spans.push((start, end, unknown)),
            }
        }
        for (start, end, _) in spans {
            let piece = &text[start..end];
            if let Some(id) = self.id(piece) {
                token(id, start..end);
                continue;
            }
            if self.byte_fallback {
                let bytes = piece.bytes().map(|byte| self.id(&byte_token(byte)));
                if let Some(bytes) = bytes.collect::<Option<Vec<usize>>>() {
                    bytes.into_iter().for_each(|id| token(id, start..end));
                    continue;
                }
            }
            let unknown = self
                .unknown
                .ok_or("the tokenizer has no unknown token (unk_id)")?;
            token(unknown, start..end);
        }
        Ok(())
    }
}

fn unknown_score(scores: &[f64]) -> f64 {
    scores.iter().copied().fold(f64::INFINITY, f64::min) - UNKNOWN_PENALTY
}

/// The token of a byte, for characters that the vocabulary lacks.
pub fn byte_token(byte: u8) -> String {
    format!("<0x{byte:02X}>")
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokenizers::Model;
    use tokenizers::models::unigram::Unigram as Reference;

    /// This model and the crate's, for one vocabulary.
    fn both(vocab: &[(String, f64)], unknown: Option<usize>, bytes: bool) -> (Unigram, Reference) {
        let mut pieces = Pieces::default();
        for (piece, score) in vocab {
            assert!(pieces.push(piece, *score, *score));
        }
        let reference = Reference::from(vocab.to_vec(), unknown, bytes).unwrap();
        (Unigram::new(pieces, unknown, bytes).unwrap(), reference)
    }

    fn tokens(model: &Unigram, text: &str) -> Result<Vec<(u32, Range<usize>)>, String> {
        let mut tokens = Vec::new();
        model.tokenize(text, &mut |id, bytes| tokens.push((id, bytes)))?;
        Ok(tokens)
    }

    fn same(ours: &Unigram, reference: &Reference, text: &str) {
        let ours = tokens(ours, text).map_err(|_| ());
        let reference = reference.tokenize(text).map_err(|_| ());
        let reference = reference.map(|tokens| {
            let tokens = tokens.into_iter();
            tokens
                .map(|token| (token.id, token.offsets.0..token.offsets.1))
                .collect()
        });
        assert_eq!(ours, reference, "{text:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        // Few letters and few scores make pieces overlap, tie and repeat.
        #[test]
        fn tokens_are_those_of_the_reference(
            vocab in prop::collection::vec(("[ab▁水é]{1,4}", -4i8..0), 1..40),
            texts in prop::collection::vec("[abcd▁水é🐱]{0,12}", 1..8),
            bytes: bool,
        ) {
            let mut vocab: Vec<(String, f64)> = vocab
                .into_iter()
                .map(|(piece, score)| (piece, f64::from(score) * 0.7))
                .collect();
            vocab.insert(0, ("<unk>".to_owned(), 0.0));
            if bytes {
                for byte in "cd🐱".bytes() {
                    vocab.push((format!("<0x{byte:02X}>"), -9.0));
                }
            }
            let (ours, reference) = both(&vocab, Some(0), bytes);
            for text in &texts {
                same(&ours, &reference, text);
            }
            for (piece, _) in &vocab {
                prop_assert_eq!(
                    ours.id(piece).map(|id| u32::try_from(id).unwrap()),
                    reference.token_to_id(piece)
                );
            }
        }
    }

    #[test]
    fn without_an_unknown_token_a_strange_character_is_an_error() {
        let (ours, reference) = both(&[("a".to_owned(), -1.0)], None, false);
        same(&ours, &reference, "aa");
        same(&ours, &reference, "ab");
        assert!(tokens(&ours, "ab").unwrap_err().contains("unk_id"));
    }

    #[test]
    fn impossible_vocabularies_are_refused() {
        let pieces = |score| {
            let mut pieces = Pieces::default();
            pieces.push("a", score, score);
            pieces
        };
        let error = |pieces, unknown| Unigram::new(pieces, unknown, false).err().unwrap();
        assert!(error(pieces(0.0), Some(1)).contains("unk_id"));
        assert!(error(pieces(f64::NAN), None).contains("not finite"));
        let empty = Unigram::new(Pieces::default(), None, false).unwrap();
        assert!(tokens(&empty, "").unwrap().is_empty());
    }
}
