//! A Hadamard rotation of each group of 64 elements, which lowers the error of quantisation.
//!
//! A product does not change when both of its sides are multiplied by the same orthogonal matrix.
//! H₆₄ / 8 spreads an outlier channel over its whole group, so that no element claims the range of
//! the others (Ashkboos et al. 2024, who rotate whole rows). Weights are rotated when they are
//! packed, activations when they are quantised. It takes six additions an element and no statistics
//! of the model.

use super::simd::{F32x4, I32x4};
use crate::backend::GROUP;

/// Vectors of a group.
const VECTORS: usize = GROUP / 4;

/// Rotates each whole group of `values`. The rotation is its own inverse.
pub fn rotate(values: &mut [f32]) {
    let (groups, _) = values.as_chunks_mut::<GROUP>();
    for group in groups {
        *group = Group::load(group).hadamard().scaled(0.125).to_array();
    }
}

/// 64 elements of a row. A row's last group is padded with zeros.
#[derive(Clone, Copy)]
pub struct Group(pub [F32x4; VECTORS]);

impl Group {
    /// A group of up to 64 values.
    #[inline(always)]
    pub fn load(values: &[f32]) -> Self {
        match values.first_chunk() {
            Some(values) => Self::whole(values),
            None => Self::part(values),
        }
    }

    /// A group of 64 values.
    #[inline(always)]
    pub fn whole(values: &[f32; GROUP]) -> Self {
        let (vectors, _) = values.as_chunks();
        Self(core::array::from_fn(|i| F32x4::load(&vectors[i])))
    }

    fn part(values: &[f32]) -> Self {
        let mut padded = [0.0; GROUP];
        padded[..values.len()].copy_from_slice(values);
        Self::whole(&padded)
    }

    pub fn to_array(self) -> [f32; GROUP] {
        let mut values = [0.0; GROUP];
        let (vectors, _) = values.as_chunks_mut::<4>();
        for (values, vector) in vectors.iter_mut().zip(self.0) {
            vector.store(values);
        }
        values
    }

    /// H₆₄ · x, which is 8 times the rotation. Sums are taken in the same order everywhere. The
    /// first five of the six steps work on half a group at a time, which fits the registers.
    #[inline(always)]
    pub fn hadamard(mut self) -> Self {
        let (halves, _) = self.0.as_chunks_mut::<8>();
        for half in &mut *halves {
            let (pairs, _) = half.as_chunks_mut::<2>();
            for [x, y] in pairs {
                // Two steps between neighbouring lanes, then the lanes in their old order.
                let (sums, differences) = butterfly(x.even_lanes(*y), x.odd_lanes(*y));
                let (low, high) =
                    butterfly(sums.even_lanes(differences), sums.odd_lanes(differences));
                (*x, *y) = (low.even_lanes(high), low.odd_lanes(high));
            }
            for distance in [1, 2, 4] {
                for i in (0..8).filter(|i| i & distance == 0) {
                    (half[i], half[i + distance]) = butterfly(half[i], half[i + distance]);
                }
            }
        }
        let [low, high] = halves else {
            unreachable!("a group has two halves")
        };
        for (x, y) in low.iter_mut().zip(high) {
            (*x, *y) = butterfly(*x, *y);
        }
        self
    }

    /// Each element times `factor`.
    #[inline(always)]
    pub fn scaled(self, factor: f32) -> Self {
        let factor = F32x4::splat(factor);
        Self(self.0.map(|x| x.mul(factor)))
    }

    /// The element of largest magnitude of a rotated group. It is NaN if the group has a NaN, which
    /// the rotation spreads to all elements.
    pub fn extreme(&self) -> f32 {
        let largest = self.largest();
        let zero = F32x4::splat(0.0);
        let low = self.0.iter().fold(zero, |low, x| low.min(*x));
        if largest > 0.0 && zero.sub(low).max_lane() >= largest {
            -largest
        } else {
            largest
        }
    }

    /// The largest magnitude.
    #[inline(always)]
    pub fn largest(&self) -> f32 {
        // Non-negative floats are ordered as their bits are. The shift removes the sign.
        let largest = self
            .0
            .map(|x| x.cast_i32().shl::<1>())
            .into_iter()
            .reduce(I32x4::max_unsigned);
        let [a, b, c, d] =
            largest.map_or([0; 4], |largest| largest.to_array().map(i32::cast_unsigned));
        f32::from_bits(a.max(b).max(c.max(d)) >> 1)
    }
}

#[inline(always)]
fn butterfly(x: F32x4, y: F32x4) -> (F32x4, F32x4) {
    (x.add(y), x.sub(y))
}
