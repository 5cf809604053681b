//! torch checkpoints give what the same tensors give as safetensors, and nothing in them is
//! executed.

use crate::common::files::{self, Tensor};
use crate::common::{fixture, inputs, load, load_with, texts, zip};
use gossamer::{Cpu, Embedder, Error, MultiOptions, SparseOptions, WeightDtype};

const WEIGHTS: &str = "model.safetensors";
const TORCH: &str = "pytorch_model.bin";

fn file(name: &str) -> Vec<u8> {
    std::fs::read(fixture("torch").join(name)).unwrap()
}

fn splade(bytes: &[u8], chunk: usize) -> gossamer::Result<Embedder<Cpu>> {
    let changes = [(WEIGHTS, None), (TORCH, Some(bytes))];
    load_with(&fixture("tiny-splade"), WeightDtype::Q8, &changes, chunk)
}

fn error(bytes: &[u8]) -> Error {
    splade(bytes, 100).err().expect("it must be refused")
}

#[test]
fn the_same_vectors_in_any_chunking_and_no_second_copy_of_a_tied_matrix() {
    let expected = load(&fixture("tiny-splade"), WeightDtype::Q8);
    let list = inputs(&texts("tiny-texts.json"));
    let options = SparseOptions::default();
    let vectors = expected.encode_sparse(list.clone(), &options).unwrap();
    let bytes = file("splade.bin");
    for chunk in [1, 2, 3, 17, 1000, 4097, bytes.len()] {
        let model = splade(&bytes, chunk).unwrap();
        assert_eq!(
            model.encode_sparse(list.clone(), &options).unwrap(),
            vectors
        );
        assert_eq!(model.space_id(), expected.space_id());
        assert_eq!(model.weight_bytes(), expected.weight_bytes());
    }
}

#[test]
fn heads_of_bge_m3() {
    let folder = fixture("tiny-m3");
    let expected = load(&folder, WeightDtype::F32);
    let (lexical, colbert) = (file("sparse_linear.pt"), file("colbert_linear.pt"));
    let changes: [(&str, Option<&[u8]>); 4] = [
        ("sparse_linear.safetensors", None),
        ("colbert_linear.safetensors", None),
        ("sparse_linear.pt", Some(&lexical)),
        ("colbert_linear.pt", Some(&colbert)),
    ];
    let model = load_with(&folder, WeightDtype::F32, &changes, 1 << 20).unwrap();
    let options = MultiOptions {
        dense: true,
        sparse: true,
        tokens: true,
        ..MultiOptions::default()
    };
    let list = inputs(&texts("tiny-texts.json"));
    assert_eq!(
        model.encode_multi(list.clone(), &options).unwrap(),
        expected.encode_multi(list, &options).unwrap()
    );
}

#[test]
fn what_is_no_state_dict_is_refused_in_words() {
    for (bytes, word) in [
        (file("evil.bin"), "posix.system"),
        // How the format before 1.6 begins: a pickle of its magic number.
        (
            b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.".repeat(9),
            "torch before 1.6",
        ),
        (b"<!doctype html>".to_vec(), "torch.save"),
        (
            [b"PK\x03\x04".as_slice(), &[0; 4], &[8], &[0; 60]].concat(),
            "compressed",
        ),
    ] {
        let error = error(&bytes);
        assert_eq!(error.code(), "invalid_torch", "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(error.to_string().contains(TORCH), "{error}");
    }
}

#[test]
fn every_truncation_is_reported() {
    let bytes = file("splade.bin");
    let directory = bytes.windows(4).position(|window| window == b"PK\x01\x02");
    let directory = directory.expect("an archive has a directory");
    for end in (0..directory).step_by(997).chain([0, 1, 29, 30, directory]) {
        let error = error(&bytes[..end]);
        assert_eq!(error.code(), "truncated_stream", "{end}: {error}");
    }
}

fn tensors() -> Vec<Tensor> {
    files::tensors(&std::fs::read(fixture("tiny-splade").join(WEIGHTS)).unwrap())
}

/// The archive of a pickle and of each tensor's bytes.
fn archive(pickle: &[u8], tensors: &[Tensor]) -> Vec<u8> {
    let storages = tensors.iter().enumerate();
    zip::archive(
        pickle,
        storages.map(|(key, (.., bytes))| (key.to_string(), bytes.as_slice())),
    )
}

#[test]
fn a_storage_that_is_there_twice() {
    let tensors = tensors();
    let pickle = zip::pickle(&tensors);
    let bytes = archive(&pickle, &tensors);
    let expected = load(&fixture("tiny-splade"), WeightDtype::Q8).space_id();
    assert_eq!(splade(&bytes, 100).unwrap().space_id(), expected);

    let storages = tensors.iter().enumerate();
    let storages = storages.map(|(key, (.., bytes))| (key.to_string(), bytes.as_slice()));
    let twice = storages.flat_map(|storage| [storage.clone(), storage]);
    let error = error(&zip::archive(&pickle, twice)).to_string();
    assert!(error.contains("x/data/0 is in it twice"), "{error}");
}

/// Pickles of a few bytes that would take memory or time without end.
#[test]
fn pickles_that_are_traps() {
    let refused = |pickle: &[u8], code: &str, words: &str| {
        let error = error(&archive(pickle, &[]));
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    // Two dicts, each of which is the other's state_dict.
    let key = b"X\x0a\0\0\0state_dict";
    let circle = [
        b"\x80\x02}q\0}q\x01",
        &key[..],
        b"h\0s0",
        &key[..],
        b"h\x01s.",
    ]
    .concat();
    refused(&circle, "missing_tensor", "none besides");
    let endless = [b"\x80\x02".to_vec(), vec![b'N'; 5 << 20]].concat();
    refused(&endless, "invalid_torch", "instructions");
    // A module's name of a megabyte, which every storage would repeat.
    let long = [
        b"\x80\x02c",
        "m".repeat(1 << 20).as_bytes(),
        b"\nFloatStorage\n.",
    ]
    .concat();
    refused(&long, "invalid_torch", "too long");

    let (name, mut entry, bytes) = tensors().swap_remove(0);
    entry["dtype"] = "F32".into();
    entry["shape"] = serde_json::json!(vec![1; 9]);
    let deep = zip::pickle(&[(name.clone(), entry.clone(), bytes[..4].to_vec())]);
    refused(&deep, "invalid_torch", "dimensions");
    entry["shape"] = serde_json::json!([1]);
    let one = zip::pickle(&[(name, entry, bytes[..4].to_vec())]);
    // The same tensor under seventeen names.
    let (start, end) = one.split_at(one.len() - 2);
    let mut shared = [start, b"q\x07"].concat();
    for number in b'a'..b'a' + 17 {
        shared.extend([b"X\x01\0\0\0", &[number][..], b"h\x07"].concat());
    }
    refused(&[&shared, end].concat(), "invalid_torch", "share a storage");
}
