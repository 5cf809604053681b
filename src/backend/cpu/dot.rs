//! Integer dot products: the instructions that multiply 8-bit activations by 8-bit weights, and the
//! detection of those that an engine computes exactly.
//!
//! All kernels give the same sums. They differ in how many consecutive elements of k one 32-bit
//! lane takes (`DEPTH`), and so in how weights and activations are laid out.

use super::simd::{I8x16, I32x4};

/// Integer kernels, by the instruction that multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DotKernel {
    /// `i32x4.relaxed_dot_i8x16_i7x16_add_s`, where the engine reads the second operand as u8
    /// (x86-64 with VNNI).
    RelaxedU8,
    /// The same, where the engine reads the second operand as i8 (arm64 with the dot-product
    /// extension).
    RelaxedI8,
    /// `vpdpbusd`, natively on x86-64.
    Vnni,
    /// Both operands widened to i16: `i32x4.dot_i16x8_s`, natively `pmaddwd`.
    I16,
    /// One product at a time: the reference in tests, and the kernel of platforms without the
    /// others.
    Scalar,
}

impl DotKernel {
    /// The fastest kernel that this build has and this engine computes exactly.
    pub fn detect() -> Self {
        #[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
        if let Some(kernel) = relaxed::probe() {
            return kernel;
        }
        #[cfg(target_arch = "x86_64")]
        if x86::has_vnni() {
            return Self::Vnni;
        }
        if cfg!(any(
            all(target_arch = "wasm32", target_feature = "simd128"),
            target_arch = "x86_64"
        )) {
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
            Self::Vnni => "vnni",
            Self::I16 => "i16",
            Self::Scalar => "scalar",
        }
    }

    /// Consecutive elements of k that a 32-bit lane takes.
    pub fn depth(self) -> usize {
        match self {
            Self::RelaxedU8 | Self::RelaxedI8 | Self::Vnni => 4,
            Self::I16 | Self::Scalar => 2,
        }
    }

    /// The constant added to every activation for kernels that read it as u8.
    pub fn offset(self) -> u8 {
        match self {
            Self::RelaxedU8 | Self::Vnni => 128,
            Self::RelaxedI8 | Self::I16 | Self::Scalar => 0,
        }
    }
}

/// One kernel's inner step.
pub trait Dot {
    /// Consecutive elements of k that a 32-bit lane takes.
    const DEPTH: usize;

    /// Multiplies vectors `2 · index` and `2 · index + 1` of a group of weights with the matching
    /// activations, and adds the products to `sums`. There are `R` rows of activations, whose
    /// `words` are those of the whole group, and `P` panels of weights.
    fn step<const R: usize, const P: usize>(
        sums: &mut [[[I32x4; 2]; P]; R],
        weights: [[I8x16; 2]; P],
        words: [&[u32]; R],
        index: usize,
    );
}

/// The scalar reference: one product at a time, on pairs of i16.
#[cfg(any(test, not(all(target_arch = "wasm32", target_feature = "simd128"))))]
pub struct Scalar;

#[cfg(any(test, not(all(target_arch = "wasm32", target_feature = "simd128"))))]
impl Dot for Scalar {
    const DEPTH: usize = 2;

    #[inline(always)]
    fn step<const R: usize, const P: usize>(
        sums: &mut [[[I32x4; 2]; P]; R],
        weights: [[I8x16; 2]; P],
        words: [&[u32]; R],
        index: usize,
    ) {
        for (panel, weights) in weights.into_iter().enumerate() {
            for (half, weights) in weights.map(I8x16::to_array).iter().enumerate() {
                for r in 0..R {
                    let word = words[r][2 * index + half].cast_signed();
                    // The two halves of the word, each with its sign.
                    let x = [word << 16 >> 16, word >> 16];
                    let mut products = [0; 8];
                    for (product, w) in products.iter_mut().zip(weights.as_chunks::<2>().0) {
                        *product = x[0] * i32::from(w[0]) + x[1] * i32::from(w[1]);
                    }
                    let [a, b, c, d, e, f, g, h] = products;
                    let [low, high] = &mut sums[r][panel];
                    *low = low.add(I32x4::load(&[a, b, c, d]));
                    *high = high.add(I32x4::load(&[e, f, g, h]));
                }
            }
        }
    }
}

/// Baseline SIMD: weights widened to i16 in registers, activations held as i16, pairs multiplied
/// and added.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub struct Widened;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
impl Dot for Widened {
    const DEPTH: usize = 2;

    #[inline(always)]
    fn step<const R: usize, const P: usize>(
        sums: &mut [[[I32x4; 2]; P]; R],
        weights: [[I8x16; 2]; P],
        words: [&[u32]; R],
        index: usize,
    ) {
        use core::arch::wasm32::{
            i16x8_extend_high_i8x16, i16x8_extend_low_i8x16, i32x4_add, i32x4_dot_i16x8,
            u32x4_splat,
        };
        for half in 0..2 {
            let x = words.map(|words| u32x4_splat(words[2 * index + half]));
            for panel in 0..P {
                let weights = weights[panel][half].0;
                let low = i16x8_extend_low_i8x16(weights);
                let high = i16x8_extend_high_i8x16(weights);
                for r in 0..R {
                    let [a, b] = &mut sums[r][panel];
                    a.0 = i32x4_add(a.0, i32x4_dot_i16x8(low, x[r]));
                    b.0 = i32x4_add(b.0, i32x4_dot_i16x8(high, x[r]));
                }
            }
        }
    }
}

