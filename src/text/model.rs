//! The model of a tokenizer.json, read in one pass: a vocabulary goes straight into its final form.
//!
//! | type | fields |
//! |---|---|
//! | `WordPiece` | `vocab`, which has `unk_token`; `continuing_subword_prefix`; `max_input_chars_per_word` |
//! | `WordLevel` | `vocab`, which has `unk_token` |
//! | `BPE` | `vocab`; `merges` of entries into entries; `unk_token`: none or an entry; `continuing_subword_prefix`, `end_of_word_suffix`: none or at most 256 bytes; `fuse_unk`, `byte_fallback`, `ignore_merges`; `dropout` from 0 to 1, which has no effect |
//! | `Unigram` | `vocab` of pieces and finite scores; `unk_id`: none or a piece; `byte_fallback` |

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::bpe::{self, Bpe};
use super::unigram::{Pieces, Unigram};
use super::vocabulary::{Entries, Ids};
use super::wordpiece::WordPiece;

/// The most bytes of a prefix or a suffix.
const LONGEST_AFFIX: usize = 256;

/// A model of any type.
pub enum Model {
    Unigram(Unigram),
    Bpe(Bpe),
    WordPiece(WordPiece),
    WordLevel {
        /// The vocabulary.
        ids: Ids,
        /// The id of words that the vocabulary lacks.
        unknown: u32,
    },
}

impl Model {
    /// Calls `token` with the id and the bytes of each token of a word.
    pub fn tokenize(
        &self,
        word: &str,
        token: &mut impl FnMut(u32, Range<usize>),
    ) -> Result<(), String> {
        match self {
            Self::Unigram(model) => model.tokenize(word, token)?,
            Self::Bpe(model) => model.tokenize(word, token),
            Self::WordPiece(model) => model.tokenize(word, token),
            Self::WordLevel { ids, unknown } => {
                token(ids.id(word).unwrap_or(*unknown), 0..word.len());
            }
        }
        Ok(())
    }

    fn ids(&self) -> Option<&Ids> {
        match self {
            Self::Unigram(_) => None,
            Self::Bpe(model) => Some(model.ids()),
            Self::WordPiece(model) => Some(model.ids()),
            Self::WordLevel { ids, .. } => Some(ids),
        }
    }

    /// The id of an entry.
    pub fn id(&self, entry: &str) -> Option<u32> {
        match self {
            Self::Unigram(model) => u32::try_from(model.vocabulary().place(entry)?).ok(),
            _ => self.ids()?.id(entry),
        }
    }

    /// The entry of an id.
    pub fn entry(&self, id: u32) -> Option<&str> {
        match self {
            Self::Unigram(model) => model.vocabulary().get(id as usize),
            _ => self.ids()?.entry(id),
        }
    }

    /// Number of entries.
    pub fn size(&self) -> usize {
        match self {
            Self::Unigram(model) => model.vocabulary().len(),
            _ => self.ids().map_or(0, |ids| ids.vocabulary().distinct()),
        }
    }

    /// The largest id.
    pub fn last(&self) -> Option<u32> {
        match self {
            Self::Unigram(model) => u32::try_from(model.vocabulary().len().checked_sub(1)?).ok(),
            _ => self.ids()?.last(),
        }
    }

    /// The id of text that the vocabulary lacks.
    pub fn unknown(&self) -> Option<u32> {
        match self {
            Self::WordLevel { unknown, .. } => Some(*unknown),
            Self::WordPiece(model) => Some(model.unknown()),
            Self::Bpe(model) => model.unknown(),
            Self::Unigram(model) => model.unknown().and_then(|id| u32::try_from(id).ok()),
        }
    }

    /// Whether an id is only that of unknown text.
    pub fn is_unknown(&self, id: u32) -> bool {
        matches!(self, Self::Unigram(model) if model.unknown() == Some(id as usize))
    }

    /// Whether a text may be cut between an ASCII letter or digit and `space` without changing
    /// tokens.
    pub fn ends_before(&self, space: char) -> bool {
        matches!(self, Self::Bpe(model) if space == '▁' && model.ends_before_spaces())
    }
}

/// The fields of all types of models. Each type has some of them.
#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "type")]
    kind: Option<Kind>,
    vocab: Vocabulary,
    merges: Option<Vec<Merge>>,
    unk_id: Option<usize>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    max_input_chars_per_word: Option<usize>,
    dropout: Option<f32>,
    fuse_unk: Option<bool>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Kind {
    #[serde(rename = "BPE")]
    Bpe,
    WordPiece,
    WordLevel,
    Unigram,
}

impl<'de> Deserialize<'de> for Model {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Fields::deserialize(deserializer)?
            .model()
            .map_err(de::Error::custom)
    }
}

impl Fields {
    /// Old files do not name the type.
    fn kind(&self) -> Kind {
        self.kind.unwrap_or(match &self.vocab {
            Vocabulary::Pieces(_) => Kind::Unigram,
            Vocabulary::Ids(..) if self.merges.is_some() => Kind::Bpe,
            Vocabulary::Ids(..) if self.max_input_chars_per_word.is_some() => Kind::WordPiece,
            Vocabulary::Ids(..) => Kind::WordLevel,
        })
    }

