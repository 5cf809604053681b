//! The CPU backend: packed weight matrices, activations in memory that is used again, SIMD kernels between.
//!
//! All of the crate's `unsafe` is in this folder.

mod activation;
mod attention;
mod dot;
mod gemm_f32;
mod gemm_int;
mod norm;
mod packed_int;
mod pooling;
mod rotation;
mod scratch;
mod simd;
#[cfg(test)]
mod tests;
mod words;

use core::borrow::Borrow;
use core::ops::Range;

use half::f16;

pub use self::dot::DotKernel;
use self::gemm_f32::PackedF32;
use self::gemm_int::{QuantizedRows, Waiting};
pub use self::norm::l2_normalize;
use self::packed_int::{Bytes, Nibbles, PackedInt};
use self::rotation::Group;
pub use self::rotation::rotate;
use self::scratch::{Buffer, Pool};
use self::simd::F32x4;
use super::{
    Activation, Attention, Backend, GROUP, Linear, Norm, Pooling, Reading, Splade, SpladeStrategy,
    Values, Wanted, WeightDtype,
};
use crate::error::{Result, zeroed};

/// Columns of a packed panel: two vectors.
const PANEL: usize = 8;
/// Rows of a tile of f32 kernels, whose eight sums stay in registers; in attention, queries that share a pass over the keys.
const TILE: usize = 4;
/// Rows whose sums a product hands on at once: their inputs and outputs share the nearest cache with the weights of a
/// strip.
const BAND: usize = 16;
/// Rows that a product takes through all panels before it goes on to the next: their activations stay in the cache.
const BLOCK: usize = 64;

/// A row's elements in the eight columns of a panel.
type Sums = [F32x4; 2];
/// A row's elements in as many columns as a product hands on at once: a group of the next product's input.
type Strip = [f32; GROUP];

/// The CPU, with the integer kernel that its engine computes exactly.
pub struct Cpu {
    kernel: DotKernel,
    pool: Pool,
}

impl Cpu {
    /// Probes the engine.
    pub fn new() -> Self {
        Self {
            kernel: DotKernel::detect(),
            pool: Pool::default(),
        }
    }

    /// The integer kernel in use.
    pub fn kernel(&self) -> DotKernel {
        self.kernel
    }

    /// Of unspecified content.
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

/// A packed weight matrix `[out, in]`.
#[allow(private_interfaces)]
pub enum Matrix {
    /// 32-bit floating point
    F32(PackedF32),
    /// 16-bit floating point, widened
    F16(PackedF32),
    /// 8-bit integers in groups
    Q8(PackedInt<Bytes>),
    /// 4-bit integers in groups
    Q4(PackedInt<Nibbles>),
}

/// Calls a method of whichever matrix it is.
macro_rules! each {
    ($matrix:expr, $name:ident => $call:expr) => {
        match $matrix {
            Matrix::F32($name) | Matrix::F16($name) => $call,
            Matrix::Q8($name) => $call,
            Matrix::Q4($name) => $call,
        }
    };
}

impl Matrix {
    fn rows(&self) -> usize {
        each!(self, matrix => matrix.rows())
    }

    fn columns(&self) -> usize {
        each!(self, matrix => matrix.columns())
    }
}

impl Backend for Cpu {
    type Tensor = Activations;
    type Matrix = Matrix;

    fn pass_tokens(&self) -> usize {
        512
    }

    fn matrix(&self, rows: usize, columns: usize, dtype: WeightDtype) -> Result<Matrix> {
        Ok(match dtype {
            WeightDtype::F32 => Matrix::F32(PackedF32::new(rows, columns)?),
            WeightDtype::F16 => Matrix::F16(PackedF32::new(rows, columns)?),
            WeightDtype::Q8 => Matrix::Q8(PackedInt::new(rows, columns, self.kernel)?),
            WeightDtype::Q4 => Matrix::Q4(PackedInt::new(rows, columns, self.kernel)?),
        })
    }

