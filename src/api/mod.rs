//! Wire formats: other people's request and response objects, to and from the crate's own.
//!
//! Nothing here knows of tensors or of JavaScript.

pub mod input;
pub mod openai;
pub mod tei;
