//! The GPU backend of the common build, which has none: its types have no values, so code that
//! takes one is never linked. Only what the rest of the crate calls is here.
#![expect(clippy::unused_async, reason = "as in the GPU backend")]

use super::cpu::{Cpu, CpuMatrix};
use super::{
    Activation, Attention, Backend, Compute, Distances, Experts, Gate, Norm, Pooling, ReadBack,
    Reading, Splade, WeightDtype,
};
use crate::error::{Error, Result};
use crate::full;

/// A GPU.
pub enum Gpu {}

/// Activations `[rows, width]`.
pub enum GpuTensor {}

/// A matrix on a GPU.
pub enum GpuMatrix {}

impl Gpu {
    /// Errors: the common build has no GPU backend.
    pub async fn open() -> Result<Self> {
        full::need("the GPU backend")?;
        Err(not_on_host())
    }

    /// The adapter's name.
    pub fn name(&self) -> &str {
        match *self {}
    }

    /// Errors if the device is lost.
    pub fn check(&self) -> Result<()> {
        match *self {}
    }

    /// Copies a matrix to host memory, packed for the CPU.
    pub async fn fetch(&self, _: &GpuMatrix, _: &Cpu) -> Result<CpuMatrix> {
        match *self {}
    }
}

/// A bug: there is no GPU that stores weights.
pub fn not_on_host() -> Error {
    Error::Internal("the common build has no GPU backend".to_owned())
}

impl Backend for Gpu {
    fn pass_tokens(&self) -> usize {
        match *self {}
    }

    fn need_cpu(&self, _: &str) -> Result<()> {
        match *self {}
    }

    fn matrix(&self, _: usize, _: usize, _: WeightDtype) -> Result<GpuMatrix> {
        match *self {}
    }

    fn set_row(&self, _: &mut GpuMatrix, _: usize, _: &[f32]) {
        match *self {}
    }

    fn set_codes(&self, _: &mut GpuMatrix, _: usize, _: &[i8], _: &[f32]) {
        match *self {}
    }

    fn on_host<'a>(&self, _: &'a GpuMatrix) -> Result<&'a CpuMatrix> {
        match *self {}
    }

    fn rows(&self, _: &GpuMatrix) -> usize {
        match *self {}
    }

    fn columns(&self, _: &GpuMatrix) -> usize {
        match *self {}
    }

    fn dtype(&self, _: &GpuMatrix) -> WeightDtype {
        match *self {}
    }

    fn bytes(&self, _: &GpuMatrix) -> usize {
        match *self {}
    }
}

impl Compute for Gpu {
    type Tensor = GpuTensor;
    type Matrix = GpuMatrix;

    fn embed(&self, _: &[(&GpuMatrix, &[u32])], _: f32) -> Result<GpuTensor> {
        match *self {}
    }

    fn norm(&self, _: &GpuTensor, _: Option<&GpuTensor>, _: Norm) -> Result<GpuTensor> {
        match *self {}
    }

    fn add(&self, _: &GpuTensor, _: &GpuTensor, _: f32, _: Activation) -> Result<GpuTensor> {
        match *self {}
    }

    fn linear(
        &self,
        _: &GpuTensor,
        _: &GpuMatrix,
        _: Option<&[f32]>,
        _: Activation,
    ) -> Result<GpuTensor> {
        match *self {}
    }

    fn experts(&self, _: &GpuTensor, _: &Experts<Self>, _: Activation) -> Result<GpuTensor> {
        match *self {}
    }

    fn gate(&self, _: &GpuTensor, _: Gate, _: Activation) -> Result<GpuTensor> {
        match *self {}
    }

    fn attention(&self, _: &GpuTensor, _: &[usize], _: Attention) -> Result<GpuTensor> {
        match *self {}
    }

    fn disentangled(
        &self,
        _: &GpuTensor,
        _: &[usize],
        _: Attention,
        _: (&GpuTensor, &Distances),
    ) -> Result<GpuTensor> {
        match *self {}
    }

    fn pool(&self, _: &GpuTensor, _: &[usize], _: &[usize], _: Pooling) -> Result<GpuTensor> {
        match *self {}
    }

    fn splade(
        &self,
        _: &GpuTensor,
        _: &[usize],
        _: &GpuMatrix,
        _: Option<&[f32]>,
        _: Splade,
    ) -> Result<GpuTensor> {
        match *self {}
    }

    fn upload(&self, _: Vec<f32>, _: usize) -> Result<GpuTensor> {
        match *self {}
    }

    fn concatenate(&self, _: &[&GpuTensor]) -> Result<GpuTensor> {
        match *self {}
    }

    fn normalize(&self, _: &GpuTensor) -> Result<GpuTensor> {
        match *self {}
    }

    fn read(&self, _: Vec<ReadBack<GpuTensor>>) -> Result<Reading> {
        match *self {}
    }
}
