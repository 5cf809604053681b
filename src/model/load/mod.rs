//! From a model's files to an [`Embedder`](crate::Embedder).
//!
//! [`loader`] is the state machine that the caller drives, one [`step`] after the other. First it
//! reads the small files: `discovery` knows which there are, `stated` writes the caller's options
//! into them, `plan` reads them with the help of `pipeline` (modules), `tokenizers`, `heads`,
//! `scoring` (rerankers, with `chat_template`), `static_files`, `quantization` and [`kind`] (what
//! is refused), and `layout_builder` lays out the weights. Then `streaming` reads the weight files:
//! `matching` finds the tensors in a file, `inventory` records them, and `store` stores their rows
//! (`table` does both for static tables), all for `checkpoint`. `finish` makes the model. [`save`]
//! writes it back. [`choice`] says which of a repository's weight files to take. An adapter
//! ([`lora`]) is read before all, and merged by `store`.

mod arrival;
mod chat_template;
mod checkpoint;
pub mod choice;
mod discovery;
pub mod download;
mod files;
mod fingerprint;
mod finish;
mod gguf;
mod heads;
mod inventory;
pub mod kind;
mod late;
mod late_layout;
mod layout_builder;
pub mod loader;
pub mod lora;
mod marker;
mod matching;
pub mod onnx;
pub mod options;
mod pipeline;
mod plan;
#[cfg(not(target_arch = "wasm32"))]
mod read;
pub mod save;
mod saved_config;
mod saved_file;
mod scoring;
mod sentence;
mod stated;
mod static_files;
pub mod step;
mod store;
mod streaming;
mod table;
mod tokenizers;
