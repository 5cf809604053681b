//! The CPU backend: packed weight matrices, pooled memory for activations, and SIMD kernels.
//!
//! All of the crate's `unsafe` is in this folder.

mod activation;
mod attention;
#[cfg(any(not(target_arch = "wasm32"), target_feature = "atomics"))]
mod crew;
mod disentangled;
mod dot;
mod gemm_f32;
mod gemm_int;
mod max_sim;
mod norm;
#[cfg(test)]
mod numerics;
mod packed_int;
mod packing;
mod parts;
mod pooling;
mod rotation;
mod scratch;
mod simd;
#[cfg(test)]
mod tests;
mod threads;
mod words;

use core::borrow::Borrow;
use core::ops::Range;

use half::f16;

pub use self::dot::DotKernel;
use self::gemm_f32::PackedF32;
use self::gemm_int::{PendingSums, QuantizedRows};
pub use self::max_sim::{max_sim, max_sim_codes, pairs};
pub use self::norm::l2_normalize;
use self::packed_int::{Bytes, Nibbles, PackedInt};
use self::parts::Disjoint;
use self::rotation::Group;
pub use self::rotation::rotate;
use self::scratch::{Buffer, ScratchPool};
use self::simd::F32x4;
pub use self::threads::Threads;
use self::threads::{PARTS, units_of_part};
use super::{
    Activation, Attention, Backend, Compute, Distances, Experts, GROUP, Gate, Linear, Norm,
    Pooling, ReadBack, Reading, Splade, SpladeStrategy, Values, WeightDtype,
};
use crate::error::{Result, zeroed};
use crate::full::Full;

/// Columns of a packed panel: two vectors of four.
const PANEL: usize = 8;
/// Rows of a tile of the f32 kernels. A tile's sums are eight vectors, which stay in registers. In
/// attention, it is the number of queries that share one pass over the keys.
const TILE: usize = 4;
/// Rows whose sums a product passes to its epilogue at once. Their inputs and outputs fit the L1
/// cache together with the weights of a strip.
const BAND: usize = 16;
/// Rows that a product takes through all panels before it continues with the next rows. Their
/// activations stay in the L2 cache.
const BLOCK: usize = 64;

/// One row of a product in the eight columns of a panel.
type Sums = [F32x4; 2];
/// One row of a product in 64 columns: a quantisation group of the next product's input.
type Strip = [f32; GROUP];

/// The CPU, with the fastest integer kernel that its engine computes exactly.
pub struct Cpu {
    kernel: DotKernel,
    pool: ScratchPool,
    threads: Threads,
}

impl Cpu {
    /// One thread. Probes the engine for its integer kernel.
    pub fn new() -> Self {
        Self::with(Threads::default())
    }

    /// As [`Cpu::new`], with threads that share the work of each operation. Results have the same
    /// bits for any number of threads.
    pub fn with(threads: Threads) -> Self {
        Self {
            kernel: DotKernel::detect(),
            pool: ScratchPool::default(),
            threads,
        }
    }

    /// The CPU with another integer kernel than the fastest, to compare them: they give the same
    /// bits. None if this processor cannot run it.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub fn with_kernel(kernel: DotKernel) -> Option<Self> {
        let runs = kernel == DotKernel::Scalar || DotKernel::native().contains(&kernel);
        runs.then(|| Self {
            kernel,
            ..Self::new()
        })
    }

    /// The threads.
    pub fn threads(&self) -> &Threads {
        &self.threads
    }

    /// The integer kernel in use.
    pub fn kernel(&self) -> DotKernel {
        self.kernel
    }

    /// Activations of unspecified content.
    fn activations(&self, rows: usize, width: usize) -> Result<Activations> {
        let values = self.pool.take(rows * width)?;
        Ok(Activations { values, width })
    }

    fn zeros(&self, rows: usize, width: usize) -> Result<Activations> {
        let values = self.pool.zeroed(rows * width)?;
        Ok(Activations { values, width })
    }
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new()
    }
}

/// Activations `[rows, width]`.
pub struct Activations {
    values: Buffer,
    width: usize,
}

impl Activations {
    fn rows(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }
}

