//! Integer GEMM: 8-bit activations × 8- or 4-bit weights, accumulated exactly in i32 and scaled to
//! f32 group by group.
//!
//! Both sides are rotated in groups of 64 (see `rotation`). Rotated values are nearly normal and
//! centred on zero, so a group needs a scale but no zero point. A group of activations is quantised
//! on the fly to q = round(x / scale) in [-127, 127]. Then
//!
//! ```text
//! Σₖ x·w = Σ_groups scaleₓ · scale_w · Σ qₓ·q_w
//! ```
//!
//! The integer sums are exact whichever instructions compute them, and the f32 part is one
//! sequential sum over the groups. So the result has the same bits in every engine.

use core::hint::black_box;
use core::ops::Range;

use super::dot::Dot;
use super::packed_int::{Codes, PackedInt, Panel};
use super::parts::Disjoint;
use super::rotation::Group;
use super::scratch::{Buffer, ScratchPool};
use super::simd::{F32x4, I32x4};
use super::threads::{ELEMENT, Threads, units_of_part};
use super::{DotKernel, PANEL, Strip, Sums, cut, halves, words};
use crate::backend::GROUP;
use crate::error::Result;

/// Largest magnitude of an activation.
const LIMIT: f32 = 127.0;
/// Rows × panels of a tile of kernels that scale apart. Its eight vectors of sums fit the registers
/// together with weights and activations.
const CELLS: usize = 4;
/// Groups whose integer sums are stored before they are scaled, in the relaxed SIMD kernels of
/// wasm.
///
/// V8 keeps integer sums in registers only in a loop that has no other values, so the scaling is a
/// loop of its own, after several groups. They are few, so that the processor overlaps the scaling
/// with the next groups' products. With three, the six groups of a row of 384, a common width, are
/// two loops of the same length: 1 % faster in V8 than with four. The other kernels scale at once:
/// V8 keeps the sums of baseline SIMD in registers anyway, and Firefox takes a third longer with
/// the separate loop.
const PENDING_GROUPS: usize = 3;

/// Integer sums of a tile that are not yet scaled, `[group][row][panel]`.
pub struct PendingSums([[[I32x4; 2]; CELLS]; PENDING_GROUPS]);

impl PendingSums {
    pub fn new() -> Self {
        Self([[[I32x4::splat(0); 2]; CELLS]; PENDING_GROUPS])
    }
}

/// Activations that are quantised group by group.
pub struct QuantizedRows {
    groups: usize,
    kernel: DotKernel,
    /// `[row][group]`
    scales: Buffer,
    /// `[row][group][word]`: 32-bit words of two i16 or four 8-bit values
    words: Buffer,
}

impl QuantizedRows {
    /// Rows of unspecified content, to be filled by a [`Writer`].
    pub fn new(rows: usize, columns: usize, kernel: DotKernel, pool: &ScratchPool) -> Result<Self> {
        let groups = columns.div_ceil(GROUP);
        Ok(Self {
            groups,
            kernel,
            scales: pool.take(rows * groups)?,
            words: pool.take(rows * groups * (GROUP / kernel.depth()))?,
        })
    }

    /// Quantises `values`, `[rows, columns]`.
    pub fn from_rows(
        values: &[f32],
        columns: usize,
        kernel: DotKernel,
        pool: &ScratchPool,
        threads: &Threads,
    ) -> Result<Self> {
        let rows = values.len().checked_div(columns).unwrap_or(0);
        let mut out = Self::new(rows, columns, kernel, pool)?;
        let writer = out.writer();
        let count = threads.for_work(values.len().saturating_mul(ELEMENT));
        let units = units_of_part(rows, 1, count);
        threads.run(count, rows.div_ceil(units), |claims| {
            for part in claims {
                for row in part * units..rows.min((part + 1) * units) {
                    let values = &values[row * columns..][..columns];
                    for (group, values) in values.chunks(GROUP).enumerate() {
                        // SAFETY: Each part is claimed once, and parts are other rows.
                        unsafe { writer.set(row, group, Group::load(values)) };
                    }
                }
            }
        });
        Ok(out)
    }

