//! The codes of a group as the 32-bit words that dot kernels read: of activations two i16 or four bytes, of weights as
//! many bytes.
//!
//! Which elements share a word means nothing to a product as long as both sides agree. So it is those that come together
//! without a shuffle, the same lane of neighbouring vectors: with two k to a word, elements 8 i + j and 8 i + 4 + j make
//! word 4 i + j; with four, 16 i + j, 16 i + 4 + j, 16 i + 8 + j and 16 i + 12 + j.

use core::hint::black_box;

use super::simd::{F32x4, I32x4, SHIFT};
use crate::backend::GROUP;

/// Vectors of a group.
const VECTORS: usize = GROUP / 4;

/// Element of a group that is in word `word` at `place`, with so many k to a word.
#[inline(always)]
pub fn element(depth: usize, word: usize, place: usize) -> usize {
    word / 4 * 4 * depth + place * 4 + word % 4
}

/// Four to a word, of codes in their order: `element(4, …)`, spelled out so that a compiler sees one shuffle for 16.
#[inline(always)]
pub fn of_bytes(codes: &[i8; GROUP]) -> [[i8; 4]; GROUP / 4] {
    let mut words = [[0; 4]; GROUP / 4];
    let (blocks, _) = codes.as_chunks::<16>();
    let (targets, _) = words.as_chunks_mut::<4>();
    for (target, &[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]) in
        targets.iter_mut().zip(blocks)
    {
        *target = [[a, e, i, m], [b, f, j, n], [c, g, k, o], [d, h, l, p]];
    }
    words
}

/// Four i8 to a word, of values within [-127, 127], which are rounded.
#[inline(always)]
pub fn bytes(values: &[F32x4; VECTORS]) -> [I32x4; VECTORS / 4] {
    unsigned_bytes(values).map(|word| word.xor(I32x4::splat(0x8080_8080_u32.cast_signed())))
}

/// The same with 128 added to each.
#[inline(always)]
pub fn unsigned_bytes(values: &[F32x4; VECTORS]) -> [I32x4; VECTORS / 4] {
    // So none is negative, and none borrows from the next. What the shift brings along is taken off at the end.
    let shift = F32x4::splat(*black_box(&(SHIFT + 128.0)));
    let bits = SHIFT.to_bits();
    let excess = I32x4::splat((bits.wrapping_add(bits << 8)).cast_signed());
    let (quads, _) = values.as_chunks::<4>();
    core::array::from_fn(|i| {
        let [a, b, c, d] = quads[i].map(|x| x.add(shift).cast_i32());
        let (low, high) = (a.add(b.shl::<8>()), c.add(d.shl::<8>()));
        low.sub(excess).add(high.shl::<16>())
    })
}

/// Two i16 to a word, of values within [-127, 127], which are rounded.
#[inline(always)]
pub fn halves(values: &[F32x4; VECTORS]) -> [I32x4; VECTORS / 2] {
    let shift = F32x4::splat(*black_box(&SHIFT));
    let low = I32x4::splat(0xffff);
    let (pairs, _) = values.as_chunks::<2>();
    core::array::from_fn(|i| {
        let [a, b] = pairs[i].map(|x| x.add(shift).cast_i32());
        a.and(low).add(b.shl::<16>())
    })
}
