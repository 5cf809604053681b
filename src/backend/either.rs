//! The CPU, a GPU, or both with the same weights. With both, each pass runs on the one that
//! finishes passes of its size sooner.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::cpu::{self, Activations, Cpu, CpuMatrix, Threads};
use super::gpu::{self, Gpu, GpuMatrix, GpuTensor};
use super::{
    Activation, Attention, Backend, Compute, Distances, Experts, Gate, Linear, Norm, Pooling,
    ReadBack, Reading, Splade, WeightDtype,
};
use crate::error::{Error, Result};

/// The hardware that stores a model's weights.
pub struct Either {
    cpu: Cpu,
    gpu: Option<Gpu>,
    /// Whether the CPU stores weights. It does unless a GPU stores them alone.
    cpu_stores: bool,
    /// Tokens of the smallest pass that runs on the GPU.
    gpu_from: AtomicUsize,
    /// Why the GPU does not store all weights, where the CPU does.
    gpu_failure: Mutex<Option<Error>>,
}

/// Activations of a pass. A pass stays on the hardware on which it began.
pub enum EitherTensor {
    /// On the CPU.
    Cpu(Activations),
    /// On the GPU.
    Gpu(GpuTensor),
}

/// A matrix on the CPU, the GPU or both.
pub struct EitherMatrix {
    cpu: Option<CpuMatrix>,
    gpu: Option<GpuMatrix>,
}

impl EitherMatrix {
    /// The CPU's copy, if the CPU stores weights.
    pub(super) fn cpu(&self) -> Option<&CpuMatrix> {
        self.cpu.as_ref()
    }

    fn need_cpu(&self) -> Result<&CpuMatrix> {
        self.cpu.as_ref().ok_or_else(misplaced)
    }

    fn need_gpu(&self) -> Result<&GpuMatrix> {
        self.gpu.as_ref().ok_or_else(misplaced)
    }
}

/// A bug in this file: a pass ran on hardware that does not store the weights.
pub(super) fn misplaced() -> Error {
    Error::Internal("a pass ran on hardware that does not store the weights".to_owned())
}

impl Either {
    /// The CPU alone.
    pub fn cpu(threads: Threads) -> Self {
        Self::new(None, true, usize::MAX, threads)
    }

    /// A GPU, and the CPU if `both`. All passes run on the GPU until [`Either::set_gpu_from`] says
    /// otherwise.
    pub fn gpu(gpu: Gpu, both: bool) -> Self {
        Self::new(Some(gpu), both, 0, Threads::default())
    }

    fn new(gpu: Option<Gpu>, cpu_stores: bool, gpu_from: usize, threads: Threads) -> Self {
        Self {
            cpu: Cpu::with(threads),
            gpu,
            cpu_stores,
            gpu_from: AtomicUsize::new(gpu_from),
            gpu_failure: Mutex::default(),
        }
    }

    /// The CPU.
    pub fn host(&self) -> &Cpu {
        &self.cpu
    }

    /// The GPU.
    pub fn device(&self) -> Option<&Gpu> {
        self.gpu.as_ref()
    }

    /// Whether both store the weights, so that passes have a choice.
    pub fn has_both(&self) -> bool {
        self.cpu_stores && self.gpu.is_some()
    }

    /// Tokens of the smallest pass that runs on the GPU.
    pub fn gpu_from(&self) -> usize {
        self.gpu_from.load(Ordering::Relaxed)
    }

    /// Makes passes of fewer tokens run on the CPU, if that stores the weights.
    pub fn set_gpu_from(&self, tokens: usize) {
        self.gpu_from.store(tokens, Ordering::Relaxed);
    }

    /// Errors if the GPU could not store all weights. The error is returned once; passes then run
    /// on the CPU.
    pub fn check_loaded(&self) -> Result<()> {
        self.gpu_failure().take().map_or(Ok(()), Err)
    }

    /// Copies a matrix that only the GPU stores to host memory.
    pub async fn fetch(&self, matrix: &EitherMatrix) -> Result<CpuMatrix> {
        let gpu = self.need_gpu()?;
        gpu.fetch(matrix.need_gpu()?, &self.cpu).await
    }

