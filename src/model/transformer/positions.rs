//! Tables of rotary and relative positions, computed for the longest sequence of each batch. They
//! have a few thousand numbers, little beside the millions of operations of a forward pass.

use core::ops::Range;

use crate::backend::{Distances, RelativeBias, Rotary};
use crate::error::{Result, room};
use crate::model::transformer::spec::{Disentangled, Relative, Rope, RopeScaling};

impl Rope {
    /// Cosines and sines of `positions` positions for heads of `size`.
    ///
    /// Angles are rounded to f32 where the reference rounds them. At position 8,000 the rounding
    /// moves an angle by more than 1e-4.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "f32, as in the reference; positions are small"
    )]
    pub fn table(self, size: usize, positions: usize) -> Result<Rotary> {
        let half = size / 2;
        let frequencies = self.frequencies(size);
        let amplitude = match self.scaling {
            RopeScaling::Yarn { attention, .. } => attention as f32,
            _ => 1.0,
        };
        let len = half.saturating_mul(positions);
        let (mut cos, mut sin) = (room(len)?, room(len)?);
        for position in 0..positions {
            for frequency in &frequencies {
                let angle = f64::from(position as f32 * frequency);
                cos.push(libm::cos(angle) as f32 * amplitude);
                sin.push(libm::sin(angle) as f32 * amplitude);
            }
        }
        Ok(Rotary { half, cos, sin })
    }

    /// The angle of each pair of elements at position 1, in f32 as in the reference.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "f32, as in the reference"
    )]
    fn frequencies(self, size: usize) -> Vec<f32> {
        use core::f64::consts::PI;
        let power = |theta: f64, i: usize| -> f32 {
            let exponent = (2 * i) as f32 / size as f32;
            libm::pow(theta, f64::from(exponent)) as f32
        };
        let all = |frequency: &dyn Fn(usize) -> f32| (0..size / 2).map(frequency).collect();
        let plain = |i| 1.0 / power(self.theta, i);
        match self.scaling {
            RopeScaling::None => all(&plain),
            RopeScaling::Linear { factor } => all(&|i| plain(i) / factor as f32),
            RopeScaling::Ntk { factor } => {
                let shift = libm::pow(factor, 2.0 / size as f64) as f32;
                all(&|i| 1.0 / power(self.theta * factor, i) / shift)
            }
            RopeScaling::Llama3 {
                factor,
                low,
                high,
                original,
            } => all(&|i| {
                let (frequency, factor) = (plain(i), factor as f32);
                let length = 2.0 * PI as f32 / frequency;
                if length < (original / high) as f32 {
                    return frequency;
                }
                if length > (original / low) as f32 {
                    return frequency / factor;
                }
                let smooth = (original as f32 / length - low as f32) / (high - low) as f32;
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }),
            RopeScaling::Yarn {
                factor,
                fast,
                slow,
                original,
                truncate,
                ..
            } => {
                // The index whose frequency turns so many times in the original length.
                let index = |turns: f64| {
                    let turns = libm::log(original / (turns * 2.0 * PI));
                    size as f64 * turns / (2.0 * libm::log(self.theta))
                };
                let (mut first, mut last) = (index(fast), index(slow));
                if truncate {
                    (first, last) = (first.floor(), last.ceil());
                }
                (first, last) = (first.max(0.0), last.min((size - 1) as f64));
                #[expect(clippy::float_cmp, reason = "as in the reference")]
                if first == last {
                    last += 0.001;
                }
                all(&|i| {
                    let ramp = (i as f32 - first as f32) / (last - first) as f32;
                    let kept = 1.0 - ramp.clamp(0.0, 1.0);
                    let power = power(self.theta, i);
                    1.0 / (factor as f32 * power) * (1.0 - kept) + 1.0 / power * kept
                })
            }
        }
    }
}

impl Relative {
    /// The bias of `heads` heads for sequences of up to `longest` tokens; `table` is the learned
    /// one, `[buckets, heads]`.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_wrap,
        reason = "distances are small"
    )]
    pub fn bias(self, heads: usize, longest: usize, table: Option<&[f32]>) -> Result<RelativeBias> {
        let reach = longest.saturating_sub(1);
        let mut values = room(heads.saturating_mul(2 * reach + 1))?;
        for head in 0..heads {
            for step in 0..=2 * reach {
                let distance = step as isize - reach as isize;
                values.push(match (self, table) {
                    (
                        Self::Buckets {
                            buckets,
                            max_distance,
                        },
                        Some(table),
                    ) => table[bucket(distance, buckets, max_distance) * heads + head],
                    (Self::Buckets { .. }, None) | (Self::Disentangled(_), _) => 0.0,
                    (Self::Alibi, _) => -slope(head, heads) * distance.unsigned_abs() as f32,
                });
            }
        }
        Ok(RelativeBias { reach, values })
    }
}

