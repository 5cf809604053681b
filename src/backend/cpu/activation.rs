//! Element-wise functions: exp, erf, tanh and the activations built on them; f32 in, f32 out, in place.
//!
//! Written out with plain multiplications and additions, so that they give the same bits in every engine,
//! which a platform's math library would not.

use super::simd::{F32x4, I32x4, map_in_place};
use crate::backend::Activation;

/// Largest input for which `exp` is finite, and smallest for which it is a normal number.
const EXP_MAX: f32 = 88.376_26;
const EXP_MIN: f32 = -87.336_54;

/// e^x by range reduction, x = n ln 2 + r, and a polynomial in r of degree 6 (Cody & Waite's reduction with ln 2
/// in two parts; coefficients as in Cephes' `expf`). Relative error under 2e-7; inputs are clamped to the
/// range of normal results.
pub fn exp(x: F32x4) -> F32x4 {
    let x = x.min(F32x4::splat(EXP_MAX)).max(F32x4::splat(EXP_MIN));
    let n = x.mul(F32x4::splat(core::f32::consts::LOG2_E)).nearest();
    let r = x.sub(n.mul(F32x4::splat(0.693_359_4))).sub(n.mul(F32x4::splat(-2.121_944_4e-4)));
    let mut p = F32x4::splat(1.987_569_1e-4);
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_6e-1, 0.5] {
        p = p.mul(r).add(F32x4::splat(coefficient));
    }
    let p = p.mul(r).mul(r).add(r).add(F32x4::splat(1.0));
    let scale = n.to_i32().add(I32x4::splat(127)).shl::<23>().cast_f32();
    p.mul(scale)
}

/// erf(x) as a rational function x·P(x²)/Q(x²) on [-4, 4], beyond which it is ±1 in f32 (the minimax
/// coefficients of Eigen's `erf` and XLA's `ErfImpl32`). Absolute error under 3e-7.
pub fn erf(x: F32x4) -> F32x4 {
    let x = x.min(F32x4::splat(4.0)).max(F32x4::splat(-4.0));
    let x2 = x.mul(x);
    let mut p = F32x4::splat(-2.726_142_3e-10);
    for coefficient in [
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_4e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ] {
        p = p.mul(x2).add(F32x4::splat(coefficient));
    }
    let mut q = F32x4::splat(-1.456_607_2e-5);
    for coefficient in [-2.133_740_5e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2] {
        q = q.mul(x2).add(F32x4::splat(coefficient));
    }
    x.mul(p).div(q)
}

/// tanh(x) = 1 - 2 / (e^{2x} + 1) away from zero, and its series to x⁷ near it, where that difference would
/// cancel. Absolute error under 3e-7.
fn tanh(x: f32) -> f32 {
    if x.abs() < 0.1 {
        let x2 = x * x;
        return x * (1.0 + x2 * (-1.0 / 3.0 + x2 * (2.0 / 15.0 - x2 * (17.0 / 315.0))));
    }
    let [e, ..] = exp(F32x4::splat(2.0 * x)).to_array();
    1.0 - 2.0 / (e + 1.0)
}

/// x·Φ(x), the exact form of GELU.
pub fn gelu(x: F32x4) -> F32x4 {
    let erf = erf(x.mul(F32x4::splat(core::f32::consts::FRAC_1_SQRT_2)));
    x.mul(F32x4::splat(0.5)).mul(erf.add(F32x4::splat(1.0)))
}

fn sigmoid(x: F32x4) -> F32x4 {
    let one = F32x4::splat(1.0);
    one.div(one.add(exp(F32x4::splat(0.0).sub(x))))
}

/// Applies `activation` to every element.
pub fn apply(activation: Activation, values: &mut [f32]) {
    match activation {
        Activation::Identity => {}
        Activation::Relu => map_in_place(values, 0.0, |x| x.max(F32x4::splat(0.0))),
        Activation::Gelu => map_in_place(values, 0.0, gelu),
        Activation::Silu => map_in_place(values, 0.0, |x| x.mul(sigmoid(x))),
        Activation::Sigmoid => map_in_place(values, 0.0, sigmoid),
        Activation::Tanh => values.iter_mut().for_each(|value| *value = tanh(*value)),
        Activation::GeluTanh => {
            // GELU's tanh form (Hendrycks & Gimpel 2016): 0.5x(1 + tanh(√(2/π)(x + 0.044715x³))).
            for value in values {
                let x = *value;
                *value = 0.5 * x * (1.0 + tanh(0.797_884_6 * (x + 0.044_715 * x * x * x)));
            }
        }
    }
}

/// Softmax of each row's first `len` values, in place: subtracts the maximum, so that it cannot overflow.
pub fn softmax(row: &mut [f32]) {
    use super::simd::fold;
    let top = fold(row, F32x4::splat(f32::NEG_INFINITY), f32::NEG_INFINITY, F32x4::max).max_lane();
    map_in_place(row, f32::NEG_INFINITY, |x| exp(x.sub(F32x4::splat(top))));
    let sum = fold(row, F32x4::splat(0.0), 0.0, F32x4::add).sum();
    map_in_place(row, 0.0, |x| x.div(F32x4::splat(sum)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(range: (f64, f64), f: impl Fn(F32x4) -> F32x4, reference: impl Fn(f64) -> f64, relative: bool) -> f64 {
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

    #[test]
    fn exp_is_close_over_its_range() {
        assert!(worst((-87.0, 88.0), exp, f64::exp, true) < 2e-7);
    }

    #[test]
    fn erf_and_gelu_are_close() {
        assert!(worst((-4.5, 4.5), erf, erf64, false) < 5e-7);
        let gelu64 = |x: f64| 0.5 * x * (1.0 + erf64(x * core::f64::consts::FRAC_1_SQRT_2));
        assert!(worst((-6.0, 6.0), gelu, gelu64, false) < 1e-6);
    }

    #[test]
    fn tanh_is_close() {
        let tanh4 = |x: F32x4| F32x4::splat(tanh(x.to_array()[0]));
        assert!(worst((-20.0, 20.0), tanh4, f64::tanh, false) < 3e-7);
        assert!(worst((-0.2, 0.2), tanh4, f64::tanh, false) < 3e-7);
    }

    #[test]
    fn softmax_sums_to_one_for_any_length() {
        for len in 1..20usize {
            let mut row: Vec<f32> = (0..len).map(|i| if i % 3 == 0 { 80.0 } else { -80.0 }).collect();
            softmax(&mut row);
            let sum: f32 = row.iter().sum();
            assert!((sum - 1.0).abs() < 1e-6, "{len}: {sum}");
        }
    }
}
