//! torchao: one element of 8 bits a weight.

use super::affine::{element_bits, element_decoder};
use super::{Layout, Library, Role};

pub static LIBRARY: Library = Library {
    name: "torchao",
    method: Some("torchao"),
    check: None,
    layouts: &[Layout {
        tensors: &[
            ("._weight_qdata", Role::Codes, true),
            ("._weight_scale", Role::Scales, true),
            ("._weight_zero_point", Role::Zeros, false),
        ],
        dtypes: &["I8", "F8_E4M3", "F8_E5M2"],
        bits: element_bits,
        needs_all_codes: false,
        decoder: element_decoder,
    }],
};
