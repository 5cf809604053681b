//! Builds a tokenizer.json from the header of a GGUF file. It is written directly from the header's
//! bytes, without a copy of the vocabulary.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::weights::gguf::Metadata;

/// The mark before the first piece of a word.
const WORD_START: char = '\u{2581}';
/// The pattern by which Qwen splits texts before it merges bytes.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

// Token types, by their numbers in files.
const UNKNOWN: f64 = 2.0;
const CONTROL: f64 = 3.0;
const USER_DEFINED: f64 = 4.0;
const UNUSED: f64 = 5.0;

/// tokenizer.json
#[derive(Serialize)]
struct Json<'a> {
    added_tokens: Vec<Added<'a>>,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
    model: Model<'a>,
}

/// An added token, at which texts are split first.
#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the file has them")]
struct Added<'a> {
    id: usize,
    content: &'a str,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Model<'a> {
    #[serde(rename = "BPE")]
    Bpe {
        vocab: Ids<'a>,
        merges: Vec<&'a str>,
    },
    WordPiece {
        unk_token: &'a str,
        continuing_subword_prefix: &'static str,
        max_input_chars_per_word: usize,
        vocab: Ids<'a>,
    },
    Unigram {
        unk_id: usize,
        vocab: Vec<(&'a str, f64)>,
    },
}

/// Entries and their ids, serialised as an object.
struct Ids<'a>(Vec<(Cow<'a, str>, usize)>);

impl Serialize for Ids<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(entry, id)| (entry, id)))
    }
}

/// The vocabulary of a file.
struct Vocabulary<'a> {
    metadata: &'a Metadata,
    entries: Vec<&'a str>,
    /// Type of each token, if the file states it.
    kinds: Vec<f64>,
}

/// The tokenizer.json of a model whose embedding table has `rows` rows.
pub fn json(metadata: &Metadata, rows: u64) -> Result<Vec<u8>> {
    let vocabulary = Vocabulary::read(metadata, rows)?;
    let json = match metadata.text("tokenizer.ggml.model")? {
        Some("bert") => word_piece(&vocabulary)?,
        Some("gpt2") => byte_pairs(&vocabulary)?,
        Some("t5") => unigram(&vocabulary)?,
        other => {
            return Err(unsupported(
                metadata,
                &format!("a tokenizer of type {other:?}; bert, gpt2 and t5 are supported"),
            ));
        }
    };
    serde_json::to_vec(&json).map_err(|error| metadata.invalid(error.to_string()))
}

fn unsupported(metadata: &Metadata, what: &str) -> Error {
    Error::UnsupportedModel(format!(
        "{} has {what}; load the model from its safetensors",
        metadata.file()
    ))
}

impl<'a> Vocabulary<'a> {
    fn read(metadata: &'a Metadata, rows: u64) -> Result<Self> {
        let lacks = |key: &str| metadata.invalid(format!("it lacks the key {key}"));
        let key = "tokenizer.ggml.tokens";
        let entries = metadata.texts(key)?.ok_or_else(|| lacks(key))?;
        let key = "tokenizer.ggml.token_type";
        let kinds = metadata.numbers(key)?.unwrap_or_default();
        let count = entries.len();
        if !kinds.is_empty() && kinds.len() != count {
            let reason = format!("it has {count} tokens and {} types of them", kinds.len());
            return Err(metadata.invalid(reason));
        }
        if count as u64 > rows {
            let reason = format!("it has {count} tokens, and embeddings of {rows}");
            return Err(metadata.invalid(reason));
        }
        Ok(Self {
            metadata,
            entries,
            kinds,
        })
    }

    fn is(&self, id: usize, kind: f64) -> bool {
        self.kinds
            .get(id)
            .is_some_and(|own| own.to_bits() == kind.to_bits())
    }

    /// Tokens that are not unused, with their ids.
    fn used(&self) -> impl Iterator<Item = (usize, &'a str)> {
        let all = self.entries.iter().copied().enumerate();
        all.filter(|(id, _)| !self.is(*id, UNUSED))
    }

