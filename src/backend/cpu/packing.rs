//! Rows of heads, and how panels for products are made of them.

use super::PANEL;
use super::simd::F32x4;
use crate::backend::Heads;

/// One sequence's rows of queries, keys and values.
pub struct Rows<'a> {
    pub values: &'a [f32],
    pub heads: Heads,
    /// How many of the first rows are keys.
    pub keys: usize,
}

impl Rows<'_> {
    fn stride(&self) -> usize {
        self.heads.query_width() + 2 * self.heads.kv_width()
    }

    pub fn len(&self) -> usize {
        self.values.len() / self.stride()
    }

    fn part(&self, token: usize, column: usize) -> &[f32] {
        &self.values[token * self.stride() + column..][..self.heads.size]
    }

    pub fn query(&self, token: usize, head: usize) -> &[f32] {
        self.part(token, head * self.heads.size)
    }

    pub fn key(&self, token: usize, head: usize) -> &[f32] {
        self.part(token, self.heads.query_width() + head * self.heads.size)
    }

    pub fn value(&self, token: usize, head: usize) -> &[f32] {
        let column = self.heads.query_width() + self.heads.kv_width();
        self.part(token, column + head * self.heads.size)
    }
}

/// Copies a row eight elements at a time. For a copy of unknown length engines call a function,
/// which costs more than copying a head.
pub fn copy(from: &[f32], to: &mut [f32]) {
    let ((from, from_rest), (to, to_rest)) =
        (from.as_chunks::<PANEL>(), to.as_chunks_mut::<PANEL>());
    for (from, to) in from.iter().zip(to) {
        *to = *from;
    }
    if !from_rest.is_empty() {
        to_rest.copy_from_slice(from_rest);
    }
}

/// `[8][size]` → `[size][8]`
pub fn transpose(rows: &[f32], size: usize, panel: &mut [f32]) {
    let (panel, _) = panel.as_chunks_mut::<PANEL>();
    let whole = size / 4 * 4;
    for (k, lanes) in (0..whole).step_by(4).zip(panel.chunks_exact_mut(4)) {
        for half in [0, 4] {
            let row = |i: usize| rows[(half + i) * size + k..].first_chunk();
            let vectors = [row(0), row(1), row(2), row(3)];
            let columns =
                F32x4::transpose(vectors.map(|row| F32x4::load(row.unwrap_or(&[0.0; 4]))));
            for (column, lanes) in columns.into_iter().zip(&mut *lanes) {
                let (halves, _) = lanes.as_chunks_mut::<4>();
                column.store(&mut halves[half / 4]);
            }
        }
    }
    for (k, lanes) in (whole..size).zip(&mut panel[whole..]) {
        *lanes = core::array::from_fn(|i| rows[i * size + k]);
    }
}
