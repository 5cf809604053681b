//! Runs that share passes: the same results as alone, each run's errors its own, nobody stuck
//! behind a long one.

use crate::common::{fixture, load, load_with};
use gossamer::{Cpu, Embedder, EncodeOptions, Input, Output, Run, SparseOptions, WeightDtype};

fn texts(count: usize, words: usize) -> Vec<Input> {
    let text = |i: usize| Input::Text(format!("{i} {}", "a cat on a mat ".repeat(words)));
    (0..count).map(text).collect()
}

fn alone(embedder: &Embedder<Cpu>, mut run: Run) -> Output {
    while !run.step(embedder).unwrap() {}
    run.finish()
}

fn strict() -> EncodeOptions {
    EncodeOptions {
        truncate: Some(false),
        ..EncodeOptions::default()
    }
}

#[test]
fn together_as_alone() {
    let embedder = load(&fixture("tiny-m3"), WeightDtype::Q8);
    let few = || EncodeOptions {
        dimensions: Some(3),
        normalize: Some(false),
        ..EncodeOptions::default()
    };
    let labels = || SparseOptions {
        labels: true,
        ..SparseOptions::default()
    };
    let start = || {
        [
            embedder.start(texts(40, 4), &EncodeOptions::default()),
            embedder.start_sparse(texts(3, 2), &labels()),
            embedder.start(texts(2, 1), &few()),
            embedder.start_sparse(texts(30, 3), &SparseOptions::default()),
            embedder.start(texts(1, 0), &EncodeOptions::default()),
        ]
        .map(Result::unwrap)
    };
    let mut runs = start();
    let mut done = [false; 5];
    while done != [true; 5] {
        for (leader, done) in done.iter_mut().enumerate() {
            let (before, rest) = runs.split_at_mut(leader);
            let (run, after) = rest.split_first_mut().unwrap();
            let mut others: Vec<&mut Run> = before.iter_mut().chain(after).collect();
            *done = run.step_with(&embedder, &mut others).unwrap();
        }
    }
    for (together, run) in runs.into_iter().zip(start()) {
        assert_eq!(together.finish(), alone(&embedder, run));
    }
}

#[test]
fn one_step_serves_all_that_wait() {
    let embedder = load(&fixture("tiny-bert"), WeightDtype::Q8);
    let start = |count| embedder.start(texts(count, 2), &strict()).unwrap();
    let (mut long, mut short, mut other) = (start(500), start(1), start(2));
    let done = long.step_with(&embedder, &mut [&mut short, &mut other]);
    assert!(!done.unwrap(), "500 texts are more than a step");
    assert_eq!(short.finish(), alone(&embedder, start(1)));
    assert_eq!(other.finish(), alone(&embedder, start(2)));
}

#[test]
fn errors_stay_with_their_run() {
    let embedder = load(&fixture("tiny-bert"), WeightDtype::Q8);
    let start = |inputs| embedder.start(inputs, &strict()).unwrap();
    let mut good = start(texts(2, 1));
    let mut long = start(texts(1, 500));
    let mut unknown = start(vec![Input::Text("a".into()), Input::Ids(vec![1 << 30])]);
    assert!(
        good.step_with(&embedder, &mut [&mut long, &mut unknown])
            .unwrap()
    );
    assert_eq!(good.finish(), alone(&embedder, start(texts(2, 1))));
    assert_eq!(long.step(&embedder).unwrap_err().code(), "input_too_long");
    let error = unknown.step(&embedder).unwrap_err();
    assert_eq!(error.code(), "token_out_of_range");
}

#[test]
fn a_text_that_the_model_cannot_take_fails_alone() {
    const ID: usize = 7;
    // The id's row is so large that its LayerNorm overflows.
    let folder = fixture("tiny-bert");
    let mut bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    let data = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..data]).unwrap();
    let table = &header["embeddings.word_embeddings.weight"];
    let width = 4 * usize::try_from(table["shape"][1].as_u64().unwrap()).unwrap();
    let start = data + usize::try_from(table["data_offsets"][0].as_u64().unwrap()).unwrap();
    for value in bytes[start + ID * width..][..width].chunks_exact_mut(4) {
        value.copy_from_slice(&f32::MAX.to_le_bytes());
    }
    let changes = [("model.safetensors", Some(&bytes[..]))];
    let embedder = load_with(&folder, WeightDtype::F32, &changes, 1 << 20).unwrap();
    // Between the template's own tokens.
    let frame: Vec<u32> = embedder
        .tokenize("", true)
        .unwrap()
        .iter()
        .map(|token| token.id)
        .collect();
    let start = |id| {
        let ids = vec![frame[0], id, 9, frame[1]];
        embedder.start(vec![Input::Ids(ids)], &strict())
    };
    let (mut good, mut bad) = (
        start(8).unwrap(),
        start(u32::try_from(ID).unwrap()).unwrap(),
    );
    assert!(good.step_with(&embedder, &mut [&mut bad]).unwrap());
    assert_eq!(good.finish(), alone(&embedder, start(8).unwrap()));
    let error = bad.step(&embedder).unwrap_err().to_string();
    assert!(error.contains("not finite"), "{error}");
}
