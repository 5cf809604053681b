//! LayerNorm, RMSNorm, and scaling to length 1.

use super::simd::{F32x4, fold};
use crate::backend::{Norm, NormKind};

/// Normalises each row of `norm.weight`'s width, in place.
pub fn normalize(rows: &mut [f32], norm: Norm) {
    let width = norm.weight.len();
    for row in rows.chunks_exact_mut(width) {
        match norm.kind {
            NormKind::Layer => layer_norm(row, norm),
            NormKind::Rms => rms_norm(row, norm, 0.0),
            NormKind::RmsPlusOne => rms_norm(row, norm, 1.0),
        }
    }
}

/// LayerNorm in two passes, mean first. In one pass the variance of values with a large mean
/// cancels.
fn layer_norm(row: &mut [f32], norm: Norm) {
    let zero = F32x4::splat(0.0);
    let count = count(row);
    let mean = fold(row, zero, 0.0, F32x4::add).sum() / count;
    let centre = F32x4::splat(mean);
    // Padded lanes are the mean, so they add nothing.
    let squares = fold(row, zero, mean, |sum, x| {
        let distance = x.sub(centre);
        sum.add(distance.mul(distance))
    });
    let scale = 1.0 / (squares.sum() / count + norm.eps).sqrt();
    for (x, weight) in row.iter_mut().zip(norm.weight) {
        *x = (*x - mean) * scale * weight;
    }
    if let Some(bias) = norm.bias {
        row.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
    }
}

fn rms_norm(row: &mut [f32], norm: Norm, offset: f32) {
    let squares = fold(row, F32x4::splat(0.0), 0.0, |sum, x| sum.add(x.mul(x)));
    let scale = 1.0 / (squares.sum() / count(row) + norm.eps).sqrt();
    for (x, weight) in row.iter_mut().zip(norm.weight) {
        *x = *x * scale * (offset + weight);
    }
}

#[expect(clippy::cast_precision_loss, reason = "hidden sizes are small")]
fn count(row: &[f32]) -> f32 {
    row.len() as f32
}

/// Scales `row` to length 1. A row shorter than 1e-12 is divided by 1e-12, as in torch's
/// `F.normalize`.
///
/// The sum is in f64 and in order, so it has the same bits everywhere.
pub fn l2_normalize(row: &mut [f32]) {
    let squares: f64 = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    let length = squares.sqrt().max(1e-12);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "back to the vector's own precision"
    )]
    row.iter_mut()
        .for_each(|x| *x = (f64::from(*x) / length) as f32);
}
