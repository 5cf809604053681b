//! The kernels' vector types: four f32, four i32 or sixteen i8 lanes.
//!
//! Every kernel is written once over these types. On wasm they are a `v128`; elsewhere they are an
//! array with the same operations in the same order. No operation fuses a multiplication with an
//! addition, so a kernel gives the same bits in every engine and natively.

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod lanes {
    use core::arch::wasm32::{
        f32x4_add, f32x4_convert_i32x4, f32x4_div, f32x4_extract_lane, f32x4_lt, f32x4_mul,
        f32x4_nearest, f32x4_pmax, f32x4_pmin, f32x4_splat, f32x4_sub, i16x8_shl, i32x4_add,
        i32x4_extract_lane, i32x4_shl, i32x4_shuffle, i32x4_splat, i32x4_sub, u8x16_splat,
        u32x4_max, v128, v128_and, v128_bitselect, v128_load, v128_store, v128_xor,
    };

    #[derive(Clone, Copy)]
    pub struct F32x4(pub(super) v128);

    #[derive(Clone, Copy)]
    pub struct I32x4(pub(in super::super) v128);

    /// Sixteen i8 lanes.
    #[derive(Clone, Copy)]
    pub struct I8x16(pub(in super::super) v128);

    impl F32x4 {
        pub fn splat(value: f32) -> Self {
            Self(f32x4_splat(value))
        }
        pub fn load(values: &[f32; 4]) -> Self {
            // SAFETY: the reference covers the 16 bytes that are read; v128_load needs no
            // alignment.
            Self(unsafe { v128_load(values.as_ptr().cast()) })
        }
        pub fn store(self, values: &mut [f32; 4]) {
            // SAFETY: the reference covers the 16 bytes that are written; v128_store needs no
            // alignment.
            unsafe { v128_store(values.as_mut_ptr().cast(), self.0) }
        }
        pub fn add(self, other: Self) -> Self {
            Self(f32x4_add(self.0, other.0))
        }
        pub fn sub(self, other: Self) -> Self {
            Self(f32x4_sub(self.0, other.0))
        }
        pub fn mul(self, other: Self) -> Self {
            Self(f32x4_mul(self.0, other.0))
        }
        pub fn div(self, other: Self) -> Self {
            Self(f32x4_div(self.0, other.0))
        }
        pub fn max(self, other: Self) -> Self {
            Self(f32x4_pmax(self.0, other.0))
        }
        pub fn min(self, other: Self) -> Self {
            Self(f32x4_pmin(self.0, other.0))
        }
        pub fn nearest(self) -> Self {
            Self(f32x4_nearest(self.0))
        }
        /// `then` where `self < other`, else `otherwise`.
        pub fn select_less(self, other: Self, then: Self, otherwise: Self) -> Self {
            Self(v128_bitselect(
                then.0,
                otherwise.0,
                f32x4_lt(self.0, other.0),
            ))
        }
        /// Lanes 0 and 2 of both.
        pub fn even_lanes(self, other: Self) -> Self {
            Self(i32x4_shuffle::<0, 2, 4, 6>(self.0, other.0))
        }
        /// Lanes 1 and 3 of both.
        pub fn odd_lanes(self, other: Self) -> Self {
            Self(i32x4_shuffle::<1, 3, 5, 7>(self.0, other.0))
        }
        /// Lanes 2, 3, 0 and 1.
        pub fn swap_halves(self) -> Self {
            Self(i32x4_shuffle::<2, 3, 0, 1>(self.0, self.0))
        }
        /// Lanes 1, 0, 3 and 2.
        pub fn swap_neighbours(self) -> Self {
            Self(i32x4_shuffle::<1, 0, 3, 2>(self.0, self.0))
        }
        pub fn cast_i32(self) -> I32x4 {
            I32x4(self.0)
        }
        pub fn to_array(self) -> [f32; 4] {
            [
                f32x4_extract_lane::<0>(self.0),
                f32x4_extract_lane::<1>(self.0),
                f32x4_extract_lane::<2>(self.0),
                f32x4_extract_lane::<3>(self.0),
            ]
        }
    }

    impl I32x4 {
        pub fn splat(value: i32) -> Self {
            Self(i32x4_splat(value))
        }
        pub fn load(values: &[i32; 4]) -> Self {
            // SAFETY: the reference covers the 16 bytes that are read; v128_load needs no
            // alignment.
            Self(unsafe { v128_load(values.as_ptr().cast()) })
        }
        pub fn add(self, other: Self) -> Self {
            Self(i32x4_add(self.0, other.0))
        }
        pub fn store(self, words: &mut [u32; 4]) {
            // SAFETY: the reference covers the 16 bytes that are written; v128_store needs no
            // alignment.
            unsafe { v128_store(words.as_mut_ptr().cast(), self.0) }
        }
        pub fn sub(self, other: Self) -> Self {
            Self(i32x4_sub(self.0, other.0))
        }
        pub fn to_array(self) -> [i32; 4] {
            [
                i32x4_extract_lane::<0>(self.0),
                i32x4_extract_lane::<1>(self.0),
                i32x4_extract_lane::<2>(self.0),
                i32x4_extract_lane::<3>(self.0),
            ]
        }
        pub fn max_unsigned(self, other: Self) -> Self {
            Self(u32x4_max(self.0, other.0))
        }
        pub fn and(self, other: Self) -> Self {
            Self(v128_and(self.0, other.0))
        }
        pub fn xor(self, other: Self) -> Self {
            Self(v128_xor(self.0, other.0))
        }
        pub fn shl<const BITS: u32>(self) -> Self {
            Self(i32x4_shl(self.0, BITS))
        }
        pub fn to_f32(self) -> F32x4 {
            F32x4(f32x4_convert_i32x4(self.0))
        }
        pub fn cast_f32(self) -> F32x4 {
            F32x4(self.0)
        }
    }

    impl I8x16 {
        pub fn load(values: &[i8; 16]) -> Self {
            // SAFETY: the reference covers the 16 bytes that are read; v128_load needs no
            // alignment.
            Self(unsafe { v128_load(values.as_ptr().cast()) })
        }
        /// The lower halves of sixteen bytes and the upper halves, each as the upper half of an i8.
        pub fn upper_halves(bytes: &[u8; 16]) -> [Self; 2] {
            // SAFETY: the reference covers the 16 bytes that are read; v128_load needs no
            // alignment.
            let bytes = unsafe { v128_load(bytes.as_ptr().cast()) };
            [i16x8_shl(bytes, 4), bytes].map(|bytes| Self(v128_and(bytes, u8x16_splat(0xf0))))
        }
        #[cfg(test)]
        pub fn to_array(self) -> [i8; 16] {
            let mut values = [0; 16];
            // SAFETY: the array is the 16 bytes that are written; v128_store needs no alignment.
            unsafe { v128_store(values.as_mut_ptr().cast(), self.0) }
            values
        }
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod lanes {
    use core::array::from_fn;

    #[derive(Clone, Copy)]
    pub struct F32x4([f32; 4]);

    #[derive(Clone, Copy)]
    pub struct I32x4([i32; 4]);

    /// Sixteen i8 lanes.
    #[derive(Clone, Copy)]
    pub struct I8x16([i8; 16]);

    impl F32x4 {
        pub fn splat(value: f32) -> Self {
            Self([value; 4])
        }
        pub fn load(values: &[f32; 4]) -> Self {
            Self(*values)
        }
        pub fn store(self, values: &mut [f32; 4]) {
            *values = self.0;
        }
        pub fn add(self, other: Self) -> Self {
            Self(from_fn(|i| self.0[i] + other.0[i]))
        }
        pub fn sub(self, other: Self) -> Self {
            Self(from_fn(|i| self.0[i] - other.0[i]))
        }
        pub fn mul(self, other: Self) -> Self {
            Self(from_fn(|i| self.0[i] * other.0[i]))
        }
        pub fn div(self, other: Self) -> Self {
            Self(from_fn(|i| self.0[i] / other.0[i]))
        }
        pub fn max(self, other: Self) -> Self {
            Self(from_fn(|i| {
                if self.0[i] < other.0[i] {
                    other.0[i]
                } else {
                    self.0[i]
                }
            }))
        }
        pub fn min(self, other: Self) -> Self {
            Self(from_fn(|i| {
                if other.0[i] < self.0[i] {
                    other.0[i]
                } else {
                    self.0[i]
                }
            }))
        }
        pub fn nearest(self) -> Self {
            Self(self.0.map(f32::round_ties_even))
        }
        /// `then` where `self < other`, else `otherwise`.
        pub fn select_less(self, other: Self, then: Self, otherwise: Self) -> Self {
            Self(from_fn(|i| {
                if self.0[i] < other.0[i] {
                    then.0[i]
                } else {
                    otherwise.0[i]
                }
            }))
        }
        /// Lanes 0 and 2 of both.
        pub fn even_lanes(self, other: Self) -> Self {
            Self([self.0[0], self.0[2], other.0[0], other.0[2]])
        }
        /// Lanes 1 and 3 of both.
        pub fn odd_lanes(self, other: Self) -> Self {
            Self([self.0[1], self.0[3], other.0[1], other.0[3]])
        }
        /// Lanes 2, 3, 0 and 1.
        pub fn swap_halves(self) -> Self {
            let [a, b, c, d] = self.0;
            Self([c, d, a, b])
        }
        /// Lanes 1, 0, 3 and 2.
        pub fn swap_neighbours(self) -> Self {
            let [a, b, c, d] = self.0;
            Self([b, a, d, c])
        }
        pub fn cast_i32(self) -> I32x4 {
            I32x4(self.0.map(|value| value.to_bits().cast_signed()))
        }
        pub fn to_array(self) -> [f32; 4] {
            self.0
        }
    }

    impl I32x4 {
        pub fn splat(value: i32) -> Self {
            Self([value; 4])
        }
        pub fn load(values: &[i32; 4]) -> Self {
            Self(*values)
        }
        pub fn add(self, other: Self) -> Self {
            Self(from_fn(|i| self.0[i].wrapping_add(other.0[i])))
        }
        pub fn store(self, words: &mut [u32; 4]) {
            *words = self.0.map(i32::cast_unsigned);
        }
        pub fn sub(self, other: Self) -> Self {
            Self(from_fn(|i| self.0[i].wrapping_sub(other.0[i])))
        }
        pub fn to_array(self) -> [i32; 4] {
            self.0
        }
        pub fn max_unsigned(self, other: Self) -> Self {
            Self(from_fn(|i| {
                let [a, b] = [self.0[i], other.0[i]].map(i32::cast_unsigned);
                a.max(b).cast_signed()
            }))
        }
        pub fn and(self, other: Self) -> Self {
            Self(from_fn(|i| self.0[i] & other.0[i]))
        }
        pub fn xor(self, other: Self) -> Self {
            Self(from_fn(|i| self.0[i] ^ other.0[i]))
        }
        pub fn shl<const BITS: u32>(self) -> Self {
            Self(self.0.map(|value| value << BITS))
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "rounds to nearest, as the wasm instruction does"
        )]
        pub fn to_f32(self) -> F32x4 {
            F32x4(self.0.map(|value| value as f32))
        }
        #[expect(clippy::cast_sign_loss, reason = "reinterprets the bits")]
        pub fn cast_f32(self) -> F32x4 {
            F32x4(self.0.map(|value| f32::from_bits(value as u32)))
        }
    }

    impl I8x16 {
        pub fn load(values: &[i8; 16]) -> Self {
            Self(*values)
        }
        /// The lower halves of sixteen bytes and the upper halves, each as the upper half of an i8.
        pub fn upper_halves(bytes: &[u8; 16]) -> [Self; 2] {
            [bytes.map(|byte| byte << 4), bytes.map(|byte| byte & 0xf0)]
                .map(|bytes| Self(bytes.map(u8::cast_signed)))
        }
        pub fn to_array(self) -> [i8; 16] {
            self.0
        }
    }
}

pub use lanes::{F32x4, I8x16, I32x4};

impl F32x4 {
    /// Sum of the lanes, always as (0 + 2) + (1 + 3).
    pub fn sum(self) -> f32 {
        let [a, b, c, d] = self.to_array();
        (a + c) + (b + d)
    }

    /// Rows of a 4 × 4 matrix to columns.
    pub fn transpose([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        let (even, odd) = (
            [a.even_lanes(b), c.even_lanes(d)],
            [a.odd_lanes(b), c.odd_lanes(d)],
        );
        [
            even[0].even_lanes(even[1]),
            odd[0].even_lanes(odd[1]),
            even[0].odd_lanes(even[1]),
            odd[0].odd_lanes(odd[1]),
        ]
    }

    /// Largest lane.
    pub fn max_lane(self) -> f32 {
        let pairs = self.max(self.swap_halves());
        pairs.max(pairs.swap_neighbours()).to_array()[0]
    }
}

/// 1.5 · 2²³. The sum of it and a value of magnitude below 2²² is rounded to a whole number, ties
/// to even: at that magnitude an f32's last bit is worth 1. Its low 23 bits are that number in
/// two's complement plus 2²², and subtracting `SHIFT` gives the number as an f32.
pub const SHIFT: f32 = 12_582_912.0;

/// Reads four vectors.
#[inline(always)]
pub fn load(values: &[f32; 16]) -> [F32x4; 4] {
    let (vectors, _) = values.as_chunks();
    core::array::from_fn(|i| F32x4::load(&vectors[i]))
}

/// Writes four vectors.
#[inline(always)]
pub fn store(vectors: [F32x4; 4], values: &mut [f32; 16]) {
    let (values, _) = values.as_chunks_mut();
    for (vector, values) in vectors.into_iter().zip(values) {
        vector.store(values);
    }
}

/// A vector of up to three values, with `pad` in the other lanes.
fn load_part(values: &[f32], pad: f32) -> F32x4 {
    let value = |i: usize| values.get(i).copied().unwrap_or(pad);
    F32x4::load(&core::array::from_fn(value))
}

/// Applies `f` to every element, four at a time. A partial chunk is padded with `pad`.
pub fn map_in_place(values: &mut [f32], pad: f32, f: impl Fn(F32x4) -> F32x4) {
    let (chunks, rest) = values.as_chunks_mut::<4>();
    for chunk in chunks {
        f(F32x4::load(chunk)).store(chunk);
    }
    if rest.is_empty() {
        return;
    }
    // One by one: for a copy of unknown length engines call a function.
    let last = f(load_part(rest, pad)).to_array();
    match rest {
        [x, y, z] => [*x, *y, *z] = [last[0], last[1], last[2]],
        [x, y] => [*x, *y] = [last[0], last[1]],
        [x] => *x = last[0],
        _ => unreachable!("a chunk has four lanes"),
    }
}

/// Folds all elements into four lanes; lane `i` takes elements `i`, `i + 4`, …. A partial chunk is
/// padded with `pad`.
pub fn fold(values: &[f32], start: F32x4, pad: f32, f: impl Fn(F32x4, F32x4) -> F32x4) -> F32x4 {
    let (chunks, rest) = values.as_chunks::<4>();
    let lanes = chunks
        .iter()
        .fold(start, |lanes, chunk| f(lanes, F32x4::load(chunk)));
    if rest.is_empty() {
        lanes
    } else {
        f(lanes, load_part(rest, pad))
    }
}
