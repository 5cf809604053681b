//! Integer GEMM: 8-bit activations × 8- or 4-bit weights, accumulated exactly in i32, scaled to f32 group by group.
//!
//! Both sides are rotated in groups of 64 (see `rotation`), and then centred on zero and nearly normal: a scale and no
//! zero point is all that they need. An activation group is quantised on the fly, q = round(x / scale) in [-127, 127].
//! Then
//!
//! ```text
//! Σₖ x·w = Σ_groups scaleₓ · scale_w · Σ qₓ·q_w
//! ```
//!
//! The integer part is exact whichever instructions compute it, the f32 part is one sequential sum over the groups: the
//! result has the same bits in every engine.

use core::ops::Range;

use super::dot::Dot;
use super::packed_int::{Codes, Panel};
use super::rotation::Group;
use super::scratch::{Buffer, Pool};
use super::simd::{F32x4, I32x4};
use super::{DotKernel, Sums, TILE, halves, tiles};
use crate::backend::GROUP;
use crate::error::Result;

/// Largest magnitude of an activation.
const LIMIT: f32 = 127.0;

/// Activations, quantised a group at a time. The rows of a tile are interleaved, so that the inner loop reads one
/// stream.
pub struct QuantizedRows {
    groups: usize,
    kernel: DotKernel,
    /// `[tile][group][row]`
    scales: Buffer,
    /// `[tile][group][word][row]`: 32-bit words of two i16 or four 8-bit values
    words: Buffer,
}

impl QuantizedRows {
    /// From `[rows, columns]`, in tiles that cover each of `ranges` by itself.
    pub fn new(
        values: &[f32],
        columns: usize,
        ranges: &[Range<usize>],
        kernel: DotKernel,
        pool: &Pool,
    ) -> Result<Self> {
        let groups = columns.div_ceil(GROUP);
        let cells = values.len().checked_div(columns).unwrap_or(0) * groups;
        let size = GROUP / kernel.depth();
        let mut scales = pool.take(cells)?;
        let mut words = pool.take(cells * size)?;
        let targets: &mut [u32] = bytemuck::cast_slice_mut(&mut words);
        for tile in ranges.iter().cloned().flat_map(tiles) {
            let rows = tile.len();
            for group in 0..groups {
                let cell = tile.start * groups + group * rows;
                let targets = &mut targets[cell * size..][..rows * size];
                let mut codes = [[I32x4::splat(0); GROUP / 8]; TILE];
                for (place, row) in tile.clone().enumerate() {
                    let values = &values[row * columns..][..columns];
                    let values = &values[group * GROUP..columns.min((group + 1) * GROUP)];
                    scales[cell + place] = quantize(values, kernel, &mut codes[place]);
                }
                interleave(&codes, rows, targets);
            }
        }
        Ok(Self {
            groups,
            kernel,
            scales,
            words,
        })
    }

    /// Scales `[group][row]` and words `[group][word][row]` of a tile of `R` rows from `first` on.
    #[inline(always)]
    fn tile<D: Dot, const R: usize>(&self, first: usize) -> (&[[f32; R]], &[[u32; R]]) {
        let size = GROUP / D::DEPTH;
        let first = first * self.groups;
        let scales = &self.scales[first..][..self.groups * R];
        let words: &[u32] = bytemuck::cast_slice(&self.words);
        let words = &words[first * size..][..self.groups * size * R];
        (scales.as_chunks().0, words.as_chunks().0)
    }
}

/// Rotates and quantises up to a group of values to `words`, four in each vector; gives the scale.
#[inline(always)]
fn quantize(values: &[f32], kernel: DotKernel, words: &mut [I32x4; GROUP / 8]) -> f32 {
    let rotated = Group::load(values).hadamard();
    let largest = rotated.extreme().abs();
    let inverse = if largest > 0.0 { LIMIT / largest } else { 0.0 };
    let codes = rotated.scaled(inverse).0.map(|x| x.nearest().to_i32());
    if kernel.depth() == 2 {
        for (word, [a, b]) in words.iter_mut().zip(codes.as_chunks::<2>().0) {
            *word = a.narrow_i16(*b);
        }
    } else {
        let offset = I32x4::splat(kernel.offset());
        for (word, quad) in words.iter_mut().zip(codes.as_chunks::<4>().0) {
            *word = I32x4::low_bytes(quad.map(|codes| codes.add(offset)));
        }
    }
    // The rotation is an eighth of what `hadamard` gives.
    largest / LIMIT * 0.125
}

