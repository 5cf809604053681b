//! The number of threads changes no bit, and bad numbers are refused.

use crate::common::{fixture, load_on};
use gossamer::{Cpu, Embedder, EncodeOptions, Input, Threads, WeightDtype};

/// All that transformers do: gates, norms of heads, shared keys, windows, biases, experts.
const FOLDERS: [&str; 9] = [
    "tiny-m3",
    "tiny-qwen3",
    "tiny-gemma3",
    "tiny-modernbert",
    "tiny-t5",
    "tiny-nomic-moe",
    "tiny-jina-v3",
    "tiny-mpnet",
    "tiny-albert",
];
const DTYPES: [WeightDtype; 3] = [WeightDtype::F32, WeightDtype::Q8, WeightDtype::Q4];

fn load(folder: &str, dtype: WeightDtype, threads: usize) -> Embedder<Cpu> {
    let cpu = Cpu::with(Threads::new(threads).unwrap());
    load_on(cpu, &fixture(folder), dtype, &[], 1 << 16).unwrap()
}

/// Texts that fill a pass, so that its operations are large enough to be shared.
fn texts() -> Vec<Input> {
    let text = |i: usize| format!("{i} {}", "a cat on a mat ".repeat(i % 13 + 1));
    (0..24).map(text).map(Input::Text).collect()
}

fn bits(embedder: &Embedder<Cpu>) -> Vec<u32> {
    let batch = embedder.encode(texts(), &EncodeOptions::default()).unwrap();
    batch.data.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for folder in FOLDERS {
        for dtype in DTYPES {
            let one = bits(&load(folder, dtype, 1));
            for threads in [2, 3, 7] {
                let several = load(folder, dtype, threads);
                assert_eq!(several.backend().threads().count(), threads);
                assert!(
                    bits(&several) == one,
                    "{folder}, {}: {threads} threads give other bits",
                    dtype.name()
                );
            }
        }
    }
}

#[test]
fn calls_at_the_same_time_share_the_threads() {
    let embedder = load("tiny-m3", WeightDtype::Q8, 3);
    let expected = bits(&load("tiny-m3", WeightDtype::Q8, 1));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    assert!(bits(&embedder) == expected, "other bits");
                }
            });
        }
    });
}

#[test]
fn models_share_threads_and_outlive_each_other() {
    let threads = Threads::new(2).unwrap();
    let load = |name| {
        let cpu = Cpu::with(threads.clone());
        load_on(cpu, &fixture(name), WeightDtype::Q8, &[], 1 << 16).unwrap()
    };
    let (first, second) = (load("tiny-m3"), load("tiny-qwen3"));
    drop(threads);
    let expected = bits(&second);
    drop(first);
    assert_eq!(bits(&second), expected);
}

#[test]
fn impossible_numbers_of_threads_are_refused() {
    for count in [0, 257, 10_000, usize::MAX] {
        let error = Threads::new(count).unwrap_err();
        let message = format!("{count} threads were asked for: ask for 1 to 256");
        assert_eq!(error.to_string(), message);
    }
}
