//! Everything that must hold: formatting, lints, types, native tests, wasm tests, the package in Node and browsers.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::run::{cargo, command, npm_script, root, run, say, target};
use crate::{build, model, serve, setup};

/// Runs all tests.
pub fn all() -> Result<()> {
    setup::wasm_target()?;
    setup::npm_packages()?;
    model::ensure(model::DEFAULT)?;
    build::package()?;
    serve::demo_data()?;
    lint()?;
    reference()?;
    setup::vulkan()?;
    say("testing natively");
    // This leaves the server's binary for the tests in JavaScript, too.
    run(cargo().args(["test", "--quiet"]))?;
    // xtask is built already, in the profile that it runs in.
    run(cargo().args(["test", "--quiet", "--package", "xtask", "--profile", "dev"]))?;
    for (build, features) in [
        ("simd128", &[][..]),
        ("relaxed-simd", &["--features", "relaxed-simd"][..]),
    ] {
        say(&format!("testing the kernels as wasm in Node ({build})"));
        wasm(features)?;
    }
    setup::browsers()?;
    setup::testers()?;
    setup::peers()?;
    for script in [
        "test:node",
        "test:server",
        "test:browsers",
        "test:gpu",
        "test:package",
        "test:bundlers",
        "test:docs",
        "test:demo",
    ] {
        say(&format!("npm run {script}"));
        // A browser that is missing is an error here, not a test left out.
        run(npm_script(script)
            .env("GOSSAMER_BROWSERS", "required")
            .env("GOSSAMER_TARGET", target()))?;
    }
    say("all tests passed");
    Ok(())
}

/// Runs the library's own tests as wasm. Relaxed SIMD wants a newer Node than 20, which computes it wrongly.
fn wasm(features: &[&str]) -> Result<()> {
    let runner = std::env::current_exe()?;
    let runner = format!(
        "{} wasm-test-runner",
        runner.to_str().context("the path of xtask is not UTF-8")?
    );
    let mut test = cargo();
    test.args([
        "test",
        // The very profile that is shipped.
        "--release",
        "--lib",
        "--package",
        "gossamer-embed",
        "--target",
        setup::WASM,
    ])
    .args(features);
    test.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", runner);
    if !features.is_empty() {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let newer = std::iter::once(newer_node()?).chain(std::env::split_paths(&path));
        test.env("PATH", std::env::join_paths(newer)?);
    }
    run(&mut test)
}

/// Folder of the newer Node that comes as an npm package.
fn newer_node() -> Result<PathBuf> {
    let arch = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "x64"
    };
    let folder = root().join(format!("node_modules/node-linux-{arch}/bin"));
    anyhow::ensure!(
        folder.join("node").exists(),
        "{} has no node: run `npm ci`",
        folder.display()
    );
    Ok(folder)
}

/// Runs a wasm test binary; cargo calls this through `wasm-test-runner`.
pub fn wasm_runner(args: Vec<String>) -> Result<()> {
    wasm_bindgen_cli::wasm_bindgen_test_runner::run_cli_with_args(
        std::iter::once("wasm-test-runner".to_owned()).chain(args),
    )
}

/// Checks formatting, lints and types; warnings are errors.
pub fn lint() -> Result<()> {
    setup::wasm_target()?;
    setup::npm_packages()?;
    say("checking formatting and lints (Rust)");
    run(cargo().args(["fmt", "--all", "--check"]))?;
    let deny = ["--", "-D", "warnings"];
    run(cargo()
        .args(["clippy", "--quiet", "--workspace", "--all-targets"])
        .args(deny))?;
    for features in [&[][..], &["--features", "relaxed-simd"][..]] {
        let clippy = [
            "clippy",
            "--quiet",
            "--package",
            "gossamer-embed",
            "--lib",
            "--target",
            setup::WASM,
        ];
        run(cargo().args(clippy).args(features).args(deny))?;
    }
    say("checking formatting, lints and types (TypeScript)");
    run(&mut npm_script("lint"))?;
    run(&mut npm_script("check"))
}

/// Makes the API's reference, for Rust and for JavaScript. What has no documentation is an error.
pub fn reference() -> Result<()> {
    setup::npm_packages()?;
    setup::bundlers()?;
    say("documenting the crate");
    run(cargo()
        .args(["doc", "--quiet", "--no-deps", "--package", "gossamer-embed"])
        .env("RUSTDOCFLAGS", "-D warnings"))?;
    say("documenting the package");
    let typedoc = target().join("bundlers/node_modules/typedoc/bin/typedoc");
    let out = target().join("doc/js");
    run(command("node")
        .arg(typedoc)
        .args([
            "--options",
            "pkg/typedoc.json",
            "--logLevel",
            "Warn",
            "--out",
        ])
        .arg(out))
}

/// Formats all sources.
pub fn format() -> Result<()> {
    setup::npm_packages()?;
    run(cargo().args(["fmt", "--all"]))?;
    run(&mut npm_script("format"))?;
    run(command("git").args(["status", "--short"]))
}
