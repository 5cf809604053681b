//! What most layouts share: value = (code − zero) · scale, with grids of scales and zero points.

use super::grid::Grid;
use super::matrix::{Component, QuantizedMatrix};
use super::{Decoder, Role, RowDecoder};
use crate::error::Result;
use crate::weights::dtype::Dtype;

/// Unpacks the codes of one row; arguments as for [`Decoder::decode`].
pub type Unpack = Box<dyn Fn(&[u8], usize, &mut [f32]) + Send + Sync>;

/// (code − zero) · scale
pub struct Affine {
    pub unpack: Unpack,
    pub scales: Grid,
    pub zeros: Option<Grid>,
    /// The group of each column, where groups are not in the order of the columns.
    pub groups: Option<Vec<usize>>,
}

impl Decoder for Affine {
    fn decode(&self, codes: &[u8], row: usize, out: &mut [f32]) {
        (self.unpack)(codes, row, out);
        let group = |at: usize, grid: &Grid| match &self.groups {
            Some(groups) => groups[at],
            None => at / grid.block.1,
        };
        if let Some(zeros) = &self.zeros {
            let own = zeros.row(row);
            for (at, value) in out.iter_mut().enumerate() {
                *value -= own[if own.len() == 1 { 0 } else { group(at, zeros) }];
            }
        }
        let own = self.scales.row(row);
        for (at, value) in out.iter_mut().enumerate() {
            *value *= own[group(at, &self.scales)];
        }
    }
}

/// [`Layout::bits`](super::Layout::bits) of codes that are elements of 8 bits in the shape of the
/// matrix.
pub fn element_bits(matrix: &QuantizedMatrix, codes: &Component) -> Option<usize> {
    (codes.shape == [matrix.rows, matrix.columns]).then_some(8)
}

/// Unpacks codes that are elements of a dtype.
pub fn unpack_elements(dtype: Dtype) -> Unpack {
    Box::new(move |codes, _, out| dtype.decode(codes, out))
}

/// [`Layout::decoder`](super::Layout::decoder) of codes that are elements of 8 bits, with scales
/// and perhaps zero points.
pub fn element_decoder(matrix: &QuantizedMatrix) -> Result<RowDecoder> {
    let (codes, _) = matrix.needed(Role::Codes)?;
    let dtype = Dtype::from_name(&codes.dtype);
    let dtype = dtype.ok_or_else(|| matrix.wrong("its codes do not fit its shape"))?;
    Ok(RowDecoder::values(Affine {
        unpack: unpack_elements(dtype),
        scales: matrix.scales()?,
        zeros: matrix.grid(Role::Zeros)?,
        groups: None,
    }))
}

/// [`Layout::bits`](super::Layout::bits) of codes that are packed along a row, in words of 32 bits.
pub fn packed_bits(matrix: &QuantizedMatrix, codes: &Component) -> Option<usize> {
    let [rows, words] = codes.shape[..] else {
        return None;
    };
    let fits = |bits: &usize| (matrix.columns * bits).div_ceil(32) == words;
    // In a short row several numbers of bits make as many words. The usual ones are tried first.
    (rows == matrix.rows).then(|| [4, 8, 2, 3, 5, 6, 7].into_iter().find(|bits| fits(bits)))?
}

/// Code number `at` of a stream of codes, low bits first.
pub fn code(bytes: &[u8], at: usize, bits: usize) -> f32 {
    let (byte, shift) = (at * bits / 8, at * bits % 8);
    let low = u16::from(bytes[byte]);
    let high = u16::from(bytes.get(byte + 1).copied().unwrap_or(0)) << 8;
    f32::from((low | high) >> shift & ((1 << bits) - 1))
}

/// Unpacks a stream of codes, low bits first.
pub fn unpack(bytes: &[u8], bits: usize, out: &mut [f32]) {
    match bits {
        8 => out
            .iter_mut()
            .zip(bytes)
            .for_each(|(out, byte)| *out = f32::from(*byte)),
        4 => {
            for (pair, byte) in out.chunks_mut(2).zip(bytes) {
                let codes = [byte & 15, byte >> 4];
                pair.iter_mut()
                    .zip(codes)
                    .for_each(|(out, code)| *out = f32::from(code));
            }
        }
        _ => out
            .iter_mut()
            .enumerate()
            .for_each(|(at, out)| *out = code(bytes, at, bits)),
    }
}

/// The words of 32 bits in `bytes`.
pub fn words(bytes: &[u8]) -> &[[u8; 4]] {
    bytes.as_chunks::<4>().0
}

/// The group of each column, from a tensor of their numbers; there are `count` groups.
pub fn group_index(matrix: &QuantizedMatrix, count: Option<usize>) -> Result<Option<Vec<usize>>> {
    let Some((component, bytes)) = matrix.component(Role::Groups) else {
        return Ok(None);
    };
    let groups = words(bytes)
        .iter()
        .map(|word| u32::from_le_bytes(*word) as usize);
    let groups: Vec<usize> = groups.collect();
    let count = count.unwrap_or(0);
    if component.dtype != "I32"
        || groups.len() != matrix.columns
        || groups.iter().any(|group| *group >= count)
    {
        return Err(matrix.wrong("its columns belong to groups that it does not have"));
    }
    Ok(Some(groups))
}
