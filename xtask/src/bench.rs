//! Benches of the built package, in Node.

use std::process::Stdio;

use anyhow::Result;

use crate::run::{command, root, run, say};
use crate::{build, model};

/// Runs `tests/js/bench/{what}.mjs`, which prints a table.
pub fn measure(what: &str) -> Result<()> {
    model::ensure(model::DEFAULT)?;
    build::package()?;
    say(&format!("measuring {what}"));
    let script = root().join("tests/js/bench").join(format!("{what}.mjs"));
    run(command("node").arg(script).stdout(Stdio::inherit()))
}