    fn model(self) -> Result<Model, String> {
        let kind = self.kind();
        let need = |what: &str| format!("its model of type {kind:?} has no {what}");
        let (entries, ids) = match self.vocab {
            Vocabulary::Pieces(pieces) if kind == Kind::Unigram => {
                let bytes = self.byte_fallback.unwrap_or(false);
                return Unigram::new(pieces, self.unk_id, bytes).map(Model::Unigram);
            }
            Vocabulary::Ids(entries, ids) if kind != Kind::Unigram => (entries, ids),
            Vocabulary::Ids(..) => {
                return Err("its Unigram vocabulary must be a list of pieces and scores".to_owned());
            }
            Vocabulary::Pieces(_) => {
                return Err(format!("its {kind:?} vocabulary must be an object of ids"));
            }
        };
        let ids = Ids::new(entries, ids)?;
        let unknown = self.unk_token.as_ref();
        let unknown = unknown.map(|token| {
            let id = ids.id(token);
            id.ok_or_else(|| format!("its vocabulary lacks its unk_token, {token:?}"))
        });
        let unknown = unknown.transpose()?;
        let affix = |affix: Option<String>| match affix {
            Some(affix) if affix.len() > LONGEST_AFFIX => {
                Err("continuing_subword_prefix and end_of_word_suffix may have at most 256 bytes")
            }
            affix => Ok(affix),
        };
        let prefix = affix(self.continuing_subword_prefix)?;
        if kind == Kind::Bpe {
            if self
                .dropout
                .is_some_and(|dropout| !(0.0..=1.0).contains(&dropout))
            {
                return Err("its dropout must be from 0 to 1".to_owned());
            }
            let merges = self.merges.ok_or_else(|| need("merges"))?;
            let merges = merges.into_iter().filter_map(|Merge(pair)| pair);
            let merges: Vec<_> = merges.collect();
            let options = bpe::Options {
                unknown,
                prefix: prefix.unwrap_or_default(),
                suffix: affix(self.end_of_word_suffix)?.unwrap_or_default(),
                fuse_unknown: self.fuse_unk.unwrap_or(false),
                byte_fallback: self.byte_fallback.unwrap_or(false),
                whole_words: self.ignore_merges.unwrap_or(false),
            };
            return Bpe::new(ids, &merges, options).map(Model::Bpe);
        }
        let unknown = unknown.ok_or_else(|| need("unk_token"))?;
        if kind == Kind::WordLevel {
            return Ok(Model::WordLevel { ids, unknown });
        }
        let prefix = prefix.ok_or_else(|| need("continuing_subword_prefix"))?;
        let longest = self.max_input_chars_per_word;
        let longest = longest.ok_or_else(|| need("max_input_chars_per_word"))?;
        Ok(Model::WordPiece(WordPiece::new(
            ids, unknown, prefix, longest,
        )))
    }
}

/// A vocabulary, in one of two shapes.
enum Vocabulary {
    /// `[[piece, score], …]`
    Pieces(Pieces),
    /// `{ entry: id, … }`
    Ids(Entries, Vec<u32>),
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Vocabulary;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a vocabulary: a list of pieces and scores, or an object of ids")
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> std::result::Result<Vocabulary, A::Error> {
                let mut pieces = Pieces::default();
                while seq.next_element_seed(PieceSeed(&mut pieces))?.is_some() {}
                Ok(Vocabulary::Pieces(pieces))
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Vocabulary, A::Error> {
                let mut entries = Entries::default();
                let mut ids = Vec::new();
                while let Some(Borrowed(entry)) = map.next_key()? {
                    if !entries.push(&entry) {
                        return Err(de::Error::custom("the vocabulary has more than 4 GB"));
                    }
                    ids.push(map.next_value()?);
                }
                Ok(Vocabulary::Ids(entries, ids))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Reads one `[piece, score]` into the list.
struct PieceSeed<'a>(&'a mut Pieces);

impl<'de> DeserializeSeed<'de> for PieceSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for PieceSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a piece and its score")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
        let piece: std::borrow::Cow<str> = seq
            .next_element::<Borrowed>()?
            .ok_or_else(|| de::Error::invalid_length(0, &"a piece and its score"))?
            .0;
        let number: &RawValue = seq
            .next_element()?
            .ok_or_else(|| de::Error::invalid_length(1, &"a piece and its score"))?;
        let score: f64 = serde_json::from_str(number.get()).map_err(de::Error::custom)?;
        let exact: f64 = number.get().parse().map_err(de::Error::custom)?;
        if seq.next_element::<de::IgnoredAny>()?.is_some() {
            return Err(de::Error::invalid_length(3, &"a piece and its score"));
        }
        if self.0.push(&piece, score, exact) {
            Ok(())
        } else {
            Err(de::Error::custom("the vocabulary has more than 4 GB"))
        }
    }
}

/// A string that is copied only if it has escapes.
#[derive(Deserialize)]
struct Borrowed<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);

/// One merge, `"a b"` or `["a", "b"]`. None for the comment that old files begin with.
struct Merge(Option<(String, String)>);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = Merge;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a merge: two entries, as a list or with a space between them")
            }

            fn visit_str<E: de::Error>(self, line: &str) -> std::result::Result<Merge, E> {
                if line.starts_with("#version") {
                    return Ok(Merge(None));
                }
                match line.split_once(' ') {
                    Some((a, b)) if !b.contains(' ') => {
                        Ok(Merge(Some((a.to_owned(), b.to_owned()))))
                    }
                    _ => Err(E::invalid_value(de::Unexpected::Str(line), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> std::result::Result<Merge, A::Error> {
                let mut part = |at| {
                    let part = seq.next_element()?;
                    part.ok_or_else(|| de::Error::invalid_length(at, &"two entries"))
                };
                let pair = (part(0)?, part(1)?);
                match seq.next_element::<de::IgnoredAny>()? {
                    None => Ok(Merge(Some(pair))),
                    Some(_) => Err(de::Error::invalid_length(3, &"two entries")),
                }
            }
        }
        deserializer.deserialize_any(Pair)
    }
}
