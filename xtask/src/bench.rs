//! Benches of the built package: in Node, and in Chromium against a peer. `cargo bench` has those
//! of the crate.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::Result;
use clap::ValueEnum;

use crate::run::{command, root, run, say, target};
use crate::{build, model, serve, setup, size};

/// A benchmark.
#[derive(Clone, Copy, ValueEnum)]
pub enum Bench {
    /// Time per text, against transformers.js in Chromium
    Cpu,
    /// The same for a SPLADE model of BERT-base's size
    Splade,
    /// The same for 50 documents and a reranker of ms-marco-MiniLM-L6's size
    Rerank,
    /// From nothing to the first vector, against transformers.js
    Load,
    /// A first visit over a network of 50 and 20 Mbit/s, against transformers.js
    Visit,
    /// WebGPU against transformers.js on WebGPU, where Chromium finds an adapter
    Gpu,
    /// Bytes that a user downloads, against transformers.js, and which crates they come from
    Size,
    /// Time by number and length of texts, in Node
    Scale,
    /// Tokens a second of a model with experts against a dense one of the same active size, in Node
    Moe,
    /// `DeBERTa` beside BERT of the same size, in Node
    Deberta,
    /// Loading 1.2 GB of weights, in Node and in Chromium
    Large,
    /// Load, memory and time of tokenizers, in Node
    Tokenizers,
    /// Texts per second of a static table, in one thread of Node
    Static,
    /// Memory and CPU time of an edge worker, in Cloudflare's runtime
    Edge,
    /// First and second start of a model of the Hub, in browsers and Node
    Cache,
    /// The stores that a browser has for a model
    Stores,
    /// Compiling and instantiating the wasm, in browsers and Cloudflare's runtime
    Start,
    /// From opening the demo page in a fresh Chromium to its first results, here and at 20 Mbit/s
    First,
}

/// Runs `tests/js/bench/{what}.mjs`, which prints tables.
pub fn measure(what: Bench) -> Result<()> {
    let minilm = model::ensure(model::DEFAULT)?;
    build::package()?;
    let name = match what {
        Bench::Cpu => {
            dense_peer(&minilm)?;
            "cpu"
        }
        Bench::Splade => {
            sparse_peer(&minilm)?;
            "splade"
        }
        Bench::Rerank => {
            let model = root().join("tests/fixtures/rerankers/sized-minilm");
            peer(
                "sequence-classification",
                &model,
                "sized-reranker",
                Some(&minilm),
            )?;
            "rerank"
        }
        Bench::Load => {
            dense_peer(&minilm)?;
            "load"
        }
        Bench::Visit => {
            dense_peer(&minilm)?;
            "visit"
        }
        Bench::Gpu => {
            dense_peer(&minilm)?;
            sparse_peer(&minilm)?;
            "gpu"
        }
        Bench::Size => {
            peers()?;
            "size"
        }
        Bench::Scale => "scale",
        Bench::Moe => "moe",
        Bench::Deberta => "deberta",
        Bench::Large => "large",
        Bench::Tokenizers => "tokenizers",
        Bench::Static => "static",
        Bench::Edge => "edge",
        Bench::Cache => "cache",
        Bench::Stores => "stores",
        Bench::Start => "start",
        Bench::First => {
            serve::demo_data()?;
            "first"
        }
    };
    if matches!(
        what,
        Bench::Cpu
            | Bench::Splade
            | Bench::Rerank
            | Bench::Load
            | Bench::Visit
            | Bench::Large
            | Bench::Cache
            | Bench::Stores
            | Bench::Start
            | Bench::First
            | Bench::Gpu
    ) {
        setup::browsers()?;
    }
    say(&format!("measuring {name}"));
    let script = root().join("tests/js/bench").join(format!("{name}.mjs"));
    run(command("node").arg(script).stdout(Stdio::inherit()))?;
    if matches!(what, Bench::Size) {
        size::report()?;
    }
    Ok(())
}

fn dense_peer(minilm: &Path) -> Result<()> {
    peer("dense", minilm, model::DEFAULT, None)
}

fn sparse_peer(minilm: &Path) -> Result<()> {
    let model = root().join("tests/fixtures/sized-splade-base");
    peer("masked-lm", &model, "sized-splade-base", Some(minilm))
}

/// Installs transformers.js, and exports a model for it in a Python environment of its own.
fn peer(kind: &str, model: &Path, name: &str, tokenizer: Option<&Path>) -> Result<()> {
    peers()?;
    let exported = target().join("bench/models").join(name);
    let mut files = vec!["model.onnx", "model_quantized.onnx"];
    if kind == "dense" {
        files.push("model_fp16.onnx");
    }
    if files
        .iter()
        .all(|file| exported.join("onnx").join(file).exists())
    {
        return Ok(());
    }
    let scripts = root().join("tests/js/bench/peers");
    let environment = target().join("bench/python");
    let python = environment.join("bin/python");
    if !python.exists() {
        say("installing torch and onnx");
        run(command("python3").args(["-m", "venv"]).arg(&environment))?;
        let install = ["-m", "pip", "install", "--quiet", "--requirement"];
        run(command(&python)
            .args(install)
            .arg(scripts.join("requirements.txt")))?;
    }
    say(&format!("exporting {name} to ONNX"));
    fs::create_dir_all(&exported)?;
    run(command(&python)
        .arg(scripts.join("export_onnx.py"))
        .arg(kind)
        .arg(model)
        .arg(exported)
        .args(tokenizer))
}

fn peers() -> Result<()> {
    let peers = root().join("tests/js/bench/peers");
    if peers.join("node_modules").exists() {
        return Ok(());
    }
    say("installing the peers");
    run(command("npm")
        .args(["ci", "--ignore-scripts"])
        .current_dir(&peers))
}