/// A packed weight matrix `[out, in]`, whose rows can be read.
#[allow(private_interfaces)]
pub enum CpuMatrix {
    /// 32-bit floating point
    F32(PackedF32),
    /// 16-bit floating point, widened
    F16(PackedF32),
    /// 8-bit integers in groups
    Q8(PackedInt<Bytes>),
    /// 4-bit integers in groups
    Q4(PackedInt<Nibbles>),
}

/// Evaluates `$call` with `$name` bound to the packed matrix of any variant.
macro_rules! each {
    ($matrix:expr, $name:ident => $call:expr) => {
        match $matrix {
            CpuMatrix::F32($name) | CpuMatrix::F16($name) => $call,
            CpuMatrix::Q8($name) => $call,
            CpuMatrix::Q4($name) => $call,
        }
    };
}

impl CpuMatrix {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        each!(self, matrix => matrix.rows())
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        each!(self, matrix => matrix.columns())
    }

    /// Number format.
    pub fn dtype(&self) -> WeightDtype {
        match self {
            Self::F32(_) => WeightDtype::F32,
            Self::F16(_) => WeightDtype::F16,
            Self::Q8(_) => WeightDtype::Q8,
            Self::Q4(_) => WeightDtype::Q4,
        }
    }

    /// Reads one row, `[columns]`, in f32.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        // -0 is the identity of addition for every f32; +0 would turn -0 to +0.
        out.fill(-0.0);
        each!(self, matrix => matrix.add_row(row, out));
    }

    /// Reads the codes `[groups · GROUP]` and scales `[groups]` of one row of an integer matrix.
    pub fn codes(&self, row: usize, codes: &mut [i8], scales: &mut [f32]) {
        match self {
            Self::F32(_) | Self::F16(_) => unreachable!("floating-point matrices have no codes"),
            Self::Q8(matrix) => matrix.codes(row, codes, scales),
            Self::Q4(matrix) => matrix.codes(row, codes, scales),
        }
    }
}

impl std::fmt::Debug for CpuMatrix {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let (rows, columns) = (self.rows(), self.columns());
        write!(f, "CpuMatrix({:?}, {rows} × {columns})", self.dtype())
    }
}

impl Compute for Cpu {
    type Tensor = Activations;
    type Matrix = CpuMatrix;

    fn embed(&self, tables: &[(&CpuMatrix, &[u32])], scale: f32) -> Result<Activations> {
        let (rows, width) = tables
            .first()
            .map_or((0, 0), |(table, ids)| (ids.len(), table.columns()));
        let mut out = self.zeros(rows, width)?;
        for (table, ids) in tables {
            for (out, id) in out.values.chunks_exact_mut(width).zip(*ids) {
                each!(table, table => table.add_row(*id as usize, out));
            }
        }
        if scale.to_bits() != 1f32.to_bits() {
            out.values.iter_mut().for_each(|x| *x *= scale);
        }
        Ok(out)
    }

    fn norm(
        &self,
        x: &Activations,
        residual: Option<&Activations>,
        norm: Norm,
    ) -> Result<Activations> {
        let mut out = self.activations(x.rows(), x.width)?;
        self.threads.rows(&mut out.values, x.width, |row, out| {
            let x = &x.values[row * x.width..][..out.len()];
            match residual {
                None => out.copy_from_slice(x),
                Some(residual) => {
                    let pairs = x.iter().zip(&residual.values[row * residual.width..]);
                    out.iter_mut()
                        .zip(pairs)
                        .for_each(|(out, (x, y))| *out = x + y);
                }
            }
            norm::normalize(out, norm);
        });
        Ok(out)
    }

    fn add(
        &self,
        x: &Activations,
        y: &Activations,
        scale: f32,
        activation: Activation,
    ) -> Result<Activations> {
        let mut out = self.activations(x.rows(), x.width)?;
        self.threads.rows(&mut out.values, x.width, |row, out| {
            let pairs = x.values[row * x.width..]
                .iter()
                .zip(&y.values[row * y.width..]);
            out.iter_mut()
                .zip(pairs)
                .for_each(|(out, (x, y))| *out = x + scale * y);
            if activation != Activation::Identity {
                simd::map_in_place(out, 0.0, |x| activation::activate(activation, x));
            }
        });
        Ok(out)
    }

