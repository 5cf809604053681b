//! torch checkpoints give what the same tensors give as safetensors, and nothing in them is executed.

mod common;

use common::{fixture, inputs, load, load_with, texts};
use gossamer::{Cpu, Embedder, Error, MultiOptions, SparseOptions, WeightDtype};
use proptest::prelude::*;

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

proptest! {
    #[test]
    fn mutated_files_never_panic(at in 0usize..12_000, byte: u8, chunk in 1usize..5000) {
        let mut bytes = file("splade.bin");
        bytes[at] = byte;
        let _ = splade(&bytes, chunk);
    }
}
