//! Relaxed SIMD: four products and their sum in one instruction.

use super::{Dot, DotKernel, I8x16, I32x4};
use core::arch::wasm32::{i32x4_relaxed_dot_i8x16_i7x16_add, u32x4_splat};

/// It must be inlined into a function with `target_feature(enable = "relaxed-simd")`.
pub struct Relaxed;

impl Dot for Relaxed {
    const DEPTH: usize = 4;
    const ROWS: usize = 2;
    const PANELS: usize = 2;
    const SCALES_APART: bool = true;
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
        let x: [u8; 4] = core::array::from_fn(|i| bytes[(i * (round / 7) + round) % bytes.len()]);
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