    fn experts(
        &self,
        x: &Activations,
        experts: &Experts<Self>,
        activation: Activation,
    ) -> Result<Activations> {
        let logits = self.linear(x, experts.router, None, Activation::Identity)?;
        let groups = by_expert(&logits.values, logits.width, experts.top);
        let mut out = self.zeros(x.rows(), x.width)?;
        // The tokens of an expert are one product. Experts follow each other, so that the sum of a
        // token does not depend on other tokens.
        for (group, matrices) in groups.iter().zip(&experts.matrices) {
            if group.is_empty() {
                continue;
            }
            let mut own = self.activations(group.len(), x.width)?;
            for (own, (row, _)) in own.values.chunks_exact_mut(x.width).zip(group) {
                own.copy_from_slice(&x.values[row * x.width..][..x.width]);
            }
            let layers = matrices.map(|weight| Linear { weight, bias: None });
            let given = self.feed_forward(&own, layers, activation)?;
            for (given, (row, share)) in given.values.chunks_exact(x.width).zip(group) {
                let sum = &mut out.values[row * x.width..][..x.width];
                let pairs = sum.iter_mut().zip(given);
                pairs.for_each(|(sum, given)| *sum += share * given);
            }
        }
        for row in out.values.chunks_exact_mut(x.width) {
            let pairs = row.iter_mut().zip(experts.bias);
            pairs.for_each(|(sum, bias)| *sum += bias);
        }
        Ok(out)
    }

    fn linear(
        &self,
        x: &Activations,
        weight: &CpuMatrix,
        bias: Option<&[f32]>,
        activation: Activation,
    ) -> Result<Activations> {
        self.finished(&self.input(x, weight)?, x.rows(), weight, bias, activation)
    }

    fn feed_forward(
        &self,
        x: &Activations,
        [up, down]: [Linear<Self>; 2],
        activation: Activation,
    ) -> Result<Activations> {
        if matches!(down.weight, CpuMatrix::F32(_) | CpuMatrix::F16(_)) {
            let inner = self.linear(x, up.weight, up.bias, activation)?;
            return self.linear(&inner, down.weight, down.bias, Activation::Identity);
        }
        // The inner activations are quantised as they leave the first product.
        let (rows, columns) = (x.rows(), up.weight.rows());
        let mut inner = QuantizedRows::new(rows, columns, self.kernel, &self.pool)?;
        let input = self.input(x, up.weight)?;
        let (all, out) = (0..rows, inner.writer());
        self.product(
            &input,
            up.weight,
            up.bias,
            Ranges::Apart(all),
            &|place, shift, strips| {
                let mut values = [0.0; GROUP];
                for (row, strip) in (place.row..).zip(strips) {
                    activation::finish(activation, strip, shift, &mut values);
                    if columns - place.column < GROUP {
                        values[columns - place.column..].fill(0.0);
                    }
                    // SAFETY: A product passes each place to one thread, once.
                    unsafe { out.set(row, place.column / GROUP, Group::load(&values)) };
                }
            },
        );
        let inner = Input::Quantized(inner);
        self.finished(&inner, rows, down.weight, down.bias, Activation::Identity)
    }

    fn gate(&self, x: &Activations, gate: Gate, activation: Activation) -> Result<Activations> {
        let width = x.width / 2;
        let mut out = self.activations(x.rows(), width)?;
        self.threads.rows(&mut out.values, width, |row, out| {
            let rows = x.values[row * x.width..].chunks_exact(2 * width);
            for (out, x) in out.chunks_exact_mut(width).zip(rows) {
                let (mut activated, mut up) = x.split_at(width);
                if gate == Gate::Last {
                    (activated, up) = (up, activated);
                }
                out.copy_from_slice(activated);
                simd::map_in_place(out, 0.0, |x| activation::activate(activation, x));
                out.iter_mut().zip(up).for_each(|(gate, up)| *gate *= up);
            }
        });
        Ok(out)
    }

    fn attention(
        &self,
        qkv: &Activations,
        offsets: &[usize],
        attention: Attention,
    ) -> Result<Activations> {
        Ok(Activations {
            values: attention::attention(
                &qkv.values,
                offsets,
                attention,
                None,
                &self.pool,
                &self.threads,
            )?,
            width: attention.heads.query_width(),
        })
    }

    fn disentangled(
        &self,
        qkv: &Activations,
        offsets: &[usize],
        attention: Attention,
        (rows, distances): (&Activations, &Distances),
    ) -> Result<Activations> {
        let positions = Full::new("positions in attention", || disentangled::Positions {
            values: &rows.values,
            distances,
        })?;
        let positions = Some(positions);
        Ok(Activations {
            values: attention::attention(
                &qkv.values,
                offsets,
                attention,
                positions,
                &self.pool,
                &self.threads,
            )?,
            width: attention.heads.query_width(),
        })
    }

