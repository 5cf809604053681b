//! The CPU backend: candle tensors for activations, our own packed matrices for weights, SIMD kernels between.
//!
//! All of the crate's `unsafe` is in this folder.

mod activation;
mod attention;
mod gemm_f32;
mod gemm_q8;
mod norm;
mod pool;
mod simd;
#[cfg(test)]
mod tests;

use candle_core::{CpuStorage, Device, Storage, Tensor};

use self::gemm_f32::PackedF32;
pub use self::gemm_q8::DotKernel;
use self::gemm_q8::{PackedQ8, QuantizedRows};
use self::simd::F32x4;
use super::{Activation, Attention, Backend, Norm, Pooling, Splade, SpladeStrategy, WeightDtype};
use crate::error::{Error, Result};

/// Columns of a packed panel: two vectors.
const PANEL: usize = 8;

/// The CPU, with the integer kernel that its engine computes exactly.
pub struct Cpu {
    kernel: DotKernel,
}

impl Cpu {
    /// Probes the engine.
    pub fn new() -> Self {
        Self {
            kernel: DotKernel::detect(),
        }
    }

    /// The integer kernel in use.
    pub fn kernel(&self) -> DotKernel {
        self.kernel
    }
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new()
    }
}

/// A packed weight matrix `[out, in]`.
pub enum Matrix {
    /// 32-bit floating point
    #[allow(private_interfaces)]
    F32(PackedF32),
    /// 8-bit integers in groups
    Q8(PackedQ8),
}

impl Matrix {
    fn rows(&self) -> usize {
        match self {
            Self::F32(matrix) => matrix.rows(),
            Self::Q8(matrix) => matrix.rows(),
        }
    }

    fn columns(&self) -> usize {
        match self {
            Self::F32(matrix) => matrix.columns(),
            Self::Q8(matrix) => matrix.columns(),
        }
    }

    fn add_row(&self, row: usize, out: &mut [f32]) {
        match self {
            Self::F32(matrix) => matrix.add_row(row, out),
            Self::Q8(matrix) => matrix.add_row(row, out),
        }
    }
}

impl Backend for Cpu {
    type Tensor = Tensor;
    type Matrix = Matrix;

    fn matrix(&self, rows: usize, columns: usize, dtype: WeightDtype) -> Result<Matrix> {
        Ok(match dtype {
            WeightDtype::F32 => Matrix::F32(PackedF32::new(rows, columns)?),
            WeightDtype::Q8 => Matrix::Q8(PackedQ8::new(rows, columns)?),
        })
    }

    fn set_row(&self, matrix: &mut Matrix, row: usize, values: &[f32]) {
        match matrix {
            Matrix::F32(matrix) => matrix.set_row(row, values),
            Matrix::Q8(matrix) => matrix.set_row(row, values),
        }
    }

    fn bytes(&self, matrix: &Matrix) -> usize {
        match matrix {
            Matrix::F32(matrix) => matrix.bytes(),
            Matrix::Q8(matrix) => matrix.bytes(),
        }
    }

    fn embed(&self, tables: &[(&Matrix, &[u32])], scale: f32) -> Result<Tensor> {
        let (rows, width) = tables
            .first()
            .map_or((0, 0), |(table, ids)| (ids.len(), table.columns()));
        let mut out = zeroed(rows * width)?;
        for (table, ids) in tables {
            for (out, id) in out.chunks_exact_mut(width).zip(*ids) {
                table.add_row(*id as usize, out);
            }
        }
        if scale.to_bits() != 1f32.to_bits() {
            out.iter_mut().for_each(|x| *x *= scale);
        }
        tensor(out, width)
    }

    fn norm(&self, x: &Tensor, residual: Option<&Tensor>, norm: Norm) -> Result<Tensor> {
        let mut out = match residual {
            None => with_values(x, copied)?,
            Some(residual) => sum(x, residual)?,
        };
        norm::normalize(&mut out, norm);
        tensor(out, norm.weight.len())
    }

    fn add(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        tensor(sum(x, y)?, width(x))
    }

    fn linear(
        &self,
        x: &Tensor,
        weight: &Matrix,
        bias: Option<&[f32]>,
        activation: Activation,
    ) -> Result<Tensor> {
        let columns = weight.rows();
        with_values(x, |x| {
            let rows = x.len() / weight.columns().max(1);
            let mut out: Vec<f32> = zeroed(rows * columns)?;
            let all = 0..rows;
            product(
                self.kernel,
                x,
                weight,
                bias,
                &[all],
                |_, row, column, mut sums| {
                    activation::apply(activation, &mut sums);
                    let target = row * columns + column;
                    let lanes = PANEL.min(columns - column);
                    out[target..target + lanes].copy_from_slice(&sums[..lanes]);
                },
            )?;
            tensor(out, columns)
        })
    }

