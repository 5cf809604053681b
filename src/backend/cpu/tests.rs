//! The kernels against plain f64 loops, on odd shapes. The tests run natively and as wasm.

#![expect(clippy::float_cmp, reason = "equal bits are the claim")]

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::rotation::Group;
use super::*;
use crate::backend::GROUP;
use crate::backend::{Heads, Mask, NormKind, RelativeBias, Rotary, SpladeActivation};

#[cfg(not(target_arch = "wasm32"))]
pub use core::prelude::v1::test as kernel_test;
#[cfg(target_arch = "wasm32")]
pub use wasm_bindgen_test::wasm_bindgen_test as kernel_test;

/// Reproducible values in [-1, 1): the upper bits of Knuth's linear congruential generator.
pub struct Random(pub u64);

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

    pub fn vec(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.next()).collect()
    }
}

/// Shapes (rows, out, in) with every residue of the tile sizes: four rows, eight columns, groups of
/// 64.
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

pub fn packed(
    cpu: &Cpu,
    values: &[f32],
    rows: usize,
    columns: usize,
    dtype: WeightDtype,
) -> CpuMatrix {
    let mut matrix = cpu.matrix(rows, columns, dtype).unwrap();
    for (row, values) in values.chunks_exact(columns).enumerate() {
        cpu.set_row(&mut matrix, row, values);
    }
    matrix
}

