//! Kernels of x86-64.

use core::arch::x86_64::{
    __m128i, __m256i, _mm_add_epi32, _mm_madd_epi16, _mm_set1_epi32, _mm_srai_epi16,
    _mm_unpackhi_epi8, _mm_unpacklo_epi8, _mm256_add_epi32, _mm256_cvtepi8_epi16,
    _mm256_dpbusd_epi32, _mm256_madd_epi16, _mm256_set1_epi32,
};

use super::{Dot, I8x16, I32x4};

/// Whether the processor can run [`Vnni`].
pub fn has_vnni() -> bool {
    is_x86_feature_detected!("avx512vnni")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx2")
}

/// Whether the processor can run [`Avx2`].
pub fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
}

/// SSE2: the same method as the baseline kernel of wasm.
pub struct Pairs;

impl Dot for Pairs {
    const DEPTH: usize = 2;
    const ROWS: usize = 4;
    const PANELS: usize = 1;
    const SCALES_APART: bool = false;
    type Sums = [I32x4; 2];

    #[inline(always)]
    fn join(sums: [I32x4; 2]) -> Self::Sums {
        sums
    }

    #[inline(always)]
    fn split(sums: Self::Sums) -> [I32x4; 2] {
        sums
    }

    #[inline(always)]
    fn step<const R: usize, const P: usize>(
        sums: &mut [[Self::Sums; P]; R],
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

/// The method of [`Pairs`], with the eight columns of a panel in one register. It must be inlined
/// into a function with `target_feature(enable = "avx2")`.
pub struct Avx2;

impl Dot for Avx2 {
    const DEPTH: usize = 2;
    const ROWS: usize = 4;
    const PANELS: usize = 2;
    const SCALES_APART: bool = false;
    type Sums = __m256i;

    #[inline(always)]
    fn join(sums: [I32x4; 2]) -> Self::Sums {
        bytemuck::cast(sums.map(I32x4::to_array))
    }

    #[inline(always)]
    fn split(sums: Self::Sums) -> [I32x4; 2] {
        let halves: [[i32; 4]; 2] = bytemuck::cast(sums);
        halves.map(|half| I32x4::load(&half))
    }

    #[inline(always)]
    fn step<const R: usize, const P: usize>(
        sums: &mut [[Self::Sums; P]; R],
        weights: [[I8x16; 2]; P],
        words: [&[u32]; R],
        index: usize,
    ) {
        for half in 0..2 {
            // SAFETY: the caller runs where `has_avx2`.
            let widened = weights.map(|weights| unsafe {
                _mm256_cvtepi8_epi16(bytemuck::cast(weights[half].to_array()))
            });
            for r in 0..R {
                let x = words[r][2 * index + half].cast_signed();
                for panel in 0..P {
                    let sum = &mut sums[r][panel];
                    // SAFETY: as above.
                    *sum = unsafe {
                        let products = _mm256_madd_epi16(widened[panel], _mm256_set1_epi32(x));
                        _mm256_add_epi32(*sum, products)
                    };
                }
            }
        }
    }
}

/// Four products and their sum in one instruction, for the eight columns of a panel. It must be
/// inlined into a function with `target_feature(enable = "avx2,avx512vnni,avx512vl")`.
pub struct Vnni;

impl Dot for Vnni {
    const DEPTH: usize = 4;
    const ROWS: usize = 4;
    const PANELS: usize = 2;
    const SCALES_APART: bool = false;
    type Sums = __m256i;

    #[inline(always)]
    fn join(sums: [I32x4; 2]) -> Self::Sums {
        bytemuck::cast(sums.map(I32x4::to_array))
    }

    #[inline(always)]
    fn split(sums: Self::Sums) -> [I32x4; 2] {
        let halves: [[i32; 4]; 2] = bytemuck::cast(sums);
        halves.map(|half| I32x4::load(&half))
    }

    #[inline(always)]
    fn step<const R: usize, const P: usize>(
        sums: &mut [[Self::Sums; P]; R],
        weights: [[I8x16; 2]; P],
        words: [&[u32]; R],
        index: usize,
    ) {
        let weights: [__m256i; P] =
            weights.map(|weights| bytemuck::cast(weights.map(I8x16::to_array)));
        for r in 0..R {
            let x = words[r][index].cast_signed();
            for panel in 0..P {
                let sum = &mut sums[r][panel];
                // SAFETY: the caller runs where `has_vnni`.
                *sum = unsafe { _mm256_dpbusd_epi32(*sum, _mm256_set1_epi32(x), weights[panel]) };
            }
        }
    }
}
