//! Dense and sparse text embeddings in the browser and at the edge.
//!
//! One request, as data:
//!
//! 1. [`Loader`] asks for a model's small files, then takes its weights as a stream of bytes
//!    ([`weights`]). No full-precision copy of a quantised model ever exists.
//! 2. [`model`] reads the configuration into a `Spec`: one transformer described by data.
//! 3. [`text`] turns strings into token ids, and packs a batch: all ids end to end with offsets, no
//!    padding.
//! 4. `model::transformer::forward` runs over [`backend::Backend`]: the CPU ([`backend::cpu`]), a
//!    GPU ([`backend::gpu`]), or both ([`backend::either`]).
//! 5. A head turns token states into vectors: pooling and what follows, or SPLADE.
//! 6. [`api`] speaks other people's wire formats.
//!
//! ```no_run
//! use gossamer::{Cpu, EncodeOptions, LoadOptions, Loader};
//!
//! # fn main() -> gossamer::Result<()> {
//! let options = LoadOptions { model: "all-MiniLM-L6-v2".into(), ..LoadOptions::default() };
//! let embedder = Loader::new(Cpu::new(), options).read_dir("models/all-MiniLM-L6-v2".as_ref())?;
//! let batch = embedder.encode(vec!["a text".into()], &EncodeOptions::default())?;
//! assert_eq!(batch.data.len(), embedder.dimensions());
//! # Ok(())
//! # }
//! ```
pub mod api;
pub mod backend;
mod error;
mod full;
#[cfg(any(target_arch = "wasm32", test))]
mod jobs;
mod maps;
pub mod model;
pub mod text;
#[cfg(target_arch = "wasm32")]
mod web;
pub mod weights;

pub use backend::cpu::{Cpu, DotKernel, Threads};
pub use backend::either::Either;
pub use backend::gpu::Gpu;
pub use backend::{Pooling, WeightDtype};
pub use error::{Error, Result};
pub use model::embedder::Embedder;
pub use model::info::{Info, Outcome, Stored};
pub use model::kind::Kind;
pub use model::load::choice::Listed;
pub use model::load::download::Download;
pub use model::load::loader::Loader;
pub use model::load::lora::LoraInfo;
pub use model::load::options::{Adapter, LoadOptions};
pub use model::load::save::SavedFile;
pub use model::load::step::Step;
pub use model::loaded::Model;
pub use model::run::Run;
pub use model::run::options::{
    ChunkOptions, EncodeOptions, MultiOptions, ScoreOptions, SparseOptions, TokenOptions,
};
pub use model::run::outputs::{
    DenseBatch, Output, OutputDtype, Quantized, Ranked, ScoreBatch, SparseBatch, SparseVector,
    TokenVectors,
};
pub use model::run::text::{ChunkRun, TextStep, TokenRun};
pub use model::transformer::classifier::ScoreActivation;
pub use model::transformer::heads::TokenHead;
pub use text::{Chunk, Input};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
