//! From a model's files to vectors: [`loader`], `plan` and [`checkpoint`] read them, [`spec`] and [`families`] describe the
//! transformer as data, [`layout`] says which tensor goes where, [`forward`] runs it, [`pipeline`] and [`head`] turn
//! token states into vectors, [`route`] and [`embedder`] tie it together, [`run`] does the work in steps: inputs of a `queue`, a `pass`
//! over them, and the [`output`].

mod check;
pub mod checkpoint;
pub mod config;
mod drawing;
pub mod embedder;
pub mod families;
pub mod fingerprint;
pub mod forward;
mod gguf;
pub mod head;
pub mod kind;
pub mod layout;
pub mod loader;
pub mod options;
pub mod output;
mod pass;
pub mod pipeline;
mod plan;
mod positions;
mod queue;
mod rope;
pub mod route;
pub mod run;
pub mod save;
mod sentence;
pub mod spec;
mod wide;
