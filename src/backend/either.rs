//! The CPU, a GPU, or both with the same weights: then each pass goes where passes of its size are done sooner.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cpu::{self, Cpu};
use super::gpu::{self, Gpu};
use super::{
    Activation, Attention, Backend, Linear, Norm, Pooling, Reading, Splade, Wanted, WeightDtype,
};
use crate::error::{Error, Result};

/// Where a model's weights are.
pub struct Either {
    cpu: Cpu,
    gpu: Option<Gpu>,
    /// Whether the CPU has the weights, too, where there is a GPU.
    both: bool,
    /// Tokens of the smallest pass that goes to the GPU.
    gpu_from: AtomicUsize,
    /// Why the GPU has not all of the weights, where the CPU has them.
    gave_up: Mutex<Option<Error>>,
    rehearsal: Mutex<Option<Rehearsal>>,
    returned: Mutex<Returned>,
    /// Matrices so far.
    matrices: AtomicUsize,
}

/// A pass on the CPU whose weights only the GPU has. Each comes back when an operation needs it; the pass then begins anew, and
/// what it has done already is not done again.
#[derive(Default)]
struct Rehearsal {
    /// Results of operations, in order.
    results: Vec<Arc<cpu::Activations>>,
    /// How many of them this attempt has had.
    had: usize,
    /// What the next operation needs.
    lent: Vec<(usize, Arc<cpu::Matrix>)>,
    missing: Option<usize>,
}

/// What came back of the matrices that only the GPU has, so that rows can be read.
#[derive(Default)]
struct Returned {
    /// With their numbers, and whether they were read.
    matrices: Vec<(usize, Arc<cpu::Matrix>, bool)>,
    /// One that should have been.
    missing: Option<usize>,
}

/// Activations of a pass, which stays where it has begun.
pub enum Tensor {
    /// On the CPU.
    Cpu(Arc<cpu::Activations>),
    /// On the GPU.
    Gpu(gpu::Tensor),
}

/// A matrix, on one or on each.
pub struct Matrix {
    number: usize,
    cpu: Option<Arc<cpu::Matrix>>,
    gpu: Option<gpu::Matrix>,
}

impl Matrix {
    /// The CPU's, which nobody shares while it is being filled.
    fn cpu_mut(&mut self) -> Option<&mut cpu::Matrix> {
        self.cpu.as_mut().and_then(Arc::get_mut)
    }

    fn gpu(&self) -> Result<&gpu::Matrix> {
        self.gpu.as_ref().ok_or_else(misplaced)
    }
}

fn misplaced() -> Error {
    Error::Internal("a pass went where the weights are not".to_owned())
}

impl Either {
    /// The CPU alone.
    pub fn cpu() -> Self {
        Self::new(None, true, usize::MAX)
    }

    /// A GPU, and the CPU if `both`. All goes to the GPU until [`Either::set_gpu_from`] says otherwise.
    pub fn gpu(gpu: Gpu, both: bool) -> Self {
        Self::new(Some(gpu), both, 0)
    }

    fn new(gpu: Option<Gpu>, both: bool, gpu_from: usize) -> Self {
        Self {
            cpu: Cpu::new(),
            gpu,
            both,
            gpu_from: AtomicUsize::new(gpu_from),
            gave_up: Mutex::default(),
            rehearsal: Mutex::default(),
            returned: Mutex::default(),
            matrices: AtomicUsize::default(),
        }
    }

    /// The CPU's side.
    pub fn host(&self) -> &Cpu {
        &self.cpu
    }

    /// The GPU's side.
    pub fn device(&self) -> Option<&Gpu> {
        self.gpu.as_ref()
    }

    /// Whether passes have a choice.
    pub fn has_both(&self) -> bool {
        self.both && self.gpu.is_some()
    }

    /// Tokens of the smallest pass that goes to the GPU.
    pub fn gpu_from(&self) -> usize {
        self.gpu_from.load(Ordering::Relaxed)
    }

    /// Has passes of fewer tokens done on the CPU, where that has the weights.
    pub fn set_gpu_from(&self, tokens: usize) {
        self.gpu_from.store(tokens, Ordering::Relaxed);
    }

