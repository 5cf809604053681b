//! Integer dot products: the instructions that multiply 8-bit activations by 8-bit weights, and the
//! detection of those that an engine computes exactly.
//!
//! All kernels give the same sums. They differ in how many consecutive elements of k one 32-bit
//! lane takes (`DEPTH`), and so in how weights and activations are laid out.

use super::simd::{I8x16, I32x4};

#[cfg(target_arch = "aarch64")]
pub mod aarch64;
#[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
pub mod relaxed;
#[cfg(target_arch = "x86_64")]
pub mod x86;

/// Integer kernels, by the instruction that multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DotKernel {
    /// `i32x4.relaxed_dot_i8x16_i7x16_add_s`, where the engine reads the second operand as u8
    /// (x86-64 with VNNI).
    RelaxedU8,
    /// The same, where the engine reads the second operand as i8 (arm64 with the dot-product
    /// extension).
    RelaxedI8,
    /// `vpdpbusd` on 256 bits: x86-64 with AVX-512 VNNI and VL.
    Vnni,
    /// `vpmaddwd` on 256 bits: x86-64 with AVX2.
    Avx2,
    /// `sdot`: arm64 with the dot-product extension.
    Sdot,
    /// `smull` and `sadalp`: every arm64.
    Neon,
    /// Both operands widened to i16: `i32x4.dot_i16x8_s` in wasm, `pmaddwd` on every x86-64.
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
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        let best = Self::native()[0];
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        let best = Self::I16;
        #[cfg(not(any(
            target_arch = "x86_64",
            target_arch = "aarch64",
            all(target_arch = "wasm32", target_feature = "simd128")
        )))]
        let best = Self::Scalar;
        best
    }

    /// The kernels that this processor can run, the fastest first.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub fn native() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        let kernels = [
            (x86::has_vnni(), Self::Vnni),
            (x86::has_avx2(), Self::Avx2),
            (true, Self::I16),
        ];
        #[cfg(target_arch = "aarch64")]
        let kernels = [(aarch64::has_dotprod(), Self::Sdot), (true, Self::Neon)];
        let kernels = kernels.into_iter();
        kernels
            .filter(|(runs, _)| *runs)
            .map(|(_, kernel)| kernel)
            .collect()
    }

    /// The name that `info` shows.
    pub fn name(self) -> &'static str {
        match self {
            Self::RelaxedU8 => "relaxed-u8",
            Self::RelaxedI8 => "relaxed-i8",
            Self::Vnni => "vnni",
            Self::Avx2 => "avx2",
            Self::Sdot => "sdot",
            Self::Neon => "neon",
            Self::I16 => "i16",
            Self::Scalar => "scalar",
        }
    }

    /// Consecutive elements of k that a 32-bit lane takes.
    pub fn depth(self) -> usize {
        match self {
            Self::RelaxedU8 | Self::RelaxedI8 | Self::Vnni | Self::Sdot => 4,
            Self::Avx2 | Self::Neon | Self::I16 | Self::Scalar => 2,
        }
    }

    /// The constant added to every activation for kernels that read it as u8.
    pub fn offset(self) -> u8 {
        match self {
            Self::RelaxedU8 | Self::Vnni => 128,
            Self::RelaxedI8 | Self::Avx2 | Self::Sdot | Self::Neon | Self::I16 | Self::Scalar => 0,
        }
    }
}

/// One kernel's inner step.
pub trait Dot {
    /// Consecutive elements of k that a 32-bit lane takes.
    const DEPTH: usize;
    /// Rows of a tile: 2 or 4. Rows share the loads of weights.
    const ROWS: usize;
    /// Panels of a tile: 1 or 2. Panels share the loads of activations.
    const PANELS: usize;
    /// Whether integer sums are scaled in a loop of its own, after several groups
    /// (`gemm_int::PENDING_GROUPS`).
    const SCALES_APART: bool;

    /// Sums of the eight columns of a panel, as the kernel keeps them in registers.
    type Sums: Copy;

    /// Sums in two vectors of four columns, as the kernel keeps them.
    fn join(sums: [I32x4; 2]) -> Self::Sums;
    /// The inverse of [`Dot::join`].
    fn split(sums: Self::Sums) -> [I32x4; 2];

    /// Multiplies vectors `2 · index` and `2 · index + 1` of a group of weights with the matching
    /// activations, and adds the products to `sums`. There are `R` rows of activations, whose
    /// `words` are those of the whole group, and `P` panels of weights.
    fn step<const R: usize, const P: usize>(
        sums: &mut [[Self::Sums; P]; R],
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
    const ROWS: usize = 4;
    // Weights are widened: four rows share that work.
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
    const ROWS: usize = 4;
    // Weights are widened: four rows share that work.
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
