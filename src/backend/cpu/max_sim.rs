//! `MaxSim` (Khattab & Zaharia 2020): for each vector of a query the largest product with a vector
//! of the document, and the sum of these.
//!
//! Every product is one sequential sum, so a score's bits depend on its two texts only, and are the
//! same in every engine.

use super::gemm_f32::for_each_tile;
use super::packing::{copy, transpose};
use super::simd::F32x4;
use super::{PANEL, Sums, store};
use crate::error::{Result, zeroed};

/// The sum over the rows of `query` of the largest dot product with a row of `document`; both are
/// rows of `width` numbers. 0 if either has no rows.
pub fn max_sim(query: &[f32], document: &[f32], width: usize) -> Result<f32> {
    if query.is_empty() || document.is_empty() {
        return Ok(0.0);
    }
    let mut best: Vec<Sums> = vec![[F32x4::splat(f32::NEG_INFINITY); 2]; query.len() / width];
    for_each_product(query, document, width, |row, _, sums| {
        for (sum, best) in sums.iter().zip(&mut best[row]) {
            *best = best.max(*sum);
        }
    })?;
    let largest = best.into_iter().map(|[a, b]| {
        let lanes = a.max(b).to_array();
        lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
    });
    Ok(largest.fold(0.0, |sum, x| sum + x))
}

/// Calls `done` with the dot products of each row of `rows` and the eight rows of `others` from the
/// one of the next number on, `done(row, other, products)`. The last row of `others` stands for
/// rows beyond it.
#[inline(always)]
fn for_each_product(
    rows: &[f32],
    others: &[f32],
    width: usize,
    mut done: impl FnMut(usize, usize, &Sums),
) -> Result<()> {
    let count = others.len() / width;
    let (mut lines, mut panel) = (zeroed(PANEL * width)?, zeroed(PANEL * width)?);
    for first in (0..count).step_by(PANEL) {
        for (i, line) in lines.chunks_exact_mut(width).enumerate() {
            let row = (first + i).min(count - 1);
            copy(&others[row * width..][..width], line);
        }
        transpose(&lines, width, &mut panel);
        for_each_tile(rows, 0..rows.len() / width, width, &panel, |row, sums| {
            for (i, sums) in sums.iter().enumerate() {
                done(row + i, first, sums);
            }
        });
    }
    Ok(())
}

/// The dot product of every pair of rows, each row with those before it: row 1 with 0, row 2 with 0
/// and 1, and so on.
pub fn pairs(rows: &[f32], width: usize) -> Result<Vec<f32>> {
    let count = rows.len() / width;
    let mut products = zeroed(count * count.saturating_sub(1) / 2)?;
    for_each_product(rows, rows, width, |row, first, sums| {
        let mut all = [0.0; PANEL];
        store(*sums, &mut all);
        let before = first.min(row)..row.min(first + PANEL);
        let own = &mut products[row * row.saturating_sub(1) / 2..];
        for other in before {
            own[other] = all[other - first];
        }
    })?;
    Ok(products)
}

/// As [`max_sim`] of vectors in 8 bits: rows of codes, and the factor of each row.
#[expect(clippy::cast_precision_loss, reason = "as every engine rounds it")]
pub fn max_sim_codes(query: (&[i8], &[f32]), document: (&[i8], &[f32]), width: usize) -> f32 {
    if query.0.is_empty() || document.0.is_empty() {
        return 0.0;
    }
    let mut total = 0.0;
    for (codes, scale) in query.0.chunks_exact(width).zip(query.1) {
        let others = document.0.chunks_exact(width).zip(document.1);
        let products = others.map(|(other, factor)| dot(codes, other) as f32 * factor);
        total += products.fold(f32::NEG_INFINITY, f32::max) * scale;
    }
    total
}

/// The dot product of codes, which is exact in any order.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
fn dot(a: &[i8], b: &[i8]) -> i32 {
    let products = a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b));
    products.sum()
}

/// The dot product of codes: pairs widened to 16 bits, multiplied and added.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
fn dot(a: &[i8], b: &[i8]) -> i32 {
    use super::simd::{I8x16, I32x4};
    use core::arch::wasm32::{
        i16x8_extend_high_i8x16, i16x8_extend_low_i8x16, i32x4_add, i32x4_dot_i16x8,
    };
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut sums = I32x4::splat(0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (I8x16::load(a).0, I8x16::load(b).0);
        let low = i32x4_dot_i16x8(i16x8_extend_low_i8x16(a), i16x8_extend_low_i8x16(b));
        let high = i32x4_dot_i16x8(i16x8_extend_high_i8x16(a), i16x8_extend_high_i8x16(b));
        sums.0 = i32x4_add(sums.0, i32x4_add(low, high));
    }
    let rest = a_rest.iter().zip(b_rest);
    let rest = rest.map(|(a, b)| i32::from(*a) * i32::from(*b));
    sums.to_array().into_iter().chain(rest).sum()
}
