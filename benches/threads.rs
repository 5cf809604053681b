//! A pass with one thread and with several, by turns, on the shapes of published models with random
//! weights in q8: milliseconds, the speed-up, and the serial share that it implies.
//!
//! `cargo bench --bench threads` (`-- 4` for four threads; two by default)

use std::time::Instant;

use gossamer::backend::cpu::CpuMatrix;
use gossamer::backend::{
    Activation, Attention, Backend, Compute, Heads, Linear, Mask, Norm, NormKind, ReadBack, Splade,
    SpladeActivation, SpladeStrategy, Values,
};
use gossamer::{Cpu, Pooling, Threads, WeightDtype};

/// Tokens of a text.
const TOKENS: usize = 32;
/// Texts of a full pass.
const TEXTS: usize = 16;
const ROUNDS: usize = 21;

/// The shapes of a model.
struct Shapes {
    name: &'static str,
    hidden: usize,
    heads: usize,
    inner: usize,
    layers: usize,
    /// Entries of the vocabulary that a sparse model weighs.
    vocabulary: Option<usize>,
}

const MODELS: [Shapes; 3] = [
    Shapes {
        name: "all-MiniLM-L6-v2",
        hidden: 384,
        heads: 12,
        inner: 1536,
        layers: 6,
        vocabulary: None,
    },
    Shapes {
        name: "SPLADE of BERT-base",
        hidden: 768,
        heads: 12,
        inner: 3072,
        layers: 12,
        vocabulary: Some(30522),
    },
    Shapes {
        name: "bge-m3",
        hidden: 1024,
        heads: 16,
        inner: 4096,
        layers: 24,
        vocabulary: None,
    },
];

/// Reproducible values in [-0.05, 0.05).
fn values(seed: &mut u64, count: usize) -> Vec<f32> {
    let mut next = || {
        *seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        #[expect(clippy::cast_precision_loss, reason = "24 bits fit")]
        let value = (*seed >> 40) as f32;
        (value / 16_777_216.0 - 0.5) * 0.1
    };
    (0..count).map(|_| next()).collect()
}

fn matrix(seed: &mut u64, rows: usize, columns: usize) -> CpuMatrix {
    let cpu = Cpu::new();
    let mut matrix = cpu.matrix(rows, columns, WeightDtype::Q8).expect("memory");
    for row in 0..rows {
        cpu.set_row(&mut matrix, row, &values(seed, columns));
    }
    matrix
}

/// Weights of a model with post-norms, as BERT has them.
struct Model<'a> {
    shapes: &'a Shapes,
    /// Queries, keys and values; their output; up; down.
    layers: Vec<[CpuMatrix; 4]>,
    vocabulary: Option<CpuMatrix>,
    scale: Vec<f32>,
    bias: Vec<f32>,
}

impl<'a> Model<'a> {
    fn new(shapes: &'a Shapes) -> Self {
        let (seed, hidden, inner) = (&mut 7, shapes.hidden, shapes.inner);
        let layers = (0..shapes.layers).map(|_| {
            [
                matrix(seed, 3 * hidden, hidden),
                matrix(seed, hidden, hidden),
                matrix(seed, inner, hidden),
                matrix(seed, hidden, inner),
            ]
        });
        Self {
            shapes,
            layers: layers.collect(),
            vocabulary: shapes.vocabulary.map(|rows| matrix(seed, rows, hidden)),
            scale: vec![1.0; hidden],
            bias: values(seed, shapes.vocabulary.unwrap_or(0).max(3 * inner)),
        }
    }

    /// The vectors of so many texts.
    fn run(&self, cpu: &Cpu, texts: usize) -> gossamer::Result<Vec<f32>> {
        let Shapes {
            hidden,
            heads,
            inner,
            ..
        } = *self.shapes;
        let offsets: Vec<usize> = (0..=texts).map(|text| text * TOKENS).collect();
        let tokens = texts * TOKENS;
        let attention = Attention {
            heads: Heads {
                count: heads,
                kv_count: heads,
                size: hidden / heads,
            },
            scale: 0.18,
            cap: None,
            mask: Mask::default(),
            head_norms: None,
            rotary: None,
            bias: None,
            keys: None,
        };
        let norm = Norm {
            kind: NormKind::Layer,
            weight: &self.scale,
            bias: Some(&self.bias[..hidden]),
            eps: 1e-12,
        };
        let bias = |width: usize| Some(&self.bias[..width]);
        let mut x = cpu.upload(values(&mut 3, tokens * hidden), tokens)?;
        for [qkv, output, up, down] in &self.layers {
            let inputs = cpu.linear(&x, qkv, bias(3 * hidden), Activation::Identity)?;
            let context = cpu.attention(&inputs, &offsets, attention)?;
            let given = cpu.linear(&context, output, bias(hidden), Activation::Identity)?;
            x = cpu.norm(&given, Some(&x), norm)?;
            let up = Linear {
                weight: up,
                bias: bias(inner),
            };
            let down = Linear {
                weight: down,
                bias: bias(hidden),
            };
            let given = cpu.feed_forward(&x, [up, down], Activation::Gelu)?;
            x = cpu.norm(&given, Some(&x), norm)?;
        }
        let out = match &self.vocabulary {
            Some(words) => {
                let splade = Splade {
                    strategy: SpladeStrategy::Max,
                    activation: SpladeActivation::Log1pRelu,
                };
                cpu.splade(&x, &offsets, words, bias(words.rows()), splade)?
            }
            None => cpu.pool(&x, &offsets, &vec![0; texts], Pooling::Mean)?,
        };
        let values = pollster::block_on(cpu.read(vec![ReadBack::All(out)])?)?;
        let Some(Values::All(values)) = values.into_iter().next() else {
            unreachable!("all values were asked for")
        };
        Ok(values)
    }
}

/// Median milliseconds of a pass with each of the two, by turns. Their results have the same bits.
fn by_turns(model: &Model, cpus: [&Cpu; 2], texts: usize) -> [f64; 2] {
    let results = cpus.map(|cpu| model.run(cpu, texts).expect("a pass"));
    let same = results[0].iter().zip(&results[1]);
    assert!(
        same.into_iter().all(|(a, b)| a.to_bits() == b.to_bits()),
        "the bits differ"
    );
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (cpu, times) in cpus.iter().zip(&mut times) {
            let start = Instant::now();
            model.run(cpu, texts).expect("a pass");
            times.push(1000.0 * start.elapsed().as_secs_f64());
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    })
}

#[expect(clippy::cast_precision_loss, reason = "few threads")]
fn main() {
    let count = std::env::args().find_map(|argument| argument.parse().ok());
    let count: usize = count.unwrap_or(2);
    let one = Cpu::new();
    let several = Cpu::with(Threads::new(count).expect("threads"));
    println!(
        "| model | texts | 1 thread, ms | {count} threads, ms | × | serial | 4 cores | 8 cores |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for shapes in &MODELS {
        let model = Model::new(shapes);
        for texts in [1, TEXTS] {
            let [alone, shared] = by_turns(&model, [&one, &several], texts);
            let (gain, n) = (alone / shared, count as f64);
            // Amdahl: 1 / gain = serial + (1 - serial) / n
            let serial = ((1.0 / gain - 1.0 / n) / (1.0 - 1.0 / n)).max(0.0);
            let limit = |cores: f64| 1.0 / (serial + (1.0 - serial) / cores);
            println!(
                "| {} | {texts} | {alone:.2} | {shared:.2} | {gain:.2} | {:.1} % | {:.1} | {:.1} |",
                shapes.name,
                100.0 * serial,
                limit(4.0),
                limit(8.0)
            );
        }
    }
}
