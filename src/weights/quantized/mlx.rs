//! MLX's affine mode (`mlx.nn.quantize`): code · scale + bias, with codes packed along a row.

use super::affine::{packed_bits, unpack};
use super::grid::Grid;
use super::matrix::QuantizedMatrix;
use super::{Decoder, Layout, Library, Role, RowDecoder};
use crate::error::Result;

pub static LIBRARY: Library = Library {
    name: "MLX",
    method: None,
    check: None,
    layouts: &[Layout {
        tensors: &[
            (".weight", Role::Codes, true),
            (".scales", Role::Scales, true),
            (".biases", Role::Biases, false),
        ],
        dtypes: &["U32"],
        bits: packed_bits,
        needs_all_codes: false,
        decoder,
    }],
};

/// code · scale + bias
struct Biased {
    bits: usize,
    scales: Grid,
    biases: Grid,
}

impl Decoder for Biased {
    fn decode(&self, codes: &[u8], row: usize, out: &mut [f32]) {
        unpack(codes, self.bits, out);
        let pairs = self.scales.row(row).iter().zip(self.biases.row(row));
        for ((scale, bias), values) in pairs.zip(out.chunks_mut(self.scales.block.1)) {
            values
                .iter_mut()
                .for_each(|value| *value = *value * scale + bias);
        }
    }
}

fn decoder(matrix: &QuantizedMatrix) -> Result<RowDecoder> {
    let scales = matrix.scales()?;
    let biases = matrix.grid(Role::Biases)?;
    let biases =
        biases.ok_or_else(|| matrix.wrong("in a mode other than affine (mxfp4, mxfp8, nvfp4)"))?;
    if biases.block != scales.block {
        return Err(matrix.wrong("its biases are not as many as its scales"));
    }
    Ok(RowDecoder::values(Biased {
        bits: matrix.bits()?,
        scales,
        biases,
    }))
}
