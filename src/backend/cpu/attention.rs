//! Scaled dot-product attention over packed sequences: queries, keys and values side by side in,
//! `[tokens, count · size]` out.
//!
//! Keys and values of one head of one sequence are packed as GEMM panels, with norms and rotation
//! applied. Then four query rows at a time are scored against the keys that the mask lets any of
//! them see, go through softmax, and weight the values. Scratch memory is four rows of scores,
//! never a square matrix. A window costs only the keys that it covers. No row's result depends on
//! another row.

use core::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::disentangled::{Compared, Positions};
use super::gemm_f32::for_each_tile;
use super::packing::{Rows, copy, transpose};
use super::parts::{Claims, Disjoint};
use super::scratch::{Buffer, ScratchPool};
use super::simd::F32x4;
use super::threads::Threads;
use super::{PANEL, TILE, activation, norm, store, tiles};
use crate::backend::{Attention, Heads, Mask, Norm, RelativeBias, Rotary};
use crate::error::Result;
use crate::full::Full;

/// Scratch for one head of one sequence, packed for [`for_each_tile`].
struct Scratch<'a> {
    /// `[tokens/8][size][8]`
    keys: Buffer,
    /// `[size/8][tokens][8]`
    values: Buffer,
    /// `[4][size]`
    queries: Buffer,
    /// `[4][tokens rounded up to 8]`
    scores: Buffer,
    /// `[8][size]`
    rows: Buffer,
    /// What the vectors of distances add, if there are any.
    compared: Option<Full<Compared<'a>>>,
}

/// Self-attention of every sequence.
pub fn attention(
    qkv: &[f32],
    offsets: &[usize],
    attention: Attention,
    positions: Option<Full<Positions>>,
    pool: &ScratchPool,
    threads: &Threads,
) -> Result<Buffer> {
    let heads = attention.heads;
    let width = heads.query_width();
    let tokens = offsets.last().copied().unwrap_or(0);
    let lengths = offsets.windows(2).map(|pair| pair[1] - pair[0]);
    let longest = lengths.max().unwrap_or(0);
    let key_panels = longest.div_ceil(PANEL);
    let sequences = offsets.len().saturating_sub(1);
    let steps = tokens.saturating_mul(longest).saturating_mul(2 * width);
    let count = threads.for_work(steps);
    // With fewer sequences and heads than threads need, several threads share the queries of a
    // head, and each packs its keys and values.
    let pairs = sequences * heads.kv_count;
    let shares = if count > 1 && pairs < count * 2 {
        (count * 2).div_ceil(pairs.max(1))
    } else {
        1
    };
    let parts = pairs * shares;
    let new_scratch = || -> Result<_> {
        Ok(Scratch {
            keys: pool.zeroed(key_panels * heads.size * PANEL)?,
            values: pool.zeroed(heads.size.div_ceil(PANEL) * longest * PANEL)?,
            queries: pool.take(TILE * heads.size)?,
            scores: pool.zeroed(TILE * key_panels * PANEL)?,
            rows: pool.take(PANEL * heads.size)?,
            compared: positions
                .map(|own| {
                    own.map(|own| Compared::new(own, heads, longest, pool))
                        .transposed()
                })
                .transpose()?,
        })
    };
    let scratches = (0..count.min(parts)).map(|_| new_scratch());
    let scratches = Mutex::new(scratches.collect::<Result<Vec<_>>>()?);
    let mut out = pool.take(tokens * width)?;
    let target = Disjoint::new(&mut out);
    let work = |claims: &mut Claims| {
        let scratch = scratches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        // There are as many as threads.
        let Some(mut scratch) = scratch else { return };
        for part in claims {
            let (pair, share) = (part / shares, part % shares);
            let (sequence, kv_head) = (pair / heads.kv_count, pair % heads.kv_count);
            let tokens = offsets[sequence]..offsets[sequence + 1];
            let stride = width + 2 * heads.kv_width();
            let len = tokens.len();
            let rows = Rows {
                values: &qkv[tokens.start * stride..tokens.end * stride],
                heads,
                keys: attention.keys.map_or(len, |keys| keys[sequence].min(len)),
            };
            // Whole tiles.
            let most = len.div_ceil(shares).next_multiple_of(TILE);
            let queries = len.min(share * most)..len.min((share + 1) * most);
            if queries.is_empty() {
                continue;
            }
            scratch.pack(&rows, kv_head, attention);
            if let Some(compared) = &mut scratch.compared {
                compared.pack(&rows, kv_head, attention.scale, &mut scratch.rows);
            }
            let out = Output {
                all: &target,
                first: tokens.start,
            };
            let group = heads.count / heads.kv_count;
            for head in kv_head * group..(kv_head + 1) * group {
                scratch.attend(&rows, queries.clone(), head, attention, out);
            }
        }
    };
    threads.run(count, parts, work);
    Ok(out)
}

