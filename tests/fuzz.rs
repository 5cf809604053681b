//! What the fuzz targets do (`fuzz/`), with their committed corpora and with mutations of valid
//! files: no panic, no endless conversation, and memory within what is declared there.

#![allow(dead_code, reason = "the fuzz crate uses the rest")]

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use fuzz::seeds::{self, Seed};

/// Memory is counted for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

const MUTATIONS: u32 = 10_000;

type Target = fn(&[u8]);

#[track_caller]
fn hold(name: &str, target: Target, seeds: &[Seed]) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let run = |about: &str, bytes: &[u8]| {
        let result = std::panic::catch_unwind(|| target(bytes));
        assert!(result.is_ok(), "{name}, {about}: {bytes:?}");
    };
    for (seed, bytes) in seeds {
        run(seed, bytes);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    for entry in std::fs::read_dir(folder).expect("the corpus is checked in") {
        let path = entry.unwrap().path();
        run(&path.display().to_string(), &std::fs::read(&path).unwrap());
    }
    let mut random = Random(1);
    for number in 0..MUTATIONS {
        let (seed, bytes) = &seeds[random.below(seeds.len())];
        let mut bytes = bytes.clone();
        for _ in 0..=random.below(3) {
            random.mutate(&mut bytes);
        }
        run(&format!("mutation {number} of {seed}"), &bytes);
    }
}

/// Marsaglia's xorshift: the same mutations in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % limit.max(1)
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        let end = bytes.len().min(at + 1 + self.below(8));
        match self.below(6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let again = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, again));
            }
            // A digit, which keeps JSON whole more often than not.
            3 => bytes[at..end].fill(b"0179-"[self.below(5)]),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = self.below(256).to_le_bytes()[0];
                }
            }
        }
    }
}

#[test]
fn safetensors() {
    hold("safetensors", fuzz::safetensors, &seeds::safetensors());
}

#[test]
fn torch() {
    hold("torch", fuzz::torch, &seeds::torch());
}

#[test]
fn gguf() {
    hold("gguf", fuzz::gguf, &seeds::gguf());
}

#[test]
fn onnx() {
    hold("onnx", fuzz::onnx, &seeds::onnx());
}

#[test]
fn config() {
    hold("config", fuzz::config, &seeds::config());
}

#[test]
fn index() {
    hold("index", fuzz::index, &seeds::index());
}

#[test]
fn tokenizer() {
    hold("tokenizer", fuzz::tokenizer, &seeds::tokenizer());
}