    /// Whether all that was to go to the GPU is there.
    pub fn check_loaded(&self) -> Result<()> {
        self.gave_up().take().map_or(Ok(()), Err)
    }

    fn gave_up(&self) -> MutexGuard<'_, Option<Error>> {
        self.gave_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The GPU, if that is where a pass of so many tokens goes.
    fn gpu_for(&self, tokens: usize) -> Option<&Gpu> {
        let there = !self.both || tokens >= self.gpu_from();
        self.gpu
            .as_ref()
            .filter(|_| there && self.rehearsal().is_none())
    }

    fn rehearsal(&self) -> MutexGuard<'_, Option<Rehearsal>> {
        let rehearsal = self.rehearsal.lock();
        rehearsal.unwrap_or_else(PoisonError::into_inner)
    }

    /// Has all passes done on the CPU from here on, even if only the GPU has the weights: see [`Either::lend_missing`].
    pub fn begin_rehearsal(&self) {
        *self.rehearsal() = Some(Rehearsal::default());
    }

    /// Has passes go again where they belong.
    pub fn end_rehearsal(&self) {
        *self.rehearsal() = None;
    }

    /// After a pass that failed: whether that was for want of one of `matrices`. It is there when the pass is begun anew.
    pub async fn lend_missing<'a>(
        &self,
        matrices: impl Iterator<Item = &'a Matrix>,
    ) -> Result<bool> {
        let missing = self.rehearsal().as_mut().and_then(|rehearsal| {
            rehearsal.had = 0;
            rehearsal.missing.take()
        });
        let Some(number) = missing else {
            return Ok(false);
        };
        let own = self.fetch(number, matrices).await?;
        if let Some(rehearsal) = &mut *self.rehearsal() {
            rehearsal.lent.push((number, own));
        }
        Ok(true)
    }

    /// Gets the one of `matrices` that has this number from the GPU.
    async fn fetch<'a>(
        &self,
        number: usize,
        mut matrices: impl Iterator<Item = &'a Matrix>,
    ) -> Result<Arc<cpu::Matrix>> {
        let matrix = matrices.find(|matrix| matrix.number == number);
        let packed = matrix.ok_or_else(misplaced)?.gpu()?;
        let own = self.theirs()?.fetch(packed, &self.cpu).await?;
        Ok(Arc::new(own))
    }

    fn returned(&self) -> MutexGuard<'_, Returned> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After rows were read: whether one of `matrices` was missing. It is there when they are read again; what was not read is given
    /// up.
    pub async fn bring_back<'a>(&self, matrices: impl Iterator<Item = &'a Matrix>) -> Result<bool> {
        let missing = {
            let mut returned = self.returned();
            let returned = &mut *returned;
            returned
                .matrices
                .retain_mut(|(.., was_read)| std::mem::take(was_read));
            returned.missing.take()
        };
        let Some(number) = missing else {
            return Ok(false);
        };
        let own = self.fetch(number, matrices).await?;
        self.returned().matrices.push((number, own, true));
        Ok(true)
    }

    /// The CPU's own matrix, or the one that came back.
    fn readable(&self, matrix: &Matrix) -> Option<Arc<cpu::Matrix>> {
        if let Some(own) = &matrix.cpu {
            return Some(Arc::clone(own));
        }
        let returned = &mut *self.returned();
        let mut matrices = returned.matrices.iter_mut();
        if let Some((_, own, was_read)) = matrices.find(|(number, ..)| *number == matrix.number) {
            *was_read = true;
            return Some(Arc::clone(own));
        }
        returned.missing = Some(matrix.number);
        None
    }

    /// The CPU's own matrix, or the one that was lent.
    fn here(&self, matrix: &Matrix) -> Result<Arc<cpu::Matrix>> {
        if let Some(own) = &matrix.cpu {
            return Ok(Arc::clone(own));
        }
        let mut rehearsal = self.rehearsal();
        let rehearsal = rehearsal.as_mut().ok_or_else(misplaced)?;
        let mut lent = rehearsal.lent.iter();
        if let Some((_, lent)) = lent.find(|(number, _)| *number == matrix.number) {
            return Ok(Arc::clone(lent));
        }
        rehearsal.missing = Some(matrix.number);
        Err(misplaced())
    }

    /// Does an operation on the CPU, or has its result of a former attempt.
    fn on_cpu(&self, operation: impl FnOnce() -> Result<cpu::Activations>) -> Result<Tensor> {
        if let Some(rehearsal) = &mut *self.rehearsal()
            && let Some(known) = rehearsal.results.get(rehearsal.had)
        {
            rehearsal.had += 1;
            return Ok(Tensor::Cpu(Arc::clone(known)));
        }
        let result = Arc::new(operation()?);
        if let Some(rehearsal) = &mut *self.rehearsal() {
            rehearsal.had += 1;
            rehearsal.lent.clear();
            rehearsal.results.push(Arc::clone(&result));
        }
        Ok(Tensor::Cpu(result))
    }

    /// What has a tensor on the GPU.
    fn theirs(&self) -> Result<&Gpu> {
        self.gpu.as_ref().ok_or_else(misplaced)
    }

    fn of_matrix<'a, T>(
        &'a self,
        matrix: &'a Matrix,
        here: impl FnOnce(&'a Cpu, &'a cpu::Matrix) -> T,
        there: impl FnOnce(&'a Gpu, &'a gpu::Matrix) -> T,
    ) -> T {
        match (&matrix.cpu, &matrix.gpu, &self.gpu) {
            (Some(matrix), ..) => here(&self.cpu, matrix),
            (None, Some(matrix), Some(gpu)) => there(gpu, matrix),
            _ => unreachable!("a matrix is on one of the two"),
        }
    }
}

