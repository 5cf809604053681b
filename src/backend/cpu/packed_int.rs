//! Weights of 8 or 4 bits, packed for the dot kernels.
//!
//! A row is split into groups of 64, which are rotated (see `rotation`). In a group w ≈ scale ·
//! code. Eight rows, which are columns of the product, make a panel. A group of a panel is 32
//! vectors of 16 codes: with two elements of k to a lane one vector is `[8 columns][2 k]`, with
//! four two vectors are `[8 columns][4 k]`.

use super::rotation::Group;
use super::simd::{F32x4, I8x16, I32x4};
use super::{DotKernel, PANEL, words};
use crate::backend::GROUP;
use crate::error::{Result, zeroed};

/// Storage of the codes of one group of a panel.
pub trait Codes: Copy + bytemuck::Zeroable {
    /// Smallest code. The element of largest magnitude gets it; the scale is negative if that
    /// element is positive.
    const LOWEST: f32;
    /// Largest code.
    const HIGHEST: f32;
    /// Factor between a code and the byte that a dot kernel reads for it.
    const STEP: f32;
    /// Candidates for the magnitude that `LOWEST` stands for, in multiples of the group's largest
    /// magnitude. Each group takes the candidate with the least squared error.
    ///
    /// With 4 bits, values below 1 clip the extremes and give the rest a finer grid. Of normally
    /// distributed groups most have their optimum between 0.85 and 1; groups with an outlier have
    /// it lower. With 8 bits clipping loses more than it gains. Steps of 0.008, about 1 / 127,
    /// stretch the grid by one code at its end and so round all elements anew: the best of the four
    /// candidates has 9 % less squared error than 1 alone.
    const RANGES: &'static [f32];
    /// Whether some candidate is below 1.
    const CLIPS: bool;

    /// Sets neighbouring codes, which must be zero before, from `place` of a vector on.
    fn set<const N: usize>(&mut self, vector: usize, place: usize, codes: [i8; N]);
    /// The code at `place` of a vector.
    fn get(&self, vector: usize, place: usize) -> i8;
    /// Vectors `2 · index` and `2 · index + 1`.
    fn vectors(&self, index: usize) -> [I8x16; 2];
}

/// 8 bits: a byte for each code.
pub type Bytes = [[i8; 16]; 32];

impl Codes for Bytes {
    const LOWEST: f32 = -127.0;
    const HIGHEST: f32 = 127.0;
    const STEP: f32 = 1.0;
    const RANGES: &'static [f32] = &[1.0, 1.008, 1.016, 1.024];
    const CLIPS: bool = false;

    #[inline(always)]
    fn set<const N: usize>(&mut self, vector: usize, place: usize, codes: [i8; N]) {
        self[vector][place..place + N].copy_from_slice(&codes);
    }

    fn get(&self, vector: usize, place: usize) -> i8 {
        self[vector][place]
    }

    #[inline(always)]
    fn vectors(&self, index: usize) -> [I8x16; 2] {
        [
            I8x16::load(&self[2 * index]),
            I8x16::load(&self[2 * index + 1]),
        ]
    }
}

/// 4 bits: codes of one vector in the lower halves of 16 bytes, those of the next vector in the
/// upper halves. A kernel reads codes as the upper halves of bytes, which takes a shift and two
/// masks.
pub type Nibbles = [[u8; 16]; 16];

impl Codes for Nibbles {
    const LOWEST: f32 = -8.0;
    const HIGHEST: f32 = 7.0;
    const STEP: f32 = 16.0;
    const RANGES: &'static [f32] = &[1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7];
    const CLIPS: bool = true;

    #[inline(always)]
    fn set<const N: usize>(&mut self, vector: usize, place: usize, codes: [i8; N]) {
        let bytes = &mut self[vector / 2][place..place + N];
        for (byte, code) in bytes.iter_mut().zip(codes) {
            *byte |= (code.cast_unsigned() & 15) << (4 * (vector % 2));
        }
    }

    fn get(&self, vector: usize, place: usize) -> i8 {
        (self[vector / 2][place] << (4 - 4 * (vector % 2))).cast_signed() >> 4
    }

    #[inline(always)]
    fn vectors(&self, index: usize) -> [I8x16; 2] {
        I8x16::upper_halves(&self[index])
    }
}

