//! Reads bodies of requests. The fields that some format has are kept.

pub use super::json::{Body, Document, Field, Reader};

use super::{formats, json};
use crate::backend::either::Either;

/// Reads a body. The error says why it is not JSON.
pub fn read(bytes: Vec<u8>) -> Result<Field, String> {
    json::read(bytes, formats::field::<Either>)
}
