//! Kernels, specialised and compiled, each once.
//!
//! A kernel is a file of WGSL that is valid by itself. Override constants specialise it, and a few lines that others take the
//! place of: `activate` (kernels/activation.wgsl), `dot_of` where the language lacks `dot4I8Packed`, `Half` where it has f16,
//! and the size of a head.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::device::Device;

/// A kernel: an entry of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    Add,
    Attention,
    Concatenate,
    Gate,
    Gather,
    Halve,
    Linear,
    Norm,
    Pool,
    Positive,
    Prepare,
    Quantize,
    Splade,
}

impl Kernel {
    /// Its file, and the name of its entry.
    pub fn source(self) -> (&'static str, &'static str) {
        const GEMM: &str = include_str!("kernels/gemm.wgsl");
        match self {
            Self::Add => (include_str!("kernels/add.wgsl"), "add"),
            Self::Attention => (include_str!("kernels/attention.wgsl"), "attention"),
            Self::Concatenate => (include_str!("kernels/concatenate.wgsl"), "concatenate"),
            Self::Gate => (include_str!("kernels/gate.wgsl"), "gate"),
            Self::Gather => (include_str!("kernels/gather.wgsl"), "gather"),
            Self::Halve => (include_str!("kernels/halve.wgsl"), "halve"),
            Self::Linear => (GEMM, "linear"),
            Self::Norm => (include_str!("kernels/norm.wgsl"), "norm"),
            Self::Pool => (include_str!("kernels/pool.wgsl"), "pool"),
            Self::Positive => (include_str!("kernels/positive.wgsl"), "positive"),
            Self::Prepare => (include_str!("kernels/prepare.wgsl"), "prepare"),
            Self::Quantize => (include_str!("kernels/quantize.wgsl"), "quantize"),
            Self::Splade => (GEMM, "splade"),
        }
    }
}

/// What specialises a kernel: names of override constants, and their values.
pub type Constants = Vec<(&'static str, u32)>;

/// A compiled kernel.
pub struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

/// All that were needed so far.
#[derive(Default)]
pub struct Pipelines(Mutex<HashMap<(Kernel, Constants), Arc<Pipeline>>>);

impl Pipelines {
    /// Compiles a kernel, unless that is done.
    pub fn get(&self, device: &Device, kernel: Kernel, constants: Constants) -> Arc<Pipeline> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = known.entry((kernel, constants));
        let compiled = entry.or_insert_with_key(|(kernel, constants)| {
            Arc::new(compile(device, *kernel, constants))
        });
        Arc::clone(compiled)
    }
}

fn compile(device: &Device, kernel: Kernel, constants: &Constants) -> Pipeline {
    let (file, entry) = kernel.source();
    let value = |name| {
        let mut constants = constants.iter();
        constants.find_map(|(known, value)| (*known == name).then_some(*value))
    };
    let mut source = specialised(file, kernel, value("SIZE"), device.has_dot);
    if device.has_f16 && value("BITS") == Some(16) {
        source = source.replace("alias Half = f32;", "alias Half = f16;");
        source.insert_str(0, "enable f16;\n");
    }
    let device = &device.gpu;
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(entry),
        source: wgpu::ShaderSource::Wgsl(source.into()),
    });
    let overrides = constants
        .iter()
        .filter(|(name, _)| !(kernel == Kernel::Attention && *name == "SIZE"));
    let overrides: Vec<_> = overrides
        .map(|(name, value)| (*name, f64::from(*value)))
        .collect();
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(entry),
        layout: None,
        module: &module,
        entry_point: Some(entry),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &overrides,
            // Every kernel writes before it reads.
            zero_initialize_workgroup_memory: false,
        },
        cache: None,
    });
    let layout = pipeline.get_bind_group_layout(0);
    Pipeline { pipeline, layout }
}

/// A kernel's file with the lines of others in place.
fn specialised(file: &str, kernel: Kernel, size: Option<u32>, has_dot: bool) -> String {
    let mut source = file.replace(
        "fn activate(x: f32) -> f32 { return x; }",
        include_str!("kernels/activation.wgsl"),
    );
    if !has_dot {
        source = source.replace(
            "fn dot_of(a: u32, b: u32) -> i32 { return dot4I8Packed(a, b); }",
            include_str!("kernels/dot.wgsl"),
        );
    }
    if let (Kernel::Attention, Some(size)) = (kernel, size) {
        source = source.replace("const SIZE = 64u;", &format!("const SIZE = {size}u;"));
    }
    source
}
