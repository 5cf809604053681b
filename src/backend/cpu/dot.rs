//! Integer dot products: the instructions that multiply 8-bit activations by 8-bit weights, and which of them an engine
//! computes exactly.
//!
//! All kernels add the same integers, so they give the same sums. They differ in how many consecutive k one 32-bit lane
//! takes (`DEPTH`), and so in how weights and activations are laid out.

use super::simd::{I8x16, I32x4};

/// The instructions that multiply. All give the same sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DotKernel {
    /// `i32x4.relaxed_dot_i8x16_i7x16_add_s`, where the engine reads the second operand as u8 (x86-64 with VNNI).
    RelaxedU8,
    /// The same where it reads it as i8 (arm64 with the dot-product extension).
    RelaxedI8,
    /// Both operands widened to i16, `i32x4.dot_i16x8_s`.
    I16,
    /// One product at a time: the oracle, and what runs natively.
    Scalar,
}

impl DotKernel {
    /// The fastest kernel that this build has and this engine computes exactly.
    pub fn detect() -> Self {
        #[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
        if let Some(kernel) = relaxed::probe() {
            return kernel;
        }
        if cfg!(all(target_arch = "wasm32", target_feature = "simd128")) {
            Self::I16
        } else {
            Self::Scalar
        }
    }

    /// The name that `info` shows.
    pub fn name(self) -> &'static str {
        match self {
            Self::RelaxedU8 => "relaxed-u8",
            Self::RelaxedI8 => "relaxed-i8",
            Self::I16 => "i16",
            Self::Scalar => "scalar",
        }
    }

    /// How many consecutive k a 32-bit lane takes.
    pub fn depth(self) -> usize {
        match self {
            Self::RelaxedU8 | Self::RelaxedI8 => 4,
            Self::I16 | Self::Scalar => 2,
        }
    }

    /// What is added to every activation so that the kernel can read it.
    pub fn offset(self) -> i32 {
        match self {
            Self::RelaxedU8 => 128,
            Self::RelaxedI8 | Self::I16 | Self::Scalar => 0,
        }
    }
}

/// One kernel's inner step.
pub trait Dot {
    /// How many consecutive k a 32-bit lane takes.
    const DEPTH: usize;

    /// Adds to the eight columns' `sums` of `R` rows the products of two vectors of weights, number `2 · index` and the
    /// one after it of a group, with those of the group's `words` (of each row) that belong to them.
    fn step<const R: usize>(
        sums: &mut [[I32x4; 2]; R],
        weights: [I8x16; 2],
        words: &[[u32; R]],
        index: usize,
    );
}

/// The oracle: one product at a time, on pairs of i16.
#[cfg(any(test, not(all(target_arch = "wasm32", target_feature = "simd128"))))]
pub struct Scalar;

#[cfg(any(test, not(all(target_arch = "wasm32", target_feature = "simd128"))))]
impl Dot for Scalar {
    const DEPTH: usize = 2;

    #[inline(always)]
    fn step<const R: usize>(
        sums: &mut [[I32x4; 2]; R],
        weights: [I8x16; 2],
        words: &[[u32; R]],
        index: usize,
    ) {
        for (half, weights) in weights.map(I8x16::to_array).iter().enumerate() {
            for r in 0..R {
                let word = words[2 * index + half][r].cast_signed();
                // The two halves of the word, each with its sign.
                let x = [word << 16 >> 16, word >> 16];
                let mut products = [0; 8];
                for (product, w) in products.iter_mut().zip(weights.as_chunks::<2>().0) {
                    *product = x[0] * i32::from(w[0]) + x[1] * i32::from(w[1]);
                }
                let [a, b, c, d, e, f, g, h] = products;
                sums[r][0] = sums[r][0].add(I32x4::load(&[a, b, c, d]));
                sums[r][1] = sums[r][1].add(I32x4::load(&[e, f, g, h]));
            }
        }
    }
}

/// Baseline SIMD: weights widened to i16 in registers, activations held as i16, pairs multiplied and added.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub struct Widened;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
impl Dot for Widened {
    const DEPTH: usize = 2;

    #[inline(always)]
    fn step<const R: usize>(
        sums: &mut [[I32x4; 2]; R],
        weights: [I8x16; 2],
        words: &[[u32; R]],
        index: usize,
    ) {
        use core::arch::wasm32::{
            i16x8_extend_high_i8x16, i16x8_extend_low_i8x16, i32x4_add, i32x4_dot_i16x8,
            u32x4_splat,
        };
        for (half, weights) in weights.into_iter().enumerate() {
            let low = i16x8_extend_low_i8x16(weights.0);
            let high = i16x8_extend_high_i8x16(weights.0);
            for r in 0..R {
                let x = u32x4_splat(words[2 * index + half][r]);
                sums[r][0] = I32x4(i32x4_add(sums[r][0].0, i32x4_dot_i16x8(low, x)));
                sums[r][1] = I32x4(i32x4_add(sums[r][1].0, i32x4_dot_i16x8(high, x)));
            }
        }
    }
}

