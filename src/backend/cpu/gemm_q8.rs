//! q8 GEMM: u8 activations × i8 weights, accumulated exactly in i32, scaled to f32 group by group.
//!
//! A weight row is cut in groups of 64 with one scale each, q = round(w / scale) in [-127, 127]. An activation
//! row is cut likewise and quantised on the fly, q = round(x / scale) + zero in [0, 255], with the range of the
//! group (zero included). Then
//!
//! ```text
//! Σₖ x·w = Σ_groups scaleₓ · scale_w · (Σ qₓ·q_w − zeroₓ · Σ q_w)
//! ```
//!
//! where the sum of `q_w` is known at load. The integer part is exact whichever instructions compute it, the f32 part is one
//! sequential sum over the groups: the result has the same bits in every engine.
//!
//! Weights are packed `[n/8][k/4][8][4]`: one 16-byte load gives four columns × four k, which is what the dot
//! instructions eat, against four activations broadcast by one 32-bit load.

use super::simd::{F32x4, I32x4, fold};
use super::{PANEL, zeroed};
use crate::error::Result;

/// Elements that share a scale.
pub const GROUP: usize = 64;
/// Weights of one column that a 32-bit lane of the dot product takes.
const QUAD: usize = 4;
/// Quads in a group.
const QUADS: usize = GROUP / QUAD;

/// Four k of eight columns.
type Block = [[i8; QUAD]; PANEL];

/// A `[rows, columns]` matrix of i8 with a scale for each 64 columns, in panels of eight rows.
pub struct PackedQ8 {
    rows: usize,
    columns: usize,
    groups: usize,
    /// `[panel][group][quad]`
    blocks: Vec<Block>,
    /// `[panel][group]`
    scales: Vec<[f32; PANEL]>,
    /// `[panel][group]`: sums of the quantised weights
    sums: Vec<[i32; PANEL]>,
}

impl PackedQ8 {
    pub fn new(rows: usize, columns: usize) -> Result<Self> {
        let groups = columns.div_ceil(GROUP);
        let cells = rows.div_ceil(PANEL).saturating_mul(groups);
        Ok(Self {
            rows,
            columns,
            groups,
            blocks: zeroed(cells.saturating_mul(QUADS))?,
            scales: zeroed(cells)?,
            sums: zeroed(cells)?,
        })
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    pub fn bytes(&self) -> usize {
        size_of_val(self.blocks.as_slice())
            + size_of_val(self.scales.as_slice())
            + size_of_val(self.sums.as_slice())
    }

    /// Quantises one row.
    pub fn set_row(&mut self, row: usize, values: &[f32]) {
        let lane = row % PANEL;
        for (group, values) in values.chunks(GROUP).enumerate() {
            let cell = row / PANEL * self.groups + group;
            let largest = fold(values, F32x4::splat(0.0), 0.0, |top, x| {
                top.max(x).max(F32x4::splat(0.0).sub(x))
            })
            .max_lane();
            let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
            self.scales[cell][lane] = largest / 127.0;
            let mut sum = 0;
            for (block, quad) in self.blocks[cell * QUADS..][..QUADS]
                .iter_mut()
                .zip(values.chunks(QUAD))
            {
                for (q, value) in block[lane].iter_mut().zip(quad) {
                    #[expect(
                        clippy::cast_possible_truncation,
                        reason = "within ±127 by construction"
                    )]
                    let rounded = (value * inverse).round_ties_even() as i8;
                    *q = rounded;
                    sum += i32::from(rounded);
                }
            }
            self.sums[cell][lane] = sum;
        }
    }

    /// Adds row `row`, back in f32, to `out`.
    pub fn add_row(&self, row: usize, out: &mut [f32]) {
        let lane = row % PANEL;
        for (group, out) in out.chunks_mut(GROUP).enumerate() {
            let cell = row / PANEL * self.groups + group;
            let scale = self.scales[cell][lane];
            for (block, out) in self.blocks[cell * QUADS..][..QUADS]
                .iter()
                .zip(out.chunks_mut(QUAD))
            {
                for (q, out) in block[lane].iter().zip(out) {
                    *out += f32::from(*q) * scale;
                }
            }
        }
    }
}

/// Four activations of one row.
type Quad = [u8; QUAD];

/// Activations `[rows, columns]`, quantised a group at a time.
pub struct QuantizedRows {
    rows: usize,
    groups: usize,
    /// `[row][group]`
    scales: Vec<f32>,
    /// `[row][group]`
    zeros: Vec<i32>,
    /// `[row][group][quad]`; the bytes are u8, or i8 (less 128) where the kernel reads them so
    quads: Vec<[Quad; QUADS]>,
}