/// Does the same on whichever of the two has `$x`.
macro_rules! where_it_is {
    ($self:ident, $x:expr, $backend:ident, $there:ident => $call:expr) => {
        match $x {
            Tensor::Cpu($there) => $self.on_cpu(|| {
                let $backend = &$self.cpu;
                $call
            }),
            Tensor::Gpu($there) => {
                let $backend = $self.theirs()?;
                $call.map(Tensor::Gpu)
            }
        }
    };
}

impl Backend for Either {
    type Tensor = Tensor;
    type Matrix = Matrix;

    fn pass_tokens(&self) -> usize {
        match &self.gpu {
            Some(gpu) if self.gpu_for(gpu.pass_tokens()).is_some() => gpu.pass_tokens(),
            _ => self.cpu.pass_tokens(),
        }
    }

    fn matrix(&self, rows: usize, columns: usize, dtype: WeightDtype) -> Result<Matrix> {
        let here = self.both.then(|| self.cpu.matrix(rows, columns, dtype));
        let here = here.transpose()?.map(Arc::new);
        let theirs = self.gpu.as_ref().filter(|_| self.gave_up().is_none());
        let there = match theirs.map(|gpu| gpu.matrix(rows, columns, dtype)) {
            // Then it is the CPU that does all.
            Some(Err(error)) if self.both => {
                *self.gave_up() = Some(error);
                self.set_gpu_from(usize::MAX);
                None
            }
            there => there.transpose()?,
        };
        Ok(Matrix {
            number: self.matrices.fetch_add(1, Ordering::Relaxed),
            cpu: here,
            gpu: there,
        })
    }

    fn set_row(&self, matrix: &mut Matrix, row: usize, values: &[f32]) {
        let dtype = self.dtype(matrix);
        if dtype.is_codes() && self.gpu.is_some() {
            // Once for both.
            let (codes, scales) = cpu::quantize(dtype, values);
            return self.set_codes(matrix, row, &codes, &scales);
        }
        if let Some(matrix) = matrix.cpu_mut() {
            self.cpu.set_row(matrix, row, values);
        }
        if let (Some(matrix), Some(gpu)) = (&mut matrix.gpu, &self.gpu) {
            gpu.set_row(matrix, row, values);
        }
    }

    fn check_read(&self) -> Result<()> {
        let mut returned = self.returned();
        match returned.missing.take() {
            None => Ok(()),
            Some(_) => Err(gpu::cpu_must_read()),
        }
    }

