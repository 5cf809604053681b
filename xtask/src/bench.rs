//! Benches of the built package: in Node, and in Chromium against a peer.

use std::fs;
use std::process::Stdio;

use anyhow::Result;

use crate::run::{command, root, run, say, target};
use crate::{build, model};

/// Runs `tests/js/bench/{what}.mjs`, which prints a table.
pub fn measure(what: &str) -> Result<()> {
    model::ensure(model::DEFAULT)?;
    build::package()?;
    if what == "cpu" {
        peers()?;
    }
    say(&format!("measuring {what}"));
    let script = root().join("tests/js/bench").join(format!("{what}.mjs"));
    run(command("node").arg(script).stdout(Stdio::inherit()))
}

/// Installs transformers.js, and exports the default model for it in a Python environment of its own.
fn peers() -> Result<()> {
    let peers = root().join("tests/js/bench/peers");
    if !peers.join("node_modules").exists() {
        say("installing the peers");
        run(command("npm")
            .args(["ci", "--ignore-scripts"])
            .current_dir(&peers))?;
    }
    let exported = target().join("bench/models").join(model::DEFAULT);
    if exported.join("onnx/model_quantized.onnx").exists() {
        return Ok(());
    }
    let environment = target().join("bench/python");
    let python = environment.join("bin/python");
    if !python.exists() {
        say("installing torch and onnx");
        run(command("python3").args(["-m", "venv"]).arg(&environment))?;
        let install = ["-m", "pip", "install", "--quiet", "--requirement"];
        run(command(&python)
            .args(install)
            .arg(peers.join("requirements.txt")))?;
    }
    say("exporting the model to ONNX");
    fs::create_dir_all(&exported)?;
    let model = root().join("models").join(model::DEFAULT);
    run(command(&python)
        .arg(peers.join("export_onnx.py"))
        .arg(model)
        .arg(exported))
}