    fn set_row(&self, matrix: &mut Matrix, row: usize, values: &[f32]) {
        if let Matrix::F16(matrix) = matrix {
            let rounded = values.iter().map(|value| f16::from_f32(*value).to_f32());
            return matrix.set_row(row, &rounded.collect::<Vec<_>>());
        }
        each!(matrix, matrix => matrix.set_row(row, values));
    }

    fn check_read(&self) -> Result<()> {
        Ok(())
    }

    fn row(&self, matrix: &Matrix, row: usize, out: &mut [f32]) {
        // The one number that leaves every other as it is when they are added.
        out.fill(-0.0);
        each!(matrix, matrix => matrix.add_row(row, out));
    }

    fn set_codes(&self, matrix: &mut Matrix, row: usize, codes: &[i8], scales: &[f32]) {
        match matrix {
            Matrix::F32(_) | Matrix::F16(_) => unreachable!("these have no codes"),
            Matrix::Q8(matrix) => matrix.set_codes(row, codes, scales),
            Matrix::Q4(matrix) => matrix.set_codes(row, codes, scales),
        }
    }

    fn codes(&self, matrix: &Matrix, row: usize, codes: &mut [i8], scales: &mut [f32]) {
        match matrix {
            Matrix::F32(_) | Matrix::F16(_) => unreachable!("these have no codes"),
            Matrix::Q8(matrix) => matrix.codes(row, codes, scales),
            Matrix::Q4(matrix) => matrix.codes(row, codes, scales),
        }
    }

    fn rows(&self, matrix: &Matrix) -> usize {
        matrix.rows()
    }

    fn columns(&self, matrix: &Matrix) -> usize {
        matrix.columns()
    }

    fn dtype(&self, matrix: &Matrix) -> WeightDtype {
        match matrix {
            Matrix::F32(_) => WeightDtype::F32,
            Matrix::F16(_) => WeightDtype::F16,
            Matrix::Q8(_) => WeightDtype::Q8,
            Matrix::Q4(_) => WeightDtype::Q4,
        }
    }

    fn bytes(&self, matrix: &Matrix) -> usize {
        each!(matrix, matrix => matrix.bytes())
    }

    fn embed(&self, tables: &[(&Matrix, &[u32])], scale: f32) -> Result<Activations> {
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
        let mut out = match residual {
            None => {
                let mut out = self.activations(x.rows(), x.width)?;
                out.values.copy_from_slice(&x.values);
                out
            }
            Some(residual) => self.add(x, residual)?,
        };
        norm::normalize(&mut out.values, norm);
        Ok(out)
    }

    fn add(&self, x: &Activations, y: &Activations) -> Result<Activations> {
        let mut out = self.activations(x.rows(), x.width)?;
        let pairs = x.values.iter().zip(y.values.iter());
        out.values
            .iter_mut()
            .zip(pairs)
            .for_each(|(out, (x, y))| *out = x + y);
        Ok(out)
    }

    fn linear(
        &self,
        x: &Activations,
        weight: &Matrix,
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
        if matches!(down.weight, Matrix::F32(_) | Matrix::F16(_)) {
            let inner = self.linear(x, up.weight, up.bias, activation)?;
            return self.linear(&inner, down.weight, down.bias, Activation::Identity);
        }
        // What lies between is quantised as it comes out of the first product.
        let (rows, columns) = (x.rows(), up.weight.rows());
        let mut inner = QuantizedRows::new(rows, columns, self.kernel, &self.pool)?;
        let input = self.input(x, up.weight)?;
        let (all, mut values) = (0..rows, [0.0; GROUP]);
        product(
            &input,
            up.weight,
            up.bias,
            &[all],
            &mut |place, shift, strips| {
                for (row, strip) in (place.row..).zip(strips) {
                    activation::finish(activation, strip, shift, &mut values);
                    if columns - place.column < GROUP {
                        values[columns - place.column..].fill(0.0);
                    }
                    inner.set(row, place.column / GROUP, Group::load(&values));
                }
            },
        );
        let inner = Input::Quantized(inner);
        self.finished(&inner, rows, down.weight, down.bias, Activation::Identity)
    }

