//! A pass on the CPU over weights that possibly only a GPU stores, for the check after loading.
//!
//! Operations are synchronous, while copying a matrix from the GPU is not: in a browser it takes
//! the event loop. So an operation that lacks a matrix fails, [`Rehearsal::fetch_missing`] copies
//! it, and the caller starts the pass again. Operations that have run are not run again; their
//! results are kept. So each matrix is copied once, and only those of one operation are in host
//! memory at a time.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cpu::{Activations, Cpu, CpuMatrix};
use super::either::{Either, EitherMatrix, misplaced};
use super::{
    Activation, Attention, Compute, Distances, Experts, Gate, Linear, Norm, Pooling, ReadBack,
    Reading, Splade,
};
use crate::error::Result;

/// The CPU of an [`Either`], for one pass with that one's weights.
pub struct Rehearsal<'a> {
    either: &'a Either,
    progress: Mutex<Progress<'a>>,
}

/// How far the pass has come.
#[derive(Default)]
struct Progress<'a> {
    /// Results of the operations that have run, in order.
    results: Vec<Arc<Activations>>,
    /// Operations of the present attempt so far.
    attempted: usize,
    /// Copies of matrices for the next operation.
    copies: Vec<(&'a EitherMatrix, Arc<CpuMatrix>)>,
    /// The matrix for want of which the attempt failed.
    missing: Option<&'a EitherMatrix>,
}

/// A matrix in host memory: the CPU's own, or a copy of the GPU's.
enum OnHost<'a> {
    Own(&'a CpuMatrix),
    Copy(Arc<CpuMatrix>),
}

impl Deref for OnHost<'_> {
    type Target = CpuMatrix;

    fn deref(&self) -> &CpuMatrix {
        match self {
            Self::Own(matrix) => matrix,
            Self::Copy(matrix) => matrix,
        }
    }
}

impl<'a> Rehearsal<'a> {
    /// A pass that is about to begin.
    pub fn new(either: &'a Either) -> Self {
        Self {
            either,
            progress: Mutex::default(),
        }
    }

    /// After the pass failed: copies the matrix that it lacked. True means that the pass is to be
    /// started again; false means that it failed for another reason.
    pub async fn fetch_missing(&self) -> Result<bool> {
        let missing = {
            let mut progress = self.progress();
            progress.attempted = 0;
            progress.missing.take()
        };
        let Some(matrix) = missing else {
            return Ok(false);
        };
        let copy = Arc::new(self.either.fetch(matrix).await?);
        self.progress().copies.push((matrix, copy));
        Ok(true)
    }

    fn progress(&self) -> MutexGuard<'_, Progress<'a>> {
        let progress = self.progress.lock();
        progress.unwrap_or_else(PoisonError::into_inner)
    }

    fn cpu(&self) -> &Cpu {
        self.either.host()
    }

    /// The matrix in host memory. If it is not there, this errors and notes that it is missing.
    fn matrix(&self, matrix: &'a EitherMatrix) -> Result<OnHost<'a>> {
        if let Some(own) = matrix.cpu() {
            return Ok(OnHost::Own(own));
        }
        let mut progress = self.progress();
        let mut copies = progress.copies.iter();
        if let Some((_, copy)) = copies.find(|(of, _)| std::ptr::eq(*of, matrix)) {
            return Ok(OnHost::Copy(Arc::clone(copy)));
        }
        progress.missing = Some(matrix);
        Err(misplaced())
    }

    /// Runs an operation, or returns its result of an earlier attempt.
    fn run(&self, operation: impl FnOnce() -> Result<Activations>) -> Result<Arc<Activations>> {
        {
            let progress = &mut *self.progress();
            if let Some(known) = progress.results.get(progress.attempted) {
                progress.attempted += 1;
                return Ok(Arc::clone(known));
            }
        }
        let result = Arc::new(operation()?);
        let mut progress = self.progress();
        progress.attempted += 1;
        progress.copies.clear();
        progress.results.push(Arc::clone(&result));
        Ok(result)
    }
}

impl<'a> Compute for Rehearsal<'a> {
    type Tensor = Arc<Activations>;
    type Matrix = &'a EitherMatrix;

    fn embed(&self, tables: &[(&Self::Matrix, &[u32])], scale: f32) -> Result<Self::Tensor> {
        self.run(|| {
            let on_host = tables.iter().map(|(table, _)| self.matrix(table));
            let on_host: Vec<_> = on_host.collect::<Result<_>>()?;
            let tables = on_host.iter().zip(tables);
            let tables: Vec<_> = tables.map(|(own, (_, ids))| (&**own, *ids)).collect();
            self.cpu().embed(&tables, scale)
        })
    }