    fn row(&self, matrix: &Matrix, row: usize, out: &mut [f32]) {
        if let Some(matrix) = self.readable(matrix) {
            self.cpu.row(&matrix, row, out);
        }
    }

    fn set_codes(&self, matrix: &mut Matrix, row: usize, codes: &[i8], scales: &[f32]) {
        if let Some(matrix) = matrix.cpu_mut() {
            self.cpu.set_codes(matrix, row, codes, scales);
        }
        if let (Some(matrix), Some(gpu)) = (&mut matrix.gpu, &self.gpu) {
            gpu.set_codes(matrix, row, codes, scales);
        }
    }

    fn codes(&self, matrix: &Matrix, row: usize, codes: &mut [i8], scales: &mut [f32]) {
        if let Some(matrix) = self.readable(matrix) {
            self.cpu.codes(&matrix, row, codes, scales);
        }
    }

    fn rows(&self, matrix: &Matrix) -> usize {
        self.of_matrix(matrix, Cpu::rows, Gpu::rows)
    }

    fn columns(&self, matrix: &Matrix) -> usize {
        self.of_matrix(matrix, Cpu::columns, Gpu::columns)
    }

    fn dtype(&self, matrix: &Matrix) -> WeightDtype {
        self.of_matrix(matrix, Cpu::dtype, Gpu::dtype)
    }

    fn bytes(&self, matrix: &Matrix) -> usize {
        let here = matrix
            .cpu
            .as_ref()
            .map_or(0, |matrix| self.cpu.bytes(matrix));
        let there = matrix.gpu.as_ref().zip(self.gpu.as_ref());
        here + there.map_or(0, |(matrix, gpu)| gpu.bytes(matrix))
    }

    fn embed(&self, tables: &[(&Matrix, &[u32])], scale: f32) -> Result<Tensor> {
        let tokens = tables.first().map_or(0, |(_, ids)| ids.len());
        if let Some(gpu) = self.gpu_for(tokens) {
            let tables = tables.iter().map(|(table, ids)| Ok((table.gpu()?, *ids)));
            let tables: Vec<_> = tables.collect::<Result<_>>()?;
            return gpu.embed(&tables, scale).map(Tensor::Gpu);
        }
        self.on_cpu(|| {
            let own = tables.iter().map(|(table, _)| self.here(table));
            let own: Vec<_> = own.collect::<Result<_>>()?;
            let tables = own.iter().zip(tables).map(|(own, (_, ids))| (&**own, *ids));
            self.cpu.embed(&tables.collect::<Vec<_>>(), scale)
        })
    }

    fn norm(&self, x: &Tensor, residual: Option<&Tensor>, norm: Norm) -> Result<Tensor> {
        match (x, residual) {
            (Tensor::Cpu(x), None) => self.on_cpu(|| self.cpu.norm(x, None, norm)),
            (Tensor::Gpu(x), None) => self.theirs()?.norm(x, None, norm).map(Tensor::Gpu),
            (Tensor::Cpu(x), Some(Tensor::Cpu(y))) => {
                self.on_cpu(|| self.cpu.norm(x, Some(y), norm))
            }
            (Tensor::Gpu(x), Some(Tensor::Gpu(y))) => {
                self.theirs()?.norm(x, Some(y), norm).map(Tensor::Gpu)
            }
            _ => Err(misplaced()),
        }
    }

    fn add(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        match (x, y) {
            (Tensor::Cpu(x), Tensor::Cpu(y)) => self.on_cpu(|| self.cpu.add(x, y)),
            (Tensor::Gpu(x), Tensor::Gpu(y)) => self.theirs()?.add(x, y).map(Tensor::Gpu),
            _ => Err(misplaced()),
        }
    }

    fn linear(
        &self,
        x: &Tensor,
        weight: &Matrix,
        bias: Option<&[f32]>,
        activation: Activation,
    ) -> Result<Tensor> {
        match x {
            Tensor::Cpu(x) => self.on_cpu(|| {
                let weight = self.here(weight)?;
                self.cpu.linear(x, &weight, bias, activation)
            }),
            Tensor::Gpu(x) => {
                let product = self.theirs()?.linear(x, weight.gpu()?, bias, activation);
                product.map(Tensor::Gpu)
            }
        }
    }