impl QuantizedRows {
    pub fn new(values: &[f32], columns: usize, kernel: DotKernel) -> Result<Self> {
        let rows = values.len().checked_div(columns).unwrap_or(0);
        let groups = columns.div_ceil(GROUP);
        let cells = rows * groups;
        let mut quantized = Self {
            rows,
            groups,
            scales: zeroed(cells)?,
            zeros: zeroed(cells)?,
            quads: zeroed(cells)?,
        };
        // 0x80 turns q into q - 128 in two's complement.
        let (flip, shift) = if kernel == DotKernel::RelaxedI8 {
            (0x80, 128)
        } else {
            (0, 0)
        };
        for (row, values) in values.chunks_exact(columns).enumerate() {
            for (group, values) in values.chunks(GROUP).enumerate() {
                let cell = row * groups + group;
                let zero = F32x4::splat(0.0);
                let low = fold(values, zero, 0.0, F32x4::min).min_lane();
                let high = fold(values, zero, 0.0, F32x4::max).max_lane();
                let range = high - low;
                let inverse = if range > 0.0 { 255.0 / range } else { 0.0 };
                let zero_point = (-low * inverse).round_ties_even();
                quantized.scales[cell] = range / 255.0;
                #[expect(clippy::cast_possible_truncation, reason = "within 0..=255")]
                let zero_i32 = zero_point as i32;
                quantized.zeros[cell] = zero_i32 - shift;
                let bytes = quantized.quads[cell].as_flattened_mut();
                quantize(values, inverse, zero_point, flip, bytes);
            }
        }
        Ok(quantized)
    }

    fn cell(&self, row: usize, group: usize) -> (&[Quad; QUADS], f32, i32) {
        let cell = row * self.groups + group;
        (&self.quads[cell], self.scales[cell], self.zeros[cell])
    }
}

/// q = round(x · inverse) + zero, in [0, 255] by construction.
fn quantize(values: &[f32], inverse: f32, zero_point: f32, flip: u8, out: &mut [u8]) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and is within 0..=255"
    )]
    for (out, value) in out.iter_mut().zip(values) {
        *out = ((value * inverse).round_ties_even() + zero_point) as u8 ^ flip;
    }
}

/// The instructions that multiply u8 by i8. All give the same sums.
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

    /// Eight integer sums of `R` rows: row `r` of `a` times the eight columns of `blocks`, added to `start`.
    #[inline(always)]
    fn dot<const R: usize>(
        self,
        a: [&[Quad; QUADS]; R],
        blocks: &[Block; QUADS],
        start: [[I32x4; 2]; R],
    ) -> [[I32x4; 2]; R] {
        match self {
            #[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
            Self::RelaxedU8 | Self::RelaxedI8 => relaxed::dot(a, blocks, start),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Self::I16 => widened::dot(a, blocks, start),
            _ => scalar::dot(a, blocks, start),
        }
    }
}

/// For each row of `a` in `range`, in order, its eight f32 sums against panel `index` of `b`.
pub fn for_each_row(
    a: &QuantizedRows,
    range: core::ops::Range<usize>,
    b: &PackedQ8,
    index: usize,
    kernel: DotKernel,
    done: impl FnMut(usize, [F32x4; 2]),
) {
    debug_assert!(range.end <= a.rows && a.groups == b.groups);
    // The i16 kernel keeps four accumulators a row: with more than two rows they spill.
    match kernel {
        DotKernel::I16 => tiles::<2>(a, range, b, index, kernel, done),
        _ => tiles::<4>(a, range, b, index, kernel, done),
    }
}

/// Tiles of `R` rows, then of one.
#[inline(always)]
fn tiles<const R: usize>(
    a: &QuantizedRows,
    range: core::ops::Range<usize>,
    b: &PackedQ8,
    index: usize,
    kernel: DotKernel,
    mut done: impl FnMut(usize, [F32x4; 2]),
) {
    let mut row = range.start;
    while row + R <= range.end {
        for (r, sums) in tile::<R>(a, row, b, index, kernel).into_iter().enumerate() {
            done(row + r, sums);
        }
        row += R;
    }
    while row < range.end {
        let [sums] = tile::<1>(a, row, b, index, kernel);
        done(row, sums);
        row += 1;
    }
}

#[inline(always)]
fn tile<const R: usize>(
    a: &QuantizedRows,
    row: usize,
    b: &PackedQ8,
    index: usize,
    kernel: DotKernel,
) -> [[F32x4; 2]; R] {
    let mut out = [[F32x4::splat(0.0); 2]; R];
    let cells = index * b.groups..(index + 1) * b.groups;
    let (blocks, _) = b.blocks[cells.start * QUADS..cells.end * QUADS].as_chunks::<QUADS>();
    let scales = &b.scales[cells.clone()];
    let sums = &b.sums[cells];
    for group in 0..b.groups {
        let cell: [_; R] = core::array::from_fn(|r| a.cell(row + r, group));
        let sum = halves_i32(&sums[group]);
        let start = cell.map(|(_, _, zero)| sum.map(|sum| sum.mul(I32x4::splat(-zero))));
        let dots = kernel.dot(cell.map(|(quads, _, _)| quads), &blocks[group], start);
        let scale = halves_f32(&scales[group]);
        for r in 0..R {
            let row_scale = F32x4::splat(cell[r].1);
            for half in 0..2 {
                out[r][half] =
                    out[r][half].add(dots[r][half].to_f32().mul(row_scale.mul(scale[half])));
            }
        }
    }
    out
}

