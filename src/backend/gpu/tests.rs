//! The GPU's kernels against the CPU's, on odd shapes, on the adapter of the machine.

use std::sync::LazyLock;

use super::pipelines::{PRELUDE, specialised};
use super::reading::ENTRIES;
use super::*;
use crate::backend::cpu::{Cpu, Threads};
use crate::backend::either::Either;
use crate::backend::{Mask, RelativeBias, Rotary, Values};

/// One device for all tests: an adapter that is a CPU starts slowly.
static GPU: LazyLock<Gpu> = LazyLock::new(|| {
    pollster::block_on(Gpu::open())
        .expect("a Vulkan or Metal adapter: Debian's mesa-vulkan-drivers has one")
});
static CPU: LazyLock<Cpu> = LazyLock::new(Cpu::new);

const DTYPES: [WeightDtype; 4] = [
    WeightDtype::F32,
    WeightDtype::F16,
    WeightDtype::Q8,
    WeightDtype::Q4,
];

/// A GPU without the language feature that is optional.
static BARE: LazyLock<Gpu> = LazyLock::new(|| {
    let mut gpu = pollster::block_on(Gpu::open()).unwrap();
    let device = Arc::get_mut(&mut gpu.device).unwrap();
    device.has_dot = false;
    gpu
});

/// Relative tolerance of products. Integer sums are exact. With 16 bits both sides have 11
/// significant bits: the error is 1.4e-4 of the largest on average, which is 1.4e-3 for a sum of
/// 200.
fn tolerance(dtype: WeightDtype) -> f32 {
    match dtype {
        WeightDtype::F16 => 8e-3,
        _ => 2e-5,
    }
}

/// Reproducible values in [-1, 1): the upper bits of Knuth's linear congruential generator.
struct Random(u64);

impl Random {
    fn vec(&mut self, len: usize) -> Vec<f32> {
        let next = || {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            #[expect(clippy::cast_precision_loss, reason = "24 bits fit")]
            let value = (self.0 >> 40) as f32;
            value / 8_388_608.0 - 1.0
        };
        std::iter::repeat_with(next).take(len).collect()
    }
}

fn read<B: Backend>(backend: &B, tensor: B::Tensor) -> Vec<f32> {
    let reading = backend.read(vec![ReadBack::All(tensor)]).unwrap();
    let values = pollster::block_on(reading).unwrap();
    let Some(Values::All(values)) = values.into_iter().next() else {
        panic!("all values were asked for");
    };
    values
}

fn packed<B: Backend>(
    backend: &B,
    values: &[f32],
    columns: usize,
    dtype: WeightDtype,
) -> B::Matrix {
    let rows = values.len() / columns;
    let mut matrix = backend.matrix(rows, columns, dtype).unwrap();
    for (row, values) in values.chunks_exact(columns).enumerate() {
        backend.set_row(&mut matrix, row, values);
    }
    matrix
}

/// Runs `$body` with the CPU and with a GPU as `$backend`, and compares the resulting tensors.
macro_rules! same {
    ($tolerance:expr, $what:expr, $backend:ident => $body:expr) => {
        same!(GPU, $tolerance, $what, $backend => $body)
    };
    ($gpu:ident, $tolerance:expr, $what:expr, $backend:ident => $body:expr) => {{
        let want = {
            let $backend = &*CPU;
            read($backend, $body)
        };
        let got = {
            let $backend = &*$gpu;
            read($backend, $body)
        };
        let what = $what;
        assert_eq!(got.len(), want.len(), "{what}");
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            let tolerance: f32 = $tolerance;
            assert!(
                (got - want).abs() <= tolerance * want.abs().max(1.0),
                "{what}, element {i}: {got} for {want}"
            );
        }
    }};
}

/// Checks WGSL as browsers do.
fn validate(what: &str, source: &str) {
    let module = naga::front::wgsl::parse_str(source);
    let module = module.unwrap_or_else(|error| panic!("{what}: {}", error.emit_to_string(source)));
    let (flags, capabilities) = (
        naga::valid::ValidationFlags::all(),
        // `unpack2x16float`, which WebGPU always has.
        naga::valid::Capabilities::SHADER_FLOAT16_IN_FLOAT32,
    );
    naga::valid::Validator::new(flags, capabilities)
        .validate(&module)
        .unwrap_or_else(|error| panic!("{what}: {error:?}"));
}

