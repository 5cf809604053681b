//! Kernels against plain f64 loops, on odd shapes; run natively (the scalar twin) and as wasm (SIMD).

#![expect(clippy::float_cmp, reason = "equal bits are the claim")]

use super::gemm_q8::{self, DotKernel, GROUP, PackedQ8, QuantizedRows};
use super::*;

#[cfg(not(target_arch = "wasm32"))]
use core::prelude::v1::test as kernel_test;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as kernel_test;

/// Reproducible values in [-1, 1): Knuth's linear congruential generator, upper bits.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        #[expect(clippy::cast_precision_loss, reason = "24 bits fit")]
        let value = (self.0 >> 40) as f32;
        value / 8_388_608.0 - 1.0
    }

    fn vec(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.next()).collect()
    }
}

/// Shapes (rows, out, in) with every residue of the tile sizes: four rows, eight columns, groups of 64.
fn shapes() -> Vec<(usize, usize, usize)> {
    let mut shapes = Vec::new();
    for rows in 1..=9 {
        for out in [1, 3, 7, 8, 9, 15, 16, 17] {
            for input in [1, 2, 3, 4, 5, 48, 63, 64, 65, 100, 128, 130] {
                shapes.push((rows, out, input));
            }
        }
    }
    shapes
}

fn packed(cpu: &Cpu, values: &[f32], rows: usize, columns: usize, dtype: WeightDtype) -> Matrix {
    let mut matrix = cpu.matrix(rows, columns, dtype).unwrap();
    for (row, values) in values.chunks_exact(columns).enumerate() {
        cpu.set_row(&mut matrix, row, values);
    }
    matrix
}

fn values(cpu: &Cpu, x: &Tensor) -> Vec<f32> {
    cpu.read(x).unwrap()
}

/// `x · weightᵀ + bias` in f64.
fn product64(x: &[f32], weight: &[f32], bias: &[f32], columns: usize) -> Vec<f64> {
    let mut out = Vec::new();
    for x in x.chunks_exact(columns) {
        for (weight, bias) in weight.chunks_exact(columns).zip(bias) {
            let sum: f64 = x
                .iter()
                .zip(weight)
                .map(|(x, w)| f64::from(*x) * f64::from(*w))
                .sum();
            out.push(sum + f64::from(*bias));
        }
    }
    out
}

#[track_caller]
fn assert_close(got: &[f32], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(
            (f64::from(*got) - want).abs() <= tolerance,
            "{what}, element {i}: {got} for {want}"
        );
    }
}

#[kernel_test]
fn linear_equals_the_plain_loop_on_all_shapes() {
    let cpu = Cpu::new();
    let mut random = Random(1);
    for (rows, out, input) in shapes() {
        let (x, weight, bias) = (
            random.vec(rows * input),
            random.vec(out * input),
            random.vec(out),
        );
        let want = product64(&x, &weight, &bias, input);
        let tensor = cpu.upload(x, rows).unwrap();
        // q8: half a step of 1/127 on weights, half of 2/255 on activations, summed over `input` products.
        let error = f64::from(u16::try_from(input).unwrap()).sqrt() * 0.02 + 0.01;
        for (dtype, tolerance) in [(WeightDtype::F32, 1e-4), (WeightDtype::Q8, error)] {
            let matrix = packed(&cpu, &weight, out, input, dtype);
            let got = values(
                &cpu,
                &cpu.linear(&tensor, &matrix, Some(&bias), Activation::Identity)
                    .unwrap(),
            );
            assert_close(
                &got,
                &want,
                tolerance,
                &format!("{dtype:?} {rows} × {out} × {input}"),
            );
        }
    }
}

#[kernel_test]
fn a_row_has_the_same_bits_alone_and_among_others() {
    let cpu = Cpu::new();
    let mut random = Random(2);
    let (rows, out, input) = (11, 19, 150);
    let (x, weight) = (random.vec(rows * input), random.vec(out * input));
    for dtype in [WeightDtype::F32, WeightDtype::Q8] {
        let matrix = packed(&cpu, &weight, out, input, dtype);
        let all = cpu.upload(x.clone(), rows).unwrap();
        let all = values(
            &cpu,
            &cpu.linear(&all, &matrix, None, Activation::Gelu).unwrap(),
        );
        for (row, x) in x.chunks_exact(input).enumerate() {
            let one = cpu.upload(x.to_vec(), 1).unwrap();
            let one = values(
                &cpu,
                &cpu.linear(&one, &matrix, None, Activation::Gelu).unwrap(),
            );
            assert_eq!(one, all[row * out..][..out], "{dtype:?} row {row}");
        }
    }
}

