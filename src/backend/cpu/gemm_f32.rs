//! f32 GEMM: `C[m][n] = Σₖ A[m][k] · B[n][k]`. B is packed once; A is used as it is.
//!
//! B is packed in panels of 8 columns of C, `[n/8][k][8]`, so that the inner loop reads two vectors
//! and broadcasts one element of A for each row (the layout of Goto & van de Geijn 2008). Every
//! element of C is one sequential sum over k, so its bits depend on its own row and column only.

use core::ops::Range;

use super::simd::F32x4;
use super::{PANEL, Strip, Sums, halves, store, tiles};
use crate::backend::GROUP;
use crate::error::{Result, zeroed};

/// A `[rows, columns]` matrix in panels of eight rows.
pub struct PackedF32 {
    rows: usize,
    columns: usize,
    /// `[panel][column][8]`
    panels: Vec<f32>,
}

impl PackedF32 {
    pub fn new(rows: usize, columns: usize) -> Result<Self> {
        Ok(Self {
            rows,
            columns,
            panels: zeroed(
                rows.div_ceil(PANEL)
                    .saturating_mul(columns)
                    .saturating_mul(PANEL),
            )?,
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
        let size = self.columns * PANEL;
        let panel = &mut self.panels[row / PANEL * size..][..size];
        for (lanes, value) in panel.chunks_exact_mut(PANEL).zip(values) {
            lanes[row % PANEL] = *value;
        }
    }

    /// Adds row `row` to `out`.
    pub fn add_row(&self, row: usize, out: &mut [f32]) {
        let lanes = self.panel(row / PANEL).chunks_exact(PANEL);
        for (out, lanes) in out.iter_mut().zip(lanes) {
            *out += lanes[row % PANEL];
        }
    }

    /// The panel that holds rows `8 · index` to `8 · index + 7`, `[columns][8]`.
    pub fn panel(&self, index: usize) -> &[f32] {
        let size = self.columns * PANEL;
        &self.panels[index * size..][..size]
    }
}

/// `R` rows of A (each `[k]`, `stride` apart) times one panel `[k][8]`.
#[inline(always)]
fn tile<const R: usize>(a: &[f32], stride: usize, panel: &[f32]) -> [Sums; R] {
    let (panel, _) = panel.as_chunks::<PANEL>();
    let k = panel.len();
    let rows: [&[f32]; R] = core::array::from_fn(|r| &a[r * stride..][..k]);
    let mut sums = [[F32x4::splat(0.0); 2]; R];
    for (i, b) in panel.iter().enumerate() {
        let [b0, b1] = halves(b).map(F32x4::load);
        for r in 0..R {
            let a = F32x4::splat(rows[r][i]);
            sums[r][0] = sums[r][0].add(a.mul(b0));
            sums[r][1] = sums[r][1].add(a.mul(b1));
        }
    }
    sums
}

/// Multiplies the rows of A in `range` with a panel, in order, and calls
/// `done(first row, sums of up to four rows)`.
#[inline(always)]
pub fn for_each_tile(
    a: &[f32],
    range: Range<usize>,
    stride: usize,
    panel: &[f32],
    mut done: impl FnMut(usize, &[Sums]),
) {
    for rows in tiles(range) {
        let (row, a) = (rows.start, &a[rows.start * stride..]);
        match rows.len() {
            4 => done(row, &tile::<4>(a, stride, panel)),
            3 => done(row, &tile::<3>(a, stride, panel)),
            2 => done(row, &tile::<2>(a, stride, panel)),
            _ => done(row, &tile::<1>(a, stride, panel)),
        }
    }
}

/// Computes rows of the product in 64 columns from `column` on.
pub fn strips(a: &[f32], rows: Range<usize>, weight: &PackedF32, column: usize, out: &mut [Strip]) {
    let columns = weight.rows().min(column + GROUP);
    for (lane, column) in (column..columns).step_by(PANEL).enumerate() {
        let panel = weight.panel(column / PANEL);
        for_each_tile(a, rows.clone(), weight.columns(), panel, |row, sums| {
            for (sums, out) in sums.iter().zip(&mut out[row - rows.start..]) {
                store(*sums, &mut out[lane * PANEL..][..PANEL]);
            }
        });
    }
}