    fn gpu_failure(&self) -> MutexGuard<'_, Option<Error>> {
        let failure = self.gpu_failure.lock();
        failure.unwrap_or_else(PoisonError::into_inner)
    }

    /// The GPU, if a pass of so many tokens runs there.
    fn gpu_for(&self, tokens: usize) -> Option<&Gpu> {
        let there = !self.cpu_stores || tokens >= self.gpu_from();
        self.gpu.as_ref().filter(|_| there)
    }

    /// The GPU that a tensor or a matrix is on.
    fn need_gpu(&self) -> Result<&Gpu> {
        self.gpu.as_ref().ok_or_else(misplaced)
    }

    /// Calls `cpu` or `gpu` with a backend that stores the matrix.
    fn with_matrix<'a, T>(
        &'a self,
        matrix: &'a EitherMatrix,
        cpu: impl FnOnce(&'a Cpu, &'a CpuMatrix) -> T,
        gpu: impl FnOnce(&'a Gpu, &'a GpuMatrix) -> T,
    ) -> T {
        match (&matrix.cpu, &matrix.gpu, &self.gpu) {
            (Some(matrix), ..) => cpu(&self.cpu, matrix),
            (None, Some(matrix), Some(on)) => gpu(on, matrix),
            _ => unreachable!("`Either::matrix` allocates on at least one of the two"),
        }
    }
}

/// Runs `$call` on the backend that holds the tensor `$x`, with both bound to the names given.
macro_rules! on_its_backend {
    ($self:ident, $x:expr, |$backend:ident, $tensor:ident| $call:expr) => {
        match $x {
            EitherTensor::Cpu($tensor) => {
                let $backend = &$self.cpu;
                $call.map(EitherTensor::Cpu)
            }
            EitherTensor::Gpu($tensor) => {
                let $backend = $self.need_gpu()?;
                $call.map(EitherTensor::Gpu)
            }
        }
    };
}

impl<'a> Experts<'a, Either> {
    /// The same on the backend that has the matrices which `of` gives.
    fn on<R: Compute>(
        &self,
        of: impl Fn(&'a EitherMatrix) -> Result<&'a R::Matrix>,
    ) -> Result<Experts<'a, R>> {
        let matrices = self.matrices.iter();
        let matrices = matrices.map(|[up, down]| Ok([of(up)?, of(down)?]));
        Ok(Experts {
            router: of(self.router)?,
            matrices: matrices.collect::<Result<_>>()?,
            top: self.top,
            bias: self.bias,
        })
    }
}

impl Compute for Either {
    type Tensor = EitherTensor;
    type Matrix = EitherMatrix;

    fn embed(&self, tables: &[(&EitherMatrix, &[u32])], scale: f32) -> Result<EitherTensor> {
        let tokens = tables.first().map_or(0, |(_, ids)| ids.len());
        if let Some(gpu) = self.gpu_for(tokens) {
            let tables = tables
                .iter()
                .map(|(table, ids)| Ok((table.need_gpu()?, *ids)));
            let tables: Vec<_> = tables.collect::<Result<_>>()?;
            return gpu.embed(&tables, scale).map(EitherTensor::Gpu);
        }
        let tables = tables
            .iter()
            .map(|(table, ids)| Ok((table.need_cpu()?, *ids)));
        let tables: Vec<_> = tables.collect::<Result<_>>()?;
        self.cpu.embed(&tables, scale).map(EitherTensor::Cpu)
    }

    fn norm(
        &self,
        x: &EitherTensor,
        residual: Option<&EitherTensor>,
        norm: Norm,
    ) -> Result<EitherTensor> {
        match (x, residual) {
            (EitherTensor::Cpu(x), None) => self.cpu.norm(x, None, norm).map(EitherTensor::Cpu),
            (EitherTensor::Cpu(x), Some(EitherTensor::Cpu(y))) => {
                self.cpu.norm(x, Some(y), norm).map(EitherTensor::Cpu)
            }
            (EitherTensor::Gpu(x), None) => {
                let normed = self.need_gpu()?.norm(x, None, norm);
                normed.map(EitherTensor::Gpu)
            }
            (EitherTensor::Gpu(x), Some(EitherTensor::Gpu(y))) => {
                let normed = self.need_gpu()?.norm(x, Some(y), norm);
                normed.map(EitherTensor::Gpu)
            }
            _ => Err(misplaced()),
        }
    }

    fn add(
        &self,
        x: &EitherTensor,
        y: &EitherTensor,
        scale: f32,
        activation: Activation,
    ) -> Result<EitherTensor> {
        match (x, y) {
            (EitherTensor::Cpu(x), EitherTensor::Cpu(y)) => {
                let sum = self.cpu.add(x, y, scale, activation);
                sum.map(EitherTensor::Cpu)
            }
            (EitherTensor::Gpu(x), EitherTensor::Gpu(y)) => {
                let sum = self.need_gpu()?.add(x, y, scale, activation);
                sum.map(EitherTensor::Gpu)
            }
            _ => Err(misplaced()),
        }
    }