    fn pool(
        &self,
        x: &Activations,
        offsets: &[usize],
        skip: &[usize],
        pooling: Pooling,
    ) -> Result<Activations> {
        Ok(Activations {
            values: pooling::pool(&x.values, x.width, offsets, skip, pooling, &self.pool)?,
            width: x.width,
        })
    }

    fn splade(
        &self,
        x: &Activations,
        offsets: &[usize],
        weight: &CpuMatrix,
        bias: Option<&[f32]>,
        splade: Splade,
    ) -> Result<Activations> {
        let columns = weight.rows();
        let sequences: Vec<_> = offsets.windows(2).map(|pair| pair[0]..pair[1]).collect();
        // Both reductions start from 0, the least weight.
        let mut out = self.zeros(sequences.len(), columns)?;
        let input = self.input(x, weight)?;
        let target = Disjoint::new(&mut out.values);
        self.product(
            &input,
            weight,
            bias,
            Ranges::Whole(&sequences),
            &|place, shift, strips| {
                let lanes = GROUP.min(columns - place.column);
                let first = place.range * columns + place.column;
                // SAFETY: A product passes all rows of a range to one thread, column by column.
                let target = unsafe { target.part(first..first + lanes) };
                let mut logits = [0.0; GROUP];
                for strip in strips {
                    activation::finish(Activation::Identity, strip, shift, &mut logits);
                    let pairs = target.iter_mut().zip(logits);
                    match splade.strategy {
                        SpladeStrategy::Max => pairs.for_each(|(out, logit)| raise(out, logit)),
                        SpladeStrategy::Sum => pairs
                            .filter(|(_, logit)| *logit > 0.0)
                            .for_each(|(out, logit)| *out += splade.activation.apply(logit)),
                    }
                }
            },
        );
        if splade.strategy == SpladeStrategy::Max {
            // The activation is monotonic, so it is applied to the maximum only.
            self.threads.rows(&mut out.values, 1, |_, out| {
                out.iter_mut()
                    .filter(|logit| **logit > 0.0)
                    .for_each(|logit| *logit = splade.activation.apply(*logit));
            });
        }
        Ok(out)
    }

    fn upload(&self, values: Vec<f32>, rows: usize) -> Result<Activations> {
        let width = values.len().checked_div(rows).unwrap_or(0);
        Ok(Activations {
            values: self.pool.adopt(values),
            width,
        })
    }

    fn concatenate(&self, parts: &[&Activations]) -> Result<Activations> {
        let rows = parts.first().map_or(0, |part| part.rows());
        let width = parts.iter().map(|part| part.width).sum();
        let mut out = self.activations(rows, width)?;
        for (row, mut out) in out.values.chunks_exact_mut(width).enumerate() {
            for part in parts {
                let (target, rest) = out.split_at_mut(part.width);
                target.copy_from_slice(&part.values[row * part.width..][..part.width]);
                out = rest;
            }
        }
        Ok(out)
    }

    fn normalize(&self, x: &Activations) -> Result<Activations> {
        let mut out = self.activations(x.rows(), x.width)?;
        out.values.copy_from_slice(&x.values);
        out.values.chunks_exact_mut(x.width).for_each(l2_normalize);
        Ok(out)
    }

    fn read(&self, tensors: Vec<ReadBack<Activations>>) -> Result<Reading> {
        let values = tensors
            .iter()
            .map(ReadBack::values)
            .collect::<Result<_>>()?;
        Ok(Box::pin(std::future::ready(Ok(values))))
    }
}

/// The rows that take each expert, with its probability, from logits `[rows, count]`. Exponentials
/// are computed in f64, so that engines and platforms round to the same f32.
fn by_expert(logits: &[f32], count: usize, top: usize) -> Vec<Vec<(usize, f32)>> {
    let mut groups = vec![Vec::new(); count];
    for (row, logits) in logits.chunks_exact(count).enumerate() {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let power = |logit: &f32| libm::exp(f64::from(*logit) - f64::from(most));
        let sum: f64 = logits.iter().map(power).sum();
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
        for expert in order.into_iter().take(top) {
            #[expect(clippy::cast_possible_truncation, reason = "a probability")]
            groups[expert].push((row, (power(&logits[expert]) / sum) as f32));
        }
    }
    groups
}