    fn feed_forward(
        &self,
        x: &Tensor,
        [up, down]: [Linear<Self>; 2],
        activation: Activation,
    ) -> Result<Tensor> {
        match x {
            Tensor::Cpu(x) => self.on_cpu(|| {
                let (own_up, own_down) = (self.here(up.weight)?, self.here(down.weight)?);
                let [up, down] = [(&*own_up, up.bias), (&*own_down, down.bias)]
                    .map(|(weight, bias)| Linear { weight, bias });
                self.cpu.feed_forward(x, [up, down], activation)
            }),
            Tensor::Gpu(x) => {
                let (own_up, own_down) = (up.weight.gpu()?, down.weight.gpu()?);
                let [up, down] = [(own_up, up.bias), (own_down, down.bias)]
                    .map(|(weight, bias)| Linear { weight, bias });
                let output = self.theirs()?.feed_forward(x, [up, down], activation);
                output.map(Tensor::Gpu)
            }
        }
    }

    fn gate(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        where_it_is!(self, x, backend, x => backend.gate(x, activation))
    }

    fn attention(&self, qkv: &Tensor, offsets: &[usize], attention: Attention) -> Result<Tensor> {
        where_it_is!(self, qkv, backend, qkv => backend.attention(qkv, offsets, attention))
    }

    fn pool(
        &self,
        x: &Tensor,
        offsets: &[usize],
        skip: &[usize],
        pooling: Pooling,
    ) -> Result<Tensor> {
        where_it_is!(self, x, backend, x => backend.pool(x, offsets, skip, pooling))
    }

    fn splade(
        &self,
        x: &Tensor,
        offsets: &[usize],
        weight: &Matrix,
        bias: Option<&[f32]>,
        splade: Splade,
    ) -> Result<Tensor> {
        match x {
            Tensor::Cpu(x) => self.on_cpu(|| {
                let weight = self.here(weight)?;
                self.cpu.splade(x, offsets, &weight, bias, splade)
            }),
            Tensor::Gpu(x) => {
                let weights = self
                    .theirs()?
                    .splade(x, offsets, weight.gpu()?, bias, splade);
                weights.map(Tensor::Gpu)
            }
        }
    }

    fn upload(&self, values: Vec<f32>, rows: usize) -> Result<Tensor> {
        match self.gpu_for(rows) {
            Some(gpu) => gpu.upload(values, rows).map(Tensor::Gpu),
            None => self.on_cpu(|| self.cpu.upload(values, rows)),
        }
    }

    fn concatenate(&self, parts: &[&Tensor]) -> Result<Tensor> {
        let (mut here, mut there) = (Vec::new(), Vec::new());
        for part in parts {
            match part {
                Tensor::Cpu(part) => here.push(&**part),
                Tensor::Gpu(part) => there.push(part),
            }
        }
        // A pass stays where it has begun: one of the two is empty.
        if there.is_empty() {
            self.on_cpu(|| self.cpu.concatenate(&here))
        } else {
            self.theirs()?.concatenate(&there).map(Tensor::Gpu)
        }
    }

    fn normalize(&self, x: &Tensor) -> Result<Tensor> {
        where_it_is!(self, x, backend, x => backend.normalize(x))
    }

    fn read(&self, wanted: Vec<Wanted<Tensor>>) -> Result<Reading> {
        let (mut here, mut there) = (Vec::new(), Vec::new());
        for wanted in wanted {
            match wanted {
                Wanted::All(Tensor::Cpu(x)) => here.push(Wanted::All(x).values()?),
                Wanted::All(Tensor::Gpu(x)) => there.push(Wanted::All(x)),
                Wanted::Positive(Tensor::Cpu(x)) => here.push(Wanted::Positive(x).values()?),
                Wanted::Positive(Tensor::Gpu(x)) => there.push(Wanted::Positive(x)),
            }
        }
        if there.is_empty() {
            return Ok(Box::pin(std::future::ready(Ok(here))));
        }
        self.theirs()?.read(there)
    }
}