#[kernel_test]
fn every_dot_kernel_gives_the_bits_of_the_scalar_one() {
    let mut random = Random(3);
    // Extremes: outliers of 1e4, constant rows, all zeros, and values that quantise to both ends of the range.
    let extreme: [fn(usize, f32) -> f32; 5] = [
        |_, x| x,
        |i, x| if i % 37 == 0 { 1e4 * x.signum() } else { x },
        |_, _| 5.0,
        |_, _| 0.0,
        |i, _| if i % 2 == 0 { -1.0 } else { 1.0 },
    ];
    for (rows, out, input) in shapes() {
        for make in extreme {
            let mut fill =
                |len: usize| -> Vec<f32> { (0..len).map(|i| make(i, random.next())).collect() };
            let (x, weight) = (fill(rows * input), fill(out * input));
            let mut matrix = PackedQ8::new(out, input).unwrap();
            weight
                .chunks_exact(input)
                .enumerate()
                .for_each(|(row, values)| matrix.set_row(row, values));
            let run = |kernel: DotKernel| {
                let x = QuantizedRows::new(&x, input, kernel).unwrap();
                let mut bits = Vec::new();
                for panel in 0..out.div_ceil(PANEL) {
                    gemm_q8::for_each_row(&x, 0..rows, &matrix, panel, kernel, |_, sums| {
                        bits.extend(
                            sums.iter()
                                .flat_map(|sums| sums.to_array().map(f32::to_bits)),
                        );
                    });
                }
                bits
            };
            let scalar = run(DotKernel::Scalar);
            for kernel in [DotKernel::detect(), DotKernel::I16] {
                assert_eq!(run(kernel), scalar, "{kernel:?} {rows} × {out} × {input}");
            }
        }
    }
}

#[kernel_test]
fn this_build_runs_the_kernel_it_was_made_for() {
    let kernel = DotKernel::detect();
    if cfg!(not(target_arch = "wasm32")) {
        assert_eq!(kernel, DotKernel::Scalar);
    } else if cfg!(not(feature = "relaxed-simd")) {
        assert_eq!(kernel, DotKernel::I16);
    } else {
        // An engine may still compute the relaxed instruction inexactly; then the probe must fall back.
        assert_ne!(kernel, DotKernel::Scalar);
    }
}

#[kernel_test]
fn packed_rows_read_back() {
    let cpu = Cpu::new();
    let mut random = Random(4);
    for (rows, columns) in [(1, 1), (9, 48), (17, 65), (8, 130)] {
        let table = random.vec(rows * columns);
        for (dtype, tolerance) in [
            (WeightDtype::F32, 0.0),
            (WeightDtype::Q8, 0.5 / 127.0 + 1e-6),
        ] {
            let matrix = packed(&cpu, &table, rows, columns, dtype);
            let ids: Vec<u32> = (0u32..).take(rows).collect();
            let got = values(&cpu, &cpu.embed(&[(&matrix, &ids)]).unwrap());
            let want: Vec<f64> = table.iter().map(|value| f64::from(*value)).collect();
            assert_close(
                &got,
                &want,
                tolerance,
                &format!("{dtype:?} {rows} × {columns}"),
            );
        }
    }
}

#[kernel_test]
fn attention_equals_the_plain_loop() {
    let cpu = Cpu::new();
    let mut random = Random(5);
    for heads in [
        Heads { count: 1, size: 4 },
        Heads { count: 3, size: 16 },
        Heads { count: 2, size: 10 },
    ] {
        let offsets = [0, 1, 1, 6, 14, 31, 68];
        let width = heads.count * heads.size;
        let qkv: Vec<f32> = random.vec(68 * 3 * width).iter().map(|x| x * 3.0).collect();
        let got = values(
            &cpu,
            &cpu.attention(&cpu.upload(qkv.clone(), 68).unwrap(), &offsets, heads)
                .unwrap(),
        );
        let at = |token: usize, part: usize, column: usize| {
            f64::from(qkv[token * 3 * width + part * width + column])
        };
        let mut want = vec![0.0; 68 * width];
        for pair in offsets.windows(2) {
            for head in 0..heads.count {
                let columns = head * heads.size..(head + 1) * heads.size;
                for query in pair[0]..pair[1] {
                    let score = |key| {
                        let sum: f64 = columns
                            .clone()
                            .map(|c| at(query, 0, c) * at(key, 1, c))
                            .sum();
                        (sum / f64::from(u16::try_from(heads.size).unwrap()).sqrt()).exp()
                    };
                    let weights: Vec<f64> = (pair[0]..pair[1]).map(score).collect();
                    let total: f64 = weights.iter().sum();
                    for c in columns.clone() {
                        let sum: f64 = (pair[0]..pair[1])
                            .zip(&weights)
                            .map(|(key, weight)| weight * at(key, 2, c))
                            .sum();
                        want[query * width + c] = sum / total;
                    }
                }
            }
        }
        assert_close(&got, &want, 1e-5, &format!("{heads:?}"));
    }
}