/// Kernels of x86-64.
#[cfg(target_arch = "x86_64")]
pub mod x86 {
    use core::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_dpbusd_epi32, _mm_madd_epi16, _mm_set1_epi32, _mm_srai_epi16,
        _mm_unpackhi_epi8, _mm_unpacklo_epi8,
    };

    use super::{Dot, I8x16, I32x4};

    /// Whether the processor can run [`Vnni`].
    pub fn has_vnni() -> bool {
        is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512vl")
    }

    /// The same method as the baseline kernel of wasm.
    pub struct Pairs;

    impl Dot for Pairs {
        const DEPTH: usize = 2;

        #[inline(always)]
        fn step<const R: usize, const P: usize>(
            sums: &mut [[[I32x4; 2]; P]; R],
            weights: [[I8x16; 2]; P],
            words: [&[u32]; R],
            index: usize,
        ) {
            for half in 0..2 {
                let x = words.map(|words| words[2 * index + half].cast_signed());
                for panel in 0..P {
                    let weights: __m128i = bytemuck::cast(weights[panel][half].to_array());
                    // SAFETY: SSE2 is part of x86-64.
                    let widened = unsafe {
                        [
                            _mm_srai_epi16(_mm_unpacklo_epi8(weights, weights), 8),
                            _mm_srai_epi16(_mm_unpackhi_epi8(weights, weights), 8),
                        ]
                    };
                    for r in 0..R {
                        for (sum, widened) in sums[r][panel].iter_mut().zip(widened) {
                            let total: __m128i = bytemuck::cast(sum.to_array());
                            // SAFETY: as above.
                            let total = unsafe {
                                let products = _mm_madd_epi16(widened, _mm_set1_epi32(x[r]));
                                _mm_add_epi32(total, products)
                            };
                            *sum = I32x4::load(&bytemuck::cast(total));
                        }
                    }
                }
            }
        }
    }

    /// Four products and their sum in one instruction. It must be inlined into a function with
    /// `target_feature(enable = "avx512vnni,avx512vl")`.
    pub struct Vnni;

    impl Dot for Vnni {
        const DEPTH: usize = 4;

        #[inline(always)]
        fn step<const R: usize, const P: usize>(
            sums: &mut [[[I32x4; 2]; P]; R],
            weights: [[I8x16; 2]; P],
            words: [&[u32]; R],
            index: usize,
        ) {
            for r in 0..R {
                let x = words[r][index].cast_signed();
                for panel in 0..P {
                    for half in 0..2 {
                        let sum = &mut sums[r][panel][half];
                        let total: __m128i = bytemuck::cast(sum.to_array());
                        let weights: __m128i = bytemuck::cast(weights[panel][half].to_array());
                        // SAFETY: the caller runs where `has_vnni`.
                        let total = unsafe { _mm_dpbusd_epi32(total, _mm_set1_epi32(x), weights) };
                        *sum = I32x4::load(&bytemuck::cast(total));
                    }
                }
            }
        }
    }
}

/// Relaxed SIMD: four products and their sum in one instruction.
#[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
pub mod relaxed {
    use super::{Dot, DotKernel, I8x16, I32x4};
    use core::arch::wasm32::{i32x4_relaxed_dot_i8x16_i7x16_add, u32x4_splat};

    /// It must be inlined into a function with `target_feature(enable = "relaxed-simd")`.
    pub struct Relaxed;

    impl Dot for Relaxed {
        const DEPTH: usize = 4;

        #[inline(always)]
        fn step<const R: usize, const P: usize>(
            sums: &mut [[[I32x4; 2]; P]; R],
            weights: [[I8x16; 2]; P],
            words: [&[u32]; R],
            index: usize,
        ) {
            for r in 0..R {
                let x = u32x4_splat(words[r][index]);
                for panel in 0..P {
                    for half in 0..2 {
                        let sum = &mut sums[r][panel][half].0;
                        *sum = i32x4_relaxed_dot_i8x16_i7x16_add(weights[panel][half].0, x, *sum);
                    }
                }
            }
        }
    }

    #[target_feature(enable = "relaxed-simd")]
    fn step(weights: &[i8; 32], word: u32) -> [i32; 8] {
        let (halves, _) = weights.as_chunks::<16>();
        let vectors = [I8x16::load(&halves[0]), I8x16::load(&halves[1])];
        let mut sums = [[[I32x4::splat(2); 2]]];
        Relaxed::step(&mut sums, [vectors], [&[word]], 0);
        bytemuck::cast(sums[0][0].map(I32x4::to_array))
    }

    /// Finds out how this engine reads the second operand. The specification lets it read u8 or i8,
    /// and saturate or wrap the sums of pairs. A kernel is chosen only if it is exact on every
    /// pattern of operands, in the first rounds and in later ones: an engine's compiler tiers may
    /// differ.
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
            let sums = step(&w, u32::from_le_bytes(x));
            for (exact, signed) in exact.iter_mut().zip([false, true]) {
                *exact &= sums == expected(&w, x, signed);
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

    /// Where the relaxed instruction saturates, the probe rejects the kernel, and other tests do
    /// not cover it. Activations of seven bits are exact everywhere and check its lanes.
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
            assert_eq!(step(&w, u32::from_le_bytes(x)), expected(&w, x, false));
        }
    }
}