    fn gate(&self, x: &Activations, activation: Activation) -> Result<Activations> {
        let width = x.width / 2;
        let mut out = self.activations(x.rows(), width)?;
        let rows = x.values.chunks_exact(2 * width);
        for (out, x) in out.values.chunks_exact_mut(width).zip(rows) {
            let (gate, up) = x.split_at(width);
            out.copy_from_slice(gate);
            simd::map_in_place(out, 0.0, |x| activation::activate(activation, x));
            out.iter_mut().zip(up).for_each(|(gate, up)| *gate *= up);
        }
        Ok(out)
    }

    fn attention(
        &self,
        qkv: &Activations,
        offsets: &[usize],
        attention: Attention,
    ) -> Result<Activations> {
        Ok(Activations {
            values: attention::attention(&qkv.values, offsets, attention, &self.pool)?,
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
        weight: &Matrix,
        bias: Option<&[f32]>,
        splade: Splade,
    ) -> Result<Activations> {
        let columns = weight.rows();
        let sequences: Vec<_> = offsets.windows(2).map(|pair| pair[0]..pair[1]).collect();
        // Both reductions begin at 0: no weight is less.
        let mut out = self.zeros(sequences.len(), columns)?;
        let input = self.input(x, weight)?;
        product(
            &input,
            weight,
            bias,
            &sequences,
            &mut |place, shift, strips| {
                let lanes = GROUP.min(columns - place.column);
                let target = &mut out.values[place.range * columns + place.column..][..lanes];
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
            // The activation rises with the logit, so it can wait until here.
            out.values
                .iter_mut()
                .filter(|logit| **logit > 0.0)
                .for_each(|logit| *logit = splade.activation.apply(*logit));
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

    fn read(&self, wanted: Vec<Wanted<Activations>>) -> Result<Reading> {
        let values = wanted.iter().map(Wanted::values).collect::<Result<_>>()?;
        Ok(Box::pin(std::future::ready(Ok(values))))
    }
}

impl<T: Borrow<Activations>> Wanted<T> {
    /// What is wanted.
    pub(super) fn values(&self) -> Result<Values> {
        match self {
            Self::All(x) => {
                let values = &x.borrow().values;
                let mut out = zeroed(values.len())?;
                out.copy_from_slice(values);
                Ok(Values::All(out))
            }
            Self::Positive(x) => {
                let places = (0u32..).zip(x.borrow().values.iter().copied());
                let positive = |(_, value): &(u32, f32)| *value > 0.0 || value.is_nan();
                Ok(Values::Positive(places.filter(positive).collect()))
            }
        }
    }
}

/// Codes and scales of a row in the grid of `dtype`, which has codes.
pub fn quantize(dtype: WeightDtype, values: &[f32]) -> (Vec<i8>, Vec<f32>) {
    let groups = values.chunks(GROUP);
    let groups: Vec<_> = match dtype {
        WeightDtype::Q4 => groups.map(packed_int::quantize::<Nibbles>).collect(),
        _ => groups.map(packed_int::quantize::<Bytes>).collect(),
    };
    let (codes, scales): (Vec<_>, Vec<_>) = groups.into_iter().unzip();
    (codes.into_flattened(), scales)
}

/// The left side of a product, as its weights want it.
enum Input<'a> {
    Rows(&'a Activations),
    Quantized(QuantizedRows),
}

impl Cpu {
    fn input<'a>(&self, x: &'a Activations, weight: &Matrix) -> Result<Input<'a>> {
        Ok(match weight {
            Matrix::F32(_) | Matrix::F16(_) => Input::Rows(x),
            Matrix::Q8(_) | Matrix::Q4(_) => Input::Quantized(QuantizedRows::from_rows(
                &x.values,
                x.width,
                self.kernel,
                &self.pool,
            )?),
        })
    }

    /// `activation(x · weightᵀ + bias)`
    fn finished(
        &self,
        x: &Input,
        rows: usize,
        weight: &Matrix,
        bias: Option<&[f32]>,
        activation: Activation,
    ) -> Result<Activations> {
        let columns = weight.rows();
        let mut out = self.activations(rows, columns)?;
        let all = 0..rows;
        product(x, weight, bias, &[all], &mut |place, shift, strips| {
            let lanes = GROUP.min(columns - place.column);
            let out = &mut out.values[place.row * columns..];
            for (strip, out) in strips.iter().zip(out.chunks_exact_mut(columns)) {
                let out = &mut out[place.column..place.column + lanes];
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
}

/// Which part of a product it is.
#[derive(Clone, Copy)]
struct Place {
    /// Index of the range of rows.
    range: usize,
    /// First row.
    row: usize,
    /// First column.
    column: usize,
}

/// What a product hands on: what the bias adds to each row of a strip, and the sums of some rows; beyond the last
/// column they are of no meaning.
type Done<'a> = dyn FnMut(Place, &Strip, &[Strip]) + 'a;

/// `x · weightᵀ` for the rows in each of `ranges`, which ascend, and `bias` beside it.
fn product(
    x: &Input,
    weight: &Matrix,
    bias: Option<&[f32]>,
    ranges: &[Range<usize>],
    done: &mut Done,
) {
    let columns = weight.rows();
    let mut waiting = Waiting::new();
    match (weight, x) {
        (Matrix::F32(weight) | Matrix::F16(weight), Input::Rows(x)) => {
            each_strip(columns, bias, ranges, done, |rows, column, out| {
                gemm_f32::strips(&x.values, rows, weight, column, out);
            });
        }
        (Matrix::Q8(weight), Input::Quantized(x)) => {
            each_strip(columns, bias, ranges, done, |rows, column, out| {
                gemm_int::strips(x, rows, weight, column, &mut waiting, out);
            });
        }
        (Matrix::Q4(weight), Input::Quantized(x)) => {
            each_strip(columns, bias, ranges, done, |rows, column, out| {
                gemm_int::strips(x, rows, weight, column, &mut waiting, out);
            });
        }
        _ => unreachable!("`Cpu::input` quantises rows for integer weights alone"),
    }
}

/// Runs `sums(rows, first column, out)` for all strips of all rows, in blocks of rows.
fn each_strip(
    columns: usize,
    bias: Option<&[f32]>,
    ranges: &[Range<usize>],
    done: &mut Done,
    mut sums: impl FnMut(Range<usize>, usize, &mut [Strip]),
) {
    // Ranges cut so that none has more than a block's rows, and gathered until a block is full.
    let pieces = ranges.iter().enumerate().flat_map(|(index, range)| {
        let pieces = cut(range.clone(), BLOCK);
        pieces.map(move |piece| (index, piece))
    });
    let mut pending = pieces.peekable();
    let mut block = Vec::new();
    let mut strips = [[0.0; GROUP]; BAND];
    while pending.peek().is_some() {
        block.clear();
        let mut count = 0;
        while let Some(piece) =
            pending.next_if(|(_, piece)| count == 0 || count + piece.len() <= BLOCK)
        {
            count += piece.1.len();
            block.push(piece);
        }
        for column in (0..columns).step_by(GROUP) {
            let mut shift = [0.0; GROUP];
            if let Some(bias) = bias {
                let bias = &bias[column..columns.min(column + GROUP)];
                shift[..bias.len()].copy_from_slice(bias);
            }
            for (range, piece) in &block {
                for rows in cut(piece.clone(), BAND) {
                    let strips = &mut strips[..rows.len()];
                    sums(rows.clone(), column, strips);
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

/// `out` becomes the larger of the two. (`f32::max` is a call on wasm.)
#[inline(always)]
fn raise(out: &mut f32, value: f32) {
    *out = if *out < value { value } else { *out };
}

/// Pieces of up to `most` that cover `range`.
#[inline(always)]
fn cut(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(most).map(move |row| row..end.min(row + most))
}

/// Tiles that cover `range`.
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

/// Writes the first `out.len()` of eight columns.
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
