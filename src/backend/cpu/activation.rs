//! Element-wise functions: exp, tanh and the activations built on them, four lanes at a time.
//!
//! They consist of plain multiplications and additions, so they give the same bits in every engine.
//! The math libraries of platforms do not.

use core::hint::black_box;

use super::Strip;
use super::simd::{self, F32x4, SHIFT};
use crate::backend::Activation;

/// Horner's scheme on each of `N` vectors. The literals are indices into `$coefficients`, highest
/// power first. It is a macro because compilers do not unroll a fold over a slice.
macro_rules! horner {
    ($x:expr, $coefficients:expr; $first:literal $($next:literal)*) => {{
        let sums = [F32x4::splat($coefficients[$first]); N];
        $(let sums = {
            let coefficient = F32x4::splat($coefficients[$next]);
            map2(sums, $x, |sum, x| sum.mul(x).add(coefficient))
        };)*
        sums
    }};
}

#[inline(always)]
fn map2<const N: usize>(
    a: [F32x4; N],
    b: [F32x4; N],
    f: impl Fn(F32x4, F32x4) -> F32x4,
) -> [F32x4; N] {
    core::array::from_fn(|i| f(a[i], b[i]))
}

/// Constants of `exps`. They are one array in memory, so that each is loaded and broadcast by one
/// instruction.
const EXP: [f32; 14] = [
    // The clamp of x. The upper bound is Cephes' MAXLOGF rounded down, (127 + ½) ln 2: x log₂ e
    // then rounds to at most 127, the largest exponent. The lower bound is -127 ln 2: x log₂ e
    // rounds to at least -127, where the exponent's bits, n + 127, are all 0 and so the result is
    // 0.
    88.376_26,
    -88.029_69,
    core::f32::consts::LOG2_E,
    // Rounds to the nearest whole number when it is added and subtracted; see `simd::SHIFT`.
    SHIFT,
    // ln 2 as a sum of two (Cody & Waite): 355 / 512, whose product with n is exact, and the rest.
    0.693_359_4,
    -2.121_944_4e-4,
    // Coefficients of x², x³, …, x⁷ in Cephes' `expf`, and of x and 1.
    0.5,
    1.666_666_6e-1,
    4.166_579_6e-2,
    8.333_452e-3,
    1.398_199_9e-3,
    1.987_569_1e-4,
    1.0,
    // The bias of an f32's exponent, an integer.
    f32::from_bits(127),
];

/// e^x of `N` vectors. Range reduction gives x = n ln 2 + r with |r| ≤ ln 2 / 2; e^r is a
/// polynomial of degree 7, and 2^n is added to the exponent. The relative error is under 2e-7 on
/// [-87.3, 88.3]. Larger inputs give e^88.376; inputs under -87.7 give 0.
#[inline(always)]
fn exps<const N: usize>(x: [F32x4; N]) -> [F32x4; N] {
    // Without the black box LLVM makes vector constants, for which engines take three instructions.
    let c = black_box(&EXP);
    let [most, least, log2e, shift, high, low] = core::array::from_fn(|i| F32x4::splat(c[i]));
    let (one, bias) = (F32x4::splat(c[12]), F32x4::splat(c[13]).cast_i32());
    let x = x.map(|x| x.min(most).max(least));
    let shifted = x.map(|x| x.mul(log2e).add(shift));
    let n = shifted.map(|shifted| shifted.sub(shift));
    let r = map2(x, n, |x, n| x.sub(n.mul(high)).sub(n.mul(low)));
    let p = horner!(r, c; 11 10 9 8 7 6);
    let p = map2(p, r, |p, r| p.mul(r).mul(r).add(r).add(one));
    map2(p, shifted, |p, shifted| {
        p.mul(shifted.cast_i32().add(bias).shl::<23>().cast_f32())
    })
}

/// e^x
#[inline(always)]
fn exp(x: F32x4) -> F32x4 {
    let [exp] = exps([x]);
    exp
}

/// tanh(x) = 1 - 2 / (e^{2x} + 1) for |x| ≥ 0.1. Nearer to zero that difference would cancel, so
/// there it is the Taylor series up to x⁷. The absolute error is under 3e-7.
fn tanh(x: F32x4) -> F32x4 {
    let zero = F32x4::splat(0.0);
    let one = F32x4::splat(1.0);
    let two = F32x4::splat(2.0);
    let x2 = x.mul(x);
    let mut series = F32x4::splat(-17.0 / 315.0);
    for coefficient in [2.0 / 15.0, -1.0 / 3.0, 1.0] {
        series = series.mul(x2).add(F32x4::splat(coefficient));
    }
    let far = one.sub(two.div(exp(x.mul(two)).add(one)));
    let size = x.max(zero.sub(x));
    size.select_less(F32x4::splat(0.1), x.mul(series), far)
}

