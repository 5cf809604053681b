//! From a model's files to an [`Embedder`](crate::Embedder). [`loader`] drives it: `plan` reads the small files,
//! `pipeline` the modules, [`kind`] refuses what is not implemented, `layout_builder` lays out the weights, and
//! [`checkpoint`] stores them as they arrive. [`save`] writes them back.

pub mod checkpoint;
pub mod fingerprint;
pub(in crate::model) mod gguf;
pub mod kind;
pub(in crate::model) mod layout_builder;
pub mod loader;
pub mod onnx;
pub mod pipeline;
pub(in crate::model) mod plan;
pub mod save;
pub(in crate::model) mod sentence;
