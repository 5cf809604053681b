//! Attention that compares contents with positions (He et al. 2021): what the vectors of distances
//! add to the scores of one head.
//!
//! Only the rows that distances in this sequence have are packed, as panels for [`for_each_tile`].
//! Products of all keys and the rows' queries are computed once for a head; those of queries and
//! the rows' keys for each tile of queries.

use core::ops::Range;

use super::gemm_f32::for_each_tile;
use super::packing::{Rows, copy, transpose};
use super::scratch::{Buffer, ScratchPool};
use super::{PANEL, TILE, store};
use crate::backend::{Distances, Heads};
use crate::error::Result;

/// Vectors of distances that take part in scores.
#[derive(Clone, Copy)]
pub struct Positions<'a> {
    /// Queries, keys and values of each row.
    pub values: &'a [f32],
    /// The rows of distances.
    pub distances: &'a Distances,
}

/// Scratch for one head of one sequence.
pub struct Compared<'a> {
    positions: Positions<'a>,
    heads: Heads,
    /// The rows that the sequence's distances have.
    rows: Range<usize>,
    /// The rows' keys, `[rows/8][size][8]`.
    keys: Buffer,
    /// The rows' queries, `[rows/8][size][8]`.
    queries: Buffer,
    /// Products of a tile's queries and the rows' keys, `[4][rows rounded up to 8]`.
    to_positions: Buffer,
    /// Products of all keys and the rows' queries, `[tokens][rows rounded up to 8]`.
    to_contents: Buffer,
    /// `[4][size]`
    tile: Buffer,
}

impl<'a> Compared<'a> {
    /// Room for sequences of up to `longest` tokens.
    pub fn new(
        positions: Positions<'a>,
        heads: Heads,
        longest: usize,
        pool: &ScratchPool,
    ) -> Result<Self> {
        let distances = positions.distances;
        let most = distances.rows.last().map_or(0, |row| *row as usize + 1);
        let stride = most.next_multiple_of(PANEL);
        let [keys, queries] = [distances.to_positions, distances.to_contents].map(usize::from);
        Ok(Self {
            positions,
            heads,
            rows: 0..0,
            keys: pool.zeroed(keys * stride * heads.size)?,
            queries: pool.zeroed(queries * stride * heads.size)?,
            to_positions: pool.zeroed(keys * TILE * stride)?,
            to_contents: pool.zeroed(queries * longest * stride)?,
            tile: pool.zeroed(TILE * heads.size)?,
        })
    }

    /// Columns of the products.
    fn stride(&self) -> usize {
        self.rows.len().next_multiple_of(PANEL)
    }

    /// The index of the row of a key at the same place as the query.
    fn middle(&self) -> usize {
        self.positions.distances.rows.len() / 2
    }

    /// Packs the rows of one head, and multiplies their queries with the sequence's keys.
    pub fn pack(&mut self, tokens: &Rows, head: usize, scale: f32, eight: &mut [f32]) {
        let (size, reach) = (self.heads.size, tokens.len().saturating_sub(1));
        let distances = self.positions.distances;
        let row = |distance: usize| distances.rows[distance] as usize;
        self.rows = row(self.middle() - reach)..row(self.middle() + reach) + 1;
        let rows = Rows {
            values: self.positions.values,
            heads: self.heads,
            keys: 0,
        };
        let last = self.rows.end - 1;
        for (index, first) in self.rows.clone().step_by(PANEL).enumerate() {
            let panel = index * size * PANEL..(index + 1) * size * PANEL;
            if distances.to_positions {
                for (i, target) in eight.chunks_exact_mut(size).enumerate() {
                    copy(rows.key((first + i).min(last), head), target);
                }
                transpose(eight, size, &mut self.keys[panel.clone()]);
            }
            if distances.to_contents {
                for (i, target) in eight.chunks_exact_mut(size).enumerate() {
                    copy(rows.query((first + i).min(last), head), target);
                }
                transpose(eight, size, &mut self.queries[panel]);
            }
        }
        if !distances.to_contents {
            return;
        }
        let stride = self.stride();
        for first in (0..tokens.keys).step_by(TILE) {
            let count = TILE.min(tokens.keys - first);
            for (i, target) in self.tile.chunks_exact_mut(size).take(count).enumerate() {
                copy(tokens.key(first + i, head), target);
                target.iter_mut().for_each(|x| *x *= scale);
            }
            let products = &mut self.to_contents[first * stride..];
            multiply(&self.tile, count, size, &self.queries, stride, products);
        }
    }

    /// Adds to the scores of a tile of queries, which are scaled, against `keys`.
    pub fn add(
        &mut self,
        tile: &[f32],
        queries: &Range<usize>,
        keys: &Range<usize>,
        scores: &mut [f32],
    ) {
        let (stride, middle) = (self.stride(), self.middle());
        let distances = self.positions.distances;
        if distances.to_positions {
            let (size, count) = (self.heads.size, queries.len());
            multiply(
                tile,
                count,
                size,
                &self.keys,
                stride,
                &mut self.to_positions,
            );
        }
        let scores = scores.chunks_exact_mut(keys.len().next_multiple_of(PANEL));
        for (index, (query, scores)) in queries.clone().zip(scores).enumerate() {
            // Those of the keys from the first on descend.
            let rows = &distances.rows[middle + query + 1 - keys.end..=middle + query - keys.start];
            let rows = rows.iter().rev().map(|row| *row as usize - self.rows.start);
            if distances.to_positions {
                let products = &self.to_positions[index * stride..][..stride];
                let scores = scores.iter_mut().zip(rows.clone());
                scores.for_each(|(score, row)| *score += products[row]);
            }
            if distances.to_contents {
                let products = self.to_contents.chunks_exact(stride).skip(keys.start);
                let scores = scores.iter_mut().zip(rows).zip(products);
                scores.for_each(|((score, row), products)| *score += products[row]);
            }
        }
    }
}

/// The products of a tile's first `count` rows and all columns of `panels`.
fn multiply(
    tile: &[f32],
    count: usize,
    size: usize,
    panels: &[f32],
    stride: usize,
    out: &mut [f32],
) {
    let panels = panels.chunks_exact(size * PANEL).take(stride / PANEL);
    for (index, panel) in panels.enumerate() {
        for_each_tile(tile, 0..count, size, panel, |_, rows| {
            for (row, sums) in rows.iter().enumerate() {
                store(*sums, &mut out[row * stride + index * PANEL..][..PANEL]);
            }
        });
    }
}