    fn added(&self) -> Vec<Added<'a>> {
        let added = self.used().filter_map(|(id, content)| {
            let special = self.is(id, CONTROL) || self.is(id, UNKNOWN);
            let added = special || self.is(id, USER_DEFINED);
            (added && !content.is_empty()).then_some(Added {
                id,
                content,
                single_word: false,
                lstrip: false,
                rstrip: false,
                normalized: false,
                special,
            })
        });
        added.collect()
    }

    /// The token that the key `tokenizer.ggml.…_token_id` names, or the one called `name`.
    fn special(&self, keys: &[&str], name: &str) -> Result<Option<(usize, &'a str)>> {
        for key in keys {
            let key = format!("tokenizer.ggml.{key}_token_id");
            if let Some(id) = self.metadata.size(&key)? {
                let id = usize::try_from(id).unwrap_or(usize::MAX);
                let entry = self.entries.get(id).copied();
                let entry = entry.filter(|entry| !entry.is_empty());
                return entry.map(|entry| Some((id, entry))).ok_or_else(|| {
                    let reason = format!("its key {key} is {id}, which is no token");
                    self.metadata.invalid(reason)
                });
            }
        }
        let found = self.entries.iter().position(|entry| *entry == name);
        Ok(found.map(|id| (id, self.entries[id])))
    }

    /// As [`Vocabulary::special`], if the key `tokenizer.ggml.add_…_token` says that it is added.
    fn framing(&self, which: &str, default: bool, name: &str) -> Result<Option<(usize, &'a str)>> {
        let key = format!("tokenizer.ggml.add_{which}_token");
        if self.metadata.flag(&key)?.unwrap_or(default) {
            self.special(&[which], name)
        } else {
            Ok(None)
        }
    }
}

/// The tokens before and after a text.
fn template(first: Option<(usize, &str)>, last: Option<(usize, &str)>) -> Value {
    if first.is_none() && last.is_none() {
        return Value::Null;
    }
    let text = |id: &str| json!({ "Sequence": { "id": id, "type_id": 0 } });
    let special =
        |(_, token): (usize, &str)| json!({ "SpecialToken": { "id": token, "type_id": 0 } });
    let around = |middle: Vec<Value>| -> Vec<Value> {
        let first = first.map(special).into_iter();
        first.chain(middle).chain(last.map(special)).collect()
    };
    let tokens = [first, last].into_iter().flatten().map(|(id, token)| {
        let described = json!({ "id": token, "ids": [id], "tokens": [token] });
        (token.to_owned(), described)
    });
    json!({
        "type": "TemplateProcessing",
        "single": around(vec![text("A")]),
        "pair": around(vec![text("A"), text("B")]),
        "special_tokens": tokens.collect::<serde_json::Map<_, _>>(),
    })
}

/// The BERT token for a llama.cpp entry. llama.cpp marks pieces that begin a word, BERT
/// marks the others.
fn piece(entry: &str) -> Cow<'_, str> {
    match entry.strip_prefix(WORD_START) {
        Some(word) => Cow::Borrowed(word),
        // Earlier conversions leave names such as [unused0] without a mark.
        None if entry.starts_with('[') && entry.ends_with(']') => Cow::Borrowed(entry),
        None => Cow::Owned(format!("##{entry}")),
    }
}

fn word_piece<'a>(vocabulary: &Vocabulary<'a>) -> Result<Json<'a>> {
    let bracketed = |entry: &str| entry.trim_start_matches(WORD_START).starts_with('[');
    let changes = |entry: &str| entry.chars().any(|char| !char.to_lowercase().eq([char]));
    // Files do not state whether a model is cased. A vocabulary with upper-case entries is:
    // lower-cased texts would never match them.
    let cased = vocabulary
        .used()
        .any(|(id, entry)| !vocabulary.is(id, CONTROL) && !bracketed(entry) && changes(entry));
    let ids = vocabulary.used().map(|(id, entry)| {
        let piece = if vocabulary.is(id, CONTROL) {
            Cow::Borrowed(entry)
        } else {
            piece(entry)
        };
        (piece, id)
    });
    let (_, unknown) = vocabulary.special(&["unknown"], "[UNK]")?.ok_or_else(|| {
        vocabulary
            .metadata
            .invalid("it has no token for unknown words")
    })?;
    let first = vocabulary.special(&["cls", "bos"], "[CLS]")?;
    // The spelling of the format.
    let last = vocabulary.special(&["seperator", "eos"], "[SEP]")?;
    Ok(Json {
        added_tokens: vocabulary.added(),
        normalizer: json!({
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": true,
            "strip_accents": null,
            "lowercase": !cased,
        }),
        pre_tokenizer: json!({ "type": "BertPreTokenizer" }),
        post_processor: template(first, last),
        decoder: json!({ "type": "WordPiece", "prefix": "##", "cleanup": true }),
        model: Model::WordPiece {
            unk_token: unknown,
            continuing_subword_prefix: "##",
            max_input_chars_per_word: 100,
            vocab: Ids(ids.collect()),
        },
    })
}

