//! GGUF files give the vectors and tokens of what their values are in transformers, and damaged
//! ones an error.

use crate::common::saved::{self, saved};
use crate::common::{assert_close, cosine, fixture, inputs, reference, rows, texts};
use gossamer::{
    Cpu, Embedder, EncodeOptions, Error, Input, LoadOptions, Loader, Outcome, Step, Stored,
    WeightDtype,
};

/// The files, their families, and what `Info::stored` says of them.
const FILES: [(&str, &str, Option<&str>); 10] = [
    ("bert-f16", "bert", None),
    ("bert-q8_0", "bert", Some("GGUF, Q8_0")),
    ("bert-q4_0", "bert", Some("GGUF, Q4_0")),
    ("bert-q4_k", "bert", Some("GGUF, Q5_0; GGUF, Q4_K")),
    ("bert-q5_k", "bert", Some("GGUF, Q5_1; GGUF, Q5_K")),
    ("bert-q6_k", "bert", Some("GGUF, Q8_0; GGUF, Q6_K")),
    ("distilbert-q8_0", "distilbert", Some("GGUF, Q8_0")),
    ("nomic-q8_0", "nomic_bert", Some("GGUF, Q8_0")),
    ("xlm-roberta-q8_0", "bert", Some("GGUF, Q8_0")),
    ("qwen3-q8_0", "qwen3", Some("GGUF, Q8_0")),
];

fn file(name: &str) -> Vec<u8> {
    std::fs::read(fixture("gguf").join(format!("{name}.gguf"))).unwrap()
}

fn loader(file: &str, dtype: WeightDtype) -> Loader<Cpu> {
    let options = LoadOptions {
        model: "test".to_owned(),
        dtype: Some(dtype),
        file: Some(file.to_owned()),
        saveable: true,
        ..LoadOptions::default()
    };
    Loader::new(Cpu::new(), options)
}

fn open(bytes: &[u8], dtype: WeightDtype, chunk: usize) -> gossamer::Result<Embedder<Cpu>> {
    let mut loader = loader("model.gguf", dtype);
    let file = "model.gguf".to_owned();
    let files = vec![file.clone()];
    assert_eq!(loader.next()?, Step::Stream { file, files });
    for chunk in bytes.chunks(chunk) {
        loader.push(chunk)?;
    }
    loader.end()?;
    assert_eq!(loader.next()?, Step::Ready);
    loader.finish()
}

#[track_caller]
fn error(bytes: &[u8]) -> Error {
    let result = open(bytes, WeightDtype::Q8, 1000);
    result.err().expect("it must be refused")
}

#[test]
fn vectors_and_tokens_are_those_of_transformers() {
    let list = texts("tiny-texts.json");
    let references = reference(&fixture("gguf/references.safetensors"));
    assert_eq!(references.len(), 3 * FILES.len());
    for (name, family, stored) in FILES {
        let embedder = open(&file(name), WeightDtype::F32, 1 << 20).unwrap();
        let info = embedder.info();
        let stored = stored.map(|layout| Stored {
            layout: layout.to_owned(),
            outcome: Outcome::Widened,
        });
        assert_eq!((info.family, &info.stored), (family, &stored));
        // What it is saved as is a model of the usual kind.
        let q8 = open(&file(name), WeightDtype::Q8, 1 << 20).unwrap();
        let again = saved::open(&saved(&q8, None, 1 << 20), None).unwrap();
        assert_eq!(again.space_id(), q8.space_id(), "{name}");
        let options = EncodeOptions::default();
        let encode = |model: &Embedder<Cpu>| model.encode(vec!["a text".into()], &options).unwrap();
        assert_eq!(encode(&again), encode(&q8), "{name}");
        assert_eq!(info.max_tokens, 40, "{name}");
        let theirs = rows(&references[name]);
        let options = EncodeOptions::default();
        let ours = embedder.encode(inputs(&list), &options).unwrap();
        let vectors = ours.data.chunks_exact(ours.dimensions);
        assert_close(name, &list, vectors, &theirs);

        let of = |part: &str| {
            references[&format!("{name}-{part}")]
                .to_vec1::<i32>()
                .unwrap()
        };
        let (ids, offsets) = (of("ids"), of("offsets"));
        for ((text, ends), tokens) in list.iter().zip(offsets.windows(2)).zip(&ours.tokens) {
            let [start, end] = [ends[0], ends[1]].map(|end| usize::try_from(end).unwrap());
            assert_eq!(*tokens as usize, end - start, "{name}, {}", text.0);
            let all = embedder.tokenize(&text.1, true).unwrap();
            let mut all: Vec<_> = all.iter().map(|token| i64::from(token.id)).collect();
            let theirs: Vec<_> = ids[start..end].iter().map(|id| i64::from(*id)).collect();
            if all.len() > theirs.len() {
                // What is cut off is in the middle, before the closing token.
                let closing = all.pop();
                all.truncate(theirs.len() - 1);
                all.extend(closing);
            }
            assert_eq!(all, theirs, "{name}, {}", text.0);
        }

        let q8 = open(&file(name), WeightDtype::Q8, 1 << 20).unwrap();
        let again = q8.encode(inputs(&list), &options).unwrap();
        for (ours, theirs) in again.data.chunks_exact(ours.dimensions).zip(&theirs) {
            let cosine = cosine(ours, theirs);
            assert!(cosine >= 0.995, "{name}: {cosine}");
        }
    }
}

