//! A Hadamard rotation of each group of 64 elements, which makes groups fit for few bits.
//!
//! A product does not change when both of its sides are multiplied by one orthogonal matrix. H₆₄ / 8 spreads an outlier
//! channel over its whole group, so that no element takes the range from the others (Ashkboos et al. 2024; there across a
//! whole row). Weights are rotated as they are packed, activations as they are quantised: 2.5 operations an element, and
//! no statistics of the model are needed.

use super::simd::F32x4;
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
        if let Some(values) = values.first_chunk::<GROUP>() {
            let (vectors, _) = values.as_chunks::<4>();
            return Self(core::array::from_fn(|i| F32x4::load(&vectors[i])));
        }
        let mut padded = [0.0; GROUP];
        padded[..values.len()].copy_from_slice(values);
        Self::load(&padded)
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
    /// order everywhere.
    #[inline(always)]
    pub fn hadamard(mut self) -> Self {
        let (pairs, _) = self.0.as_chunks_mut::<2>();
        for [x, y] in pairs {
            // Neighbouring lanes, twice; then back in order.
            let (sums, differences) = butterfly(x.even_lanes(*y), x.odd_lanes(*y));
            let (low, high) = butterfly(sums.even_lanes(differences), sums.odd_lanes(differences));
            (*x, *y) = (low.even_lanes(high), low.odd_lanes(high));
        }
        for distance in [1, 2, 4, 8] {
            for i in (0..VECTORS).filter(|i| i & distance == 0) {
                let (sum, difference) = butterfly(self.0[i], self.0[i + distance]);
                (self.0[i], self.0[i + distance]) = (sum, difference);
            }
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
    #[inline(always)]
    pub fn extreme(&self) -> f32 {
        let zero = F32x4::splat(0.0);
        let (low, high) = self
            .0
            .iter()
            .fold((zero, zero), |(low, high), x| (low.min(*x), high.max(*x)));
        let (low, high) = (-zero.sub(low).max_lane(), high.max_lane());
        if high > -low {
            high
        } else if low < 0.0 {
            low
        } else {
            self.0[0].to_array()[0]
        }
    }
}

#[inline(always)]
fn butterfly(x: F32x4, y: F32x4) -> (F32x4, F32x4) {
    (x.add(y), x.sub(y))
}