    /// Lets several threads set groups.
    pub fn writer(&mut self) -> Writer<'_> {
        Writer {
            groups: self.groups,
            kernel: self.kernel,
            scales: Disjoint::new(&mut self.scales),
            words: Disjoint::new(bytemuck::cast_slice_mut(&mut self.words)),
        }
    }
    /// A row's scales `[group]` and words `[group][word]`.
    #[inline(always)]
    fn row<D: Dot>(&self, row: usize) -> (&[f32], &[u32]) {
        let size = self.groups * (GROUP / D::DEPTH);
        let words: &[u32] = bytemuck::cast_slice(&self.words);
        (
            &self.scales[row * self.groups..][..self.groups],
            &words[row * size..][..size],
        )
    }
}

/// Sets groups of [`QuantizedRows`], from several threads.
pub struct Writer<'a> {
    groups: usize,
    kernel: DotKernel,
    scales: Disjoint<'a, f32>,
    words: Disjoint<'a, u32>,
}

impl Writer<'_> {
    /// Rotates and quantises a group.
    ///
    /// # Safety
    ///
    /// No other thread sets the same group of the same row.
    #[inline(always)]
    pub unsafe fn set(&self, row: usize, group: usize, values: Group) {
        let rotated = values.hadamard();
        let largest = rotated.largest();
        let inverse = if largest > 0.0 { LIMIT / largest } else { 0.0 };
        let values = rotated.scaled(inverse).0;
        let cell = row * self.groups + group;
        let size = GROUP / self.kernel.depth();
        // SAFETY: They are parts of this group, which no other thread has.
        let (scale, words) = unsafe {
            (
                self.scales.part(cell..cell + 1),
                self.words.part(cell * size..(cell + 1) * size),
            )
        };
        // `hadamard` is 8 times the rotation.
        scale[0] = largest / LIMIT * 0.125;
        let (words, _) = words.as_chunks_mut();
        match self.kernel {
            DotKernel::RelaxedU8 | DotKernel::Vnni => {
                store(words::unsigned_bytes(&values), words);
            }
            DotKernel::RelaxedI8 | DotKernel::Sdot => store(words::bytes(&values), words),
            DotKernel::Avx2 | DotKernel::Neon | DotKernel::I16 | DotKernel::Scalar => {
                store(words::halves(&values), words);
            }
        }
    }
}

#[inline(always)]
fn store<const N: usize>(vectors: [I32x4; N], words: &mut [[u32; 4]]) {
    for (vector, words) in vectors.into_iter().zip(words) {
        vector.store(words);
    }
}

/// Computes rows of the product in 64 columns from `column` on.
pub fn strips<C: Codes>(
    x: &QuantizedRows,
    rows: Range<usize>,
    weight: &PackedInt<C>,
    column: usize,
    pending: &mut PendingSums,
    out: &mut [Strip],
) {
    match x.kernel {
        #[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
        DotKernel::RelaxedU8 | DotKernel::RelaxedI8 => {
            relaxed_strips(x, rows, weight, column, pending, out);
        }
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        DotKernel::I16 => {
            any_strips::<C, super::dot::Widened>(x, rows, weight, column, pending, out);
        }
        #[cfg(target_arch = "x86_64")]
        DotKernel::I16 => {
            any_strips::<C, super::dot::x86::Pairs>(x, rows, weight, column, pending, out);
        }
        #[cfg(target_arch = "x86_64")]
        DotKernel::Vnni => {
            // SAFETY: `Cpu` has this kernel only if the processor has the features.
            unsafe { vnni_strips(x, rows, weight, column, pending, out) }
        }
        #[cfg(target_arch = "x86_64")]
        DotKernel::Avx2 => {
            // SAFETY: as above.
            unsafe { avx2_strips(x, rows, weight, column, pending, out) }
        }
        #[cfg(target_arch = "aarch64")]
        DotKernel::Sdot => {
            // SAFETY: as above.
            unsafe { sdot_strips(x, rows, weight, column, pending, out) }
        }
        #[cfg(target_arch = "aarch64")]
        DotKernel::Neon => {
            any_strips::<C, super::dot::aarch64::Neon>(x, rows, weight, column, pending, out);
        }
        #[cfg(any(test, not(all(target_arch = "wasm32", target_feature = "simd128"))))]
        DotKernel::Scalar => {
            any_strips::<C, super::dot::Scalar>(x, rows, weight, column, pending, out);
        }
        #[allow(unreachable_patterns, reason = "the other arms depend on the build")]
        kernel => unreachable!("this build never chooses {kernel:?}"),
    }
}