#[test]
fn every_file_is_valid_after_the_prelude() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/backend/gpu/kernels");
    let mut kernels = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let source = std::fs::read_to_string(&path).unwrap();
        validate(&path.display().to_string(), &(PRELUDE.concat() + &source));
        kernels += 1;
    }
    assert!(kernels >= 12, "{kernels}");
}

#[test]
fn every_kernel_is_valid_in_every_specialisation() {
    for kernel in Kernel::ALL {
        for has_dot in [true, false] {
            for bits in [32, 16, 8, 4] {
                let constants = vec![("BITS", bits), ("SIZE", 33)];
                let source = specialised(kernel, &constants, has_dot).unwrap();
                validate(&format!("{kernel:?} {constants:?}"), &source);
                // Every line of the general case is replaced where it must be.
                let product = matches!(kernel, Kernel::Linear | Kernel::Splade);
                assert_eq!(
                    source.contains("dot4I8Packed(a, b)"),
                    product && has_dot,
                    "{kernel:?}"
                );
                assert_eq!(
                    source.contains("const SIZE = 33u;"),
                    kernel == Kernel::Attention,
                    "{kernel:?}"
                );
                assert!(!source.contains("-> f32 { return x; }"), "{kernel:?}");
            }
        }
    }
}

#[test]
fn a_kernel_without_the_line_to_replace_is_an_error() {
    let error = pipelines::replaced("fn main() {}", "main", "const SIZE = 64u;", "").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the source of the GPU kernel main lacks the line \"const SIZE = 64u;\""
    );
}

#[test]
fn linear() {
    let mut random = Random(1);
    for (rows, out, input) in [
        (1, 1, 1),
        (3, 7, 5),
        (4, 64, 64),
        (16, 65, 48),
        (17, 3, 130),
        (33, 130, 65),
        (70, 100, 200),
    ] {
        let (x, weight) = (random.vec(rows * input), random.vec(out * input));
        let bias = random.vec(out);
        for dtype in DTYPES {
            for bias in [None, Some(bias.as_slice())] {
                same!(tolerance(dtype), format!("{dtype:?} {rows} × {out} × {input}"), backend => {
                    let weight = packed(backend, &weight, input, dtype);
                    let x = backend.upload(x.clone(), rows).unwrap();
                    backend.linear(&x, &weight, bias, Activation::Identity).unwrap()
                });
            }
            same!(BARE, tolerance(dtype), format!("bare, {dtype:?} {rows} × {out} × {input}"), backend => {
                let weight = packed(backend, &weight, input, dtype);
                let x = backend.upload(x.clone(), rows).unwrap();
                backend.linear(&x, &weight, None, Activation::Identity).unwrap()
            });
        }
    }
}

/// Activations have outliers that 16 bits have no room for, and states that are far below them.
#[test]
fn sixteen_bits_are_enough_for_any_size() {
    let mut random = Random(13);
    let (rows, out, input) = (6, 20, 96);
    let weight = random.vec(out * input);
    let mut x = random.vec(rows * input);
    for (row, factor) in x
        .chunks_exact_mut(input)
        .zip([1e-30, 1e-6, 1.0, 1e6, 1e30, 0.0])
    {
        row.iter_mut().for_each(|x| *x *= factor);
    }
    let of = |gpu: &Gpu| {
        let weight = packed(gpu, &weight, input, WeightDtype::F16);
        let x = gpu.upload(x.clone(), rows).unwrap();
        read(
            gpu,
            gpu.linear(&x, &weight, None, Activation::Identity).unwrap(),
        )
    };
    for (row, x) in x.chunks_exact(input).enumerate() {
        let size = x.iter().fold(0f32, |most, x| most.max(x.abs()));
        for gpu in [&*GPU, &*BARE] {
            let ours = &of(gpu)[row * out..][..out];
            for (ours, weight) in ours.iter().zip(weight.chunks_exact(input)) {
                let terms = x.iter().zip(weight).map(|(x, weight)| x * weight);
                let want: f32 = terms.sum();
                assert!(
                    (ours - want).abs() <= 5e-3 * size,
                    "row {row}: {ours} for {want}"
                );
            }
        }
    }
}

