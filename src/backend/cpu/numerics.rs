//! The results of all kernels, pinned together with the version of the numerics.

use super::tests::{Random, kernel_test, packed, plain};
use super::*;
use crate::backend::{Heads, Mask, NUMERICS, NormKind, RelativeBias, Rotary, SpladeActivation};

/// The versions of the numerics, each with the hashes of [`layers`] and [`heads`]. Whoever changes
/// the results of a kernel raises `NUMERICS` and appends a line; no line is changed. Otherwise
/// vectors that differ would have the same `spaceId`. (A new operation in a hash changes that hash
/// without a change of results; then it is updated in the last line.)
const RESULTS: &[(u32, [&str; 2])] = &[(3, ["44871347dfec2549", "8af81b57512a96fe"])];

/// The kernels' results on fixed inputs have the same bits natively, in every build and in every
/// engine, and these belong to the version of the numerics.
#[kernel_test]
fn the_bits_are_the_same_on_every_platform_and_belong_to_the_version() {
    let cpu = Cpu::new();
    let hashes = [layers(&cpu), heads(&cpu)].map(|hash| format!("{hash:016x}"));
    let (version, expected) = RESULTS[RESULTS.len() - 1];
    assert_eq!(
        (NUMERICS, hashes.each_ref().map(String::as_str)),
        (version, expected)
    );
    assert!(RESULTS.windows(2).all(|pair| pair[0].0 < pair[1].0));
}

/// They are the same for any number of threads.
#[cfg(not(target_arch = "wasm32"))]
#[test]
fn the_bits_are_the_same_for_any_number_of_threads() {
    let (_, expected) = RESULTS[RESULTS.len() - 1];
    for count in [1, 2, 3, 7] {
        let cpu = Cpu::with(Threads::new(count).unwrap());
        let hashes = [layers(&cpu), heads(&cpu)].map(|hash| format!("{hash:016x}"));
        assert_eq!(
            hashes.each_ref().map(String::as_str),
            expected,
            "{count} threads"
        );
    }
}

/// FNV-1a over the bits of values, a word at a time.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, values: &[f32]) {
        for value in values {
            self.0 = (self.0 ^ u64::from(value.to_bits())).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// The hash of what transformer layers consist of.
fn layers(cpu: &Cpu) -> u64 {
    let mut random = Random(8);
    let bias = RelativeBias {
        reach: 19,
        values: random.vec(4 * 39),
    };
    let rotary = Rotary {
        half: 6,
        cos: random.vec(20 * 6),
        sin: random.vec(20 * 6),
    };
    let attentions = [
        plain(4, 12),
        Attention {
            rotary: Some(&rotary),
            bias: Some(&bias),
            mask: Mask {
                before: Some(7),
                after: None,
            },
            ..plain(4, 12)
        },
    ];
    let x = cpu.upload(random.vec(29 * 48), 29).unwrap();
    let mut hash = Fnv::new();
    for dtype in [WeightDtype::F32, WeightDtype::Q8, WeightDtype::Q4] {
        for activation in [
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Silu,
            Activation::Sigmoid,
            Activation::Tanh,
        ] {
            let weight = packed(cpu, &random.vec(144 * 48), 144, 48, dtype);
            let qkv = cpu.linear(&x, &weight, None, activation).unwrap();
            for attention in attentions {
                let context = cpu.attention(&qkv, &[0, 9, 29], attention).unwrap();
                let gated = cpu.gate(&qkv, Gate::First, activation).unwrap();
                let (scale, shift) = (random.vec(48), random.vec(48));
                let layer_norm = Norm {
                    kind: NormKind::Layer,
                    weight: &scale,
                    bias: Some(&shift),
                    eps: 1e-12,
                };
                let rms_norm = Norm {
                    kind: NormKind::Rms,
                    ..layer_norm
                };
                let y = cpu.norm(&context, Some(&x), layer_norm).unwrap();
                let z = cpu.norm(&x, Some(&y), rms_norm).unwrap();
                for x in [y, z, gated] {
                    hash.add(&x.values);
                }
            }
        }
    }
    hash.0
}

/// The hash of all other operations: tables, feed-forward blocks, normed heads, pooling and SPLADE.
fn heads(cpu: &Cpu) -> u64 {
    let mut random = Random(9);
    let offsets = [0, 3, 29];
    let (norm, table) = (random.vec(12), random.vec(90 * 48));
    let ids: Vec<u32> = (0..29).map(|i| i * 3).collect();
    let norm = Norm {
        kind: NormKind::RmsPlusOne,
        weight: &norm,
        bias: None,
        eps: 1e-6,
    };
    let causal = Attention {
        heads: Heads {
            count: 6,
            kv_count: 1,
            size: 12,
        },
        mask: Mask {
            before: None,
            after: Some(0),
        },
        head_norms: Some([norm; 2]),
        ..plain(6, 12)
    };
    let mut hash = Fnv::new();
    for dtype in [
        WeightDtype::F32,
        WeightDtype::F16,
        WeightDtype::Q8,
        WeightDtype::Q4,
    ] {
        let table = packed(cpu, &table, 90, 48, dtype);
        let x = cpu.embed(&[(&table, &ids), (&table, &ids)], 1.5).unwrap();
        let up = packed(cpu, &random.vec(96 * 48), 96, 48, dtype);
        let down = packed(cpu, &random.vec(48 * 96), 48, 96, dtype);
        let bias = random.vec(96);
        let layers = [(&up, Some(&*bias)), (&down, None)];
        for activation in [Activation::Identity, Activation::Relu, Activation::Gelu] {
            let layers = layers.map(|(weight, bias)| Linear { weight, bias });
            hash.add(&cpu.feed_forward(&x, layers, activation).unwrap().values);
        }
        let qkv = cpu.linear(&x, &up, None, Activation::Identity).unwrap();
        hash.add(&cpu.attention(&qkv, &offsets, causal).unwrap().values);
        for mode in Pooling::MODES {
            let pooled = cpu.pool(&x, &offsets, &[0, 2], mode.pooling).unwrap();
            let scaled = cpu.normalize(&pooled).unwrap();
            hash.add(&cpu.concatenate(&[&pooled, &scaled]).unwrap().values);
        }
        for strategy in [SpladeStrategy::Max, SpladeStrategy::Sum] {
            for activation in [
                SpladeActivation::Log1pRelu,
                SpladeActivation::Log1pLog1pRelu,
            ] {
                let splade = Splade {
                    strategy,
                    activation,
                };
                let weights = cpu.splade(&x, &offsets, &up, Some(&bias), splade).unwrap();
                hash.add(&weights.values);
            }
        }
    }
    hash.0
}
