//! AWQ (`AutoAWQ`, its GEMM version): 4 bits, eight rows of the matrix in a word.

use serde_json::Value;

use super::affine::code;
use super::columns::{self, Packing};
use super::matrix::{Component, QuantizedMatrix};
use super::{Layout, Library, Role, RowDecoder, one_of};
use crate::error::Result;

pub static LIBRARY: Library = Library {
    name: "AWQ",
    method: Some("awq"),
    check: Some(check),
    layouts: &[Layout {
        tensors: &[
            (".qweight", Role::Codes, true),
            (".scales", Role::Scales, true),
            (".qzeros", Role::Zeros, true),
        ],
        dtypes: &["I32"],
        bits,
        needs_all_codes: true,
        decoder,
    }],
};

/// The other versions pack codes in other orders.
fn check(config: &Value) -> Result<(), String> {
    one_of(config, "version", &["gemm"])
}

fn bits(matrix: &QuantizedMatrix, codes: &Component) -> Option<usize> {
    let [columns, words] = codes.shape[..] else {
        return None;
    };
    (columns == matrix.columns && words.saturating_mul(8) == matrix.rows).then_some(4)
}

fn decoder(matrix: &QuantizedMatrix) -> Result<RowDecoder> {
    let stride = matrix.rows / 8 * 4;
    let packing = Packing {
        bits: 4,
        unpack: Box::new(move |codes, row, out| {
            for (out, line) in out.iter_mut().zip(codes.chunks_exact(stride)) {
                *out = interleaved(line, row, 4);
            }
        }),
        zero: interleaved,
        offset: 0.0,
    };
    columns::decoder(matrix, packing)
}

/// Code number `at` of a line of codes.
fn interleaved(bytes: &[u8], at: usize, bits: usize) -> f32 {
    /// Where in its word each code is.
    const PLACES: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];
    code(bytes, at / 8 * 8 + PLACES[at % 8], bits)
}
