//! bitsandbytes: `load_in_8bit`, and `load_in_4bit` with the types nf4 and fp4.

use serde::Deserialize;

use super::affine::{Affine, element_bits, unpack_elements};
use super::matrix::{Component, QuantizedMatrix};
use super::{Decoder, Layout, Library, Role, RowDecoder, TensorName};
use crate::error::Result;
use crate::weights::dtype::Dtype;

pub static LIBRARY: Library = Library {
    name: "bitsandbytes",
    method: Some("bitsandbytes"),
    check: None,
    layouts: &[
        Layout {
            tensors: &[
                (".weight", Role::Codes, true),
                (".SCB", Role::Scales, true),
                (".weight_format", Role::Unused, false),
            ],
            dtypes: &["I8"],
            bits: element_bits,
            needs_all_codes: false,
            decoder: int8,
        },
        four_bits(&NF4),
        four_bits(&FP4),
    ],
};

static NF4: [TensorName; 6] = tensors(".weight.quant_state.bitsandbytes__nf4");
static FP4: [TensorName; 6] = tensors(".weight.quant_state.bitsandbytes__fp4");

/// The names of the tensors of a matrix in 4 bits. That of the description says which type it is.
const fn tensors(state: &'static str) -> [TensorName; 6] {
    [
        (".weight", Role::Codes, true),
        (".weight.absmax", Role::Scales, true),
        (".weight.quant_map", Role::Map, true),
        (state, Role::State, true),
        (".weight.nested_absmax", Role::NestedScales, false),
        (".weight.nested_quant_map", Role::NestedMap, false),
    ]
}

const fn four_bits(tensors: &'static [TensorName]) -> Layout {
    Layout {
        tensors,
        dtypes: &["U8"],
        bits: pair_bits,
        needs_all_codes: false,
        decoder: table,
    }
}

fn int8(matrix: &QuantizedMatrix) -> Result<RowDecoder> {
    let mut scales = matrix.scales()?;
    scales
        .values
        .iter_mut()
        .for_each(|scale| *scale *= 1.0 / 127.0);
    Ok(RowDecoder::values(Affine {
        unpack: unpack_elements(Dtype::I8),
        scales,
        zeros: None,
        groups: None,
    }))
}

/// A byte has two codes, whatever the shape.
fn pair_bits(matrix: &QuantizedMatrix, codes: &Component) -> Option<usize> {
    let fits = codes.size * 2 == matrix.rows * matrix.columns;
    (matrix.columns.is_multiple_of(2) && fits).then_some(4)
}

/// A value for each of sixteen codes, times the scale of a block of the whole matrix.
struct Table {
    map: [f32; 16],
    scales: Vec<f32>,
    block: usize,
}

impl Decoder for Table {
    fn decode(&self, codes: &[u8], row: usize, out: &mut [f32]) {
        let first = row * out.len();
        for (at, value) in out.iter_mut().enumerate() {
            let byte = codes[at / 2];
            let code = if at % 2 == 0 { byte >> 4 } else { byte & 15 };
            *value = self.map[usize::from(code)] * self.scales[(first + at) / self.block];
        }
    }
}

fn table(matrix: &QuantizedMatrix) -> Result<RowDecoder> {
    #[derive(Deserialize)]
    struct State {
        blocksize: usize,
        #[serde(default)]
        nested_blocksize: usize,
        #[serde(default)]
        nested_offset: f32,
    }
    let (_, json) = matrix.needed(Role::State)?;
    let state: State = serde_json::from_slice(json)
        .map_err(|error| matrix.wrong(&format!("its quant_state cannot be read ({error})")))?;
    let map = matrix.numbers(Role::Map)?.unwrap_or_default();
    let map =
        <[f32; 16]>::try_from(map).map_err(|_| matrix.wrong("its map is not of 16 values"))?;
    let nested = matrix.numbers(Role::NestedScales)?;
    let scales = match (matrix.component(Role::Scales), nested) {
        (Some((_, codes)), Some(nested)) => {
            let map = matrix.numbers(Role::NestedMap)?.unwrap_or_default();
            let size = state.nested_blocksize;
            if map.len() != 256 || size == 0 || codes.len().div_ceil(size) != nested.len() {
                return Err(matrix.wrong("its nested scales do not fit"));
            }
            let value = |(at, code): (usize, &u8)| {
                map[usize::from(*code)] * nested[at / size] + state.nested_offset
            };
            codes.iter().enumerate().map(value).collect()
        }
        _ => matrix.numbers(Role::Scales)?.unwrap_or_default(),
    };
    let block = state.blocksize;
    if block == 0 || (matrix.rows * matrix.columns).div_ceil(block) != scales.len() {
        return Err(matrix.wrong("its scales do not fit its blocks"));
    }
    Ok(RowDecoder::values(Table { map, scales, block }))
}