#[kernel_test]
fn layer_norm_equals_the_formula() {
    let cpu = Cpu::new();
    let mut random = Random(6);
    for width in [1, 2, 3, 5, 48, 100, 384] {
        let rows = 3;
        // A large common offset would show a one-pass variance.
        let x: Vec<f32> = random.vec(rows * width).iter().map(|x| x + 100.0).collect();
        let residual = random.vec(rows * width);
        let (weight, bias) = (random.vec(width), random.vec(width));
        let norm = LayerNorm {
            weight: &weight,
            bias: &bias,
            eps: 1e-5,
        };
        let tensor = |values: &[f32]| cpu.upload(values.to_vec(), rows).unwrap();
        let got = values(
            &cpu,
            &cpu.norm(&tensor(&x), Some(&tensor(&residual)), norm)
                .unwrap(),
        );
        let count = f64::from(u16::try_from(width).unwrap());
        let mut want = Vec::new();
        for (x, residual) in x.chunks_exact(width).zip(residual.chunks_exact(width)) {
            let sum: Vec<f64> = x
                .iter()
                .zip(residual)
                .map(|(x, r)| f64::from(x + r))
                .collect();
            let mean = sum.iter().sum::<f64>() / count;
            let variance = sum.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
            for (x, (weight, bias)) in sum.iter().zip(weight.iter().zip(&bias)) {
                want.push(
                    (x - mean) / (variance + 1e-5).sqrt() * f64::from(*weight) + f64::from(*bias),
                );
            }
        }
        assert_close(&got, &want, 2e-4, &format!("width {width}"));
    }
}

#[kernel_test]
fn pooling_modes_follow_their_definitions() {
    let cpu = Cpu::new();
    // Two sequences of width 2: tokens (1, 2), (3, -4), (5, 6) and (7, 8); the third is empty.
    let x = cpu
        .upload(vec![1.0, 2.0, 3.0, -4.0, 5.0, 6.0, 7.0, 8.0], 4)
        .unwrap();
    let offsets = [0, 3, 4, 4];
    let pooled =
        |skip: [usize; 3], mode| values(&cpu, &cpu.pool(&x, &offsets, &skip, mode).unwrap());
    let root = 3f32.sqrt();
    for (mode, want) in [
        (Pooling::Cls, [1.0, 2.0, 7.0, 8.0, 0.0, 0.0]),
        (Pooling::LastToken, [5.0, 6.0, 7.0, 8.0, 0.0, 0.0]),
        (Pooling::Max, [5.0, 6.0, 7.0, 8.0, 0.0, 0.0]),
        (Pooling::Mean, [3.0, 4.0 / 3.0, 7.0, 8.0, 0.0, 0.0]),
        (
            Pooling::MeanSqrtLen,
            [9.0 / root, 4.0 / root, 7.0, 8.0, 0.0, 0.0],
        ),
        (Pooling::WeightedMean, [22.0 / 6.0, 2.0, 7.0, 8.0, 0.0, 0.0]),
    ] {
        assert_eq!(pooled([0; 3], mode), want, "{mode:?}");
    }
    assert_eq!(pooled([1, 0, 0], Pooling::Mean)[..2], [4.0, 1.0]);
    assert_eq!(pooled([9, 0, 0], Pooling::Mean)[..2], [0.0, 0.0]);
}

#[kernel_test]
fn max_linear_is_the_maximum_of_linear() {
    let cpu = Cpu::new();
    let mut random = Random(7);
    let (tokens, out, input) = (13, 21, GROUP + 5);
    let offsets = [0, 1, 8, 13];
    let (x, weight, bias) = (
        random.vec(tokens * input),
        random.vec(out * input),
        random.vec(out),
    );
    let x = cpu.upload(x, tokens).unwrap();
    for dtype in [WeightDtype::F32, WeightDtype::Q8] {
        let matrix = packed(&cpu, &weight, out, input, dtype);
        let all = values(
            &cpu,
            &cpu.linear(&x, &matrix, Some(&bias), Activation::Identity)
                .unwrap(),
        );
        let got = values(
            &cpu,
            &cpu.max_linear(&x, &offsets, &matrix, Some(&bias)).unwrap(),
        );
        for (sequence, pair) in offsets.windows(2).enumerate() {
            for column in 0..out {
                let largest = (pair[0]..pair[1])
                    .map(|row| all[row * out + column])
                    .fold(f32::NEG_INFINITY, f32::max);
                assert_eq!(
                    got[sequence * out + column],
                    largest,
                    "{dtype:?} {sequence} {column}"
                );
            }
        }
    }
}

/// One number for all kernels on fixed inputs: natively, in every build and in every engine the same.
#[kernel_test]
fn the_bits_are_the_same_on_every_platform() {
    let cpu = Cpu::new();
    let mut random = Random(8);
    let heads = Heads { count: 4, size: 12 };
    let x = cpu.upload(random.vec(29 * 48), 29).unwrap();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for dtype in [WeightDtype::F32, WeightDtype::Q8] {
        for activation in [
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Silu,
            Activation::Sigmoid,
            Activation::Tanh,
        ] {
            let weight = packed(&cpu, &random.vec(144 * 48), 144, 48, dtype);
            let qkv = cpu.linear(&x, &weight, None, activation).unwrap();
            let context = cpu.attention(&qkv, &[0, 9, 29], heads).unwrap();
            let (scale, shift) = (random.vec(48), random.vec(48));
            let y = cpu
                .norm(
                    &context,
                    Some(&x),
                    LayerNorm {
                        weight: &scale,
                        bias: &shift,
                        eps: 1e-12,
                    },
                )
                .unwrap();
            for value in values(&cpu, &y) {
                hash = (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
    }
    assert_eq!(format!("{hash:016x}"), "67aa588f85536d1d");
}
