//! Pooling: `[tokens, width]` token states in, one vector for each sequence out, `[sequences,
//! width]`.

use super::scratch::{Buffer, ScratchPool};
use crate::backend::Pooling;
use crate::error::Result;

/// Pools each sequence's tokens after its first `skip` ones. A sequence with no token left gives
/// zeros.
#[expect(clippy::cast_precision_loss, reason = "token counts are small")]
pub fn pool(
    x: &[f32],
    width: usize,
    offsets: &[usize],
    skip: &[usize],
    pooling: Pooling,
    scratch: &ScratchPool,
) -> Result<Buffer> {
    let mut out = scratch.zeroed(skip.len() * width)?;
    for ((pair, skip), out) in offsets
        .windows(2)
        .zip(skip)
        .zip(out.chunks_exact_mut(width))
    {
        let first = (pair[0] + skip).min(pair[1]);
        let states = &x[first * width..pair[1] * width];
        let count = pair[1] - first;
        if count == 0 {
            continue;
        }
        match pooling {
            Pooling::Cls => out.copy_from_slice(&states[..width]),
            Pooling::LastToken => out.copy_from_slice(&states[(count - 1) * width..]),
            Pooling::Max => {
                out.fill(f32::NEG_INFINITY);
                for state in states.chunks_exact(width) {
                    out.iter_mut()
                        .zip(state)
                        .for_each(|(out, x)| super::raise(out, *x));
                }
            }
            Pooling::Mean => weighted_sum(states, |_| 1.0, count as f32, out),
            Pooling::MeanSqrtLen => weighted_sum(states, |_| 1.0, (count as f32).sqrt(), out),
            Pooling::WeightedMean => {
                let weight = |i: usize| (skip + i + 1) as f32;
                weighted_sum(states, weight, (0..count).map(weight).sum(), out);
            }
        }
    }
    Ok(out)
}

/// `Σ weight(i) · states[i] / divisor`
fn weighted_sum(states: &[f32], weight: impl Fn(usize) -> f32, divisor: f32, out: &mut [f32]) {
    for (i, state) in states.chunks_exact(out.len()).enumerate() {
        let weight = weight(i);
        out.iter_mut()
            .zip(state)
            .for_each(|(out, x)| *out += x * weight);
    }
    out.iter_mut().for_each(|out| *out /= divisor);
}
