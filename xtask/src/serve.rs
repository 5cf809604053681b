//! Runs what was built: the demo page, and embedding from the command line.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};

use crate::run::{command, root, run, say};
use crate::{build, model};

/// Builds everything and serves the demo page until interrupted.
pub fn demo(port: u16) -> Result<()> {
    build::package()?;
    demo_data()?;
    say("building the demo page");
    run(command("npm").args(["run", "--silent", "build", "--workspace", "www"]))?;
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let port = (port..=port.saturating_add(50))
        .find(free)
        .context("no free port: choose another with --port")?;
    println!("Gossamer's demo page: http://127.0.0.1:{port}/ (Ctrl+C ends it)");
    // The server replaces this process, so that a signal ends it, and no server is left behind.
    let mut vite = command(root().join("node_modules/.bin/vite"));
    vite.current_dir(root().join("www"))
        .args(["preview", "--host", "127.0.0.1", "--strictPort", "--port"])
        .arg(port.to_string());
    Err(vite.exec()).context("vite cannot be started")
}

/// Makes what the demo page comes with, in models/demo: a dense and a sparse model in 8 bits, and
/// the vectors of its passages.
pub fn demo_data() -> Result<()> {
    let dense = model::ensure(model::DEFAULT)?;
    let sparse = model::ensure(model::SPARSE)?;
    let folder = root().join("models/demo");
    run(command("node")
        .arg("xtask/js/demo-data.mjs")
        .args([&dense, &sparse, &folder]))
}

/// Embeds `texts` with the built package in Node and prints the response.
pub fn embed(model: &str, dtype: &str, sparse: bool, texts: &[String]) -> Result<()> {
    build::package()?;
    let folder = if Path::new(model).is_dir() {
        std::path::absolute(model)?
    } else {
        model::ensure(model)?
    };
    let mut node = command("node");
    node.arg("xtask/js/embed.mjs")
        .arg(folder)
        .args([model, dtype])
        .arg(if sparse { "sparse" } else { "dense" });
    let status = node
        .args(texts)
        .stdout(Stdio::inherit())
        .status()
        .context("node cannot be started")?;
    // The script has printed what is wrong.
    std::process::exit(status.code().unwrap_or(1));
}
