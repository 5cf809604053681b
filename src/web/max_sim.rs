//! Scores of token vectors in JavaScript's memory.

use wasm_bindgen::prelude::*;

use super::convert::Thrown;
use crate::backend::cpu;

/// `MaxSim` of a query with each of several documents: the sums over the query's vectors. All are
/// rows of `width` numbers, those of the documents end to end; `rows` has the number of each.
#[wasm_bindgen(js_name = maxSim)]
pub fn max_sim(query: &[f32], documents: &[f32], rows: &[u32], width: usize) -> Thrown<Vec<f32>> {
    let mut left = documents;
    let scores = rows.iter().map(|rows| {
        let (document, rest) = left.split_at((*rows as usize * width).min(left.len()));
        left = rest;
        Ok(cpu::max_sim(query, document, width.max(1))?)
    });
    scores.collect()
}

/// As `maxSim` of vectors in 8 bits, which have a factor each.
#[wasm_bindgen(js_name = maxSimCodes)]
pub fn max_sim_codes(
    query: &[i8],
    factors: &[f32],
    documents: &[i8],
    scales: &[f32],
    rows: &[u32],
    width: usize,
) -> Vec<f32> {
    let (mut left, mut scales) = (documents, scales);
    let scores = rows.iter().map(|rows| {
        let rows = *rows as usize;
        let (document, rest) = left.split_at((rows * width).min(left.len()));
        let (own, others) = scales.split_at(rows.min(scales.len()));
        (left, scales) = (rest, others);
        cpu::max_sim_codes((query, factors), (document, own), width.max(1))
    });
    scores.collect()
}
