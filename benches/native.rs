//! The crate natively, on all-MiniLM-L6-v2 (`cargo xtask model` fetches it): loading, tokenising
//! and embedding.

use std::hint::black_box;
use std::path::{Path, PathBuf};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gossamer::{Cpu, DotKernel, Embedder, EncodeOptions, Input, LoadOptions, Loader, WeightDtype};

const DTYPES: [WeightDtype; 3] = [WeightDtype::F32, WeightDtype::Q8, WeightDtype::Q4];
const TEXT: &str =
    "The ferry leaves the old harbour at nine, and the lighthouse keeper waves to those who stay.";

fn folder() -> PathBuf {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("models/sentence-transformers/all-MiniLM-L6-v2");
    assert!(
        folder.join("model.safetensors").exists(),
        "run `cargo xtask model` first"
    );
    folder
}

fn load(dtype: WeightDtype) -> Embedder<Cpu> {
    load_on(Cpu::new(), dtype)
}

fn load_on(cpu: Cpu, dtype: WeightDtype) -> Embedder<Cpu> {
    let options = LoadOptions {
        model: "all-MiniLM-L6-v2".to_owned(),
        dtype: Some(dtype),
        ..LoadOptions::default()
    };
    let loaded = Loader::new(cpu, options).read_dir(&folder());
    loaded.expect("the model is complete")
}

fn loading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load");
    group.sample_size(10);
    for dtype in DTYPES {
        group.bench_function(dtype.name(), |bencher| bencher.iter(|| load(dtype)));
    }
}

fn tokenizing(criterion: &mut Criterion) {
    let embedder = load(WeightDtype::F32);
    criterion.bench_function("tokenize", |bencher| {
        bencher.iter(|| embedder.tokenize(black_box(TEXT), true));
    });
}

fn encoding(criterion: &mut Criterion) {
    for dtype in DTYPES {
        let embedder = load(dtype);
        let mut group = criterion.benchmark_group(format!("encode {}", dtype.name()));
        group.sample_size(10);
        for count in [1, 32] {
            let texts = vec![Input::from(TEXT); count];
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(format!("{count} texts"), |bencher| {
                bencher.iter(|| embedder.encode(texts.clone(), &EncodeOptions::default()));
            });
        }
    }
}

/// The integer kernels that this processor can run, beside each other.
fn kernels(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kernel q8, 32 texts");
    group.sample_size(10);
    group.throughput(Throughput::Elements(32));
    for kernel in DotKernel::native() {
        let cpu = Cpu::with_kernel(kernel).expect("this processor can run it");
        let embedder = load_on(cpu, WeightDtype::Q8);
        let texts = vec![Input::from(TEXT); 32];
        group.bench_function(kernel.name(), |bencher| {
            bencher.iter(|| embedder.encode(texts.clone(), &EncodeOptions::default()));
        });
    }
}

criterion_group!(benches, loading, tokenizing, encoding, kernels);
criterion_main!(benches);
