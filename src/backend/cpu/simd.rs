//! Four f32 or i32 lanes, or sixteen i8: the only vector types that the kernels know.
//!
//! Every kernel is written once over these. On wasm they are a `v128`; elsewhere an array, which is the scalar
//! twin: the same operations in the same order. No operation here fuses a multiplication with an addition, so a
//! kernel gives the same bits in every engine and natively.

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod lanes {
    use core::arch::wasm32::{
        f32x4_add, f32x4_convert_i32x4, f32x4_div, f32x4_extract_lane, f32x4_lt, f32x4_mul,
        f32x4_nearest, f32x4_pmax, f32x4_pmin, f32x4_splat, f32x4_sub, i8x16_shuffle,
        i16x8_narrow_i32x4, i16x8_shl, i32x4_add, i32x4_extract_lane, i32x4_shl, i32x4_shuffle,
        i32x4_splat, i32x4_trunc_sat_f32x4, i64x2_shuffle, u8x16_splat, v128, v128_and,
        v128_bitselect, v128_load, v128_store,
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
            // SAFETY: the reference covers the 16 bytes that are read; v128_load needs no alignment.
            Self(unsafe { v128_load(values.as_ptr().cast()) })
        }
        pub fn store(self, values: &mut [f32; 4]) {
            // SAFETY: the reference covers the 16 bytes that are written; v128_store needs no alignment.
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
        pub fn to_i32(self) -> I32x4 {
            I32x4(i32x4_trunc_sat_f32x4(self.0))
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
            // SAFETY: the reference covers the 16 bytes that are read; v128_load needs no alignment.
            Self(unsafe { v128_load(values.as_ptr().cast()) })
        }
        pub fn add(self, other: Self) -> Self {
            Self(i32x4_add(self.0, other.0))
        }
        pub fn store(self, words: &mut [u32; 4]) {
            // SAFETY: the reference covers the 16 bytes that are written; v128_store needs no alignment.
            unsafe { v128_store(words.as_mut_ptr().cast(), self.0) }
        }
        /// Rows of a 4 × 4 matrix to columns.
        pub fn transpose([a, b, c, d]: [Self; 4]) -> [Self; 4] {
            let (ab, cd) = (
                i32x4_shuffle::<0, 4, 1, 5>(a.0, b.0),
                i32x4_shuffle::<0, 4, 1, 5>(c.0, d.0),
            );
            let (upper_ab, upper_cd) = (
                i32x4_shuffle::<2, 6, 3, 7>(a.0, b.0),
                i32x4_shuffle::<2, 6, 3, 7>(c.0, d.0),
            );
            [
                i64x2_shuffle::<0, 2>(ab, cd),
                i64x2_shuffle::<1, 3>(ab, cd),
                i64x2_shuffle::<0, 2>(upper_ab, upper_cd),
                i64x2_shuffle::<1, 3>(upper_ab, upper_cd),
            ]
            .map(Self)
        }
        pub fn to_array(self) -> [i32; 4] {
            [
                i32x4_extract_lane::<0>(self.0),
                i32x4_extract_lane::<1>(self.0),
                i32x4_extract_lane::<2>(self.0),
                i32x4_extract_lane::<3>(self.0),
            ]
        }
        /// Eight values within i16, as such.
        pub fn narrow_i16(self, upper: Self) -> Self {
            Self(i16x8_narrow_i32x4(self.0, upper.0))
        }
        /// The lowest byte of sixteen values.
        pub fn low_bytes([a, b, c, d]: [Self; 4]) -> Self {
            let pick = |a: Self, b: Self| {
                i8x16_shuffle::<0, 4, 8, 12, 16, 20, 24, 28, 0, 0, 0, 0, 0, 0, 0, 0>(a.0, b.0)
            };
            Self(i8x16_shuffle::<
                0,
                1,
                2,
                3,
                4,
                5,
                6,
                7,
                16,
                17,
                18,
                19,
                20,
                21,
                22,
                23,
            >(pick(a, b), pick(c, d)))
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
            // SAFETY: the reference covers the 16 bytes that are read; v128_load needs no alignment.
            Self(unsafe { v128_load(values.as_ptr().cast()) })
        }
        /// The lower halves of sixteen bytes, and the upper ones, each as the upper half of an i8.
        pub fn upper_halves(bytes: &[u8; 16]) -> [Self; 2] {
            // SAFETY: the reference covers the 16 bytes that are read; v128_load needs no alignment.
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
        #[expect(
            clippy::cast_possible_truncation,
            reason = "saturates, as the wasm instruction does"
        )]
        pub fn to_i32(self) -> I32x4 {
            I32x4(self.0.map(|value| value as i32))
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
        /// Rows of a 4 × 4 matrix to columns.
        pub fn transpose(rows: [Self; 4]) -> [Self; 4] {
            from_fn(|column| Self(rows.map(|row| row.0[column])))
        }
        pub fn to_array(self) -> [i32; 4] {
            self.0
        }
        /// Eight values within i16, as such.
        pub fn narrow_i16(self, upper: Self) -> Self {
            let ([a, c, e, g], [b, d, f, h]) = (
                [self.0[0], self.0[2], upper.0[0], upper.0[2]],
                [self.0[1], self.0[3], upper.0[1], upper.0[3]],
            );
            Self([
                a & 0xffff | b << 16,
                c & 0xffff | d << 16,
                e & 0xffff | f << 16,
                g & 0xffff | h << 16,
            ])
        }
        /// The lowest byte of sixteen values.
        pub fn low_bytes(values: [Self; 4]) -> Self {
            Self(
                values
                    .map(|values| i32::from_le_bytes(values.0.map(|value| value.to_le_bytes()[0]))),
            )
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
        /// The lower halves of sixteen bytes, and the upper ones, each as the upper half of an i8.
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

    /// Largest lane.
    pub fn max_lane(self) -> f32 {
        let [a, b, c, d] = self.to_array();
        a.max(b).max(c.max(d))
    }
}

/// Applies `f` to every element, four at a time; the last lanes of a partial chunk are padded with `pad`.
pub fn map_in_place(values: &mut [f32], pad: f32, f: impl Fn(F32x4) -> F32x4) {
    let (chunks, rest) = values.as_chunks_mut::<4>();
    for chunk in chunks {
        f(F32x4::load(chunk)).store(chunk);
    }
    if !rest.is_empty() {
        let mut last = [pad; 4];
        last[..rest.len()].copy_from_slice(rest);
        f(F32x4::load(&last)).store(&mut last);
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

/// Folds all elements into four lanes, lane `i` taking elements `i`, `i + 4`, …; missing ones count as `pad`.
pub fn fold(values: &[f32], start: F32x4, pad: f32, f: impl Fn(F32x4, F32x4) -> F32x4) -> F32x4 {
    let (chunks, rest) = values.as_chunks::<4>();
    let mut lanes = start;
    for chunk in chunks {
        lanes = f(lanes, F32x4::load(chunk));
    }
    if !rest.is_empty() {
        let mut last = [pad; 4];
        last[..rest.len()].copy_from_slice(rest);
        lanes = f(lanes, F32x4::load(&last));
    }
    lanes
}