fn values(_: &Cpu, x: &Activations) -> Vec<f32> {
    x.values.to_vec()
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
        // Elements of rotated groups are at most 8 and mostly below 3. A step is 1/127 of that in
        // q8, 1/7 in q4. Errors of half a step on products of size 1/3 add up as a random walk.
        let error = f64::from(u16::try_from(input).unwrap()).sqrt() * 0.015 + 0.03;
        for (dtype, tolerance) in [
            (WeightDtype::F32, 1e-4),
            (WeightDtype::Q8, error),
            (WeightDtype::Q4, 18.0 * error),
        ] {
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
    for dtype in [WeightDtype::F32, WeightDtype::Q8, WeightDtype::Q4] {
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

fn with_kernel(kernel: DotKernel) -> Cpu {
    Cpu {
        kernel,
        ..Cpu::new()
    }
}

/// The kernels that this build has and this engine computes exactly.
fn kernels() -> Vec<DotKernel> {
    #[cfg(target_arch = "wasm32")]
    return vec![DotKernel::detect(), DotKernel::I16];
    #[cfg(not(target_arch = "wasm32"))]
    return DotKernel::native();
}

#[kernel_test]
fn every_dot_kernel_gives_the_bits_of_the_scalar_one() {
    let mut random = Random(3);
    // Extremes: outliers of 1e4, constant rows, all zeros, and values that quantise to both ends of
    // the range.
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
            for dtype in [WeightDtype::Q8, WeightDtype::Q4] {
                let run = |kernel: DotKernel| {
                    let cpu = with_kernel(kernel);
                    let x = cpu.upload(x.clone(), rows).unwrap();
                    let weight = packed(&cpu, &weight, out, input, dtype);
                    let product = cpu.linear(&x, &weight, None, Activation::Identity);
                    let product = values(&cpu, &product.unwrap());
                    product.into_iter().map(f32::to_bits).collect::<Vec<_>>()
                };
                let scalar = run(DotKernel::Scalar);
                for kernel in kernels() {
                    let what = format!("{kernel:?} {dtype:?} {rows} × {out} × {input}");
                    assert_eq!(run(kernel), scalar, "{what}");
                }
            }
        }
    }
}

/// A strategy for rows, columns out, columns in, activations and weights of products.
fn any_product() -> impl Strategy<Value = (usize, usize, Vec<f32>, Vec<f32>)> {
    let value = prop_oneof![
        8 => -1f32..1.0,
        1 => Just(0.0),
        1 => Just(1e4),
        1 => Just(-1e4),
        1 => Just(-1e-30),
    ];
    let shape = (1usize..14, 1usize..20, 1usize..200);
    shape.prop_flat_map(move |(rows, out, input)| {
        let values = |len| prop::collection::vec(value.clone(), len);
        (
            Just(rows),
            Just(input),
            values(rows * input),
            values(out * input),
        )
    })
}

#[kernel_test]
fn every_dot_kernel_gives_the_bits_of_the_scalar_one_on_any_shape_and_values() {
    // The cases are the same everywhere: wasm has no entropy, and hosts' bits are compared.
    let mut runner = TestRunner::new_with_rng(
        Config {
            cases: 300,
            failure_persistence: None,
            ..Config::default()
        },
        TestRng::deterministic_rng(RngAlgorithm::ChaCha),
    );
    let outcome = runner.run(&any_product(), |(rows, input, x, weight)| {
        for dtype in [WeightDtype::Q8, WeightDtype::Q4] {
            let run = |kernel| {
                let cpu = with_kernel(kernel);
                let x = cpu.upload(x.clone(), rows).unwrap();
                let weight = packed(&cpu, &weight, weight.len() / input, input, dtype);
                let product = cpu.linear(&x, &weight, None, Activation::Identity);
                let product = values(&cpu, &product.unwrap());
                product.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            };
            let scalar = run(DotKernel::Scalar);
            for kernel in kernels() {
                prop_assert_eq!(&run(kernel), &scalar, "{:?}", kernel);
            }
        }
        Ok(())
    });
    outcome.unwrap();
}

#[kernel_test]
fn the_rotation_is_a_hadamard_matrix() {
    for k in 0..GROUP {
        let mut unit = [0.0; GROUP];
        unit[k] = 1.0;
        let rotated = Group::load(&unit).hadamard();
        let want: [f32; GROUP] = core::array::from_fn(|i| {
            if (i & k).count_ones() % 2 == 0 {
                1.0
            } else {
                -1.0
            }
        });
        assert_eq!(rotated.to_array(), want, "element {k}");
        let mut back = [0.0; GROUP];
        back[k] = 64.0;
        assert_eq!(rotated.hadamard().to_array(), back);
    }
}

#[kernel_test]
fn this_build_runs_the_kernel_it_was_made_for() {
    let kernel = DotKernel::detect();
    if cfg!(target_arch = "x86_64") {
        assert!([DotKernel::Vnni, DotKernel::Avx2, DotKernel::I16].contains(&kernel));
    } else if cfg!(target_arch = "aarch64") {
        assert!([DotKernel::Sdot, DotKernel::Neon].contains(&kernel));
    } else if cfg!(not(target_arch = "wasm32")) {
        assert_eq!(kernel, DotKernel::Scalar);
    } else if cfg!(not(feature = "relaxed-simd")) {
        assert_eq!(kernel, DotKernel::I16);
    } else {
        // Where the engine computes the relaxed instruction inexactly, the probe must reject it.
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
            // Half a step of a group whose largest element is up to 4, times the norm of 64 errors.
            (WeightDtype::Q8, 0.03),
            (WeightDtype::Q4, 0.5),
        ] {
            let matrix = packed(&cpu, &table, rows, columns, dtype);
            let ids: Vec<u32> = (0u32..).take(rows).collect();
            let got = values(&cpu, &cpu.embed(&[(&matrix, &ids)], 1.0).unwrap());
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

/// Codes stay in their range even in rows so small that the inverse of their scale is infinite, and
/// the codes and scales of a row make the same row again.
#[kernel_test]
fn rows_of_any_size_keep_to_their_grid() {
    let cpu = Cpu::new();
    let sizes = [1e-45, 3e-43, 1e-40, 1e-38, 1e-3, 1e4, 1e36];
    for dtype in [WeightDtype::Q8, WeightDtype::Q4] {
        let columns = GROUP + 5;
        let values: Vec<f32> = sizes
            .iter()
            .flat_map(|size| {
                (0u8..)
                    .take(columns)
                    .map(move |k| size * (f32::from(k) * 0.7).sin())
            })
            .collect();
        let matrix = packed(&cpu, &values, sizes.len(), columns, dtype);
        let mut copy = cpu.matrix(sizes.len(), columns, dtype).unwrap();
        let (mut codes, mut scales) = ([0; 2 * GROUP], [0.0; 2]);
        for (row, size) in sizes.into_iter().enumerate() {
            matrix.codes(row, &mut codes, &mut scales);
            let range = if dtype == WeightDtype::Q8 {
                -127..=127
            } else {
                -8..=7
            };
            assert!(
                codes.iter().all(|code| range.contains(code)),
                "{dtype:?} {size}"
            );
            cpu.set_codes(&mut copy, row, &codes, &scales);
            let (mut a, mut b) = (vec![0.0; columns], vec![0.0; columns]);
            matrix.row(row, &mut a);
            copy.row(row, &mut b);
            assert_eq!(a, b);
            let largest = a.iter().fold(0f32, |most, x| most.max(x.abs()));
            // Where the inverse of a scale is infinite, all codes are at the ends of the range.
            assert!(largest <= 8.0 * size, "{dtype:?} {size}: {largest}");
        }
    }
}

/// Attention with as many key heads as query heads and the usual scale, and nothing else.
pub fn plain(count: usize, size: usize) -> Attention<'static> {
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let scale = 1.0 / (size as f32).sqrt();
    Attention {
        heads: Heads {
            count,
            kv_count: count,
            size,
        },
        scale,
        cap: None,
        mask: Mask::default(),
        head_norms: None,
        rotary: None,
        bias: None,
        keys: None,
    }
}

/// Norm and rotation of a query or key, in f64.
fn prepared64(
    row: &[f32],
    position: usize,
    norm: Option<Norm>,
    rotary: Option<&Rotary>,
) -> Vec<f64> {
    let mut row: Vec<f64> = row.iter().copied().map(f64::from).collect();
    if let Some(norm) = norm {
        let count = f64::from(u16::try_from(row.len()).unwrap());
        let mean = row.iter().map(|x| x * x).sum::<f64>() / count;
        for (x, weight) in row.iter_mut().zip(norm.weight) {
            *x *= f64::from(*weight) / (mean + f64::from(norm.eps)).sqrt();
        }
    }
    if let Some(rotary) = rotary {
        for i in 0..rotary.half {
            let at = position * rotary.half + i;
            let (cos, sin) = (f64::from(rotary.cos[at]), f64::from(rotary.sin[at]));
            let (a, b) = (row[i], row[i + rotary.half]);
            (row[i], row[i + rotary.half]) = (a * cos - b * sin, b * cos + a * sin);
        }
    }
    row
}

/// Attention by its definition, in f64.
fn attention64(qkv: &[f32], offsets: &[usize], attention: Attention) -> Vec<f64> {
    let Heads {
        count,
        kv_count,
        size,
    } = attention.heads;
    let stride = (count + 2 * kv_count) * size;
    let part = |token: usize, column: usize| &qkv[token * stride + column * size..][..size];
    let mut out = Vec::new();
    for (sequence, pair) in offsets.windows(2).enumerate() {
        let end = attention
            .keys
            .map_or(pair[1], |keys| pair[0] + keys[sequence]);
        for query in pair[0]..pair[1] {
            for head in 0..count {
                let kv_head = head * kv_count / count;
                let norms = attention.head_norms.map(|norms| norms.map(Some));
                let [query_norm, key_norm] = norms.unwrap_or([None, None]);
                let place = query - pair[0];
                let q = prepared64(part(query, head), place, query_norm, attention.rotary);
                let seen: Vec<usize> = (pair[0]..end)
                    .filter(|key| {
                        attention
                            .mask
                            .before
                            .is_none_or(|most| query.saturating_sub(*key) <= most)
                            && attention
                                .mask
                                .after
                                .is_none_or(|most| key.saturating_sub(query) <= most)
                    })
                    .collect();
                let weights: Vec<f64> = seen
                    .iter()
                    .map(|key| {
                        let k = part(*key, count + kv_head);
                        let k = prepared64(k, key - pair[0], key_norm, attention.rotary);
                        let sum: f64 = q.iter().zip(&k).map(|(q, k)| q * k).sum();
                        let bias = attention.bias.map_or(0.0, |bias| {
                            bias.values[head * (2 * bias.reach + 1) + bias.reach + key - query]
                        });
                        let score = sum * f64::from(attention.scale);
                        let score = attention
                            .cap
                            .map(f64::from)
                            .map_or(score, |cap| cap * (score / cap).tanh());
                        (score + f64::from(bias)).exp()
                    })
                    .collect();
                let total: f64 = weights.iter().sum();
                for c in 0..size {
                    let sum: f64 = seen
                        .iter()
                        .zip(&weights)
                        .map(|(key, weight)| {
                            weight * f64::from(part(*key, count + kv_count + kv_head)[c])
                        })
                        .sum();
                    out.push(sum / total);
                }
            }
        }
    }
    out
}

#[kernel_test]
fn attention_equals_its_definition() {
    let cpu = Cpu::new();
    let mut random = Random(5);
    let offsets = [0, 1, 1, 6, 14, 31, 68];
    let (tokens, longest) = (68, 37);
    for (count, kv_count, size) in [(1, 1, 4), (3, 3, 16), (2, 2, 10), (4, 2, 6), (6, 1, 18)] {
        let heads = Heads {
            count,
            kv_count,
            size,
        };
        let width = (count + 2 * kv_count) * size;
        let qkv: Vec<f32> = random.vec(tokens * width).iter().map(|x| x * 3.0).collect();
        let (query_weight, key_weight) = (random.vec(size), random.vec(size));
        let norm = |weight| Norm {
            kind: NormKind::Rms,
            weight,
            bias: None,
            eps: 1e-6,
        };
        let angles = random.vec(longest * size / 2);
        let rotary = Rotary {
            half: size / 2,
            cos: angles.iter().map(|x| (x * 9.0).cos()).collect(),
            sin: angles.iter().map(|x| (x * 9.0).sin()).collect(),
        };
        let bias = RelativeBias {
            reach: longest - 1,
            values: random.vec(count * (2 * longest - 1)),
        };
        let window = |before, after| Mask { before, after };
        let base = Attention {
            heads,
            ..plain(count, size)
        };
        let norms = Some([norm(&query_weight), norm(&key_weight)]);
        for attention in [
            base,
            Attention {
                mask: window(None, Some(0)),
                ..base
            },
            Attention {
                mask: window(Some(0), Some(0)),
                ..base
            },
            Attention {
                mask: window(Some(5), Some(0)),
                ..base
            },
            Attention {
                mask: window(Some(3), Some(3)),
                ..base
            },
            Attention {
                mask: window(Some(11), Some(9)),
                bias: Some(&bias),
                ..base
            },
            Attention {
                rotary: Some(&rotary),
                ..base
            },
            Attention {
                head_norms: norms,
                rotary: Some(&rotary),
                scale: 0.3,
                ..base
            },
            Attention {
                bias: Some(&bias),
                scale: 1.0,
                ..base
            },
            Attention {
                keys: Some(&[1, 0, 2, 8, 9, 20]),
                ..base
            },
            Attention {
                keys: Some(&[1, 0, 4, 3, 10, 25]),
                mask: window(Some(12), Some(2)),
                rotary: Some(&rotary),
                bias: Some(&bias),
                ..base
            },
            Attention {
                cap: Some(1.5),
                mask: window(Some(7), Some(0)),
                ..base
            },
        ] {
            let x = cpu.upload(qkv.clone(), tokens).unwrap();
            let got = values(&cpu, &cpu.attention(&x, &offsets, attention).unwrap());
            let want = attention64(&qkv, &offsets, attention);
            let what = format!("{heads:?} {:?} {:?}", attention.mask, attention.scale);
            assert_close(&got, &want, 2e-5, &what);
        }
    }
}

#[kernel_test]
fn disentangled_attention_equals_its_formula() {
    const REACH: usize = 36;
    let cpu = Cpu::new();
    let mut random = Random(15);
    let offsets = [0, 1, 1, 6, 14, 31, 68];
    let tokens = 68;
    // Distances beyond 9 share rows.
    let row = |query: usize, key: usize| (query + 9).saturating_sub(key).min(18);
    for (count, size) in [(1, 4), (3, 16), (2, 10)] {
        let heads = Heads {
            count,
            kv_count: count,
            size,
        };
        let (width, scale) = (count * size, 0.4f32);
        let qkv: Vec<f32> = random.vec(tokens * 3 * width);
        let positions = random.vec(19 * 3 * width);
        for (to_positions, to_contents) in [(true, true), (true, false), (false, true)] {
            let rows = (0..=2 * REACH).map(|step| u32::try_from(row(step, REACH)).unwrap());
            let distances = Distances {
                rows: rows.collect(),
                to_positions,
                to_contents,
            };
            let attention = Attention {
                heads,
                scale,
                ..plain(count, size)
            };
            let run = |qkv: &[f32], offsets: &[usize]| {
                let tokens = offsets[offsets.len() - 1];
                let x = cpu.upload(qkv.to_vec(), tokens).unwrap();
                let rows = cpu.upload(positions.clone(), 19).unwrap();
                let context = cpu.disentangled(&x, offsets, attention, (&rows, &distances));
                values(&cpu, &context.unwrap())
            };
            let got = run(&qkv, &offsets);
            let mut want = Vec::new();
            for pair in offsets.windows(2) {
                let rows = &qkv[pair[0] * 3 * width..pair[1] * 3 * width];
                let all: Vec<&[f32]> = rows.chunks_exact(3 * width).collect();
                let place: Vec<&[f32]> = positions.chunks_exact(3 * width).collect();
                for (query, own) in all.iter().enumerate() {
                    for head in 0..count {
                        let part = |row: &[f32], which: usize| -> Vec<f64> {
                            let first = which * width + head * size;
                            row[first..first + size]
                                .iter()
                                .map(|x| f64::from(*x))
                                .collect()
                        };
                        let dot = |a: Vec<f64>, b: Vec<f64>| -> f64 {
                            a.iter().zip(&b).map(|(a, b)| a * b).sum()
                        };
                        let scores: Vec<f64> = (0..all.len())
                            .map(|key| {
                                let between = place[row(query, key)];
                                let mut score = dot(part(own, 0), part(all[key], 1));
                                if to_positions {
                                    score += dot(part(own, 0), part(between, 1));
                                }
                                if to_contents {
                                    score += dot(part(between, 0), part(all[key], 1));
                                }
                                (score * f64::from(scale)).exp()
                            })
                            .collect();
                        let sum: f64 = scores.iter().sum();
                        for column in 0..size {
                            let weighted = scores.iter().zip(&all);
                            let weighted = weighted.map(|(x, row)| x * part(row, 2)[column]);
                            want.push(weighted.sum::<f64>() / sum);
                        }
                    }
                }
                // The neighbours make no difference.
                let alone = run(rows, &[0, pair[1] - pair[0]]);
                assert_eq!(alone, got[pair[0] * width..pair[1] * width]);
            }
            let what = format!("{count} heads of {size}, {to_positions} {to_contents}");
            assert_close(&got, &want, 2e-5, &what);
        }
    }
}

#[kernel_test]
fn norms_equal_their_formulas() {
    let cpu = Cpu::new();
    let mut random = Random(6);
    for width in [1, 2, 3, 5, 48, 100, 384] {
        let rows = 3;
        // With a large common offset, a one-pass variance would fail the comparison.
        let x: Vec<f32> = random.vec(rows * width).iter().map(|x| x + 100.0).collect();
        let residual = random.vec(rows * width);
        let (weight, bias) = (random.vec(width), random.vec(width));
        for (kind, bias) in [
            (NormKind::Layer, Some(bias.as_slice())),
            (NormKind::Layer, None),
            (NormKind::Rms, None),
            (NormKind::RmsPlusOne, None),
        ] {
            let norm = Norm {
                kind,
                weight: &weight,
                bias,
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
                let (mean, plus) = match kind {
                    NormKind::Layer => (sum.iter().sum::<f64>() / count, 0.0),
                    NormKind::Rms => (0.0, 0.0),
                    NormKind::RmsPlusOne => (0.0, 1.0),
                };
                let squares = sum.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
                for (column, (x, weight)) in sum.iter().zip(&weight).enumerate() {
                    let shift = bias.map_or(0.0, |bias| f64::from(bias[column]));
                    want.push(
                        (x - mean) / (squares + 1e-5).sqrt() * (f64::from(*weight) + plus) + shift,
                    );
                }
            }
            assert_close(&got, &want, 2e-4, &format!("{kind:?}, width {width}"));
        }
    }
}

#[kernel_test]
fn a_gate_is_the_activated_half_times_the_other() {
    let cpu = Cpu::new();
    let x = Random(9).vec(5 * 2 * 7);
    let tensor = cpu.upload(x.clone(), 5).unwrap();
    let got = values(
        &cpu,
        &cpu.gate(&tensor, Gate::First, Activation::Silu).unwrap(),
    );
    let mut want = Vec::new();
    for row in x.chunks_exact(14) {
        for (gate, up) in row[..7].iter().zip(&row[7..]) {
            let gate = f64::from(*gate);
            want.push(gate / (1.0 + (-gate).exp()) * f64::from(*up));
        }
    }
    assert_close(&got, &want, 1e-6, "silu");
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
fn splade_is_the_maximum_or_the_sum_of_activated_logits() {
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
    for dtype in [WeightDtype::F32, WeightDtype::Q8, WeightDtype::Q4] {
        let matrix = packed(&cpu, &weight, out, input, dtype);
        let all = values(
            &cpu,
            &cpu.linear(&x, &matrix, Some(&bias), Activation::Identity)
                .unwrap(),
        );
        for activation in [
            SpladeActivation::Log1pRelu,
            SpladeActivation::Log1pLog1pRelu,
        ] {
            for strategy in [SpladeStrategy::Max, SpladeStrategy::Sum] {
                let splade = Splade {
                    strategy,
                    activation,
                };
                let got = cpu.splade(&x, &offsets, &matrix, Some(&bias), splade);
                let got = values(&cpu, &got.unwrap());
                for (sequence, pair) in offsets.windows(2).enumerate() {
                    for column in 0..out {
                        let weights =
                            (pair[0]..pair[1]).map(|row| activation.apply(all[row * out + column]));
                        let want: f32 = match strategy {
                            SpladeStrategy::Max => weights.fold(0.0, f32::max),
                            SpladeStrategy::Sum => weights.sum(),
                        };
                        let what = format!("{dtype:?} {splade:?} {sequence} {column}");
                        assert_eq!(got[sequence * out + column], want, "{what}");
                    }
                }
            }
        }
    }
    let [once, twice] = [
        SpladeActivation::Log1pRelu,
        SpladeActivation::Log1pLog1pRelu,
    ]
    .map(|activation| [-1.0, 0.0, 1.0].map(|logit| activation.apply(logit)));
    assert_eq!(once, [0.0, 0.0, 2f32.ln()]);
    assert!((twice[2] - (1.0 + 2f32.ln()).ln()).abs() < 1e-7);
}

#[kernel_test]
fn max_sim_equals_its_definition_bit_for_bit() {
    let mut random = Random(21);
    for (queries, rows, width) in [(1, 1, 1), (3, 5, 7), (5, 8, 16), (9, 17, 33), (32, 30, 128)] {
        let (query, document) = (random.vec(queries * width), random.vec(rows * width));
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0.0f32, |sum, (a, b)| sum + a * b);
        let best = |row: &[f32]| {
            let others = document.chunks_exact(width).map(|other| dot(row, other));
            others.fold(f32::NEG_INFINITY, f32::max)
        };
        let want = query
            .chunks_exact(width)
            .fold(0.0f32, |sum, row| sum + best(row));
        let got = super::max_sim(&query, &document, width).unwrap();
        assert_eq!(
            got.to_bits(),
            want.to_bits(),
            "{queries} × {rows} × {width}"
        );
        let products = super::pairs(&document, width).unwrap();
        let mut products = products.iter();
        for i in 0..rows {
            for j in 0..i {
                let row = |i: usize| &document[i * width..][..width];
                let want = dot(row(i), row(j));
                assert_eq!(products.next().unwrap().to_bits(), want.to_bits());
            }
        }
        assert!(products.next().is_none());
    }
    assert_eq!(super::max_sim(&[], &[1.0], 1).unwrap().to_bits(), 0);
    assert_eq!(super::max_sim(&[1.0], &[], 1).unwrap().to_bits(), 0);
}

#[kernel_test]
#[expect(clippy::cast_precision_loss, reason = "as the kernel rounds it")]
fn max_sim_of_codes_equals_its_definition_bit_for_bit() {
    let mut random = Random(22);
    for (queries, rows, width) in [(1, 1, 1), (2, 3, 15), (4, 5, 16), (3, 9, 47), (32, 40, 128)] {
        let mut codes = |count: usize| -> Vec<i8> {
            #[expect(clippy::cast_possible_truncation, reason = "it is at most 127")]
            let code = |x: &f32| (x * 127.0) as i8;
            random.vec(count).iter().map(code).collect()
        };
        let (query, document) = (codes(queries * width), codes(rows * width));
        let (factors, scales) = (random.vec(queries), random.vec(rows));
        let mut want = 0.0f32;
        for (row, factor) in query.chunks_exact(width).zip(&factors) {
            let products = document
                .chunks_exact(width)
                .zip(&scales)
                .map(|(other, scale)| {
                    let pairs = row.iter().zip(other).rev();
                    let sum: i32 = pairs.map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
                    sum as f32 * scale
                });
            want += products.fold(f32::NEG_INFINITY, f32::max) * factor;
        }
        let got = super::max_sim_codes((&query, &factors), (&document, &scales), width);
        assert_eq!(
            got.to_bits(),
            want.to_bits(),
            "{queries} × {rows} × {width}"
        );
    }
}

/// Products of several blocks of rows, sequences that end within blocks, heads that share keys, and
/// fewer heads than threads.
#[cfg(not(target_arch = "wasm32"))]
#[test]
fn threads_divide_large_operations_without_a_change_of_bits() {
    let offsets = [0, 5, 150, 151, 230];
    let rows = 230;
    let one = large(&Cpu::new(), &offsets, rows);
    for count in [2, 3, 7] {
        let cpu = Cpu::with(Threads::new(count).unwrap());
        assert_eq!(cpu.threads().count(), count);
        for (place, (got, want)) in large(&cpu, &offsets, rows).iter().zip(&one).enumerate() {
            let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(got), bits(want), "{count} threads, operation {place}");
        }
    }
}

/// The results of all operations that threads share.
#[cfg(not(target_arch = "wasm32"))]
fn large(cpu: &Cpu, offsets: &[usize], rows: usize) -> Vec<Vec<f32>> {
    let mut random = Random(21);
    let x = cpu.upload(random.vec(rows * 72), rows).unwrap();
    let mut all = Vec::new();
    for dtype in [WeightDtype::F32, WeightDtype::Q8, WeightDtype::Q4] {
        let up = packed(cpu, &random.vec(432 * 72), 432, 72, dtype);
        let down = packed(cpu, &random.vec(72 * 432), 72, 432, dtype);
        let vocabulary = packed(cpu, &random.vec(1001 * 72), 1001, 72, dtype);
        let (bias, many) = (random.vec(432), random.vec(1001));
        let qkv = cpu
            .linear(&x, &up, Some(&bias), Activation::Identity)
            .unwrap();
        // 24 + 2 · 6 heads of 12, and 4 + 2 · 1 of 72.
        for (count, kv_count, size) in [(24, 6, 12), (4, 1, 72)] {
            for after in [None, Some(0)] {
                let attention = Attention {
                    heads: Heads {
                        count,
                        kv_count,
                        size,
                    },
                    mask: Mask {
                        before: None,
                        after,
                    },
                    ..plain(count, size)
                };
                let context = cpu.attention(&qkv, offsets, attention).unwrap();
                all.push(context.values.to_vec());
            }
        }
        let layers = [(&up, Some(&*bias)), (&down, None)];
        let layers = layers.map(|(weight, bias)| Linear { weight, bias });
        let given = cpu.feed_forward(&x, layers, Activation::Gelu).unwrap();
        let gated = cpu.gate(&qkv, Gate::Last, Activation::Silu).unwrap();
        let added = cpu.add(&x, &given, 0.5, Activation::Tanh).unwrap();
        for strategy in [SpladeStrategy::Max, SpladeStrategy::Sum] {
            let splade = Splade {
                strategy,
                activation: SpladeActivation::Log1pRelu,
            };
            let weights = cpu.splade(&given, offsets, &vocabulary, Some(&many), splade);
            all.push(weights.unwrap().values.to_vec());
        }
        all.extend([qkv, given, gated, added].map(|x| x.values.to_vec()));
    }
    all
}
