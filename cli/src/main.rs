//! `gossamer`: text embeddings on the command line.

mod connections;
mod embed;
mod hub;
mod model;
mod quantize;
mod serve;
mod source;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Dense and sparse text embeddings.
#[derive(Parser)]
#[command(name = "gossamer", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer requests in the formats of `OpenAI`, text-embeddings-inference (Trieve), Chroma,
    /// `SambaNova`, Inworld, Cohere and Jina
    Serve(serve::Options),
    /// Embed the records of a file: one vector, or several, for each text
    Embed(Box<embed::Options>),
    /// Write a model with quantised weights: it is smaller, and loads faster
    Quantize(quantize::Options),
}

fn main() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gossamer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<()> {
    match command {
        Command::Serve(options) => serve::run(options),
        Command::Embed(options) => embed::run(&options),
        Command::Quantize(options) => quantize::run(&options),
    }
}