impl Backend for Cpu {
    fn pass_tokens(&self) -> usize {
        512
    }

    fn need_cpu(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn matrix(&self, rows: usize, columns: usize, dtype: WeightDtype) -> Result<CpuMatrix> {
        Ok(match dtype {
            WeightDtype::F32 => CpuMatrix::F32(PackedF32::new(rows, columns)?),
            WeightDtype::F16 => CpuMatrix::F16(PackedF32::new(rows, columns)?),
            WeightDtype::Q8 | WeightDtype::Q6 => {
                CpuMatrix::Q8(PackedInt::new(rows, columns, self.kernel)?)
            }
            WeightDtype::Q4 => CpuMatrix::Q4(PackedInt::new(rows, columns, self.kernel)?),
        })
    }

    fn set_row(&self, matrix: &mut CpuMatrix, row: usize, values: &[f32]) {
        if let CpuMatrix::F16(matrix) = matrix {
            let rounded = values.iter().map(|value| f16::from_f32(*value).to_f32());
            return matrix.set_row(row, &rounded.collect::<Vec<_>>());
        }
        each!(matrix, matrix => matrix.set_row(row, values));
    }

    fn set_codes(&self, matrix: &mut CpuMatrix, row: usize, codes: &[i8], scales: &[f32]) {
        match matrix {
            CpuMatrix::F32(_) | CpuMatrix::F16(_) => {
                unreachable!("floating-point matrices have no codes")
            }
            CpuMatrix::Q8(matrix) => matrix.set_codes(row, codes, scales),
            CpuMatrix::Q4(matrix) => matrix.set_codes(row, codes, scales),
        }
    }

    fn on_host<'a>(&self, matrix: &'a CpuMatrix) -> Result<&'a CpuMatrix> {
        Ok(matrix)
    }

    fn rows(&self, matrix: &CpuMatrix) -> usize {
        matrix.rows()
    }

    fn columns(&self, matrix: &CpuMatrix) -> usize {
        matrix.columns()
    }

    fn dtype(&self, matrix: &CpuMatrix) -> WeightDtype {
        matrix.dtype()
    }

    fn bytes(&self, matrix: &CpuMatrix) -> usize {
        each!(matrix, matrix => matrix.bytes())
    }
}

impl<T: Borrow<Activations>> ReadBack<T> {
    /// A copy of the values.
    pub(super) fn values(&self) -> Result<Values> {
        match self {
            Self::All(x) => {
                let values = &x.borrow().values;
                let mut out = zeroed(values.len())?;
                out.copy_from_slice(values);
                Ok(Values::All(out))
            }
            Self::Positive(x) => {
                let indexed = (0u32..).zip(x.borrow().values.iter().copied());
                let positive = |(_, value): &(u32, f32)| *value > 0.0 || value.is_nan();
                Ok(Values::Positive(indexed.filter(positive).collect()))
            }
        }
    }
}

/// Quantises a row to the grid of `dtype`, an integer dtype: codes and scales.
pub fn quantize(dtype: WeightDtype, values: &[f32]) -> (Vec<i8>, Vec<f32>) {
    let groups = values.chunks(GROUP);
    let groups: Vec<_> = match dtype {
        WeightDtype::Q4 => groups.map(packed_int::quantize::<Nibbles>).collect(),
        _ => groups.map(packed_int::quantize::<Bytes>).collect(),
    };
    let (codes, scales): (Vec<_>, Vec<_>) = groups.into_iter().unzip();
    (codes.into_flattened(), scales)
}

/// The left side of a product: f32 for floating-point weights, quantised for integer weights.
enum Input<'a> {
    Rows(&'a Activations),
    Quantized(QuantizedRows),
}