/// The rows of the result that belong to a sequence.
#[derive(Clone, Copy)]
struct Output<'a> {
    /// The rows of all sequences.
    all: &'a Disjoint<'a, f32>,
    /// The sequence's first row.
    first: usize,
}

impl Scratch<'_> {
    /// Packs one head's keys and values.
    fn pack(&mut self, rows: &Rows, head: usize, attention: Attention) {
        let (len, size) = (rows.keys, attention.heads.size);
        let norm = attention.head_norms.map(|[_, keys]| keys);
        for (first, panel) in (0..len)
            .step_by(PANEL)
            .zip(self.keys.chunks_exact_mut(size * PANEL))
        {
            for (i, row) in self.rows.chunks_exact_mut(size).enumerate() {
                // Rows beyond the end repeat the last one; the mask hides them.
                let token = (first + i).min(len - 1);
                copy(rows.key(token, head), row);
                prepare(row, token, norm, attention.rotary);
            }
            transpose(&self.rows, size, panel);
        }
        let panels = self.values.chunks_exact_mut(len.max(1) * PANEL);
        for (index, panel) in panels.take(size.div_ceil(PANEL)).enumerate() {
            let (panel, _) = panel.as_chunks_mut::<PANEL>();
            for (token, lanes) in panel.iter_mut().take(len).enumerate() {
                let values = rows
                    .value(token, head)
                    .get(index * PANEL..)
                    .unwrap_or_default();
                match values.first_chunk() {
                    Some(values) => *lanes = *values,
                    None => lanes[..values.len()].copy_from_slice(values),
                }
            }
        }
    }

    /// Attention of some queries of a head, written to its columns of `out`.
    fn attend(
        &mut self,
        rows: &Rows,
        queries: Range<usize>,
        head: usize,
        attention: Attention,
        out: Output,
    ) {
        let len = rows.keys;
        for queries in tiles(queries) {
            self.load_queries(rows, head, &queries, attention);
            let keys = self.score(&queries, len, attention);
            // Rows of scores are as long as the panels of keys.
            let stride = keys.len().next_multiple_of(PANEL);
            if let Some(compared) = &mut self.compared {
                compared.add(&self.queries, &queries, &keys, &mut self.scores);
            }
            let scores = self.scores.chunks_exact_mut(stride);
            for (query, scores) in queries.clone().zip(scores) {
                if let Some(cap) = attention.cap {
                    activation::cap(scores, cap);
                }
                mask(scores, query, head, &keys, len, attention);
            }
            // With fewer than four queries the other rows hold old values, which nothing reads.
            let mut scores = self.scores.chunks_exact_mut(stride);
            let scores =
                core::array::from_fn(|_| scores.next().unwrap_or_default().as_chunks_mut().0);
            let shares = activation::exponentials(scores).map(|sum| 1.0 / sum);
            self.weight_values(&queries, &keys, len, shares, head, attention.heads, out);
        }
    }

    /// Copies the queries of a tile, with norm, rotation and scale applied.
    fn load_queries(
        &mut self,
        rows: &Rows,
        head: usize,
        queries: &Range<usize>,
        attention: Attention,
    ) {
        let norm = attention.head_norms.map(|[queries, _]| queries);
        let targets = self.queries.chunks_exact_mut(attention.heads.size);
        for (token, query) in queries.clone().zip(targets) {
            copy(rows.query(token, head), query);
            prepare(query, token, norm, attention.rotary);
            query.iter_mut().for_each(|x| *x *= attention.scale);
        }
    }

    /// Scores a tile of queries against the panels of the `len` keys that any of them sees, and
    /// returns the range of these keys.
    fn score(&mut self, queries: &Range<usize>, len: usize, attention: Attention) -> Range<usize> {
        let size = attention.heads.size;
        let first = attention.mask.seen(queries.start, len).start;
        let end = attention.mask.seen(queries.end - 1, len).end;
        let panels = first / PANEL..end.div_ceil(PANEL);
        let keys = panels.start * PANEL..len.min(panels.end * PANEL);
        let stride = panels.len() * PANEL;
        for (index, panel) in panels.enumerate() {
            let panel = &self.keys[panel * size * PANEL..][..size * PANEL];
            for_each_tile(&self.queries, 0..queries.len(), size, panel, |_, rows| {
                for (row, sums) in rows.iter().enumerate() {
                    let scores = &mut self.scores[row * stride + index * PANEL..];
                    store(*sums, &mut scores[..PANEL]);
                }
            });
        }
        keys
    }

    /// Writes the values of `keys`, weighted by a tile's exponentials and by `shares`, one over the
    /// sum of each row's exponentials.
    #[expect(clippy::too_many_arguments, reason = "a part of `attend`")]
    fn weight_values(
        &self,
        queries: &Range<usize>,
        keys: &Range<usize>,
        len: usize,
        shares: [f32; TILE],
        head: usize,
        heads: Heads,
        out: Output,
    ) {
        let (size, width) = (heads.size, heads.query_width());
        let stride = keys.len().next_multiple_of(PANEL);
        for (index, offset) in (0..size).step_by(PANEL).enumerate() {
            let panel = index * len * PANEL;
            let panel = &self.values[panel + keys.start * PANEL..panel + keys.end * PANEL];
            let lanes = PANEL.min(size - offset);
            for_each_tile(&self.scores, 0..queries.len(), stride, panel, |_, rows| {
                for (row, (sums, share)) in rows.iter().zip(shares).enumerate() {
                    let row = out.first + queries.start + row;
                    let first = row * width + head * size + offset;
                    let values = sums.map(|sums| sums.mul(F32x4::splat(share)));
                    // SAFETY: Each part is claimed once, and parts are other queries or heads.
                    store(values, unsafe { out.all.part(first..first + lanes) });
                }
            });
        }
    }
}