#[test]
fn nothing_depends_on_how_the_bytes_arrive() {
    let text = || vec![Input::Text("The cat sat on the mat.".to_owned())];
    let options = EncodeOptions::default();
    for name in ["bert-q4_k", "qwen3-q8_0"] {
        let bytes = file(name);
        let whole = open(&bytes, WeightDtype::F32, bytes.len()).unwrap();
        let expected = whole.encode(text(), &options).unwrap();
        for chunk in [1, 2, 3, 17, 1000, 4097, 1 << 16] {
            let model = open(&bytes, WeightDtype::F32, chunk).unwrap();
            assert_eq!(model.space_id(), whole.space_id(), "{name}, {chunk}");
            assert_eq!(model.encode(text(), &options).unwrap(), expected);
        }
    }
}

#[test]
fn from_a_folder() {
    let loader = loader("bert-q8_0.gguf", WeightDtype::Q8);
    let model = loader.read_dir(&fixture("gguf")).unwrap();
    assert_eq!(model.dimensions(), 32);
    let absent = self::loader("none.gguf", WeightDtype::Q8).read_dir(&fixture("gguf"));
    let absent = absent.err().expect("there is none");
    assert_eq!(absent.code(), "missing_file");
    assert!(absent.to_string().contains("none.gguf"), "{absent}");
    for other in ["model.h5", "../model.gguf", "/model.gguf", ""] {
        let refused = self::loader(other, WeightDtype::Q8).read_dir(&fixture("gguf"));
        let refused = refused.err().expect("it is no GGUF file");
        assert_eq!(refused.code(), "invalid_input", "{other}: {refused}");
    }
}

#[test]
fn a_hash_is_checked() {
    let bytes = file("bert-q4_0");
    let mut loader = loader("model.gguf", WeightDtype::Q8);
    loader.pin("model.gguf", &"0".repeat(64)).unwrap();
    loader.next().unwrap();
    loader.push(&bytes).unwrap();
    assert_eq!(loader.end().unwrap_err().code(), "wrong_hash");
}

#[test]
fn every_truncation_is_reported() {
    for name in ["bert-q4_k", "qwen3-q8_0"] {
        let bytes = file(name);
        for end in (0..bytes.len()).step_by(997).chain([0, 1, 4, 23, 24]) {
            let error = error(&bytes[..end]);
            assert_eq!(error.code(), "truncated_stream", "{name}, {end}: {error}");
        }
    }
    let mut longer = file("bert-q4_k");
    longer.push(0);
    assert!(error(&longer).to_string().contains("goes on after"));
}

/// A file with its parts in hand.
#[derive(Default)]
struct Made {
    keys: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

impl Made {
    fn key(mut self, name: &str, kind: u32, value: &[u8]) -> Self {
        self.keys
            .push([&string(name), &kind.to_le_bytes()[..], value].concat());
        self
    }

    fn tensor(mut self, name: &str, shape: &[u64], kind: u32, start: u64) -> Self {
        let mut entry = string(name);
        entry.extend(u32::try_from(shape.len()).unwrap().to_le_bytes());
        entry.extend(shape.iter().flat_map(|size| size.to_le_bytes()));
        entry.extend(kind.to_le_bytes());
        entry.extend(start.to_le_bytes());
        self.tensors.push(entry);
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.keys.len() as u64).to_le_bytes());
        bytes.extend(self.keys.concat());
        bytes.extend(self.tensors.concat());
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes
    }
}

/// Each file is refused with an error that has these words.
#[track_caller]
fn refused(files: Vec<(Vec<u8>, &str)>) {
    for (bytes, words) in files {
        let error = error(&[bytes, vec![0; 64]].concat());
        assert_eq!(error.code(), "invalid_gguf", "{words}: {error}");
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert!(error.to_string().contains("model.gguf"), "{error}");
    }
}

fn bert() -> Made {
    Made::default().key("general.architecture", 8, &string("bert"))
}

