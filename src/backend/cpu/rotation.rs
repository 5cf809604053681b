//! A Hadamard rotation of each group of 64 elements, which makes groups fit for few bits.
//!
//! A product does not change when both of its sides are multiplied by one orthogonal matrix. H₆₄ / 8 spreads an outlier
//! channel over its whole group, so that no element takes the range from the others (Ashkboos et al. 2024; there across a
//! whole row). Weights are rotated as they are packed, activations as they are quantised: 2.5 operations an element, and
//! no statistics of the model are needed.

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

/// 64 elements of a row; a row's last group is filled up with zeros.
#[derive(Clone, Copy)]
pub struct Group(pub [F32x4; VECTORS]);

impl Group {
    /// Up to 64 values.
    #[inline(always)]
    pub fn load(values: &[f32]) -> Self {
        match values.first_chunk() {
            Some(values) => Self::whole(values),
            None => Self::part(values),
        }
    }

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

    /// H₆₄ · x, which is 8 times the rotation and, like it, its own inverse but for the scale. Sums are taken in the same
    /// order everywhere. Half a group at a time as far as that goes, as many vectors as there are registers for.
    #[inline(always)]
    pub fn hadamard(mut self) -> Self {
        let (halves, _) = self.0.as_chunks_mut::<8>();
        for half in &mut *halves {
            let (pairs, _) = half.as_chunks_mut::<2>();
            for [x, y] in pairs {
                // Neighbouring lanes, twice; then back in order.
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

    /// The element of largest magnitude of a rotated group. NaN if there is a NaN, which the rotation has then brought to
    /// all elements.
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

    /// The magnitude of that.
    #[inline(always)]
    pub fn largest(&self) -> f32 {
        // Without their signs, numbers have the order of their bits.
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
