//! Bytes → tensors, while the bytes arrive.
//!
//! [`safetensors::Stream`] takes a file in chunks of any size and says which bytes of which tensor each holds;
//! [`dtype`] turns them into f32; [`rows`] hands on whole rows. Nothing here keeps more than the header and one row.

pub mod dtype;
pub mod rows;
pub mod safetensors;