/// With a tensor of 32 bytes.
fn one(made: Made) -> Vec<u8> {
    made.tensor("a", &[8], 0, 0).bytes()
}

#[test]
fn hostile_keys_are_refused_in_words() {
    let counts = |tensors: u64, keys: u64| {
        let counts = [tensors.to_le_bytes(), keys.to_le_bytes()].concat();
        [b"GGUF\x03\0\0\0".as_slice(), &counts].concat()
    };
    let key = |kind: u32, value: &[u8]| one(Made::default().key("a", kind, value));
    let list = |kind: u32, count: u64| {
        let list = [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat();
        key(9, &list)
    };
    let alignment = |value: u32| one(bert().key("general.alignment", 4, &value.to_le_bytes()));
    refused(vec![
        (b"<!doctype html>".to_vec(), "does not begin with GGUF"),
        (b"GGUF\x01\0\0\0".to_vec(), "version 1"),
        (b"GGUF\x09\0\0\0".to_vec(), "version 9"),
        (b"GGUF\0\0\0\x03".to_vec(), "big-endian"),
        (counts(u64::MAX, 0), "18446744073709551615 tensors"),
        (counts(1, u64::MAX), "18446744073709551615 keys"),
        (counts(0, 1), "no tensors"),
        (key(99, &[]), "type 99"),
        (
            one(Made::default().key("", 7, &[1])),
            "a name that is empty",
        ),
        (list(9, 1), "type 9"),
        (
            list(12, u64::MAX / 8),
            "a list of 2305843009213693951 values",
        ),
        (list(8, 1 << 40), "a list of 1099511627776 values"),
        (
            key(8, &u64::MAX.to_le_bytes()),
            "a string of 18446744073709551615 bytes",
        ),
        (
            one(bert().key("general.architecture", 7, &[1])),
            "is there twice",
        ),
        (alignment(0), "power of two"),
        (alignment(24), "power of two"),
        (alignment(1 << 20), "power of two"),
        (one(Made::default()), "lacks the key general.architecture"),
        (one(bert()), "lacks"),
    ]);
}

#[test]
fn hostile_tensors_are_refused_in_words() {
    let sized = |shape: &[u64], kind: u32| Made::default().tensor("a", shape, kind, 0).bytes();
    let two = |name: &str, start: u64| {
        let made = Made::default().tensor("a", &[8], 0, 0);
        made.tensor(name, &[8], 0, start).bytes()
    };
    let at = |start: u64| Made::default().tensor("a", &[8], 0, start).bytes();
    refused(vec![
        (sized(&[], 0), "0 dimensions"),
        (sized(&[1; 5], 0), "5 dimensions"),
        (sized(&[0, 8], 0), "of shape [8, 0]"),
        (sized(&[1 << 40, 1 << 40], 0), "of shape"),
        (sized(&[1 << 62], 0), "of shape"),
        (sized(&[1 << 60], 0), "beyond any real file"),
        (sized(&[48, 2], 8), "is Q8_0 of shape [2, 48]"),
        (sized(&[32, 2], 14), "is Q6_K of shape [2, 32]"),
        (sized(&[256], 10), "of type 10; F32, F16, BF16, Q4_0"),
        (two("a", 32), "tensor a is there twice"),
        (two("b", 0), "the bytes of b begin at 0, not at 32"),
        (two("b", 64), "the bytes of b begin at 64, not at 32"),
        (at(1 << 63), "begin at 9223372036854775808"),
    ]);
}

#[test]
fn a_header_without_end_is_refused() {
    let mut file = [
        b"GGUF\x03\0\0\0".as_slice(),
        &1u64.to_le_bytes(),
        &9u64.to_le_bytes(),
    ]
    .concat();
    for key in 0..5u8 {
        file.extend(string(&format!("key {key}")));
        file.extend(8u32.to_le_bytes());
        file.extend(string(&"x".repeat(15 << 20)));
    }
    assert!(error(&file).to_string().contains("more than 64 MB"));
}

/// A file with some of its bytes replaced by as many.
fn replaced(name: &str, from: &str, to: &str) -> Vec<u8> {
    let mut bytes = file(name);
    let found = bytes
        .windows(from.len())
        .position(|window| window == from.as_bytes());
    let at = found.unwrap_or_else(|| panic!("no {from}"));
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    bytes
}

/// A file with one more tensor of eight numbers.
fn with_tensor(file: &[u8], name: &str) -> Vec<u8> {
    let number = |at: usize| {
        usize::try_from(u64::from_le_bytes(file[at..at + 8].try_into().unwrap())).unwrap()
    };
    // Entries of tensors begin with one of these.
    let entries = [
        "token_embd.weight",
        "position_embd.weight",
        "token_types.weight",
    ]
    .map(string);
    let places = entries.iter().filter_map(|entry| {
        let mut windows = file.windows(entry.len());
        windows.position(|window| window == entry)
    });
    let mut end = places.min().unwrap();
    let count = number(8);
    for _ in 0..count {
        let dimensions = end + 8 + number(end);
        let shape = u32::from_le_bytes(file[dimensions..dimensions + 4].try_into().unwrap());
        end = dimensions + 4 + 8 * shape as usize + 4 + 8;
    }
    let data = &file[end.next_multiple_of(32)..];
    let start = data.len().next_multiple_of(32);
    let more = Made::default().tensor(name, &[8], 0, start as u64);
    let mut bytes = [&file[..end], &more.tensors[0]].concat();
    bytes[8..16].copy_from_slice(&(count as u64 + 1).to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len() + start - data.len() + 32, 0);
    bytes
}

/// llama.cpp's names for the heads of rerankers: such a file is no embedding model, whatever its
/// pooling is called.
#[test]
fn a_reranker_is_never_an_embedding_model() {
    for name in [
        "bert-f16",
        "distilbert-q8_0",
        "nomic-q8_0",
        "xlm-roberta-q8_0",
    ] {
        for tensor in [
            "cls.weight",
            "cls.bias",
            "cls.output.weight",
            "cls.output.bias",
        ] {
            let error = error(&with_tensor(&file(name), tensor));
            assert_eq!(error.code(), "unsupported_model", "{name}: {error}");
            assert!(error.to_string().contains(tensor), "{error}");
        }
        // What does nothing is let through.
        let same = with_tensor(&file(name), "rope_freqs.position_ids");
        assert!(open(&same, WeightDtype::Q8, 1000).is_ok(), "{name}");
    }
}

#[test]
fn what_cannot_be_run_is_named() {
    let name = "bert-q8_0";
    let number = |key: &str, value: u32| {
        let mut bytes = file(name);
        let found = bytes
            .windows(key.len())
            .position(|window| window == key.as_bytes());
        let at = found.unwrap() + key.len() + 4;
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    for (bytes, code, words) in [
        (
            replaced(name, "\u{4}\0\0\0\0\0\0\0bert", "\u{4}\0\0\0\0\0\0\0gemm"),
            "unsupported_model",
            "gemm",
        ),
        (
            one(bert().key("split.count", 2, &[3, 0])),
            "unsupported_model",
            "one of 3 files",
        ),
        (
            one(bert().key("general.type", 8, &string("adapter"))),
            "unsupported_model",
            "adapter",
        ),
        (
            number("bert.pooling_type", 4),
            "unsupported_model",
            "a reranker",
        ),
        (
            one(bert().key("general.name", 8, &string("Tiny Reranker 0.6B"))),
            "unsupported_model",
            "general.name): a reranker",
        ),
        (
            one(bert().key("general.basename", 8, &string("tiny-reranker"))),
            "unsupported_model",
            "general.basename): a reranker",
        ),
        (
            number("bert.pooling_type", 0),
            "unsupported_model",
            "no embedding model",
        ),
        (
            number("bert.block_count", 2),
            "missing_tensor",
            "encoder.layer.1.",
        ),
        (
            number("bert.block_count", 0),
            "invalid_gguf",
            "num_hidden_layers is 0",
        ),
        (
            number("bert.embedding_length", 31),
            "invalid_gguf",
            "num_attention_heads",
        ),
        (number("bert.embedding_length", 30), "wrong_shape", "30"),
        (
            replaced(
                name,
                "bert.attention.head_count",
                "bert.attention.hoax_count",
            ),
            "invalid_gguf",
            "lacks the key bert.attention.head_count",
        ),
        (
            replaced(name, "blk.0.attn_q.weight", "blk.0.attn_x.weight"),
            "missing_tensor",
            "encoder.layer.0.attention.self.query.weight",
        ),
        (
            replaced(name, "blk.0.attn_q.weight", "blk.9.attn_q.weight"),
            "missing_tensor",
            "encoder.layer.0.attention.self.query.weight",
        ),
        (
            replaced(
                "qwen3-q8_0",
                "\u{5}\0\0\0\0\0\0\0qwen2",
                "\u{5}\0\0\0\0\0\0\0qwenX",
            ),
            "unsupported_model",
            "qwenX",
        ),
        (
            number("tokenizer.ggml.seperator_token_id", 9999),
            "invalid_gguf",
            "9999",
        ),
    ] {
        let error = error(&[bytes, vec![0; 32]].concat());
        assert_eq!(error.code(), code, "{words}: {error}");
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
}