/// A `[rows, columns]` matrix in panels of eight rows.
pub struct PackedInt<C> {
    rows: usize,
    columns: usize,
    groups: usize,
    kernel: DotKernel,
    /// `[panel][group]`
    codes: Vec<C>,
    /// `[panel][group]`: scales of the bytes that a kernel reads, code · `STEP`
    scales: Vec<[f32; PANEL]>,
    /// `[panel][group]`: initial integer sums, which cancel the offset of the activations; empty
    /// for kernels without an offset
    starts: Vec<[i32; PANEL]>,
}

/// Eight rows of a matrix.
pub struct Panel<'a, C> {
    /// `[group]`
    pub codes: &'a [C],
    /// `[group]`
    pub scales: &'a [[f32; PANEL]],
    /// `[group]`, or empty
    pub starts: &'a [[i32; PANEL]],
}

impl<C: Codes> PackedInt<C> {
    pub fn new(rows: usize, columns: usize, kernel: DotKernel) -> Result<Self> {
        let groups = columns.div_ceil(GROUP);
        let panels = rows.div_ceil(PANEL).next_multiple_of(2);
        let cells = panels.saturating_mul(groups);
        Ok(Self {
            rows,
            columns,
            groups,
            kernel,
            codes: zeroed(cells)?,
            scales: zeroed(cells)?,
            starts: zeroed(if kernel.offset() == 0 { 0 } else { cells })?,
        })
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of panels, rounded up to an even number.
    pub fn panels(&self) -> usize {
        self.rows.div_ceil(PANEL).next_multiple_of(2)
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    pub fn bytes(&self) -> usize {
        size_of_val(self.codes.as_slice())
            + size_of_val(self.scales.as_slice())
            + size_of_val(self.starts.as_slice())
    }

    pub fn panel(&self, index: usize) -> Panel<'_, C> {
        let groups = index * self.groups..(index + 1) * self.groups;
        Panel {
            codes: &self.codes[groups.clone()],
            scales: &self.scales[groups.clone()],
            starts: self.starts.get(groups).unwrap_or_default(),
        }
    }

    /// Quantises and packs one row.
    pub fn set_row(&mut self, row: usize, values: &[f32]) {
        for (group, values) in values.chunks(GROUP).enumerate() {
            let (words, scale) = quantized_words::<C>(values);
            self.set_group(row, group, &words, scale);
        }
    }

    /// Packs one row that is quantised already.
    pub fn set_codes(&mut self, row: usize, codes: &[i8], scales: &[f32]) {
        let (codes, _) = codes.as_chunks::<GROUP>();
        for (group, (codes, scale)) in codes.iter().zip(scales).enumerate() {
            self.set_group(row, group, &words::of_bytes(codes), *scale);
        }
    }

    /// Reads the codes of one row, including the padding of its last group, and the scales of its
    /// groups.
    pub fn codes(&self, row: usize, codes: &mut [i8], scales: &mut [f32]) {
        let (codes, _) = codes.as_chunks_mut::<GROUP>();
        for (group, (codes, scale)) in codes.iter_mut().zip(scales).enumerate() {
            (*codes, *scale) = self.group(row, group);
        }
    }

    /// Packs one group of one row, whose codes must be zero before.
    #[inline(always)]
    fn set_group(&mut self, row: usize, group: usize, words: &Words, scale: f32) {
        let (cell, lane) = (row / PANEL * self.groups + group, row % PANEL);
        self.scales[cell][lane] = scale / C::STEP;
        let codes = &mut self.codes[cell];
        for (i, &[a, b, c, d]) in words.iter().enumerate() {
            if self.kernel.depth() == 4 {
                let (vector, place) = place(4, i, lane);
                codes.set(vector, place, [a, b, c, d]);
            } else {
                // Its two halves are words of two elements, four words apart.
                let word = i / 4 * 8 + i % 4;
                for (word, codes_of_word) in [(word, [a, b]), (word + 4, [c, d])] {
                    let (vector, place) = place(2, word, lane);
                    codes.set(vector, place, codes_of_word);
                }
            }
        }
        if let Some(start) = self.starts.get_mut(cell) {
            #[expect(clippy::cast_possible_truncation, reason = "1 or 16")]
            let step = C::STEP as i32;
            let sum: i32 = words.as_flattened().iter().copied().map(i32::from).sum();
            start[lane] = -i32::from(self.kernel.offset()) * step * sum;
        }
    }

    /// Codes and scale of one group of one row.
    fn group(&self, row: usize, group: usize) -> ([i8; GROUP], f32) {
        let (cell, lane) = (row / PANEL * self.groups + group, row % PANEL);
        let depth = self.kernel.depth();
        let mut codes = [0; GROUP];
        for word in 0..GROUP / depth {
            let (vector, first) = place(depth, word, lane);
            for place in 0..depth {
                let code = self.codes[cell].get(vector, first + place);
                codes[words::element(depth, word, place)] = code;
            }
        }
        (codes, self.scales[cell][lane] * C::STEP)
    }

    /// Adds row `row`, dequantised, to `out`.
    pub fn add_row(&self, row: usize, out: &mut [f32]) {
        for (group, out) in out.chunks_mut(GROUP).enumerate() {
            let (codes, scale) = self.group(row, group);
            let rotated = codes.map(|code| f32::from(code) * scale);
            let values = Group::load(&rotated).hadamard().scaled(0.125).to_array();
            out.iter_mut().zip(values).for_each(|(out, x)| *out += x);
        }
    }
}

/// Quantises a group of up to 64 values: codes and scale.
pub fn quantize<C: Codes>(values: &[f32]) -> ([i8; GROUP], f32) {
    let (words, scale) = quantized_words::<C>(values);
    let mut codes = [0; GROUP];
    for (i, word) in words.iter().enumerate() {
        for (place, code) in word.iter().enumerate() {
            codes[words::element(4, i, place)] = *code;
        }
    }
    (codes, scale)
}

/// As [`quantize`], with four codes to a word.
#[inline(always)]
fn quantized_words<C: Codes>(values: &[f32]) -> (Words, f32) {
    let rotated = Group::load(values).hadamard().scaled(0.125);
    let scale = best_scale::<C>(&rotated);
    let mut quantized = quantized::<C>(&rotated, scale, true);
    let zero = F32x4::splat(0.0);
    let codes = rotated.0.map(|x| {
        let code = quantized.next().unwrap_or(zero);
        // The code of zero is zero even if the scale has an infinite inverse (0 · ∞ is NaN).
        x.select_less(zero, code, zero.select_less(x, code, zero))
    });
    let words = words::bytes(&codes).map(I32x4::to_array);
    (bytemuck::cast(words), scale)
}

/// The codes of a group, four to a word.
type Words = [[i8; 4]; GROUP / 4];

/// Position of word `word` of a group for row `lane` of a panel: the vector, and the place of the
/// word's first code in it. `depth` is the elements of k to a 32-bit lane.
#[inline(always)]
fn place(depth: usize, word: usize, lane: usize) -> (usize, usize) {
    if depth == 2 {
        (word, lane * 2)
    } else {
        (word * 2 + lane / 4, lane % 4 * 4)
    }
}

/// Codes of a group, four at a time, clamped to their range if `clip`. (A subnormal scale has an
/// infinite inverse, so even a scale that clips nothing may need the clamp.)
#[inline(always)]
fn quantized<C: Codes>(rotated: &Group, scale: f32, clip: bool) -> impl Iterator<Item = F32x4> {
    let inverse = F32x4::splat(if scale.abs() > 0.0 { 1.0 / scale } else { 0.0 });
    let lowest = F32x4::splat(C::LOWEST);
    let highest = F32x4::splat(C::HIGHEST);
    let code = move |x: &F32x4| {
        let code = x.mul(inverse).nearest();
        if clip {
            code.min(highest).max(lowest)
        } else {
            code
        }
    };
    rotated.0.iter().map(code)
}

/// The scale with the least squared error, of those that `RANGES` gives.
fn best_scale<C: Codes>(rotated: &Group) -> f32 {
    let extreme = rotated.extreme();
    let mut best = (f32::INFINITY, extreme / C::LOWEST);
    for range in C::RANGES {
        let scale = extreme * range / C::LOWEST;
        let spread = F32x4::splat(scale);
        let mut error = F32x4::splat(0.0);
        for (x, code) in rotated
            .0
            .iter()
            .zip(quantized::<C>(rotated, scale, C::CLIPS))
        {
            let distance = x.sub(code.mul(spread));
            error = error.add(distance.mul(distance));
        }
        let error = error.sum();
        if error < best.0 {
            best = (error, scale);
        }
    }
    best.1
}