    fn experts(
        &self,
        x: &EitherTensor,
        experts: &Experts<Self>,
        activation: Activation,
    ) -> Result<EitherTensor> {
        match x {
            EitherTensor::Cpu(x) => {
                let own = experts.on(EitherMatrix::need_cpu)?;
                let sum = self.cpu.experts(x, &own, activation);
                sum.map(EitherTensor::Cpu)
            }
            EitherTensor::Gpu(x) => {
                let own = experts.on(EitherMatrix::need_gpu)?;
                let sum = self.need_gpu()?.experts(x, &own, activation);
                sum.map(EitherTensor::Gpu)
            }
        }
    }

    fn linear(
        &self,
        x: &EitherTensor,
        weight: &EitherMatrix,
        bias: Option<&[f32]>,
        activation: Activation,
    ) -> Result<EitherTensor> {
        match x {
            EitherTensor::Cpu(x) => {
                let product = self.cpu.linear(x, weight.need_cpu()?, bias, activation);
                product.map(EitherTensor::Cpu)
            }
            EitherTensor::Gpu(x) => {
                let gpu = self.need_gpu()?;
                let product = gpu.linear(x, weight.need_gpu()?, bias, activation);
                product.map(EitherTensor::Gpu)
            }
        }
    }

    fn feed_forward(
        &self,
        x: &EitherTensor,
        [up, down]: [Linear<Self>; 2],
        activation: Activation,
    ) -> Result<EitherTensor> {
        match x {
            EitherTensor::Cpu(x) => {
                let layers = [
                    (up.weight.need_cpu()?, up.bias),
                    (down.weight.need_cpu()?, down.bias),
                ]
                .map(|(weight, bias)| Linear { weight, bias });
                let output = self.cpu.feed_forward(x, layers, activation);
                output.map(EitherTensor::Cpu)
            }
            EitherTensor::Gpu(x) => {
                let layers = [
                    (up.weight.need_gpu()?, up.bias),
                    (down.weight.need_gpu()?, down.bias),
                ]
                .map(|(weight, bias)| Linear { weight, bias });
                let output = self.need_gpu()?.feed_forward(x, layers, activation);
                output.map(EitherTensor::Gpu)
            }
        }
    }

    fn gate(&self, x: &EitherTensor, gate: Gate, activation: Activation) -> Result<EitherTensor> {
        on_its_backend!(self, x, |backend, x| backend.gate(x, gate, activation))
    }

    fn attention(
        &self,
        qkv: &EitherTensor,
        offsets: &[usize],
        attention: Attention,
    ) -> Result<EitherTensor> {
        on_its_backend!(self, qkv, |backend, qkv| backend
            .attention(qkv, offsets, attention))
    }

    fn disentangled(
        &self,
        qkv: &EitherTensor,
        offsets: &[usize],
        attention: Attention,
        positions: (&EitherTensor, &Distances),
    ) -> Result<EitherTensor> {
        match (qkv, positions) {
            (EitherTensor::Cpu(qkv), (EitherTensor::Cpu(rows), distances)) => {
                let positions = (rows, distances);
                let context = self.cpu.disentangled(qkv, offsets, attention, positions);
                context.map(EitherTensor::Cpu)
            }
            _ => Err(misplaced()),
        }
    }

    fn pool(
        &self,
        x: &EitherTensor,
        offsets: &[usize],
        skip: &[usize],
        pooling: Pooling,
    ) -> Result<EitherTensor> {
        on_its_backend!(self, x, |backend, x| backend
            .pool(x, offsets, skip, pooling))
    }

    fn splade(
        &self,
        x: &EitherTensor,
        offsets: &[usize],
        weight: &EitherMatrix,
        bias: Option<&[f32]>,
        splade: Splade,
    ) -> Result<EitherTensor> {
        match x {
            EitherTensor::Cpu(x) => {
                let weights = self
                    .cpu
                    .splade(x, offsets, weight.need_cpu()?, bias, splade);
                weights.map(EitherTensor::Cpu)
            }
            EitherTensor::Gpu(x) => {
                let gpu = self.need_gpu()?;
                let weights = gpu.splade(x, offsets, weight.need_gpu()?, bias, splade);
                weights.map(EitherTensor::Gpu)
            }
        }
    }

    fn upload(&self, values: Vec<f32>, rows: usize) -> Result<EitherTensor> {
        match self.gpu_for(rows) {
            Some(gpu) => gpu.upload(values, rows).map(EitherTensor::Gpu),
            None => self.cpu.upload(values, rows).map(EitherTensor::Cpu),
        }
    }

    fn concatenate(&self, parts: &[&EitherTensor]) -> Result<EitherTensor> {
        let (mut here, mut on_device) = (Vec::new(), Vec::new());
        for part in parts {
            match part {
                EitherTensor::Cpu(part) => here.push(part),
                EitherTensor::Gpu(part) => on_device.push(part),
            }
        }
        // A pass stays on one of the two, so one list is empty.
        if on_device.is_empty() {
            self.cpu.concatenate(&here).map(EitherTensor::Cpu)
        } else {
            let gpu = self.need_gpu()?;
            gpu.concatenate(&on_device).map(EitherTensor::Gpu)
        }
    }