fn halves_f32(lanes: &[f32; PANEL]) -> [F32x4; 2] {
    let ([low, high], []) = lanes.as_chunks::<4>() else {
        unreachable!("a panel has eight lanes")
    };
    [F32x4::load(low), F32x4::load(high)]
}

fn halves_i32(lanes: &[i32; PANEL]) -> [I32x4; 2] {
    let ([low, high], []) = lanes.as_chunks::<4>() else {
        unreachable!("a panel has eight lanes")
    };
    [I32x4::load(low), I32x4::load(high)]
}

/// The oracle: one product at a time.
mod scalar {
    use super::{Block, I32x4, QUADS, Quad};

    pub fn dot<const R: usize>(
        a: [&[Quad; QUADS]; R],
        blocks: &[Block; QUADS],
        start: [[I32x4; 2]; R],
    ) -> [[I32x4; 2]; R] {
        let mut out = start;
        for r in 0..R {
            let mut sums = [0i32; 8];
            for (quad, block) in a[r].iter().zip(blocks) {
                for (sum, weights) in sums.iter_mut().zip(block) {
                    for (x, w) in quad.iter().zip(weights) {
                        *sum += i32::from(*x) * i32::from(*w);
                    }
                }
            }
            let [a, b, c, d, e, f, g, h] = sums;
            out[r][0] = out[r][0].add(I32x4::load(&[a, b, c, d]));
            out[r][1] = out[r][1].add(I32x4::load(&[e, f, g, h]));
        }
        out
    }
}

/// Baseline SIMD: widen both sides to i16 and multiply-add pairs.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod widened {
    use super::{Block, I32x4, QUADS, Quad};
    use core::arch::wasm32::{
        i16x8_extend_high_i8x16, i16x8_extend_low_i8x16, i32x4_add, i32x4_dot_i16x8, i32x4_shuffle,
        i32x4_splat, u16x8_extend_low_u8x16, v128, v128_load, v128_load32_splat,
    };

    #[inline(always)]
    pub fn dot<const R: usize>(
        a: [&[Quad; QUADS]; R],
        blocks: &[Block; QUADS],
        start: [[I32x4; 2]; R],
    ) -> [[I32x4; 2]; R] {
        // Each accumulator holds two columns, each as the sums of its even and its odd pairs of k.
        let mut pairs = [[i32x4_splat(0); 4]; R];
        for quad in 0..QUADS {
            let block: *const v128 = blocks[quad].as_ptr().cast();
            // SAFETY: a block is 32 bytes, two vectors; v128_load needs no alignment.
            let (low, high) = unsafe { (v128_load(block), v128_load(block.add(1))) };
            let columns = [
                i16x8_extend_low_i8x16(low),
                i16x8_extend_high_i8x16(low),
                i16x8_extend_low_i8x16(high),
                i16x8_extend_high_i8x16(high),
            ];
            for r in 0..R {
                // SAFETY: a quad is four bytes, which is what is read.
                let x = u16x8_extend_low_u8x16(unsafe {
                    v128_load32_splat(a[r][quad].as_ptr().cast())
                });
                for (pair, column) in pairs[r].iter_mut().zip(columns) {
                    *pair = i32x4_add(*pair, i32x4_dot_i16x8(column, x));
                }
            }
        }
        core::array::from_fn(|r| {
            let [p0, p1, p2, p3] = pairs[r];
            [
                start[r][0].add(I32x4(join(p0, p1))),
                start[r][1].add(I32x4(join(p2, p3))),
            ]
        })
    }

    /// Adds neighbouring lanes: [a0 + a1, a2 + a3, b0 + b1, b2 + b3].
    fn join(a: v128, b: v128) -> v128 {
        i32x4_add(
            i32x4_shuffle::<0, 2, 4, 6>(a, b),
            i32x4_shuffle::<1, 3, 5, 7>(a, b),
        )
    }
}

/// Relaxed SIMD: four products and their sum in one instruction.
#[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
mod relaxed {
    use super::{Block, DotKernel, I32x4, QUADS, Quad};
    use core::arch::wasm32::{
        i32x4_relaxed_dot_i8x16_i7x16_add, v128, v128_load, v128_load32_splat,
    };

