//! Compute pipelines: kernels, specialised and compiled once each.
//!
//! A kernel is a file of WGSL. [`PRELUDE`] stands before it; it declares the numbers of enums.
//! Override constants specialise a kernel. What WGSL cannot override is substituted: a kernel
//! contains a valid line that stands for the general case, and [`specialised`] replaces it. It is
//! an error if the file lacks that line.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::device::Device;
use super::wgsl::wgsl;
use crate::backend::{Activation, NormKind, Pooling};
use crate::error::{Error, Result};

/// A kernel: an entry point of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    Add,
    Attention,
    Concatenate,
    Expert,
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
    /// All kernels.
    #[cfg(all(test, not(target_arch = "wasm32")))]
    pub const ALL: [Self; 14] = [
        Self::Add,
        Self::Attention,
        Self::Concatenate,
        Self::Expert,
        Self::Gate,
        Self::Gather,
        Self::Halve,
        Self::Linear,
        Self::Norm,
        Self::Pool,
        Self::Positive,
        Self::Prepare,
        Self::Quantize,
        Self::Splade,
    ];

    /// Its file, and the name of its entry point.
    pub fn source(self) -> (&'static str, &'static str) {
        const GEMM: &str = wgsl!("gemm.wgsl");
        match self {
            Self::Add => (wgsl!("add.wgsl"), "add"),
            Self::Attention => (wgsl!("attention.wgsl"), "attention"),
            Self::Concatenate => (wgsl!("concatenate.wgsl"), "concatenate"),
            Self::Expert => (wgsl!("expert.wgsl"), "expert"),
            Self::Gate => (wgsl!("gate.wgsl"), "gate"),
            Self::Gather => (wgsl!("gather.wgsl"), "gather"),
            Self::Halve => (wgsl!("halve.wgsl"), "halve"),
            Self::Linear => (GEMM, "linear"),
            Self::Norm => (wgsl!("norm.wgsl"), "norm"),
            Self::Pool => (wgsl!("pool.wgsl"), "pool"),
            Self::Positive => (wgsl!("positive.wgsl"), "positive"),
            Self::Prepare => (wgsl!("prepare.wgsl"), "prepare"),
            Self::Quantize => (wgsl!("quantize.wgsl"), "quantize"),
            Self::Splade => (GEMM, "splade"),
        }
    }
}

/// WGSL declarations of the numbers of enums.
pub const PRELUDE: [&str; 3] = [Activation::WGSL, NormKind::WGSL, Pooling::WGSL];

/// Lines of kernels that are replaced.
const ACTIVATE: &str = "fn activate(x: f32) -> f32 { return x; }";
const DOT: &str = "fn dot_of(a: u32, b: u32) -> i32 { return dot4I8Packed(a, b); }";
const HEAD_SIZE: &str = "const SIZE = 64u;";

/// Names and values of override constants. `SIZE` of the attention kernel is substituted instead,
/// since it is the length of an array.
pub type Constants = Vec<(&'static str, u32)>;

/// A compiled kernel.
pub struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

/// The pipelines that were needed so far.
#[derive(Default)]
pub struct Pipelines(Mutex<HashMap<(Kernel, Constants), Arc<Pipeline>>>);

impl Pipelines {
    /// The pipeline of a kernel, which is compiled if it is new.
    pub fn get(
        &self,
        device: &Device,
        kernel: Kernel,
        constants: Constants,
    ) -> Result<Arc<Pipeline>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (kernel, constants);
        if let Some(pipeline) = known.get(&key) {
            return Ok(Arc::clone(pipeline));
        }
        let pipeline = Arc::new(compile(device, kernel, &key.1)?);
        known.insert(key, Arc::clone(&pipeline));
        Ok(pipeline)
    }
}

fn compile(device: &Device, kernel: Kernel, constants: &Constants) -> Result<Pipeline> {
    let source = specialised(kernel, constants, device.has_dot)?;
    let (_, entry) = kernel.source();
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
    Ok(Pipeline { pipeline, layout })
}

/// The source of a kernel with its prelude, and with the lines of the general case replaced.
pub fn specialised(kernel: Kernel, constants: &Constants, has_dot: bool) -> Result<String> {
    let (file, entry) = kernel.source();
    let value = |name| {
        let mut constants = constants.iter();
        constants.find_map(|(known, value)| (*known == name).then_some(*value))
    };
    let is_product = matches!(kernel, Kernel::Linear | Kernel::Splade);
    let mut lines: Vec<(&str, Cow<str>)> = Vec::new();
    if is_product || matches!(kernel, Kernel::Add | Kernel::Gate) {
        lines.push((ACTIVATE, wgsl!("activation.wgsl").into()));
    }
    if is_product && !has_dot {
        lines.push((DOT, wgsl!("dot.wgsl").into()));
    }
    if let (Kernel::Attention, Some(size)) = (kernel, value("SIZE")) {
        lines.push((HEAD_SIZE, format!("const SIZE = {size}u;").into()));
    }
    let mut source = PRELUDE.concat() + file;
    for (line, replacement) in lines {
        source = replaced(&source, entry, line, &replacement)?;
    }
    Ok(source)
}

/// The source with a line replaced, which it must have.
pub fn replaced(source: &str, entry: &str, line: &str, replacement: &str) -> Result<String> {
    match source.split_once(line) {
        Some((before, after)) => Ok([before, replacement, after].concat()),
        None => Err(Error::Internal(format!(
            "the source of the GPU kernel {entry} lacks the line {line:?}"
        ))),
    }
}
