//! Scaled dot-product attention over packed sequences: `[tokens, 3 · heads · size]` in, `[tokens, heads · size]` out.
//!
//! For each sequence and head, keys and values are packed as GEMM panels; then, four query rows at a time:
//! scores, softmax, weighted values. Scratch is four rows of scores, never a square matrix, and no row's result
//! depends on another row.

use super::gemm_f32::for_each_row;
use super::{PANEL, activation, zeroed};
use crate::backend::Heads;
use crate::error::Result;

/// Query rows that share a pass over the keys.
const ROWS: usize = 4;

/// Keys and values of one head of one sequence, packed for [`for_each_row`].
struct Packed {
    /// `[tokens/8][size][8]`
    keys: Vec<[f32; PANEL]>,
    /// `[size/8][tokens][8]`
    values: Vec<[f32; PANEL]>,
    /// `[4][tokens rounded up to 8]`
    scores: Vec<f32>,
}

/// Bidirectional attention of every sequence over itself.
pub fn attention(qkv: &[f32], offsets: &[usize], heads: Heads) -> Result<Vec<f32>> {
    let width = heads.count * heads.size;
    let tokens = offsets.last().copied().unwrap_or(0);
    let longest = offsets
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap_or(0);
    let key_panels = longest.div_ceil(PANEL);
    let mut scratch = Packed {
        keys: zeroed(key_panels * heads.size)?,
        values: zeroed(heads.size.div_ceil(PANEL) * longest)?,
        scores: zeroed(ROWS * key_panels * PANEL)?,
    };
    let mut out = zeroed(tokens * width)?;
    for pair in offsets.windows(2) {
        let len = pair[1] - pair[0];
        let qkv = &qkv[pair[0] * 3 * width..pair[1] * 3 * width];
        let out = &mut out[pair[0] * width..pair[1] * width];
        for head in 0..heads.count {
            scratch.pack(qkv, len, width, head * heads.size, heads.size);
            scratch.attend(qkv, len, width, head * heads.size, heads.size, out);
        }
    }
    Ok(out)
}

impl Packed {
    /// Copies one head's keys and values (columns `column..column + size`) into panels.
    fn pack(&mut self, qkv: &[f32], len: usize, width: usize, column: usize, size: usize) {
        for (token, row) in qkv.chunks_exact(3 * width).enumerate() {
            let keys = &row[width + column..][..size];
            let panel = &mut self.keys[token / PANEL * size..][..size];
            for (lane, key) in panel.iter_mut().zip(keys) {
                lane[token % PANEL] = *key;
            }
            let values = &row[2 * width + column..][..size];
            for (index, values) in values.chunks(PANEL).enumerate() {
                self.values[index * len + token][..values.len()].copy_from_slice(values);
            }
        }
    }

    /// Attention of one head, written to columns `column..column + size` of `out`.
    fn attend(
        &mut self,
        qkv: &[f32],
        len: usize,
        width: usize,
        column: usize,
        size: usize,
        out: &mut [f32],
    ) {
        #[expect(clippy::cast_precision_loss, reason = "head sizes are small")]
        let scale = 1.0 / (size as f32).sqrt();
        let stride = len.next_multiple_of(PANEL);
        for first in (0..len).step_by(ROWS) {
            let rows = ROWS.min(len - first);
            let queries = &qkv[first * 3 * width + column..];
            for index in 0..len.div_ceil(PANEL) {
                let panel = &self.keys[index * size..][..size];
                for_each_row(queries, rows, 3 * width, panel, |row, sums| {
                    let target = &mut self.scores[row * stride + index * PANEL..][..PANEL];
                    let ([low, high], []) = target.as_chunks_mut::<4>() else {
                        unreachable!("a panel has eight lanes")
                    };
                    sums[0].store(low);
                    sums[1].store(high);
                });
            }
            for row in 0..rows {
                let scores = &mut self.scores[row * stride..][..len];
                scores.iter_mut().for_each(|score| *score *= scale);
                activation::softmax(scores);
            }
            for (index, offset) in (0..size).step_by(PANEL).enumerate() {
                let panel = &self.values[index * len..][..len];
                let lanes = PANEL.min(size - offset);
                for_each_row(&self.scores, rows, stride, panel, |row, sums| {
                    let [a, b] = sums.map(super::simd::F32x4::to_array);
                    let sums = [a, b];
                    let target = (first + row) * width + column + offset;
                    out[target..target + lanes].copy_from_slice(&sums.as_flattened()[..lanes]);
                });
            }
        }
    }
}