/// Words of each row → `[word][row]`.
#[inline(always)]
fn interleave(words: &[[I32x4; GROUP / 8]; TILE], rows: usize, out: &mut [u32]) {
    if rows == TILE {
        let (out, _) = out.as_chunks_mut::<16>();
        for (i, out) in out.iter_mut().enumerate() {
            let columns = [words[0][i], words[1][i], words[2][i], words[3][i]];
            let (out, _) = out.as_chunks_mut::<4>();
            for (out, row) in out.iter_mut().zip(I32x4::transpose(columns)) {
                row.store(out);
            }
        }
    } else {
        let vectors = out.len() / (4 * rows);
        for (row, words) in words[..rows].iter().enumerate() {
            for (i, words) in words[..vectors].iter().enumerate() {
                for (j, word) in words.to_array().into_iter().enumerate() {
                    out[(4 * i + j) * rows + row] = word.cast_unsigned();
                }
            }
        }
    }
}

/// The sums of each row of `x` in `range`, one of those it was made for or a start of it in whole tiles, against a panel:
/// `done(first row, sums of up to four rows)`.
pub fn for_each_tile<C: Codes>(
    x: &QuantizedRows,
    range: Range<usize>,
    panel: &Panel<C>,
    done: &mut dyn FnMut(usize, &[Sums]),
) {
    match x.kernel {
        #[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
        DotKernel::RelaxedU8 | DotKernel::RelaxedI8 => relaxed_tiles(x, range, panel, done),
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        DotKernel::I16 => all_tiles::<C, super::dot::Widened>(x, range, panel, done),
        #[cfg(any(test, not(all(target_arch = "wasm32", target_feature = "simd128"))))]
        DotKernel::Scalar => all_tiles::<C, super::dot::Scalar>(x, range, panel, done),
        #[allow(unreachable_patterns, reason = "which are left depends on the build")]
        kernel => unreachable!("this build never chooses {kernel:?}"),
    }
}

#[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
#[target_feature(enable = "relaxed-simd")]
fn relaxed_tiles<C: Codes>(
    x: &QuantizedRows,
    range: Range<usize>,
    panel: &Panel<C>,
    done: &mut dyn FnMut(usize, &[Sums]),
) {
    all_tiles::<C, super::dot::relaxed::Relaxed>(x, range, panel, done);
}

#[inline(always)]
fn all_tiles<C: Codes, D: Dot>(
    x: &QuantizedRows,
    range: Range<usize>,
    panel: &Panel<C>,
    done: &mut dyn FnMut(usize, &[Sums]),
) {
    for rows in tiles(range) {
        let row = rows.start;
        match rows.len() {
            4 => done(row, &tile::<C, D, 4>(x, row, panel)),
            3 => done(row, &tile::<C, D, 3>(x, row, panel)),
            2 => done(row, &tile::<C, D, 2>(x, row, panel)),
            _ => done(row, &tile::<C, D, 1>(x, row, panel)),
        }
    }
}

#[inline(always)]
fn tile<C: Codes, D: Dot, const R: usize>(
    x: &QuantizedRows,
    row: usize,
    panel: &Panel<C>,
) -> [Sums; R] {
    let (row_scales, words) = x.tile::<D, R>(row);
    let words = words.chunks_exact(GROUP / D::DEPTH);
    let mut starts = panel.starts.iter();
    let mut out = [[F32x4::splat(0.0); 2]; R];
    let groups = panel.codes.iter().zip(panel.scales).zip(words);
    for (((codes, scales), words), row_scales) in groups.zip(row_scales) {
        let start = match starts.next() {
            Some(start) => halves(start).map(I32x4::load),
            None => [I32x4::splat(0); 2],
        };
        let mut sums = [start; R];
        for index in 0..GROUP / 4 {
            D::step(&mut sums, codes.vectors(index), words, index);
        }
        let scales = halves(scales).map(F32x4::load);
        for r in 0..R {
            let row_scale = F32x4::splat(row_scales[r]);
            for half in 0..2 {
                let scale = row_scale.mul(scales[half]);
                out[r][half] = out[r][half].add(sums[r][half].to_f32().mul(scale));
            }
        }
    }
    out
}