#[test]
fn a_matrix_of_several_buffers() {
    let mut random = Random(2);
    let mut small = pollster::block_on(Gpu::open()).unwrap();
    small.set_largest(64 * 96);
    let (rows, out, input) = (5, 300, 150);
    let (x, weight, bias) = (
        random.vec(rows * input),
        random.vec(out * input),
        random.vec(out),
    );
    let ids = [0u32, 63, 64, 200, 299];
    let of = |gpu: &Gpu, dtype| {
        let weight = packed(gpu, &weight, input, dtype);
        let x = gpu.upload(x.clone(), rows).unwrap();
        let product = gpu
            .linear(&x, &weight, Some(&bias), Activation::Gelu)
            .unwrap();
        let rows = gpu.embed(&[(&weight, &ids), (&weight, &ids)], 2.0).unwrap();
        (weight.parts.len(), read(gpu, product), read(gpu, rows))
    };
    for dtype in DTYPES {
        let (parts, product, rows) = of(&small, dtype);
        assert!(parts > 1, "{dtype:?}");
        assert_eq!((1, product, rows), of(&GPU, dtype), "{dtype:?}");
    }
}

#[test]
fn activations_and_gates() {
    let mut random = Random(3);
    let (rows, width) = (9, 70);
    let x: Vec<f32> = random
        .vec(2 * rows * width)
        .iter()
        .map(|x| x * 12.0)
        .collect();
    let unit: Vec<f32> = (0..4 * width * width)
        .map(|i| f32::from(u8::from(i / (2 * width) == i % (2 * width))))
        .collect();
    for activation in [
        Activation::Identity,
        Activation::Relu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Silu,
        Activation::Sigmoid,
        Activation::Tanh,
    ] {
        same!(5e-6, format!("{activation:?}"), backend => {
            let weight = packed(backend, &unit, 2 * width, WeightDtype::F32);
            let x = backend.upload(x.clone(), rows).unwrap();
            backend.linear(&x, &weight, None, activation).unwrap()
        });
        for gate in [Gate::First, Gate::Last] {
            same!(2e-5, format!("gate {gate:?}, {activation:?}"), backend => {
                let x = backend.upload(x.clone(), rows).unwrap();
                backend.gate(&x, gate, activation).unwrap()
            });
        }
    }
}

#[test]
fn embeddings() {
    let mut random = Random(4);
    for (rows, columns) in [(1, 1), (9, 48), (17, 65), (70, 130)] {
        let (words, positions) = (random.vec(rows * columns), random.vec(4 * columns));
        let ids: Vec<u32> = (0..u32::try_from(rows).unwrap()).rev().collect();
        let places = vec![3; rows];
        for dtype in DTYPES {
            same!(1e-5, format!("{dtype:?} {rows} × {columns}"), backend => {
                let words = packed(backend, &words, columns, dtype);
                let positions = packed(backend, &positions, columns, WeightDtype::F32);
                backend.embed(&[(&words, &ids), (&positions, &places)], 1.5).unwrap()
            });
        }
    }
}

#[test]
fn norms() {
    let mut random = Random(5);
    for (rows, width) in [(1, 1), (3, 48), (5, 65), (2, 768)] {
        let (x, y) = (random.vec(rows * width), random.vec(rows * width));
        let (weight, bias) = (random.vec(width), random.vec(width));
        for kind in [NormKind::Layer, NormKind::Rms, NormKind::RmsPlusOne] {
            for (with_residual, bias) in [(false, None), (true, Some(bias.as_slice()))] {
                // Only LayerNorm has one.
                let bias = bias.filter(|_| kind == NormKind::Layer);
                let norm = Norm {
                    kind,
                    weight: &weight,
                    bias,
                    eps: 1e-5,
                };
                same!(5e-5, format!("{kind:?} {rows} × {width}"), backend => {
                    let x = backend.upload(x.clone(), rows).unwrap();
                    let y = backend.upload(y.clone(), rows).unwrap();
                    backend.norm(&x, with_residual.then_some(&y), norm).unwrap()
                });
            }
        }
        same!(1e-6, format!("length 1, {rows} × {width}"), backend => {
            let x = backend.upload(x.clone(), rows).unwrap();
            backend.normalize(&x).unwrap()
        });
        same!(0.0, format!("sum, {rows} × {width}"), backend => {
            let x = backend.upload(x.clone(), rows).unwrap();
            let y = backend.upload(y.clone(), rows).unwrap();
            backend.add(&x, &y, 1.0, Activation::Identity).unwrap()
        });
        same!(5e-6, format!("activated sum, {rows} × {width}"), backend => {
            let x = backend.upload(x.clone(), rows).unwrap();
            let y = backend.upload(y.clone(), rows).unwrap();
            backend.add(&x, &y, 0.4, Activation::Gelu).unwrap()
        });
        same!(0.0, format!("side by side, {rows} × {width}"), backend => {
            let x = backend.upload(x.clone(), rows).unwrap();
            let y = backend.upload([y.clone(), x_of(&y)].concat(), rows).unwrap();
            backend.concatenate(&[&x, &y]).unwrap()
        });
    }
}