/// Coefficients of 1, a, a², … in `gelus`, fitted there.
const GELU: [f32; 7] = [
    1.044_274_8,
    0.052_063_98,
    0.022_113_716,
    0.003_370_510_6,
    7.532_232e-5,
    3.964_917_8e-5,
    6.988_019_3e-6,
];

/// x·Φ(x), the exact form of GELU, as max(x, 0) − a·Φ(−a) with a = |x|. In this form nothing
/// cancels in the left tail.
///
/// Φ(−a) is one over the sixteenth power of a polynomial of degree 6 (the form of Abramowitz &
/// Stegun 7.1.28). The coefficients minimise the largest error of a·Φ(−a) (a minimax fit by
/// Lawson's method). The tail goes to zero without a special case. The absolute error is under
/// 6e-7.
#[inline(always)]
pub fn gelus<const N: usize>(x: [F32x4; N]) -> [F32x4; N] {
    let zero = F32x4::splat(0.0);
    let c = black_box(&GELU);
    let a = x.map(|x| x.max(zero.sub(x)));
    let root = horner!(a, c; 6 5 4 3 2 1 0);
    let power = root.map(|p| (0..4).fold(p, |p, _| p.mul(p)));
    let tail = map2(a, power, F32x4::div);
    map2(x, tail, |x, tail| x.max(zero).sub(tail))
}

/// GELU of one vector.
#[inline(always)]
pub fn gelu(x: F32x4) -> F32x4 {
    let [gelu] = gelus([x]);
    gelu
}

fn sigmoid(x: F32x4) -> F32x4 {
    let one = F32x4::splat(1.0);
    one.div(one.add(exp(F32x4::splat(0.0).sub(x))))
}

/// GELU's tanh form (Hendrycks & Gimpel 2016): 0.5x(1 + tanh(√(2/π)(x + 0.044715x³))).
fn gelu_tanh(x: F32x4) -> F32x4 {
    let cubed = F32x4::splat(0.044_715).mul(x).mul(x).mul(x);
    let inner = F32x4::splat(0.797_884_6).mul(x.add(cubed));
    F32x4::splat(0.5)
        .mul(x)
        .mul(F32x4::splat(1.0).add(tanh(inner)))
}

/// `activation` of each lane.
#[inline(always)]
pub fn activate(activation: Activation, x: F32x4) -> F32x4 {
    match activation {
        Activation::Identity => x,
        Activation::Relu => x.max(F32x4::splat(0.0)),
        Activation::Gelu => gelu(x),
        Activation::GeluTanh => gelu_tanh(x),
        Activation::Silu => x.mul(sigmoid(x)),
        Activation::Sigmoid => sigmoid(x),
        Activation::Tanh => tanh(x),
    }
}

/// `activation(x + shift)`
#[inline(always)]
pub fn finish(activation: Activation, x: &Strip, shift: &Strip, out: &mut Strip) {
    match activation {
        Activation::Identity => quads(x, shift, out, |x| x),
        Activation::Gelu => quads(x, shift, out, gelus),
        other => quads(x, shift, out, |x| x.map(|x| activate(other, x))),
    }
}

/// `f(x + shift)`, four vectors at a time: enough independent work to hide the latency of each
/// step.
#[inline(always)]
fn quads(x: &Strip, shift: &Strip, out: &mut Strip, f: impl Fn([F32x4; 4]) -> [F32x4; 4]) {
    let (x, shift) = (x.as_chunks().0, shift.as_chunks().0);
    for ((x, shift), out) in x.iter().zip(shift).zip(out.as_chunks_mut().0) {
        simd::store(f(map2(simd::load(x), simd::load(shift), F32x4::add)), out);
    }
}

/// Bounds values smoothly: x becomes cap · tanh(x / cap).
pub fn cap(values: &mut [f32], cap: f32) {
    let (bound, share) = (F32x4::splat(cap), F32x4::splat(1.0 / cap));
    simd::map_in_place(values, 0.0, |x| bound.mul(tanh(x.mul(share))));
}

