//! optimum-quanto: one element of 8 bits a weight.

use super::affine::{element_bits, element_decoder};
use super::{Layout, Library, Role};

pub static LIBRARY: Library = Library {
    name: "quanto",
    method: Some("quanto"),
    check: None,
    layouts: &[Layout {
        tensors: &[
            (".weight._data", Role::Codes, true),
            (".weight._scale", Role::Scales, true),
        ],
        dtypes: &["I8", "F8_E4M3", "F8_E5M2"],
        bits: element_bits,
        needs_all_codes: false,
        decoder: element_decoder,
    }],
};