fn byte_pairs<'a>(vocabulary: &Vocabulary<'a>) -> Result<Json<'a>> {
    let metadata = vocabulary.metadata;
    let cuts = match metadata.text("tokenizer.ggml.pre")? {
        Some("qwen2") => QWEN2,
        other => {
            let what = format!("a tokenizer that cuts texts as {other:?} does; qwen2 is supported");
            return Err(unsupported(metadata, &what));
        }
    };
    let key = "tokenizer.ggml.merges";
    let merges = metadata.texts(key)?;
    let merges = merges.ok_or_else(|| metadata.invalid(format!("it lacks the key {key}")))?;
    let byte_level = json!({
        "type": "ByteLevel",
        "add_prefix_space": false,
        "trim_offsets": false,
        "use_regex": false,
    });
    let cut = json!({
        "type": "Split",
        "pattern": { "Regex": cuts },
        "behavior": "Isolated",
        "invert": false,
    });
    let ids = vocabulary.used().map(|(id, entry)| (entry.into(), id));
    Ok(Json {
        added_tokens: vocabulary.added(),
        normalizer: json!({ "type": "NFC" }),
        pre_tokenizer: json!({ "type": "Sequence", "pretokenizers": [cut, byte_level] }),
        post_processor: template(
            vocabulary.framing("bos", false, "")?,
            vocabulary.framing("eos", false, "")?,
        ),
        decoder: byte_level,
        model: Model::Bpe {
            vocab: Ids(ids.collect()),
            merges,
        },
    })
}

fn unigram<'a>(vocabulary: &Vocabulary<'a>) -> Result<Json<'a>> {
    let metadata = vocabulary.metadata;
    let key = "tokenizer.ggml.scores";
    let scores = metadata.numbers(key)?.unwrap_or_default();
    if scores.len() != vocabulary.entries.len() {
        return Err(metadata.invalid(format!("its key {key} must have a number for each token")));
    }
    let (unk_id, _) = vocabulary
        .special(&["unknown"], "<unk>")?
        .ok_or_else(|| metadata.invalid("it has no token for what is unknown"))?;
    let normalizer = match metadata.bytes("tokenizer.ggml.precompiled_charsmap")? {
        None | Some([]) => Value::Null,
        Some(map) => {
            json!({ "type": "Precompiled", "precompiled_charsmap": STANDARD.encode(map) })
        }
    };
    let prefix = metadata.flag("tokenizer.ggml.add_space_prefix")?;
    let metaspace = json!({
        "type": "Metaspace",
        "replacement": WORD_START,
        "prepend_scheme": if prefix == Some(false) { "never" } else { "always" },
        "split": true,
    });
    let words = json!([{ "type": "WhitespaceSplit" }, metaspace]);
    Ok(Json {
        added_tokens: vocabulary.added(),
        normalizer,
        pre_tokenizer: json!({ "type": "Sequence", "pretokenizers": words }),
        post_processor: template(
            vocabulary.framing("bos", false, "<s>")?,
            vocabulary.framing("eos", true, "</s>")?,
        ),
        decoder: metaspace,
        model: Model::Unigram {
            unk_id,
            vocab: vocabulary.entries.iter().copied().zip(scores).collect(),
        },
    })
}