/// Softmax of four rows without its division: replaces scores by exp(score - row's maximum), and
/// returns the sum of each row. Four rows at a time hide the latency of each step.
pub fn exponentials(rows: [&mut [[f32; 4]]; 4]) -> [f32; 4] {
    let tops = rows.each_ref().map(|row| {
        let least = F32x4::splat(f32::NEG_INFINITY);
        let top = row.iter().fold(least, |top, x| top.max(F32x4::load(x)));
        F32x4::splat(top.max_lane())
    });
    let mut sums = [F32x4::splat(0.0); 4];
    let [a, b, c, d] = rows;
    for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
        let scores = [&a, &b, &c, &d].map(|x| F32x4::load(x));
        let weights = exps(map2(scores, tops, F32x4::sub));
        sums = map2(sums, weights, F32x4::add);
        for (x, weights) in [a, b, c, d].into_iter().zip(weights) {
            weights.store(x);
        }
    }
    sums.map(F32x4::sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(
        range: (f64, f64),
        f: impl Fn(F32x4) -> F32x4,
        reference: impl Fn(f64) -> f64,
        relative: bool,
    ) -> f64 {
        let steps = 200_000;
        let mut worst = 0f64;
        for i in 0..=steps {
            #[expect(clippy::cast_possible_truncation, reason = "test points")]
            let x = (range.0 + (range.1 - range.0) * f64::from(i) / f64::from(steps)) as f32;
            let got = f64::from(f(F32x4::splat(x)).to_array()[0]);
            let want = reference(f64::from(x));
            let error = (got - want).abs() / if relative { want.abs() } else { 1.0 };
            worst = worst.max(error);
        }
        worst
    }

    /// erf by its Maclaurin series in f64, good to 1e-12 on [-4.5, 4.5].
    fn erf64(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..120 {
            let n = f64::from(n);
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * core::f64::consts::FRAC_2_SQRT_PI
    }

    #[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
    #[cfg_attr(not(target_arch = "wasm32"), test)]
    fn exp_is_close_over_its_range() {
        assert!(worst((-87.0, 88.0), exp, f64::exp, true) < 2e-7);
    }

    #[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
    #[cfg_attr(not(target_arch = "wasm32"), test)]
    fn gelu_is_close() {
        let gelu64 = |x: f64| 0.5 * x * (1.0 + erf64(x * core::f64::consts::FRAC_1_SQRT_2));
        assert!(worst((-6.0, 6.0), gelu, gelu64, false) < 1e-6);
        assert_eq!(gelu(F32x4::splat(0.0)).to_array()[0].to_bits(), 0);
        assert!((gelu(F32x4::splat(-1e4)).to_array()[0]).abs() < 1e-6);
        assert!((gelu(F32x4::splat(1e4)).to_array()[0] - 1e4).abs() < 1e-6);
    }

    #[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
    #[cfg_attr(not(target_arch = "wasm32"), test)]
    fn tanh_is_close() {
        assert!(worst((-20.0, 20.0), tanh, f64::tanh, false) < 3e-7);
        assert!(worst((-0.2, 0.2), tanh, f64::tanh, false) < 3e-7);
    }

    #[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
    #[cfg_attr(not(target_arch = "wasm32"), test)]
    fn exponentials_are_those_of_f64() {
        for len in 1..20 {
            let rows: [Vec<[f32; 4]>; 4] = core::array::from_fn(|row| {
                let score = |i: usize| [80.0, -80.0, 3.5, -1.25, 0.0][(i + row) % 5];
                let vector = |i| [score(i), score(7 * i), f32::NEG_INFINITY, score(i / 3)];
                (0..len).map(vector).collect()
            });
            let mut got = rows.clone();
            let sums = exponentials(got.each_mut().map(Vec::as_mut_slice));
            for ((scores, got), sum) in rows.iter().zip(&got).zip(sums) {
                let (scores, got) = (scores.as_flattened(), got.as_flattened());
                let top = scores.iter().fold(f32::MIN, |a, b| a.max(*b));
                let weights = scores.iter().map(|x| f64::from(x - top).exp());
                assert!((f64::from(sum) / weights.clone().sum::<f64>() - 1.0).abs() < 1e-6);
                for (got, want) in got.iter().zip(weights) {
                    assert!((f64::from(*got) - want).abs() <= 2e-7 * want + 1e-37);
                }
                // A masked score has weight 0.
                assert!(got.iter().skip(2).step_by(4).all(|x| x.to_bits() == 0));
            }
        }
    }
}
