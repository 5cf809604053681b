//! What the crate does on the CPU, in one binary: each would instantiate the forward pass anew.
//! What counts memory or wants a GPU has a binary of its own.

#[path = "../common/mod.rs"]
mod common;

mod bad_input;
mod batching;
mod chunks;
mod colbert;
mod coverage;
mod families;
mod formats;
mod gguf;
mod kinds;
mod lora;
mod modules;
mod numerics;
mod onnx;
mod oracle;
mod parity;
mod published_models;
mod quantized;
mod rerank;
mod rerank_formats;
mod save;
mod shards;
mod sized_splade;
mod stated;
mod static_tables;
mod sweep_models;
mod threads;
mod tokenizer;
mod tokenizer_settings;
mod torch_checkpoints;