impl Cpu {
    fn input<'a>(&self, x: &'a Activations, weight: &CpuMatrix) -> Result<Input<'a>> {
        Ok(match weight {
            CpuMatrix::F32(_) | CpuMatrix::F16(_) => Input::Rows(x),
            CpuMatrix::Q8(_) | CpuMatrix::Q4(_) => Input::Quantized(QuantizedRows::from_rows(
                &x.values,
                x.width,
                self.kernel,
                &self.pool,
                &self.threads,
            )?),
        })
    }

    /// `activation(x · weightᵀ + bias)`
    fn finished(
        &self,
        x: &Input,
        rows: usize,
        weight: &CpuMatrix,
        bias: Option<&[f32]>,
        activation: Activation,
    ) -> Result<Activations> {
        let columns = weight.rows();
        let mut out = self.activations(rows, columns)?;
        let (all, target) = (Ranges::Apart(0..rows), Disjoint::new(&mut out.values));
        self.product(x, weight, bias, all, &|place, shift, strips| {
            let lanes = GROUP.min(columns - place.column);
            for (row, strip) in (place.row..).zip(strips) {
                let first = row * columns + place.column;
                // SAFETY: A product passes each place to one thread, once.
                let out = unsafe { target.part(first..first + lanes) };
                if let Ok(out) = <&mut Strip>::try_from(&mut *out) {
                    activation::finish(activation, strip, shift, out);
                } else {
                    let mut whole = [0.0; GROUP];
                    activation::finish(activation, strip, shift, &mut whole);
                    out.copy_from_slice(&whole[..lanes]);
                }
            }
        });
        Ok(out)
    }

    /// Computes `x · weightᵀ` for the rows in `ranges`, and passes sums and bias to `done`.
    fn product(
        &self,
        x: &Input,
        weight: &CpuMatrix,
        bias: Option<&[f32]>,
        ranges: Ranges,
        done: &Epilogue,
    ) {
        let division = Division::new(&self.threads, ranges, weight.rows(), weight.columns());
        match (weight, x) {
            (CpuMatrix::F32(weight) | CpuMatrix::F16(weight), Input::Rows(x)) => {
                self.each_strip(&division, bias, done, |rows, column, _, out| {
                    gemm_f32::strips(&x.values, rows, weight, column, out);
                });
            }
            (CpuMatrix::Q8(weight), Input::Quantized(x)) => {
                self.each_strip(&division, bias, done, |rows, column, pending, out| {
                    gemm_int::strips(x, rows, weight, column, pending, out);
                });
            }
            (CpuMatrix::Q4(weight), Input::Quantized(x)) => {
                self.each_strip(&division, bias, done, |rows, column, pending, out| {
                    gemm_int::strips(x, rows, weight, column, pending, out);
                });
            }
            _ => unreachable!("`Cpu::input` quantises rows exactly where weights are integers"),
        }
    }

    /// Calls `sums(rows, first column, pending, out)` for all strips of all rows, in blocks of
    /// rows, and passes the results to `done`.
    fn each_strip(
        &self,
        division: &Division,
        bias: Option<&[f32]>,
        done: &Epilogue,
        sums: impl Fn(Range<usize>, usize, &mut PendingSums, &mut [Strip]) + Sync,
    ) {
        let columns = division.columns;
        let (threads, parts) = (division.threads, division.parts());
        self.threads.run(threads, parts, |claims| {
            let mut pending = PendingSums::new();
            let mut strips = [[0.0; GROUP]; BAND];
            for part in claims {
                let (blocks, part) = division.part(part);
                for block in blocks {
                    for column in part.clone().step_by(GROUP) {
                        let mut shift = [0.0; GROUP];
                        if let Some(bias) = bias {
                            let bias = &bias[column..columns.min(column + GROUP)];
                            shift[..bias.len()].copy_from_slice(bias);
                        }
                        for (range, piece) in block {
                            for rows in cut(piece.clone(), BAND) {
                                let strips = &mut strips[..rows.len()];
                                sums(rows.clone(), column, &mut pending, strips);
                                let place = Place {
                                    range: *range,
                                    row: rows.start,
                                    column,
                                };
                                done(place, &shift, strips);
                            }
                        }
                    }
                }
            }
        });
    }
}

/// The rows of a product.
enum Ranges<'a> {
    /// These rows, each on its own.
    Apart(Range<usize>),
    /// Ascending ranges. In each column one thread gets the rows of all ranges, in order.
    Whole(&'a [Range<usize>]),
}

/// Pieces of ranges, of at most [`BLOCK`] rows in all, each with the number of its range.
type Block = Vec<(usize, Range<usize>)>;

/// How a product is divided: into blocks of rows, and parts for threads.
struct Division {
    /// How many threads share it.
    threads: usize,
    blocks: Vec<Block>,
    /// Blocks of a part.
    blocks_of_part: usize,
    columns: usize,
    /// Columns of a part: whole strips.
    columns_of_part: usize,
}

