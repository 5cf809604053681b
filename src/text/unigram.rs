//! A compact Unigram model (Kudo 2018) for large vocabularies: pieces in one arena of bytes, found through a hash table,
//! with a filter of all prefixes that says when no longer piece can follow.
//!
//! XLM-R's 250,002 pieces take some 10 MB and a few dozen milliseconds to index. The `tokenizers` crate builds a
//! pointer trie, a hash map and a `String` for each piece, which takes seconds and hundreds of megabytes in wasm. The
//! results are the same, ties included: scores are added up in f64, in the order of that crate.

use tokenizers::Token;

/// What an unknown character scores below the worst piece, as in sentencepiece.
const UNKNOWN_PENALTY: f64 = 10.0;
/// Longest chain in the table. A vocabulary without ill intent stays far below.
const LONGEST_CHAIN: usize = 512;

/// Pieces and their scores, in the order of their ids.
#[derive(Clone, Debug, Default)]
pub struct Pieces {
    bytes: Vec<u8>,
    /// Where each piece ends in `bytes`.
    ends: Vec<u32>,
    scores: Vec<f64>,
}

impl Pieces {
    /// Adds a piece; false when there is no room for more.
    pub fn push(&mut self, piece: &str, score: f64) -> bool {
        self.bytes.extend_from_slice(piece.as_bytes());
        let Ok(end) = u32::try_from(self.bytes.len()) else {
            return false;
        };
        self.ends.push(end);
        self.scores.push(score);
        self.ends.len() < u32::MAX as usize
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn bytes(&self, id: usize) -> &[u8] {
        let start = id.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start as usize..self.ends[id] as usize]
    }

    fn piece(&self, id: usize) -> Option<&str> {
        (id < self.len()).then(|| std::str::from_utf8(self.bytes(id)).ok())?
    }
}

/// Hash of a text so far; the next character's bytes lead to that of the longer one (FNV-1a).
#[derive(Clone, Copy)]
struct Hash(u64);

impl Hash {
    const START: Self = Self(0xcbf2_9ce4_8422_2325);

    fn then(self, bytes: &[u8]) -> Self {
        bytes.iter().fold(self, |Self(hash), byte| {
            Self((hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
        })
    }

    /// A number of `bits` bits: the upper ones of a product (Fibonacci hashing), since FNV mixes upwards only.
    #[expect(clippy::cast_possible_truncation, reason = "at most 32 bits are left")]
    fn index(self, bits: u32) -> usize {
        (self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - bits)) as usize
    }
}

/// The model.
#[derive(Clone)]
pub struct Unigram {
    pieces: Pieces,
    /// Open addressing: 1 + id, 0 where empty.
    table: Vec<u32>,
    table_bits: u32,
    /// One bit for the hash of each piece and of each of its prefixes.
    prefixes: Vec<u64>,
    prefix_bits: u32,
    unknown: Option<usize>,
    unknown_score: f64,
    byte_fallback: bool,
}

/// The best way to an end within a text.
#[derive(Clone, Copy)]
struct Node {
    score: f64,
    /// Where the last piece begins; none where no piece ends.
    start: Option<usize>,
    id: usize,
}

impl Unigram {
    /// Indexes the pieces; the error says what is wrong with them.
    pub fn new(
        mut pieces: Pieces,
        unknown: Option<usize>,
        byte_fallback: bool,
    ) -> Result<Self, String> {
        if unknown.is_some_and(|id| id >= pieces.len()) {
            return Err(format!(
                "unk_id must be less than the {} entries of the vocabulary",
                pieces.len()
            ));
        }
        if let Some(id) = pieces.scores.iter().position(|score| !score.is_finite()) {
            return Err(format!("the score of entry {id} is not finite"));
        }
        pieces.bytes.shrink_to_fit();
        pieces.ends.shrink_to_fit();
        pieces.scores.shrink_to_fit();
        let worst = pieces.scores.iter().copied().fold(f64::INFINITY, f64::min);
        // At most half full; and about eight bits for each prefix, of which there are no more than bytes.
        let table_bits = (2 * pieces.len().max(8)).next_power_of_two().ilog2();
        let prefix_bits = (4 * pieces.bytes.len().max(64)).next_power_of_two().ilog2();
        let mut model = Self {
            table: vec![0; 1 << table_bits],
            table_bits,
            prefixes: vec![0; 1 << (prefix_bits - 6)],
            prefix_bits,
            unknown,
            unknown_score: worst - UNKNOWN_PENALTY,
            byte_fallback,
            pieces,
        };
        for id in 0..model.pieces.len() {
            model.index(id)?;
        }
        Ok(model)
    }

    /// Has another piece stand for unknown characters, without falling back on bytes; whether that is a change, or
    /// none if there is no such piece.
    pub fn set_unknown(&mut self, id: usize) -> Option<bool> {
        self.score(id)?;
        let old = (
            self.unknown.replace(id),
            std::mem::take(&mut self.byte_fallback),
        );
        Some(old != (Some(id), false))
    }

    /// The score of a piece.
    pub fn score(&self, id: usize) -> Option<f64> {
        self.pieces.scores.get(id).copied()
    }

