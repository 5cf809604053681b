//! GPTQ (`AutoGPTQ`, `GPTQModel`): words of codes lie one below the other.

use serde_json::Value;

use super::affine::{code, unpack};
use super::columns::{self, Packing};
use super::matrix::{Component, QuantizedMatrix};
use super::{Layout, Library, Role, RowDecoder, one_of};
use crate::error::Result;

/// The second version of the format stores zero points as they are, the first one less one.
const FORMAT: &str = "checkpoint_format";
const SECOND: &str = "gptq_v2";

pub static LIBRARY: Library = Library {
    name: "GPTQ",
    method: Some("gptq"),
    check: Some(check),
    layouts: &[Layout {
        tensors: &[
            (".qweight", Role::Codes, true),
            (".scales", Role::Scales, true),
            (".qzeros", Role::Zeros, true),
            (".g_idx", Role::Groups, false),
        ],
        dtypes: &["I32"],
        bits,
        needs_all_codes: true,
        decoder,
    }],
};

fn check(config: &Value) -> Result<(), String> {
    one_of(config, FORMAT, &["gptq", SECOND])
}

fn bits(matrix: &QuantizedMatrix, codes: &Component) -> Option<usize> {
    let [words, rows] = codes.shape[..] else {
        return None;
    };
    let fits = |bits: &usize| matrix.columns * bits == words.saturating_mul(32);
    let bits = [2, 4, 8].into_iter().find(fits)?;
    (rows == matrix.rows).then_some(bits)
}

fn decoder(matrix: &QuantizedMatrix) -> Result<RowDecoder> {
    let (bits, rows) = (matrix.bits()?, matrix.rows);
    let is_second = matrix.quantization.text(FORMAT) == Some(SECOND);
    let packing = Packing {
        bits,
        unpack: Box::new(move |codes, row, out| {
            let words = codes.chunks_exact(4).skip(row).step_by(rows);
            for (values, word) in out.chunks_mut(32 / bits).zip(words) {
                unpack(word, bits, values);
            }
        }),
        zero: code,
        offset: if is_second { 0.0 } else { 1.0 },
    };
    columns::decoder(matrix, packing)
}
