//! Kernels of arm64.

use core::arch::aarch64::{
    int8x16_t, int32x4_t, vdupq_n_s32, vget_high_s8, vget_low_s8, vmovn_s16, vmull_s8, vpadalq_s16,
    vreinterpretq_s16_s32,
};
use core::arch::asm;
use std::arch::is_aarch64_feature_detected;

use super::{Dot, I8x16, I32x4};

/// Whether the processor can run [`Sdot`].
pub fn has_dotprod() -> bool {
    is_aarch64_feature_detected!("dotprod")
}

/// Adds the products of four neighbouring bytes to each sum. The intrinsic `vdotq_s32` is not
/// stable yet.
#[inline]
#[target_feature(enable = "dotprod")]
fn sdot(mut sums: int32x4_t, weights: int8x16_t, x: int32x4_t) -> int32x4_t {
    // SAFETY: the function has the feature of the instruction, which touches nothing but its
    // registers.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {x:v}.16b",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// Four products and their sum in one instruction. It must be inlined into a function with
/// `target_feature(enable = "dotprod")`.
pub struct Sdot;

impl Dot for Sdot {
    const DEPTH: usize = 4;
    const ROWS: usize = 4;
    const PANELS: usize = 2;
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
        for r in 0..R {
            let x = words[r][index].cast_signed();
            for panel in 0..P {
                for half in 0..2 {
                    let sum = &mut sums[r][panel][half];
                    let total: int32x4_t = bytemuck::cast(sum.to_array());
                    let weights: int8x16_t = bytemuck::cast(weights[panel][half].to_array());
                    // SAFETY: the caller runs where `has_dotprod`.
                    let total = unsafe { sdot(total, weights, vdupq_n_s32(x)) };
                    *sum = I32x4::load(&bytemuck::cast(total));
                }
            }
        }
    }
}

/// Products of bytes in 16 bits, which are exact, and pairs of them added to sums of 32 bits.
pub struct Neon;

impl Dot for Neon {
    const DEPTH: usize = 2;
    const ROWS: usize = 4;
    const PANELS: usize = 2;
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
            for r in 0..R {
                let word = words[r][2 * index + half].cast_signed();
                for panel in 0..P {
                    let weights: int8x16_t = bytemuck::cast(weights[panel][half].to_array());
                    let [low, high] = &mut sums[r][panel];
                    let totals: [int32x4_t; 2] =
                        [*low, *high].map(|sum| bytemuck::cast(sum.to_array()));
                    // SAFETY: NEON is part of arm64.
                    let totals = unsafe {
                        let x = vmovn_s16(vreinterpretq_s16_s32(vdupq_n_s32(word)));
                        [
                            vpadalq_s16(totals[0], vmull_s8(vget_low_s8(weights), x)),
                            vpadalq_s16(totals[1], vmull_s8(vget_high_s8(weights), x)),
                        ]
                    };
                    [*low, *high] = totals.map(|total| I32x4::load(&bytemuck::cast(total)));
                }
            }
        }
    }
}