    fn index(&mut self, id: usize) -> Result<(), String> {
        let piece = self.pieces.bytes(id);
        let mut hash = Hash::START;
        for (at, byte) in piece.iter().enumerate() {
            hash = hash.then(&[*byte]);
            let ends_a_character = piece.get(at + 1).is_none_or(|next| next & 0xc0 != 0x80);
            if ends_a_character {
                let bit = hash.index(self.prefix_bits);
                self.prefixes[bit / 64] |= 1 << (bit % 64);
            }
        }
        let mask = self.table.len() - 1;
        let first = hash.index(self.table_bits);
        for slot in (first..first + LONGEST_CHAIN).map(|slot| slot & mask) {
            let taken = self.table[slot].checked_sub(1);
            // Of equal pieces the last one counts.
            if taken.is_none_or(|other| self.pieces.bytes(other as usize) == piece) {
                self.table[slot] = u32::try_from(id + 1).map_err(|_| "it has too many entries")?;
                return Ok(());
            }
        }
        Err("too many entries of its vocabulary have the same hash".to_owned())
    }

    /// The id of the piece with these bytes and this hash.
    fn find(&self, piece: &[u8], hash: Hash) -> Option<usize> {
        let mask = self.table.len() - 1;
        let first = hash.index(self.table_bits);
        for slot in (first..first + LONGEST_CHAIN).map(|slot| slot & mask) {
            let id = self.table[slot].checked_sub(1)? as usize;
            if self.pieces.bytes(id) == piece {
                return Some(id);
            }
        }
        None
    }

    fn may_begin_a_piece(&self, hash: Hash) -> bool {
        let bit = hash.index(self.prefix_bits);
        self.prefixes[bit / 64] >> (bit % 64) & 1 == 1
    }

    /// Number of pieces.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// The id of a piece.
    pub fn id(&self, piece: &str) -> Option<usize> {
        let piece = piece.as_bytes();
        self.find(piece, Hash::START.then(piece))
    }

    /// The piece of an id.
    pub fn piece(&self, id: usize) -> Option<&str> {
        self.pieces.piece(id)
    }

    /// All pieces, in the order of ids.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|id| self.piece(id))
    }

    /// The likeliest pieces of a text (Viterbi), as (start, end, id) from its end to its beginning. Of equally likely
    /// ones that which begins first.
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
                if !self.may_begin_a_piece(hash) {
                    break;
                }
                if let Some(id) = self.find(&bytes[start..end], hash) {
                    has_single |= end == single;
                    reach(end, id, self.pieces.scores[id]);
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

    /// Tokens of a text.
    pub fn tokenize(&self, text: &str) -> Result<Vec<Token>, String> {
        // Neighbouring unknown characters are one piece.
        let mut spans: Vec<(usize, usize, bool)> = Vec::new();
        for (start, end, id) in self.best(text)?.into_iter().rev() {
            let unknown = Some(id) == self.unknown;
            match spans.last_mut() {
                Some((_, last, true)) if unknown => *last = end,
                _ => spans.push((start, end, unknown)),
            }
        }
        let mut tokens = Vec::with_capacity(spans.len());
        for (start, end, _) in spans {
            let piece = &text[start..end];
            if let Some(id) = self.id(piece) {
                tokens.push(token(id, piece.to_owned(), (start, end)));
                continue;
            }
            if self.byte_fallback {
                let bytes: Option<Vec<Token>> = piece
                    .bytes()
                    .map(|byte| {
                        let name = format!("<0x{byte:02X}>");
                        self.id(&name).map(|id| token(id, name, (start, end)))
                    })
                    .collect();
                if let Some(bytes) = bytes {
                    tokens.extend(bytes);
                    continue;
                }
            }
            let unknown = self
                .unknown
                .ok_or("the tokenizer has no unknown token (unk_id)")?;
            tokens.push(token(unknown, piece.to_owned(), (start, end)));
        }
        Ok(tokens)
    }
}

fn token(id: usize, value: String, offsets: (usize, usize)) -> Token {
    // Ids are below the number of pieces, which is a u32.
    Token::new(u32::try_from(id).unwrap_or(u32::MAX), value, offsets)
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokenizers::Model;
    use tokenizers::models::unigram::Unigram as Reference;

    /// Both models of one vocabulary.
    fn both(vocab: &[(String, f64)], unknown: Option<usize>, bytes: bool) -> (Unigram, Reference) {
        let mut pieces = Pieces::default();
        for (piece, score) in vocab {
            assert!(pieces.push(piece, *score));
        }
        let reference = Reference::from(vocab.to_vec(), unknown, bytes).unwrap();
        (Unigram::new(pieces, unknown, bytes).unwrap(), reference)
    }

    fn same(ours: &Unigram, reference: &Reference, text: &str) {
        let ours = ours.tokenize(text).map_err(|_| ());
        let reference = reference.tokenize(text).map_err(|_| ());
        assert_eq!(ours, reference, "{text:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        // Few letters and few scores, so that pieces overlap, tie and come twice.
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
        assert!(ours.tokenize("ab").unwrap_err().contains("unk_id"));
    }

    #[test]
    fn impossible_vocabularies_are_refused() {
        let pieces = |score| {
            let mut pieces = Pieces::default();
            pieces.push("a", score);
            pieces
        };
        let error = |pieces, unknown| Unigram::new(pieces, unknown, false).err().unwrap();
        assert!(error(pieces(0.0), Some(1)).contains("unk_id"));
        assert!(error(pieces(f64::NAN), None).contains("not finite"));
        assert!(
            Unigram::new(Pieces::default(), None, false)
                .unwrap()
                .tokenize("")
                .unwrap()
                .is_empty()
        );
    }
}
