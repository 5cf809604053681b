//! LayerNorm.

use super::simd::{F32x4, fold};
use crate::backend::LayerNorm;

/// `(x − mean) / √(variance + eps) · weight + bias` for each row, in place.
///
/// Two passes, mean first: the variance of values with a large mean would cancel in one.
pub fn layer_norm(rows: &mut [f32], norm: LayerNorm) {
    let width = norm.weight.len();
    #[expect(clippy::cast_precision_loss, reason = "hidden sizes are small")]
    let count = width as f32;
    let zero = F32x4::splat(0.0);
    for row in rows.chunks_exact_mut(width) {
        let mean = fold(row, zero, 0.0, F32x4::add).sum() / count;
        let centre = F32x4::splat(mean);
        // Missing lanes count as the mean, so that they add nothing.
        let variance = fold(row, zero, mean, |sum, x| {
            let distance = x.sub(centre);
            sum.add(distance.mul(distance))
        })
        .sum()
            / count;
        let scale = 1.0 / (variance + norm.eps).sqrt();
        for ((x, weight), bias) in row.iter_mut().zip(norm.weight).zip(norm.bias) {
            *x = (*x - mean) * scale * weight + bias;
        }
    }
}
