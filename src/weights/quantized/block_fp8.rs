//! FP8 with a scale for each block, as `DeepSeek` and Qwen publish it.

use super::affine::{element_bits, element_decoder};
use super::{Layout, Library, Role};

pub static LIBRARY: Library = Library {
    name: "block-wise FP8",
    method: Some("fp8"),
    check: None,
    layouts: &[Layout {
        tensors: &[
            (".weight", Role::Codes, true),
            (".weight_scale_inv", Role::Scales, true),
        ],
        dtypes: &["I8", "F8_E4M3", "F8_E5M2"],
        bits: element_bits,
        needs_all_codes: false,
        decoder: element_decoder,
    }],
};