/// Relaxed SIMD: four products and their sum in one instruction.
#[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
pub mod relaxed {
    use super::{Dot, DotKernel, I8x16, I32x4};
    use core::arch::wasm32::{i32x4_relaxed_dot_i8x16_i7x16_add, u32x4_splat};

    /// To be called under `target_feature(enable = "relaxed-simd")` alone, into which it is inlined.
    pub struct Relaxed;

    impl Dot for Relaxed {
        const DEPTH: usize = 4;

        #[inline(always)]
        fn step<const R: usize>(
            sums: &mut [[I32x4; 2]; R],
            weights: [I8x16; 2],
            words: &[[u32; R]],
            index: usize,
        ) {
            let [low, high] = weights;
            for r in 0..R {
                let x = u32x4_splat(words[index][r]);
                let dot = |weights: I8x16, sum: I32x4| {
                    I32x4(i32x4_relaxed_dot_i8x16_i7x16_add(weights.0, x, sum.0))
                };
                sums[r] = [dot(low, sums[r][0]), dot(high, sums[r][1])];
            }
        }
    }

    #[target_feature(enable = "relaxed-simd")]
    fn step(sums: &mut [[I32x4; 2]; 1], weights: [I8x16; 2], word: u32) {
        Relaxed::step(sums, weights, &[[word]], 0);
    }

    /// How this engine reads the second operand, found by trying: the instruction may take it as u8 or i8, and
    /// may saturate or wrap the sums of pairs on the way. A kernel is chosen only if it is exact on every operand
    /// pattern, cold and hot, since an engine's compiler tiers need not agree.
    pub fn probe() -> Option<DotKernel> {
        // Weights and activations at their extremes, alternating and mixed.
        let weights: [i8; 6] = [127, -127, 1, -1, 64, -128];
        let bytes: [u8; 6] = [255, 0, 1, 127, 128, 254];
        let mut exact = [true; 2];
        for round in 0..1024usize {
            let w: [i8; 32] =
                core::array::from_fn(|i| weights[(i * (round % 7) + round) % weights.len()]);
            let x: [u8; 4] =
                core::array::from_fn(|i| bytes[(i * (round / 7) + round) % bytes.len()]);
            let mut sums = [[I32x4::splat(2); 2]];
            let (halves, _) = w.as_chunks::<16>();
            let vectors = [I8x16::load(&halves[0]), I8x16::load(&halves[1])];
            step(&mut sums, vectors, u32::from_le_bytes(x));
            for (exact, signed) in exact.iter_mut().zip([false, true]) {
                *exact &= sums[0].map(I32x4::to_array).as_flattened() == expected(&w, x, signed);
            }
        }
        match exact {
            [true, _] => Some(DotKernel::RelaxedU8),
            [_, true] => Some(DotKernel::RelaxedI8),
            _ => None,
        }
    }

    fn expected(weights: &[i8; 32], x: [u8; 4], signed: bool) -> [i32; 8] {
        core::array::from_fn(|column| {
            let products = weights[4 * column..].iter().zip(x).map(|(w, x)| {
                let x = if signed {
                    i32::from(x.cast_signed())
                } else {
                    i32::from(x)
                };
                x * i32::from(*w)
            });
            2 + products.sum::<i32>()
        })
    }

    /// On engines whose relaxed instruction saturates, the probe keeps the relaxed kernel from running; activations of
    /// seven bits are exact everywhere, and show that its lanes are right.
    #[cfg(test)]
    #[wasm_bindgen_test::wasm_bindgen_test]
    fn the_relaxed_step_is_exact_on_seven_bits() {
        let mut state = 1u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        for _ in 0..1000 {
            let w: [i8; 32] = core::array::from_fn(|_| byte().cast_signed());
            let x: [u8; 4] = core::array::from_fn(|_| byte() & 127);
            let mut sums = [[I32x4::splat(2); 2]];
            let (halves, _) = w.as_chunks::<16>();
            let vectors = [I8x16::load(&halves[0]), I8x16::load(&halves[1])];
            step(&mut sums, vectors, u32::from_le_bytes(x));
            assert_eq!(
                sums[0].map(I32x4::to_array).as_flattened(),
                expected(&w, x, false)
            );
        }
    }
}