    fn gate(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        let width = width(x) / 2;
        with_values(x, |x| {
            let mut out = zeroed(x.len() / 2)?;
            for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(2 * width)) {
                let (gate, up) = x.split_at(width);
                out.copy_from_slice(gate);
                activation::apply(activation, out);
                out.iter_mut().zip(up).for_each(|(gate, up)| *gate *= up);
            }
            tensor(out, width)
        })
    }

    fn attention(&self, qkv: &Tensor, offsets: &[usize], attention: Attention) -> Result<Tensor> {
        let width = attention.heads.query_width();
        with_values(qkv, |qkv| {
            tensor(attention::attention(qkv, offsets, attention)?, width)
        })
    }

    fn pool(
        &self,
        x: &Tensor,
        offsets: &[usize],
        skip: &[usize],
        pooling: Pooling,
    ) -> Result<Tensor> {
        let width = width(x);
        with_values(x, |x| {
            tensor(pool::pool(x, width, offsets, skip, pooling)?, width)
        })
    }

    fn splade(
        &self,
        x: &Tensor,
        offsets: &[usize],
        weight: &Matrix,
        bias: Option<&[f32]>,
        splade: Splade,
    ) -> Result<Tensor> {
        let columns = weight.rows();
        let sequences: Vec<_> = offsets.windows(2).map(|pair| pair[0]..pair[1]).collect();
        // Both reductions begin at 0: no weight is less.
        let mut out: Vec<f32> = zeroed(sequences.len() * columns)?;
        with_values(x, |x| {
            product(
                self.kernel,
                x,
                weight,
                bias,
                &sequences,
                |sequence, _, column, sums| {
                    let target = &mut out[sequence * columns + column..(sequence + 1) * columns];
                    let pairs = target.iter_mut().zip(sums);
                    match splade.strategy {
                        SpladeStrategy::Max => pairs.for_each(|(out, sum)| *out = out.max(sum)),
                        SpladeStrategy::Sum => pairs
                            .filter(|(_, sum)| *sum > 0.0)
                            .for_each(|(out, sum)| *out += splade.activation.apply(sum)),
                    }
                },
            )
        })?;
        if splade.strategy == SpladeStrategy::Max {
            // The activation rises with the logit, so it can wait until here.
            out.iter_mut()
                .filter(|logit| **logit > 0.0)
                .for_each(|logit| *logit = splade.activation.apply(*logit));
        }
        tensor(out, columns)
    }

    fn upload(&self, values: Vec<f32>, rows: usize) -> Result<Tensor> {
        let width = values.len().checked_div(rows).unwrap_or(0);
        tensor(values, width)
    }

    fn read(&self, x: &Tensor) -> Result<Vec<f32>> {
        with_values(x, copied)
    }
}

/// `x · weightᵀ + bias` for the rows in each of `ranges`; `done(range, row, column, sums)` gets eight neighbouring
/// columns at a time, the last ones of a ragged edge being of no meaning.
fn product(
    kernel: DotKernel,
    x: &[f32],
    weight: &Matrix,
    bias: Option<&[f32]>,
    ranges: &[core::ops::Range<usize>],
    mut done: impl FnMut(usize, usize, usize, [f32; PANEL]),
) -> Result<()> {
    let columns = weight.columns();
    let quantized = match weight {
        Matrix::F32(_) => None,
        Matrix::Q8(_) => Some(QuantizedRows::new(x, columns, kernel)?),
    };
    for panel in 0..weight.rows().div_ceil(PANEL) {
        let column = panel * PANEL;
        let mut shift = [0.0; PANEL];
        if let Some(bias) = bias {
            shift
                .iter_mut()
                .zip(&bias[column..])
                .for_each(|(shift, bias)| *shift = *bias);
        }
        for (index, range) in ranges.iter().enumerate() {
            let mut finish = |row: usize, sums: [F32x4; 2]| {
                let [low, high] = sums.map(F32x4::to_array);
                let mut sums = [0.0; PANEL];
                for (i, sum) in low.into_iter().chain(high).enumerate() {
                    sums[i] = sum + shift[i];
                }
                done(index, row, column, sums);
            };
            match (weight, &quantized) {
                (Matrix::Q8(weight), Some(x)) => {
                    gemm_q8::for_each_row(x, range.clone(), weight, panel, kernel, &mut finish);
                }
                (Matrix::F32(weight), _) => {
                    let rows = &x[range.start * columns..];
                    gemm_f32::for_each_row(
                        rows,
                        range.len(),
                        columns,
                        weight.panel(panel),
                        |row, sums| {
                            finish(range.start + row, sums);
                        },
                    );
                }
                (Matrix::Q8(_), None) => {
                    unreachable!("activations of a q8 product are quantised above")
                }
            }
        }
    }
    Ok(())
}

/// A zeroed vector, or [`Error::OutOfMemory`].
fn zeroed<T: Clone + Copy + bytemuck::Zeroable>(len: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values
        .try_reserve_exact(len)
        .map_err(|_| Error::OutOfMemory {
            bytes: len.saturating_mul(size_of::<T>()),
        })?;
    values.resize(len, T::zeroed());
    Ok(values)
}

/// Size of the last dimension.
fn width(x: &Tensor) -> usize {
    x.dims().last().copied().unwrap_or(0)
}

/// `x + y`
fn sum(x: &Tensor, y: &Tensor) -> Result<Vec<f32>> {
    let mut out = with_values(x, copied)?;
    with_values(y, |y| {
        out.iter_mut().zip(y).for_each(|(x, y)| *x += y);
        Ok(out)
    })
}

fn copied(values: &[f32]) -> Result<Vec<f32>> {
    let mut out = zeroed(values.len())?;
    out.copy_from_slice(values);
    Ok(out)
}

/// `[values / width, width]`
fn tensor(values: Vec<f32>, width: usize) -> Result<Tensor> {
    let rows = values.len().checked_div(width).unwrap_or(0);
    Ok(Tensor::from_vec(values, (rows, width), &Device::Cpu)?)
}

/// The values of a contiguous f32 tensor, which is what every operation here makes.
fn with_values<T>(x: &Tensor, f: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let (storage, layout) = x.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) => f(&values[start..end]),
        _ => Err(Error::Internal(
            "the CPU backend was handed a tensor that is not contiguous f32".into(),
        )),
    }
}