    fn normalize(&self, x: &EitherTensor) -> Result<EitherTensor> {
        on_its_backend!(self, x, |backend, x| backend.normalize(x))
    }

    fn read(&self, tensors: Vec<ReadBack<EitherTensor>>) -> Result<Reading> {
        let (mut here, mut on_device) = (Vec::new(), Vec::new());
        for tensor in tensors {
            match tensor {
                ReadBack::All(EitherTensor::Cpu(x)) => here.push(ReadBack::All(x)),
                ReadBack::All(EitherTensor::Gpu(x)) => on_device.push(ReadBack::All(x)),
                ReadBack::Positive(EitherTensor::Cpu(x)) => here.push(ReadBack::Positive(x)),
                ReadBack::Positive(EitherTensor::Gpu(x)) => on_device.push(ReadBack::Positive(x)),
            }
        }
        if on_device.is_empty() {
            self.cpu.read(here)
        } else {
            self.need_gpu()?.read(on_device)
        }
    }
}

impl Backend for Either {
    fn pass_tokens(&self) -> usize {
        match &self.gpu {
            Some(gpu) if self.gpu_for(gpu.pass_tokens()).is_some() => gpu.pass_tokens(),
            _ => self.cpu.pass_tokens(),
        }
    }

    fn need_cpu(&self, what: &str) -> Result<()> {
        if self.gpu.is_none() {
            return Ok(());
        }
        if !self.cpu_stores {
            return Err(super::cpu_alone(what));
        }
        *self.gpu_failure() = Some(super::cpu_alone(what));
        self.set_gpu_from(usize::MAX);
        Ok(())
    }

    fn matrix(&self, rows: usize, columns: usize, dtype: WeightDtype) -> Result<EitherMatrix> {
        let cpu = self
            .cpu_stores
            .then(|| self.cpu.matrix(rows, columns, dtype));
        let cpu = cpu.transpose()?;
        let gpu = self.gpu.as_ref().filter(|_| self.gpu_failure().is_none());
        let gpu = match gpu.map(|gpu| gpu.matrix(rows, columns, dtype)) {
            // The CPU runs all passes from here on.
            Some(Err(error)) if self.cpu_stores => {
                *self.gpu_failure() = Some(error);
                self.set_gpu_from(usize::MAX);
                None
            }
            gpu => gpu.transpose()?,
        };
        Ok(EitherMatrix { cpu, gpu })
    }

    fn set_row(&self, matrix: &mut EitherMatrix, row: usize, values: &[f32]) {
        let dtype = self.dtype(matrix);
        if dtype.is_codes() && self.gpu.is_some() {
            // Quantises once for both.
            let (codes, scales) = cpu::quantize(dtype, values);
            return self.set_codes(matrix, row, &codes, &scales);
        }
        if let Some(matrix) = &mut matrix.cpu {
            self.cpu.set_row(matrix, row, values);
        }
        if let (Some(matrix), Some(gpu)) = (&mut matrix.gpu, &self.gpu) {
            gpu.set_row(matrix, row, values);
        }
    }

    fn set_codes(&self, matrix: &mut EitherMatrix, row: usize, codes: &[i8], scales: &[f32]) {
        if let Some(matrix) = &mut matrix.cpu {
            self.cpu.set_codes(matrix, row, codes, scales);
        }
        if let (Some(matrix), Some(gpu)) = (&mut matrix.gpu, &self.gpu) {
            gpu.set_codes(matrix, row, codes, scales);
        }
    }

    fn on_host<'a>(&self, matrix: &'a EitherMatrix) -> Result<&'a CpuMatrix> {
        matrix.cpu().ok_or_else(gpu::not_on_host)
    }

    fn rows(&self, matrix: &EitherMatrix) -> usize {
        self.with_matrix(matrix, Cpu::rows, Gpu::rows)
    }

    fn columns(&self, matrix: &EitherMatrix) -> usize {
        self.with_matrix(matrix, Cpu::columns, Gpu::columns)
    }

    fn dtype(&self, matrix: &EitherMatrix) -> WeightDtype {
        self.with_matrix(matrix, Cpu::dtype, Gpu::dtype)
    }

    fn bytes(&self, matrix: &EitherMatrix) -> usize {
        let cpu = matrix.cpu.as_ref();
        let gpu = matrix.gpu.as_ref().zip(self.gpu.as_ref());
        cpu.map_or(0, |matrix| self.cpu.bytes(matrix))
            + gpu.map_or(0, |(matrix, gpu)| gpu.bytes(matrix))
    }
}