    fn norm(
        &self,
        x: &Self::Tensor,
        residual: Option<&Self::Tensor>,
        norm: Norm,
    ) -> Result<Self::Tensor> {
        self.run(|| {
            self.cpu()
                .norm(x, residual.map(|residual| &**residual), norm)
        })
    }

    fn add(
        &self,
        x: &Self::Tensor,
        y: &Self::Tensor,
        scale: f32,
        activation: Activation,
    ) -> Result<Self::Tensor> {
        self.run(|| self.cpu().add(x, y, scale, activation))
    }

    fn experts(
        &self,
        x: &Self::Tensor,
        experts: &Experts<Self>,
        activation: Activation,
    ) -> Result<Self::Tensor> {
        self.run(|| {
            let router = self.matrix(experts.router)?;
            let pairs = experts.matrices.iter();
            let pairs = pairs.map(|[up, down]| Ok([self.matrix(up)?, self.matrix(down)?]));
            let pairs: Vec<[OnHost; 2]> = pairs.collect::<Result<_>>()?;
            let on_host = Experts {
                router: &*router,
                matrices: pairs.iter().map(|[up, down]| [&**up, &**down]).collect(),
                top: experts.top,
                bias: experts.bias,
            };
            self.cpu().experts(x, &on_host, activation)
        })
    }

    fn linear(
        &self,
        x: &Self::Tensor,
        weight: &Self::Matrix,
        bias: Option<&[f32]>,
        activation: Activation,
    ) -> Result<Self::Tensor> {
        self.run(|| {
            self.cpu()
                .linear(x, &*self.matrix(weight)?, bias, activation)
        })
    }

    fn feed_forward(
        &self,
        x: &Self::Tensor,
        [up, down]: [Linear<Self>; 2],
        activation: Activation,
    ) -> Result<Self::Tensor> {
        self.run(|| {
            let weights = [self.matrix(up.weight)?, self.matrix(down.weight)?];
            let layers =
                [(&weights[0], up.bias), (&weights[1], down.bias)].map(|(weight, bias)| Linear {
                    weight: &**weight,
                    bias,
                });
            self.cpu().feed_forward(x, layers, activation)
        })
    }

    fn gate(&self, x: &Self::Tensor, gate: Gate, activation: Activation) -> Result<Self::Tensor> {
        self.run(|| self.cpu().gate(x, gate, activation))
    }

    fn attention(
        &self,
        qkv: &Self::Tensor,
        offsets: &[usize],
        attention: Attention,
    ) -> Result<Self::Tensor> {
        self.run(|| self.cpu().attention(qkv, offsets, attention))
    }

    fn disentangled(
        &self,
        qkv: &Self::Tensor,
        offsets: &[usize],
        attention: Attention,
        (rows, distances): (&Self::Tensor, &Distances),
    ) -> Result<Self::Tensor> {
        self.run(|| {
            let positions = (&**rows, distances);
            self.cpu().disentangled(qkv, offsets, attention, positions)
        })
    }

    fn pool(
        &self,
        x: &Self::Tensor,
        offsets: &[usize],
        skip: &[usize],
        pooling: Pooling,
    ) -> Result<Self::Tensor> {
        self.run(|| self.cpu().pool(x, offsets, skip, pooling))
    }

    fn splade(
        &self,
        x: &Self::Tensor,
        offsets: &[usize],
        weight: &Self::Matrix,
        bias: Option<&[f32]>,
        splade: Splade,
    ) -> Result<Self::Tensor> {
        self.run(|| {
            let weight = self.matrix(weight)?;
            self.cpu().splade(x, offsets, &weight, bias, splade)
        })
    }

    fn upload(&self, values: Vec<f32>, rows: usize) -> Result<Self::Tensor> {
        self.run(|| self.cpu().upload(values, rows))
    }

    fn concatenate(&self, parts: &[&Self::Tensor]) -> Result<Self::Tensor> {
        let parts: Vec<&Activations> = parts.iter().map(|part| &***part).collect();
        self.run(|| self.cpu().concatenate(&parts))
    }

    fn normalize(&self, x: &Self::Tensor) -> Result<Self::Tensor> {
        self.run(|| self.cpu().normalize(x))
    }

    fn read(&self, tensors: Vec<ReadBack<Self::Tensor>>) -> Result<Reading> {
        let values = tensors.iter().map(ReadBack::values);
        let values = values.collect::<Result<_>>()?;
        Ok(Box::pin(std::future::ready(Ok(values))))
    }
}