impl Disentangled {
    /// For sequences of up to `longest` tokens, the rows of the table from the first that any
    /// distance has, and for each distance the index of its row among these.
    pub fn distances(self, longest: usize) -> (Range<u32>, Distances) {
        let reach = i32::try_from(longest.saturating_sub(1)).unwrap_or(i32::MAX);
        let rows: Vec<u32> = (-reach..=reach)
            .map(|distance| self.row(distance))
            .collect();
        let (first, last) = (rows[0], rows[rows.len() - 1]);
        let distances = Distances {
            rows: rows.into_iter().map(|row| row - first).collect(),
            to_positions: self.to_positions,
            to_contents: self.to_contents,
        };
        (first..last + 1, distances)
    }

    /// The row of a query `distance` tokens after the key. Half of a direction's rows have one
    /// distance each, the others grow logarithmically.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "in f32 as in the reference; sizes are at most 2^24"
    )]
    fn row(self, distance: i32) -> u32 {
        let (span, size) = (self.span as i32, distance.abs());
        let exact = span / 2;
        let bucket = match self.longest {
            Some(longest) if size > exact => {
                let ln = |x: f32| libm::log(f64::from(x)) as f32;
                let exact = exact as f32;
                let most = ln((longest - 1) as f32 / exact);
                let widening = (ln(size as f32 / exact) / most * (exact - 1.0)).ceil();
                distance.signum() * (widening + exact) as i32
            }
            _ => distance,
        };
        bucket.saturating_add(span).clamp(0, 2 * span - 1) as u32
    }
}

/// The bucket of a key `distance` tokens after the query. The first half of a direction's buckets
/// have one distance each, the others grow logarithmically.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small positive numbers, in f32 as in the reference"
)]
fn bucket(distance: isize, buckets: usize, max_distance: usize) -> usize {
    let half = buckets / 2;
    let exact = half / 2;
    let size = distance.unsigned_abs();
    let offset = if distance > 0 { half } else { 0 };
    if size < exact {
        return offset + size;
    }
    let widening = libm::logf(size as f32 / exact as f32)
        / libm::log(max_distance as f64 / exact as f64) as f32
        * (half - exact) as f32;
    offset + (exact + widening as usize).min(half - 1)
}

/// ALiBi's slope of a head: powers of 2^(−8/n) for n heads. If n is not a power of two, the slopes
/// of the next lower power p come first, then every other slope of 2p.
#[expect(clippy::cast_precision_loss, reason = "numbers of heads are small")]
fn slope(head: usize, heads: usize) -> f32 {
    let power = |index: usize, count: usize| libm::exp2f(-8.0 * (index + 1) as f32 / count as f32);
    let below = if heads.is_power_of_two() {
        heads
    } else {
        heads.next_power_of_two() / 2
    };
    if head < below {
        power(head, below)
    } else {
        power(2 * (head - below), 2 * below)
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "powers of two are exact")]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_exact_then_wider_and_end_at_the_last() {
        let bucket = |distance| bucket(distance, 32, 128);
        assert_eq!([0, -1, -7, -8, 1, 7].map(bucket), [0, 1, 7, 8, 17, 23]);
        assert_eq!(
            [-127, -128, -5000, 128, 5000].map(bucket),
            [15, 15, 15, 31, 31]
        );
        assert!(
            (-300..0)
                .map(bucket)
                .collect::<Vec<_>>()
                .is_sorted_by(|a, b| a >= b)
        );
    }

    #[test]
    fn slopes_halve_for_eight_heads_and_interleave_for_twelve() {
        assert_eq!(
            [0, 1, 7].map(|head| slope(head, 8)),
            [0.5, 0.25, 1.0 / 256.0]
        );
        assert_eq!(slope(8, 12), 2f32.powf(-0.5));
        assert_eq!(slope(11, 12), 2f32.powf(-3.5));
    }

    #[test]
    fn rotary_begins_at_zero_and_turns_the_first_pair_by_one() {
        let rotary = Rope {
            theta: 10_000.0,
            scaling: RopeScaling::None,
        }
        .table(8, 3)
        .unwrap();
        assert_eq!((rotary.half, rotary.cos.len()), (4, 12));
        assert_eq!((rotary.cos[0], rotary.sin[3]), (1.0, 0.0));
        assert!(
            (rotary.cos[4] - 1f32.cos()).abs() < 1e-7 && (rotary.sin[8] - 2f32.sin()).abs() < 1e-7
        );
    }
}
