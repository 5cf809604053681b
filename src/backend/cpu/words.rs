//! The codes of a group as the 32-bit words that dot kernels read. A word holds two or four
//! elements of k: of activations two i16 or four bytes, of weights two or four bytes.
//!
//! A product is the same whichever elements share a word, as long as both sides agree. The choice
//! here needs no shuffle: elements of the same lane of neighbouring vectors. With two k to a word,
//! elements 8 i + j and 8 i + 4 + j make word 4 i + j; with four, elements 16 i + j, 16 i + 4 + j,
//! 16 i + 8 + j and 16 i + 12 + j.

use core::hint::black_box;

use super::simd::{F32x4, I32x4, SHIFT};
use crate::backend::GROUP;

/// Vectors of a group.
const VECTORS: usize = GROUP / 4;

/// Index in the group of the element at `place` of word `word`, with `depth` elements to a word.
#[inline(always)]
pub fn element(depth: usize, word: usize, place: usize) -> usize {
    word / 4 * 4 * depth + place * 4 + word % 4
}

/// Codes in order → four to a word. It is `element(4, …)`, spelled out so that the compiler finds
/// one shuffle for 16 codes.
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

/// Rounds values within [-127, 127] to i8, four to a word.
#[inline(always)]
pub fn bytes(values: &[F32x4; VECTORS]) -> [I32x4; VECTORS / 4] {
    unsigned_bytes(values).map(|word| word.xor(I32x4::splat(0x8080_8080_u32.cast_signed())))
}

/// Rounds values within [-127, 127], adds 128, and packs them as u8, four to a word.
#[inline(always)]
pub fn unsigned_bytes(values: &[F32x4; VECTORS]) -> [I32x4; VECTORS / 4] {
    // With 128 added no value is negative, so none borrows from the byte above it. `SHIFT`'s own
    // bits, once in the low byte's value and once in the next byte's, are subtracted at the end.
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

/// Rounds values within [-127, 127] to i16, two to a word.
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
