//! `cargo xtask`: the front door for building, running and testing. Every command sets up what it
//! needs by itself and says in one line what it is doing.

mod bench;
mod build;
mod crates;
mod model;
mod run;
mod serve;
mod setup;
mod size;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Builds, runs and tests Gossamer",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build everything, get the default model and serve the demo page
    Demo {
        /// Port on the loopback interface
        #[arg(long, default_value_t = 4173)]
        port: u16,
    },
    /// Run all tests, linters and type checks
    Test,
    /// Build pkg/dist
    Build,
    /// Embed texts with the built package in Node, and print the response as JSON
    Embed {
        /// Hub id, or a local folder
        #[arg(long, default_value = model::DEFAULT)]
        model: String,
        /// How to hold the weights
        #[arg(long, default_value = "q8", value_parser = ["f32", "f16", "q8", "q4"])]
        dtype: String,
        /// Sparse vectors instead of dense ones
        #[arg(long)]
        sparse: bool,
        /// What to embed
        #[arg(required = true)]
        texts: Vec<String>,
    },
    /// Download a model into models/
    Model {
        /// Hub id
        #[arg(default_value = model::DEFAULT)]
        id: String,
    },
    /// Format all sources
    Fmt,
    /// Check formatting, lints and types
    Lint,
    /// Make the API's reference, for Rust and JavaScript, in target/doc
    Doc,
    /// List what the wasm is made of (`CycloneDX`) in target/sbom
    Sbom,
    /// Measure the package
    Bench {
        /// What to measure
        #[arg(value_enum)]
        what: bench::Bench,
    },
    /// Run a wasm test binary in Node (cargo calls this)
    #[command(hide = true)]
    WasmTestRunner {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<()> {
    match command {
        Command::Demo { port } => serve::demo(port),
        Command::Test => test::all(),
        Command::Build => build::package(),
        Command::Embed {
            model,
            dtype,
            sparse,
            texts,
        } => serve::embed(&model, &dtype, sparse, &texts),
        Command::Model { id } => model::ensure(&id).map(drop),
        Command::Fmt => test::format(),
        Command::Lint => test::lint(),
        Command::Doc => {
            build::package()?;
            test::reference()
        }
        Command::Sbom => crates::bill_of_materials(),
        Command::Bench { what } => bench::measure(what),
        Command::WasmTestRunner { args } => test::wasm_runner(args),
    }
}
