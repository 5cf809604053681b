//! The model of a tokenizer.json, read in one pass: the compact [`Unigram`], or one of the `tokenizers` crate's.
//!
//! That crate reads its models by way of a tree of JSON values, which for a quarter of a million entries takes more
//! memory than the weights; here a vocabulary goes straight into its final form.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::{Result, Token};

use super::unigram::{Pieces, Unigram};

/// Any model.
#[derive(Clone)]
pub enum Model {
    /// Our own.
    Unigram(Unigram),
    /// The crate's.
    Other(ModelWrapper),
}

impl tokenizers::Model for Model {
    type Trainer = TrainerWrapper;

    fn tokenize(&self, sequence: &str) -> Result<Vec<Token>> {
        match self {
            Self::Unigram(model) => Ok(model.tokenize(sequence)?),
            Self::Other(model) => model.tokenize(sequence),
        }
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        match self {
            Self::Unigram(model) => u32::try_from(model.id(token)?).ok(),
            Self::Other(model) => model.token_to_id(token),
        }
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        match self {
            Self::Unigram(model) => model.piece(id as usize).map(str::to_owned),
            Self::Other(model) => model.id_to_token(id),
        }
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        match self {
            Self::Unigram(model) => model.iter().map(str::to_owned).zip(0..).collect(),
            Self::Other(model) => model.get_vocab(),
        }
    }

    fn get_vocab_size(&self) -> usize {
        match self {
            Self::Unigram(model) => model.len(),
            Self::Other(model) => model.get_vocab_size(),
        }
    }

    fn save(&self, folder: &Path, prefix: Option<&str>) -> Result<Vec<PathBuf>> {
        match self {
            Self::Unigram(_) => Err("tokenizers are read here, not written".into()),
            Self::Other(model) => model.save(folder, prefix),
        }
    }

    fn get_trainer(&self) -> TrainerWrapper {
        match self {
            Self::Unigram(_) => tokenizers::models::unigram::UnigramTrainer::default().into(),
            Self::Other(model) => model.get_trainer(),
        }
    }
}

// `TokenizerImpl` asks for this to be written to a file, which nothing here does.
impl Serialize for Model {
    fn serialize<S: serde::Serializer>(
        &self,
        serializer: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Unigram(_) => Err(serde::ser::Error::custom(
                "tokenizers are read here, not written",
            )),
            Self::Other(model) => model.serialize(serializer),
        }
    }
}

/// The fields of all kinds of models; each kind has some of them.
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
    /// Old files do not name the kind.
    fn kind(&self) -> Kind {
        self.kind.unwrap_or(match &self.vocab {
            Vocabulary::Pieces(_) => Kind::Unigram,
            Vocabulary::Ids(_) if self.merges.is_some() => Kind::Bpe,
            Vocabulary::Ids(_) if self.max_input_chars_per_word.is_some() => Kind::WordPiece,
            Vocabulary::Ids(_) => Kind::WordLevel,
        })
    }

    fn model(self) -> Result<Model> {
        let kind = self.kind();
        let need = |what: &str| format!("its model of type {kind:?} has no {what}");
        Ok(match (kind, self.vocab) {
            (Kind::Unigram, Vocabulary::Pieces(pieces)) => Model::Unigram(Unigram::new(
                pieces,
                self.unk_id,
                self.byte_fallback.unwrap_or(false),
            )?),
            (Kind::Bpe, Vocabulary::Ids(vocab)) => {
                let merges = self.merges.ok_or_else(|| need("merges"))?;
                let merges = merges
                    .into_iter()
                    .filter_map(|Merge(pair)| pair)
                    .collect::<Vec<_>>();
                let mut builder = BPE::builder()
                    .vocab_and_merges(vocab, merges)
                    .fuse_unk(self.fuse_unk.unwrap_or(false))
                    .byte_fallback(self.byte_fallback.unwrap_or(false))
                    .ignore_merges(self.ignore_merges.unwrap_or(false));
                if let Some(dropout) = self.dropout {
                    builder = builder.dropout(dropout);
                }
                if let Some(token) = self.unk_token {
                    builder = builder.unk_token(token);
                }
                if let Some(prefix) = self.continuing_subword_prefix {
                    builder = builder.continuing_subword_prefix(prefix);
                }
                if let Some(suffix) = self.end_of_word_suffix {
                    builder = builder.end_of_word_suffix(suffix);
                }
                Model::Other(builder.build()?.into())
            }
            (Kind::WordPiece, Vocabulary::Ids(vocab)) => {
                let prefix = self.continuing_subword_prefix;
                let longest = self.max_input_chars_per_word;
                let model = WordPiece::builder()
                    .vocab(vocab)
                    .unk_token(self.unk_token.ok_or_else(|| need("unk_token"))?)
                    .continuing_subword_prefix(
                        prefix.ok_or_else(|| need("continuing_subword_prefix"))?,
                    )
                    .max_input_chars_per_word(
                        longest.ok_or_else(|| need("max_input_chars_per_word"))?,
                    );
                Model::Other(model.build()?.into())
            }
            (Kind::WordLevel, Vocabulary::Ids(vocab)) => {
                let token = self.unk_token.ok_or_else(|| need("unk_token"))?;
                Model::Other(
                    WordLevel::builder()
                        .vocab(vocab)
                        .unk_token(token)
                        .build()?
                        .into(),
                )
            }
            (Kind::Unigram, Vocabulary::Ids(_)) => {
                return Err("its Unigram vocabulary must be a list of pieces and scores".into());
            }
            (_, Vocabulary::Pieces(_)) => {
                return Err(format!("its {kind:?} vocabulary must be an object of ids").into());
            }
        })
    }
}

/// A vocabulary, told by its shape.
enum Vocabulary {
    /// `[[piece, score], …]`
    Pieces(Pieces),
    /// `{ entry: id, … }`
    Ids(Vocab),
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
                while seq.next_element_seed(Entry(&mut pieces))?.is_some() {}
                Ok(Vocabulary::Pieces(pieces))
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Vocabulary, A::Error> {
                let mut ids = Vocab::default();
                while let Some((entry, id)) = map.next_entry()? {
                    ids.insert(entry, id);
                }
                Ok(Vocabulary::Ids(ids))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// One `[piece, score]`, put where it belongs.
struct Entry<'a>(&'a mut Pieces);

impl<'de> DeserializeSeed<'de> for Entry<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entry<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a piece and its score")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
        let piece: std::borrow::Cow<str> = seq
            .next_element::<Borrowed>()?
            .ok_or_else(|| de::Error::invalid_length(0, &"a piece and its score"))?
            .0;
        let score = seq
            .next_element()?
            .ok_or_else(|| de::Error::invalid_length(1, &"a piece and its score"))?;
        if seq.next_element::<de::IgnoredAny>()?.is_some() {
            return Err(de::Error::invalid_length(3, &"a piece and its score"));
        }
        if self.0.push(&piece, score) {
            Ok(())
        } else {
            Err(de::Error::custom("the vocabulary has more than 4 GB"))
        }
    }
}

/// A string that is copied only where it has escapes.
#[derive(Deserialize)]
struct Borrowed<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);

/// One merge, `"a b"` or `["a", "b"]`; none for the line that old files begin with.
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