#[test]
fn experts() {
    let mut random = Random(21);
    for (rows, hidden, inner, count, top) in
        [(1, 48, 100, 1, 1), (7, 48, 100, 5, 2), (70, 65, 33, 8, 3)]
    {
        let x = random.vec(rows * hidden);
        let router = random.vec(count * hidden);
        let bias = random.vec(hidden);
        let matrices: Vec<_> = (0..count)
            .map(|_| [random.vec(inner * hidden), random.vec(hidden * inner)])
            .collect();
        for dtype in DTYPES {
            same!(tolerance(dtype) * 4.0, format!("{count} experts, {dtype:?}"), backend => {
                let router = packed(backend, &router, hidden, WeightDtype::F32);
                let matrices: Vec<_> = matrices
                    .iter()
                    .map(|[up, down]| {
                        [packed(backend, up, hidden, dtype), packed(backend, down, inner, dtype)]
                    })
                    .collect();
                let experts = Experts {
                    router: &router,
                    matrices: matrices.iter().map(|[up, down]| [up, down]).collect(),
                    top,
                    bias: &bias,
                };
                let x = backend.upload(x.clone(), rows).unwrap();
                backend.experts(&x, &experts, Activation::Gelu).unwrap()
            });
        }
    }
}

fn x_of(values: &[f32]) -> Vec<f32> {
    values.iter().map(|value| value * 2.0).collect()
}

