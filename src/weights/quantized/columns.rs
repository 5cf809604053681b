//! What GPTQ and AWQ share: codes run along the columns, and scales and zero points are transposed.

use super::affine::{Affine, Unpack, group_index};
use super::grid::Grid;
use super::matrix::QuantizedMatrix;
use super::{Role, RowDecoder};
use crate::error::{Result, zeroed};

/// How codes and zero points are packed.
pub struct Packing {
    pub bits: usize,
    /// Unpacks the codes of one row from those of the whole matrix.
    pub unpack: Unpack,
    /// Zero point number `at` of a row of packed ones.
    pub zero: fn(bytes: &[u8], at: usize, bits: usize) -> f32,
    /// Added to each stored zero point.
    pub offset: f32,
}

/// The decoder of such a matrix.
pub fn decoder(matrix: &QuantizedMatrix, packing: Packing) -> Result<RowDecoder> {
    let shape = |role| {
        matrix
            .component(role)
            .map_or(&[][..], |(one, _)| &one.shape)
    };
    let [groups, rows] = *shape(Role::Scales) else {
        return Err(matrix.wrong("its scales are not a matrix"));
    };
    let packed = [groups, (matrix.rows * packing.bits).div_ceil(32)];
    let (zeros, stored) = matrix.needed(Role::Zeros)?;
    if rows != matrix.rows || zeros.shape != packed || zeros.dtype != "I32" || groups == 0 {
        return Err(matrix.wrong("its scales and zero points do not fit its codes"));
    }
    let scales = matrix.numbers(Role::Scales)?.unwrap_or_default();
    let stride = packed[1] * 4;
    let (mut transposed, mut zero) = (zeroed(rows * groups)?, zeroed(rows * groups)?);
    for group in 0..groups {
        let stored = &stored[group * stride..][..stride];
        for row in 0..rows {
            transposed[row * groups + group] = scales[group * rows + row];
            zero[row * groups + group] = (packing.zero)(stored, row, packing.bits) + packing.offset;
        }
    }
    let grid = |values| {
        let grid = Grid::new(values, rows, groups, rows, matrix.columns);
        grid.ok_or_else(|| matrix.wrong("its groups do not divide its columns"))
    };
    Ok(RowDecoder::values(Affine {
        unpack: packing.unpack,
        scales: grid(transposed)?,
        zeros: Some(grid(zero)?),
        groups: group_index(matrix, Some(groups))?,
    }))
}
