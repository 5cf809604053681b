//! Element-wise functions: exp, tanh and the activations built on them, four lanes at a time.
//!
//! Written out with plain multiplications and additions, so that they give the same bits in every engine,
//! which a platform's math library would not.

use core::hint::black_box;

use super::simd::{F32x4, I32x4, fold, map_in_place};
use crate::backend::Activation;

/// Horner's scheme, with the coefficients of the powers named, highest first. A macro, because compilers leave a fold over a
/// slice a loop.
macro_rules! horner {
    ($x:expr, $coefficients:expr; $first:literal $($next:literal)*) => {{
        let sum = F32x4::splat($coefficients[$first]);
        $(let sum = sum.mul($x).add(F32x4::splat($coefficients[$next]));)*
        sum
    }};
}

/// Largest input for which `exp` is finite, and smallest for which it is a normal number.
const EXP_MAX: f32 = 88.376_26;
const EXP_MIN: f32 = -87.336_54;

/// Coefficients of x², x³, …
const EXP: [f32; 6] = [
    0.5,
    1.666_666_6e-1,
    4.166_579_6e-2,
    8.333_452e-3,
    1.398_199_9e-3,
    1.987_569_1e-4,
];

/// e^x by range reduction, x = n ln 2 + r, and a polynomial in r of degree 6 (Cody & Waite's reduction with ln 2
/// in two parts; coefficients as in Cephes' `expf`). Relative error under 2e-7; inputs are clamped to the
/// range of normal results.
#[inline(always)]
pub fn exp(x: F32x4) -> F32x4 {
    let x = x.min(F32x4::splat(EXP_MAX)).max(F32x4::splat(EXP_MIN));
    let n = x.mul(F32x4::splat(core::f32::consts::LOG2_E)).nearest();
    let r = x
        .sub(n.mul(F32x4::splat(0.693_359_4)))
        .sub(n.mul(F32x4::splat(-2.121_944_4e-4)));
    // A load that spreads a coefficient is one instruction; a vector constant, which LLVM would make of it, takes engines four.
    let c = black_box(&EXP);
    let p = horner!(r, c; 5 4 3 2 1 0);
    let p = p.mul(r).mul(r).add(r).add(F32x4::splat(1.0));
    let scale = n.to_i32().add(I32x4::splat(127)).shl::<23>().cast_f32();
    p.mul(scale)
}

/// tanh(x) = 1 - 2 / (e^{2x} + 1) away from zero, and its series to x⁷ near it, where that difference would
/// cancel. Absolute error under 3e-7.
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

/// Where GELU has become max(x, 0), to 4e-7.
const GELU_END: f32 = 5.3;

/// Coefficients of 1, u, u², …
const GELU: [f32; 15] = [
    0.004_024_724_5,
    -0.031_568_363,
    0.110_824_175,
    -0.222_462,
    0.261_256_1,
    -0.132_867_22,
    -0.092_132_59,
    0.205_638_26,
    -0.100_585_06,
    -0.069_494_635,
    0.092_360_99,
    -0.005_634_794,
    -0.027_948_847,
    0.006_398_309_5,
    0.002_191_08,
];

/// x·Φ(x), the exact form of GELU, as max(x, 0) − a·Φ(−a) with a = |x|: nothing cancels in the left tail.
///
/// Φ(−a) on [0, 5.3] is a polynomial of degree 14 in u = 2a / 5.3 − 1, fitted so that a·Φ(−a) has the least largest error
/// (Lawson's method on the Chebyshev basis): no division and no exponential. Absolute error under 1e-6.
#[inline(always)]
pub fn gelu(x: F32x4) -> F32x4 {
    let zero = F32x4::splat(0.0);
    let a = x.max(zero.sub(x)).min(F32x4::splat(GELU_END));
    let u = a.mul(F32x4::splat(2.0 / GELU_END)).sub(F32x4::splat(1.0));
    let c = black_box(&GELU);
    // Even and odd powers apart: not every step waits for the last.
    let squared = u.mul(u);
    let even = horner!(squared, c; 14 12 10 8 6 4 2 0);
    let odd = horner!(squared, c; 13 11 9 7 5 3 1);
    let p = even.add(odd.mul(u));
    x.max(zero).sub(a.mul(p))
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

/// Softmax of a row, in place: subtracts the maximum, so that it cannot overflow.
pub fn softmax(row: &mut [f32]) {
    let top = fold(
        row,
        F32x4::splat(f32::NEG_INFINITY),
        f32::NEG_INFINITY,
        F32x4::max,
    )
    .max_lane();
    map_in_place(row, f32::NEG_INFINITY, |x| exp(x.sub(F32x4::splat(top))));
    let sum = fold(row, F32x4::splat(0.0), 0.0, F32x4::add).sum();
    map_in_place(row, 0.0, |x| x.div(F32x4::splat(sum)));
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
    fn softmax_sums_to_one_for_any_length() {
        for len in 1..20usize {
            let mut row: Vec<f32> = (0..len)
                .map(|i| if i % 3 == 0 { 80.0 } else { -80.0 })
                .collect();
            softmax(&mut row);
            let sum: f32 = row.iter().sum();
            assert!((sum - 1.0).abs() < 1e-6, "{len}: {sum}");
        }
    }
}