    #[target_feature(enable = "relaxed-simd")]
    pub fn dot<const R: usize>(
        a: [&[Quad; QUADS]; R],
        blocks: &[Block; QUADS],
        start: [[I32x4; 2]; R],
    ) -> [[I32x4; 2]; R] {
        let mut sums = start;
        for quad in 0..QUADS {
            let block: *const v128 = blocks[quad].as_ptr().cast();
            // SAFETY: a block is 32 bytes, two vectors; v128_load needs no alignment.
            let (low, high) = unsafe { (v128_load(block), v128_load(block.add(1))) };
            for r in 0..R {
                // SAFETY: a quad is four bytes, which is what is read.
                let x = unsafe { v128_load32_splat(a[r][quad].as_ptr().cast()) };
                sums[r][0] = I32x4(i32x4_relaxed_dot_i8x16_i7x16_add(low, x, sums[r][0].0));
                sums[r][1] = I32x4(i32x4_relaxed_dot_i8x16_i7x16_add(high, x, sums[r][1].0));
            }
        }
        sums
    }

    /// How this engine reads the second operand, found by trying: the instruction may take it as u8 or i8, and
    /// may saturate or wrap the sums of pairs on the way. A kernel is chosen only if it equals the scalar one on
    /// every operand pattern, cold and hot, since an engine's compiler tiers need not agree.
    pub fn probe() -> Option<DotKernel> {
        // Weights and activations at their extremes, alternating and mixed.
        let weights: [i8; 6] = [127, -127, 1, -1, 64, -128];
        let bytes: [u8; 6] = [255, 0, 1, 127, 128, 254];
        let mut exact = [true; 2];
        let start = [[I32x4::splat(2); 2]];
        for round in 0..64u8 {
            for (i, w) in weights.iter().enumerate() {
                let mut blocks = [[[0i8; 4]; 8]; QUADS];
                let mut quads = [[0u8; 4]; QUADS];
                for (q, (block, quad)) in blocks.iter_mut().zip(&mut quads).enumerate() {
                    for (k, x) in quad.iter_mut().enumerate() {
                        *x = bytes[(q * k + i + usize::from(round)) % bytes.len()];
                        for (c, column) in block.iter_mut().enumerate() {
                            column[k] = if c == 0 {
                                *w
                            } else {
                                weights[(q + k * c + usize::from(round)) % weights.len()]
                            };
                        }
                    }
                }
                let got = dot([&quads], &blocks, start).map(|row| row.map(lanes))[0];
                for (exact, signed) in exact.iter_mut().zip([false, true]) {
                    *exact &= got.as_flattened() == expected(&quads, &blocks, signed);
                }
            }
        }
        match exact {
            [true, _] => Some(DotKernel::RelaxedU8),
            [_, true] => Some(DotKernel::RelaxedI8),
            _ => None,
        }
    }

    fn expected(quads: &[Quad; QUADS], blocks: &[Block; QUADS], signed: bool) -> [i32; 8] {
        core::array::from_fn(|column| {
            let mut sum = 2;
            for (quad, block) in quads.iter().zip(blocks) {
                for (x, w) in quad.iter().zip(block[column]) {
                    let x = if signed {
                        i32::from(x.cast_signed())
                    } else {
                        i32::from(*x)
                    };
                    sum += x * i32::from(w);
                }
            }
            sum
        })
    }

    fn lanes(sums: I32x4) -> [i32; 4] {
        use core::arch::wasm32::i32x4_extract_lane as lane;
        [
            lane::<0>(sums.0),
            lane::<1>(sums.0),
            lane::<2>(sums.0),
            lane::<3>(sums.0),
        ]
    }
}

/// On engines whose relaxed instruction saturates, the probe keeps the relaxed kernel from running; activations of
/// seven bits are exact everywhere, and show that its loads and lanes are right.
#[cfg(all(test, target_arch = "wasm32", feature = "relaxed-simd"))]
#[wasm_bindgen_test::wasm_bindgen_test]
fn the_relaxed_kernel_equals_the_scalar_one_on_seven_bits() {
    let mut state = 1u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    for _ in 0..100 {
        let quads: [[Quad; QUADS]; 3] = core::array::from_fn(|_| {
            core::array::from_fn(|_| core::array::from_fn(|_| byte() & 127))
        });
        let blocks: [Block; QUADS] = core::array::from_fn(|_| {
            core::array::from_fn(|_| core::array::from_fn(|_| (byte() | 1).cast_signed()))
        });
        let start = [[I32x4::splat(-7); 2]; 3];
        let lanes =
            |sums: [[I32x4; 2]; 3]| sums.map(|row| row.map(|half| half.to_f32().to_array()));
        let rows = quads.each_ref();
        assert_eq!(
            lanes(relaxed::dot(rows, &blocks, start)),
            lanes(scalar::dot(rows, &blocks, start))
        );
    }
}
