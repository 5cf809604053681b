//! f32 GEMM: `C[m][n] = Σₖ A[m][k] · B[n][k]`, B packed once, A as it comes.
//!
//! B is packed in panels of 8 columns of C, `[n/8][k][8]`, so that the inner loop reads two vectors and
//! broadcasts one element of A for each row (the layout of Goto & van de Geijn 2008). Every element of C is one
//! sequential sum over k: its bits depend on nothing but its own row and column.

use super::simd::F32x4;
use super::{PANEL, zeroed};
use crate::error::Result;

/// A `[rows, columns]` matrix in panels of eight rows.
pub struct PackedF32 {
    rows: usize,
    columns: usize,
    panels: Vec<[f32; PANEL]>,
}

/// Eight sums of one row of A.
pub type Sums = [F32x4; 2];

impl PackedF32 {
    pub fn new(rows: usize, columns: usize) -> Result<Self> {
        Ok(Self {
            rows,
            columns,
            panels: zeroed(rows.div_ceil(PANEL).saturating_mul(columns))?,
        })
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    pub fn bytes(&self) -> usize {
        size_of_val(self.panels.as_slice())
    }

    pub fn set_row(&mut self, row: usize, values: &[f32]) {
        let panel = &mut self.panels[row / PANEL * self.columns..][..self.columns];
        for (lane, value) in panel.iter_mut().zip(values) {
            lane[row % PANEL] = *value;
        }
    }

    /// Adds row `row` to `out`.
    pub fn add_row(&self, row: usize, out: &mut [f32]) {
        let panel = &self.panels[row / PANEL * self.columns..][..self.columns];
        for (out, lane) in out.iter_mut().zip(panel) {
            *out += lane[row % PANEL];
        }
    }

    /// The panel that holds rows `8 · index` to `8 · index + 7`, `[columns][8]`.
    pub fn panel(&self, index: usize) -> &[[f32; PANEL]] {
        &self.panels[index * self.columns..][..self.columns]
    }
}

/// `R` rows of A (each `[k]`, `stride` apart) times one panel `[k][8]`.
pub fn tile<const R: usize>(a: &[f32], stride: usize, panel: &[[f32; PANEL]]) -> [Sums; R] {
    let k = panel.len();
    let rows: [&[f32]; R] = core::array::from_fn(|r| &a[r * stride..][..k]);
    let mut sums = [[F32x4::splat(0.0); 2]; R];
    for (i, b) in panel.iter().enumerate() {
        let ([b0, b1], []) = b.as_chunks::<4>() else {
            unreachable!("a panel has eight lanes")
        };
        let (b0, b1) = (F32x4::load(b0), F32x4::load(b1));
        for r in 0..R {
            let a = F32x4::splat(rows[r][i]);
            sums[r][0] = sums[r][0].add(a.mul(b0));
            sums[r][1] = sums[r][1].add(a.mul(b1));
        }
    }
    sums
}

/// Runs `tile` over `rows` rows in groups of four, then one at a time, and hands each row's eight sums on.
pub fn for_each_row(
    a: &[f32],
    rows: usize,
    stride: usize,
    panel: &[[f32; PANEL]],
    mut done: impl FnMut(usize, Sums),
) {
    let mut row = 0;
    while row + 4 <= rows {
        for (r, sums) in tile::<4>(&a[row * stride..], stride, panel)
            .into_iter()
            .enumerate()
        {
            done(row + r, sums);
        }
        row += 4;
    }
    while row < rows {
        let [sums] = tile::<1>(&a[row * stride..], stride, panel);
        done(row, sums);
        row += 1;
    }
}