impl Division {
    fn new(threads: &Threads, ranges: Ranges, columns: usize, width: usize) -> Self {
        let all;
        let (ranges, is_apart) = match ranges {
            Ranges::Apart(rows) => {
                all = [rows];
                (&all[..], true)
            }
            Ranges::Whole(ranges) => (ranges, false),
        };
        let rows: usize = ranges.iter().map(Range::len).sum();
        let threads = threads.for_work(rows.saturating_mul(columns).saturating_mul(width));
        let strips = columns.div_ceil(GROUP);
        // With few strips, smaller blocks give every thread something to do.
        let few = is_apart && threads > 1 && strips * rows.div_ceil(BLOCK) < threads * PARTS;
        let size = if few { BAND } else { BLOCK };
        // Ranges are cut into pieces of at most a block's rows; small pieces share a block.
        let pieces = ranges.iter().enumerate().flat_map(|(index, range)| {
            let pieces = cut(range.clone(), size);
            pieces.map(move |piece| (index, piece))
        });
        let mut blocks: Vec<Block> = Vec::new();
        let mut count = 0;
        for (index, piece) in pieces {
            count += piece.len();
            match blocks.last_mut() {
                Some(block) if count <= size => block.push((index, piece)),
                _ => {
                    count = piece.len();
                    blocks.push(vec![(index, piece)]);
                }
            }
        }
        let blocks_of_part = if is_apart && threads > 1 {
            1
        } else {
            blocks.len().max(1)
        };
        let groups = blocks.len().div_ceil(blocks_of_part);
        Self {
            threads,
            blocks,
            blocks_of_part,
            columns,
            columns_of_part: units_of_part(strips, groups, threads) * GROUP,
        }
    }

    /// The number of parts.
    fn parts(&self) -> usize {
        let groups = self.blocks.len().div_ceil(self.blocks_of_part);
        groups * self.columns.div_ceil(self.columns_of_part)
    }

    /// The blocks and the columns of a part.
    fn part(&self, part: usize) -> (&[Block], Range<usize>) {
        let across = self.columns.div_ceil(self.columns_of_part);
        let first = part / across * self.blocks_of_part;
        let blocks = &self.blocks[first..];
        let column = part % across * self.columns_of_part;
        (
            &blocks[..blocks.len().min(self.blocks_of_part)],
            column..self.columns.min(column + self.columns_of_part),
        )
    }
}

/// The position of a block of sums in a product.
#[derive(Clone, Copy)]
struct Place {
    /// Index of the range of rows.
    range: usize,
    /// First row.
    row: usize,
    /// First column.
    column: usize,
}

/// Epilogue of a product. It gets the position of a block, the bias of its 64 columns and the sums
/// of up to [`BAND`] rows. Bias and sums beyond the last column are unspecified.
type Epilogue<'a> = dyn Fn(Place, &Strip, &[Strip]) + Sync + 'a;

/// Sets `out` to the larger of the two. (`f32::max` compiles to a call on wasm.)
#[inline(always)]
fn raise(out: &mut f32, value: f32) {
    *out = if *out < value { value } else { *out };
}

/// Splits `range` into pieces of up to `most`.
#[inline(always)]
fn cut(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(most).map(move |row| row..end.min(row + most))
}

/// Splits `range` into tiles.
#[inline(always)]
fn tiles(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    cut(range, TILE)
}

/// The two vectors of a panel's eight lanes.
#[inline(always)]
fn halves<T>(lanes: &[T; PANEL]) -> [&[T; 4]; 2] {
    let ([low, high], []) = lanes.as_chunks::<4>() else {
        unreachable!("a panel has eight lanes")
    };
    [low, high]
}

/// Writes the first `out.len()` of eight sums.
#[inline(always)]
fn store(sums: Sums, out: &mut [f32]) {
    if let Ok(out) = <&mut [f32; PANEL]>::try_from(&mut *out) {
        let (out, _) = out.as_chunks_mut::<4>();
        sums[0].store(&mut out[0]);
        sums[1].store(&mut out[1]);
    } else {
        let sums = sums.map(F32x4::to_array);
        let lanes = out.len();
        out.copy_from_slice(&sums.as_flattened()[..lanes]);
    }
}