#[test]
fn pooling() {
    let mut random = Random(6);
    let offsets = [0, 1, 8, 9, 40];
    let x = random.vec(40 * 70);
    for pooling in [
        Pooling::Cls,
        Pooling::Max,
        Pooling::Mean,
        Pooling::MeanSqrtLen,
        Pooling::WeightedMean,
        Pooling::LastToken,
    ] {
        for skip in [[0; 4], [0, 3, 1, 30]] {
            same!(1e-5, format!("{pooling:?} {skip:?}"), backend => {
                let x = backend.upload(x.clone(), 40).unwrap();
                backend.pool(&x, &offsets, &skip, pooling).unwrap()
            });
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn attention() {
    let mut random = Random(7);
    let offsets = [0, 1, 34, 66, 69, 140];
    let (tokens, longest) = (140, 71);
    let bias = |count: usize, random: &mut Random| RelativeBias {
        reach: longest - 1,
        values: random.vec(count * (2 * longest - 1)),
    };
    for (count, kv_count, size) in [(1, 1, 4), (4, 2, 16), (3, 1, 33), (2, 2, 64), (2, 1, 256)] {
        let heads = Heads {
            count,
            kv_count,
            size,
        };
        let qkv = random.vec(tokens * (count + 2 * kv_count) * size);
        let half = size / 2;
        let angles = random.vec(longest * half);
        let rotary = Rotary {
            half,
            cos: angles.iter().map(|angle| angle.cos()).collect(),
            sin: angles.iter().map(|angle| angle.sin()).collect(),
        };
        let (weights, shifts, table) = (
            random.vec(2 * size),
            random.vec(2 * size),
            bias(count, &mut random),
        );
        let norm = |first: usize, kind| Norm {
            kind,
            weight: &weights[first..first + size],
            bias: (kind == NormKind::Layer).then_some(&shifts[first..first + size]),
            eps: 1e-6,
        };
        let plain = Attention {
            heads,
            scale: 0.3,
            cap: None,
            mask: Mask::default(),
            head_norms: None,
            rotary: None,
            bias: None,
            keys: None,
        };
        let window = |before, after| Mask { before, after };
        let norms = |kind| Some([norm(0, kind), norm(size, kind)]);
        for (what, attention) in [
            ("plain", plain),
            (
                "causal",
                Attention {
                    mask: window(None, Some(0)),
                    ..plain
                },
            ),
            (
                "window",
                Attention {
                    mask: window(Some(5), Some(9)),
                    ..plain
                },
            ),
            (
                "backwards",
                Attention {
                    mask: window(Some(40), Some(0)),
                    ..plain
                },
            ),
            (
                "cap",
                Attention {
                    cap: Some(0.4),
                    mask: window(None, Some(0)),
                    ..plain
                },
            ),
            (
                "bias",
                Attention {
                    bias: Some(&table),
                    ..plain
                },
            ),
            (
                "rotary",
                Attention {
                    rotary: Some(&rotary),
                    ..plain
                },
            ),
            (
                "RMSNorm",
                Attention {
                    head_norms: norms(NormKind::Rms),
                    rotary: Some(&rotary),
                    ..plain
                },
            ),
            (
                "LayerNorm",
                Attention {
                    head_norms: norms(NormKind::Layer),
                    ..plain
                },
            ),
            (
                "Gemma",
                Attention {
                    head_norms: norms(NormKind::RmsPlusOne),
                    ..plain
                },
            ),
            (
                "fewer keys",
                Attention {
                    keys: Some(&[1, 5, 32, 1, 40]),
                    rotary: Some(&rotary),
                    ..plain
                },
            ),
            (
                "fewer keys in a window",
                Attention {
                    keys: Some(&[1, 30, 20, 2, 64]),
                    mask: window(Some(30), Some(3)),
                    bias: Some(&table),
                    ..plain
                },
            ),
        ] {
            same!(1e-4, format!("{what}, {count} / {kv_count} heads of {size}"), backend => {
                let qkv = backend.upload(qkv.clone(), tokens).unwrap();
                backend.attention(&qkv, &offsets, attention).unwrap()
            });
        }
    }
}

#[test]
fn splade() {
    let mut random = Random(8);
    for (offsets, vocab, input) in [
        (vec![0, 1], 3, 5),
        (vec![0, 7, 8, 20], 70, 48),
        (vec![0, 70, 100], 130, 65),
    ] {
        let tokens = offsets[offsets.len() - 1];
        let (x, weight) = (random.vec(tokens * input), random.vec(vocab * input));
        let bias = random.vec(vocab);
        for (strategy, activation) in [
            (SpladeStrategy::Max, SpladeActivation::Log1pRelu),
            (SpladeStrategy::Max, SpladeActivation::Log1pLog1pRelu),
            (SpladeStrategy::Sum, SpladeActivation::Log1pRelu),
        ] {
            let splade = Splade {
                strategy,
                activation,
            };
            for dtype in DTYPES {
                same!(tolerance(dtype), format!("{splade:?} {dtype:?} {offsets:?}"), backend => {
                    let weight = packed(backend, &weight, input, dtype);
                    let x = backend.upload(x.clone(), tokens).unwrap();
                    backend.splade(&x, &offsets, &weight, Some(&bias), splade).unwrap()
                });
            }
        }
    }
}

/// Lists the positive values of `values` on the GPU.
fn positive(values: &[f32]) -> Vec<(u32, f32)> {
    let x = GPU.upload(values.to_vec(), 1).unwrap();
    let reading = GPU.read(vec![ReadBack::Positive(x)]).unwrap();
    match pollster::block_on(reading).unwrap().into_iter().next() {
        Some(Values::Positive(entries)) => entries,
        _ => panic!("positive values were asked for"),
    }
}

#[test]
fn few_positive_values_come_as_a_list_and_many_too() {
    let want = |values: &[f32]| -> Vec<(u32, f32)> {
        let all = (0u32..).zip(values.iter().copied());
        all.filter(|(_, value)| *value > 0.0).collect()
    };
    let mut sparse = vec![0.0; 30_000];
    sparse
        .iter_mut()
        .step_by(100)
        .for_each(|value| *value = 0.5);
    sparse[17] = -1.0;
    assert_eq!(positive(&sparse), want(&sparse));
    // More values than a list has room for.
    let dense = Random(9).vec(30_000);
    assert!(want(&dense).len() > ENTRIES);
    assert_eq!(positive(&dense), want(&dense));
}

#[test]
fn what_is_not_a_number_is_not_lost() {
    let broken = [
        1.0,
        f32::NAN,
        f32::INFINITY,
        -1.0,
        f32::NEG_INFINITY,
        0.0,
        -f32::NAN,
        2.0,
    ];
    let found = positive(&broken);
    let places: Vec<u32> = found.iter().map(|(at, _)| *at).collect();
    assert_eq!(places, [0, 1, 2, 6, 7]);
    // In each dtype, products and SPLADE's maximum propagate a NaN of the states.
    let mut x = Random(10).vec(3 * 70);
    x[75] = f32::NAN;
    let weight = Random(11).vec(5 * 70);
    for dtype in DTYPES {
        let weight = packed(&*GPU, &weight, 70, dtype);
        let x = GPU.upload(x.clone(), 3).unwrap();
        let product = GPU.linear(&x, &weight, None, Activation::Identity).unwrap();
        let product = read(&*GPU, product);
        assert!(
            product[5..10].iter().all(|value| !value.is_finite()),
            "{dtype:?} {product:?}"
        );
        assert!(
            product[..5]
                .iter()
                .chain(&product[10..])
                .all(|value| value.is_finite())
        );
        let splade = Splade {
            strategy: SpladeStrategy::Max,
            activation: SpladeActivation::Log1pRelu,
        };
        let weights = GPU.splade(&x, &[0, 3], &weight, None, splade).unwrap();
        let weights = read(&*GPU, weights);
        assert!(
            weights.iter().all(|value| !value.is_finite()),
            "{dtype:?} {weights:?}"
        );
    }
}

#[test]
fn a_row_has_the_same_bits_alone_and_among_others() {
    let mut random = Random(12);
    let (tokens, width) = (37, 2 * 3 * 16);
    let x = random.vec(tokens * width);
    let attention = Attention {
        heads: Heads {
            count: 2,
            kv_count: 2,
            size: 16,
        },
        scale: 0.3,
        cap: None,
        mask: Mask::default(),
        head_norms: None,
        rotary: None,
        bias: None,
        keys: None,
    };
    let of = |values: &[f32], offsets: &[usize]| {
        let x = GPU.upload(values.to_vec(), values.len() / width).unwrap();
        read(&*GPU, GPU.attention(&x, offsets, attention).unwrap())
    };
    let all = of(&x, &[0, 4, 37]);
    assert_eq!(all[4 * 32..], of(&x[4 * width..], &[0, 33]));
    let weight = random.vec(19 * width);
    for dtype in DTYPES {
        let weight = packed(&*GPU, &weight, width, dtype);
        let of = |values: &[f32]| {
            let x = GPU.upload(values.to_vec(), values.len() / width).unwrap();
            read(
                &*GPU,
                GPU.linear(&x, &weight, None, Activation::Gelu).unwrap(),
            )
        };
        assert_eq!(of(&x)[19 * 36..], of(&x[36 * width..]), "{dtype:?}");
    }
}

#[test]
fn what_is_too_large_is_an_error_with_sizes_in_it() {
    let limit = GPU.device.largest();
    let width = usize::try_from(limit / 4).unwrap() + 1;
    let error = GPU.tensor(1, width).err().unwrap();
    assert_eq!(error.code(), "out_of_memory");
    assert!(error.to_string().contains(&limit.to_string()), "{error}");
}

/// A driver without free memory returns invalid buffers and reports the failure later. Only passes
/// that use these buffers fail.
#[test]
fn memory_that_runs_out_is_an_error_with_sizes_in_it_and_no_more() {
    let gpu = pollster::block_on(Gpu::open()).unwrap();
    let start = || {
        let x = gpu.upload(vec![1.0; 3000], 2).unwrap();
        let sum = gpu.add(&x, &x, 1.0, Activation::Identity).unwrap();
        gpu.read(vec![ReadBack::All(sum)]).unwrap()
    };
    let code = |reading: Reading| {
        pollster::block_on(reading)
            .map(drop)
            .map_err(|error: Error| {
                let text = error.to_string();
                assert!(text.contains(" 12345 bytes beside the 678 "), "{text}");
                error.code()
            })
    };
    assert_eq!(code(start()), Ok(()));
    let taken = || gpu.device.taken.load(std::sync::atomic::Ordering::Relaxed);
    let before = taken();
    assert!((24_000..200_000).contains(&before), "{before}");
    // Another pass allocates nothing.
    assert_eq!(code(start()), Ok(()));
    assert_eq!(taken(), before);

    // Destroyed buffers stand for failed allocations, and the report comes later.
    for buffer in gpu.pool.home().buffers().iter() {
        buffer.destroy();
    }
    let order = std::future::ready(Err(Error::GpuMemory {
        bytes: 12_345,
        taken: 678,
    }));
    gpu.device.allocations().push(Box::pin(order));
    let [first, neighbour] = [start(), start()];
    assert_eq!(code(first), Err("out_of_memory"));
    assert_eq!(code(neighbour), Err("out_of_memory"));
    // The pool's buffers were freed, and passes run again.
    assert!(taken() < before, "{}", taken());
    assert_eq!(code(start()), Ok(()));
    assert_eq!(code(start()), Ok(()));
    // A failed allocation of a matrix is an error of loading.
    let order = std::future::ready(Err(Error::GpuMemory {
        bytes: 12_345,
        taken: 678,
    }));
    gpu.device.allocations().push(Box::pin(order));
    let matrix = gpu.matrix(8, 8, WeightDtype::F32).map(drop);
    assert_eq!(matrix.unwrap_err().code(), "out_of_memory");
    assert!(gpu.matrix(8, 8, WeightDtype::F32).is_ok());
}

#[test]
fn a_gpu_without_room_leaves_all_to_the_cpu_if_that_has_the_weights() {
    let gpu = pollster::block_on(Gpu::open()).unwrap();
    let short = || {
        let (bytes, taken) = (12_345, 678);
        Box::pin(std::future::ready(Err(Error::GpuMemory { bytes, taken })))
    };
    gpu.device.allocations().push(short());
    let both = Either::gpu(gpu, true);
    let weight = Random(14).vec(6 * 40);
    let table = packed(&both, &weight, 40, WeightDtype::F32);
    let rows = both.embed(&[(&table, &[2, 5])], 1.0).unwrap();
    let rows = read(&both, rows);
    assert_eq!(rows, [&weight[80..120], &weight[200..]].concat());
    assert_eq!(both.check_loaded().unwrap_err().code(), "out_of_memory");
    let gpu = pollster::block_on(Gpu::open()).unwrap();
    gpu.device.allocations().push(short());
    let alone = Either::gpu(gpu, false);
    let refused = alone.matrix(6, 40, WeightDtype::F32).map(drop);
    assert_eq!(refused.unwrap_err().code(), "out_of_memory");
}

#[test]
fn what_no_gpu_has_is_left_to_the_cpu_if_that_has_the_weights() {
    let gpu = pollster::block_on(Gpu::open()).unwrap();
    let both = Either::gpu(gpu, true);
    both.need_cpu("an operation").unwrap();
    assert_eq!(both.gpu_from(), usize::MAX);
    let error = both.check_loaded().unwrap_err();
    assert!(
        error.to_string().contains("an operation runs on the CPU"),
        "{error}"
    );
    let gpu = pollster::block_on(Gpu::open()).unwrap();
    let alone = Either::gpu(gpu, false).need_cpu("an operation");
    assert_eq!(alone.unwrap_err().code(), "unsupported_model");
    Either::cpu(Threads::default())
        .need_cpu("an operation")
        .unwrap();
}

#[test]
fn a_lost_device_is_an_error() {
    let gpu = pollster::block_on(Gpu::open()).unwrap();
    let x = gpu.upload(vec![1.0; 8], 2).unwrap();
    // A driver may lose the device at any time.
    gpu.device.gpu.destroy();
    let result = gpu.read(vec![ReadBack::All(x)]);
    let result = result.and_then(pollster::block_on);
    assert_eq!(result.map(drop).unwrap_err().code(), "gpu_lost");
    assert_eq!(gpu.check().unwrap_err().code(), "gpu_lost");
}