/// Adds the bias to the scores of `query` against `keys`, and sets the scores of keys that it does
/// not see to -∞.
fn mask(
    scores: &mut [f32],
    query: usize,
    head: usize,
    keys: &Range<usize>,
    len: usize,
    attention: Attention,
) {
    let seen = attention.mask.seen(query, len);
    if let Some(bias) = attention.bias {
        let scores = &mut scores[seen.start - keys.start..seen.end - keys.start];
        bias.add_to(scores, head, seen.start, query);
    }
    // One by one: they are few, and for a fill of unknown length engines call a function.
    let hidden = (0..seen.start - keys.start).chain(seen.end - keys.start..scores.len());
    for key in hidden {
        scores[key] = f32::NEG_INFINITY;
    }
}

/// Applies norm and rotation to one query or key.
fn prepare(row: &mut [f32], position: usize, norm: Option<Norm>, rotary: Option<&Rotary>) {
    if let Some(norm) = norm {
        norm::normalize(row, norm);
    }
    if let Some(rotary) = rotary {
        rotary.turn(row, position);
    }
}

impl Mask {
    /// Which of `keys` keys token `query` sees.
    fn seen(self, query: usize, keys: usize) -> Range<usize> {
        let start = self.before.map_or(0, |before| query.saturating_sub(before));
        let end = self
            .after
            .map_or(keys, |after| keys.min(query.saturating_add(after) + 1));
        start.min(end)..end
    }
}

impl Rotary {
    fn turn(&self, row: &mut [f32], position: usize) {
        let angles = position * self.half..(position + 1) * self.half;
        let (first, second) = row.split_at_mut(self.half);
        let turns = self.cos[angles.clone()].iter().zip(&self.sin[angles]);
        for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(turns) {
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}

impl RelativeBias {
    /// Adds the bias of `head` to the scores of keys from `first_key` on.
    fn add_to(&self, scores: &mut [f32], head: usize, first_key: usize, query: usize) {
        let row = &self.values[head * (2 * self.reach + 1)..][..=2 * self.reach];
        let biases = &row[self.reach + first_key - query..];
        scores
            .iter_mut()
            .zip(biases)
            .for_each(|(score, bias)| *score += bias);
    }
}