#[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
#[target_feature(enable = "relaxed-simd")]
fn relaxed_strips<C: Codes>(
    x: &QuantizedRows,
    rows: Range<usize>,
    weight: &PackedInt<C>,
    column: usize,
    pending: &mut PendingSums,
    out: &mut [Strip],
) {
    any_strips::<C, super::dot::relaxed::Relaxed>(x, rows, weight, column, pending, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,avx512vnni,avx512vl")]
fn vnni_strips<C: Codes>(
    x: &QuantizedRows,
    rows: Range<usize>,
    weight: &PackedInt<C>,
    column: usize,
    pending: &mut PendingSums,
    out: &mut [Strip],
) {
    any_strips::<C, super::dot::x86::Vnni>(x, rows, weight, column, pending, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2_strips<C: Codes>(
    x: &QuantizedRows,
    rows: Range<usize>,
    weight: &PackedInt<C>,
    column: usize,
    pending: &mut PendingSums,
    out: &mut [Strip],
) {
    any_strips::<C, super::dot::x86::Avx2>(x, rows, weight, column, pending, out);
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "dotprod")]
fn sdot_strips<C: Codes>(
    x: &QuantizedRows,
    rows: Range<usize>,
    weight: &PackedInt<C>,
    column: usize,
    pending: &mut PendingSums,
    out: &mut [Strip],
) {
    any_strips::<C, super::dot::aarch64::Sdot>(x, rows, weight, column, pending, out);
}

#[inline(always)]
fn any_strips<C: Codes, D: Dot>(
    x: &QuantizedRows,
    rows: Range<usize>,
    weight: &PackedInt<C>,
    column: usize,
    pending: &mut PendingSums,
    out: &mut [Strip],
) {
    let first = column / PANEL;
    let panels = first..weight.panels().min(first + GROUP / PANEL);
    if D::PANELS == 1 {
        for (lane, panel) in (0..).step_by(PANEL).zip(panels) {
            let panel = [weight.panel(panel)];
            for (rows, out) in cut(rows.clone(), D::ROWS).zip(out.chunks_mut(D::ROWS)) {
                match rows.len() {
                    4 => tile::<C, D, 4, 1>(x, rows.start, &panel, pending, lane, out),
                    3 => tile::<C, D, 3, 1>(x, rows.start, &panel, pending, lane, out),
                    2 => tile::<C, D, 2, 1>(x, rows.start, &panel, pending, lane, out),
                    _ => tile::<C, D, 1, 1>(x, rows.start, &panel, pending, lane, out),
                }
            }
        }
    } else {
        for (lane, panel) in (0..).step_by(2 * PANEL).zip(panels.step_by(2)) {
            let pair = [weight.panel(panel), weight.panel(panel + 1)];
            for (rows, out) in cut(rows.clone(), D::ROWS).zip(out.chunks_mut(D::ROWS)) {
                match rows.len() {
                    4 if D::ROWS == 4 => {
                        tile::<C, D, 4, 2>(x, rows.start, &pair, pending, lane, out);
                    }
                    3 if D::ROWS == 4 => {
                        tile::<C, D, 3, 2>(x, rows.start, &pair, pending, lane, out);
                    }
                    2 => tile::<C, D, 2, 2>(x, rows.start, &pair, pending, lane, out),
                    _ => tile::<C, D, 1, 2>(x, rows.start, &pair, pending, lane, out),
                }
            }
        }
    }
}

/// The sums of `R` rows in `P` panels, written from lane `lane` of the strips on.
#[inline(always)]
fn tile<C: Codes, D: Dot, const R: usize, const P: usize>(
    x: &QuantizedRows,
    row: usize,
    panels: &[Panel<C>; P],
    pending: &mut PendingSums,
    lane: usize,
    out: &mut [Strip],
) {
    let rows: [_; R] = core::array::from_fn(|r| x.row::<D>(row + r));
    let mut sums = [[[F32x4::splat(0.0); 2]; P]; R];
    let words = rows.map(|(_, words)| words);
    let add = |sums: &mut _, group, integers: &[_]| {
        let row_scales = rows.map(|(scales, _)| scales[group]);
        let scales = panels.each_ref().map(|panel| &panel.scales[group]);
        add_scaled(sums, integers, row_scales, scales);
    };
    if D::SCALES_APART {
        for groups in cut(0..x.groups, PENDING_GROUPS) {
            for (group, pending) in groups.clone().zip(&mut pending.0) {
                let integers = dot::<C, D, R, P>(&words, panels, group);
                pending[..R * P].copy_from_slice(integers.as_flattened());
            }
            // The black box keeps the f32 sums in memory. In registers they would leave too few for
            // `dot`.
            let sums = black_box(&mut sums);
            let mut total = *sums;
            for (group, integers) in groups.zip(&pending.0) {
                add(&mut total, group, &integers[..R * P]);
            }
            *sums = total;
        }
    } else {
        for group in 0..x.groups {
            let integers = dot::<C, D, R, P>(&words, panels, group);
            add(&mut sums, group, integers.as_flattened());
        }
    }
    for (sums, out) in sums.iter().zip(out) {
        let (out, _) = out[lane..][..P * PANEL].as_chunks_mut::<4>();
        for (sums, out) in sums.as_flattened().iter().zip(out) {
            sums.store(out);
        }
    }
}

/// Integer sums of a group.
#[inline(always)]
fn dot<C: Codes, D: Dot, const R: usize, const P: usize>(
    words: &[&[u32]; R],
    panels: &[Panel<C>; P],
    group: usize,
) -> [[[I32x4; 2]; P]; R] {
    let start = panels
        .each_ref()
        .map(|panel| match panel.starts.get(group) {
            Some(start) => halves(start).map(I32x4::load),
            None => [I32x4::splat(0); 2],
        });
    let codes = panels.each_ref().map(|panel| &panel.codes[group]);
    let size = GROUP / D::DEPTH;
    let words = words.map(|words| &words[group * size..][..size]);
    let mut sums = [start.map(D::join); R];
    for index in 0..GROUP / 4 {
        D::step(
            &mut sums,
            codes.map(|codes| codes.vectors(index)),
            words,
            index,
        );
    }
    sums.map(|row| row.map(D::split))
}

/// Adds a group's integer sums, times the scales of row and column, to `sums`.
#[inline(always)]
fn add_scaled<const R: usize, const P: usize>(
    sums: &mut [[Sums; P]; R],
    integers: &[[I32x4; 2]],
    row_scales: [f32; R],
    scales: [&[f32; PANEL]; P],
) {
    let scales = scales.map(|scales| halves(scales).map(F32x4::load));
    for r in 0..R {
        let row_scale = F32x4::splat(row_scales[r]);
        for panel in 0..P {
            for half in 0..2 {
                let scale = row_scale.mul(scales[panel][half]);
                let integers = integers[r * P + panel][half].to_f32();
                let sum = &mut sums[r][panel][half];
                *sum = sum.add(integers.mul(scale));
            }
        }
    }
}
