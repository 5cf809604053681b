//! The GPU backend, on wgpu: WebGPU in browsers and Deno, Vulkan or Metal natively.
//!
//! Operations are noted down (`recorder`) and submitted together when results are read; one upload, one submission and one
//! read-back for a batch. Numbers are those of the CPU's kernels but for rounding: the same rotation, the same groups, exact
//! integer sums.

mod buffers;
mod device;
mod matrix;
mod pipelines;
mod reading;
mod recorder;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::buffers::{Lease, Pool};
use self::device::Device;
pub use self::matrix::Matrix;
use self::matrix::Row;
use self::pipelines::{Constants, Kernel, Pipelines};
use self::reading::Mapping;
use self::recorder::{Argument, Recorder, host};
use super::cpu::{self, Cpu};
use super::{
    Activation, Attention, Backend, Heads, Norm, NormKind, Pooling, Reading, Splade,
    SpladeActivation, SpladeStrategy, Values, Wanted, WeightDtype,
};
use crate::error::{Error, Result};

/// Rows that one dimension of a dispatch takes.
const MOST_ROWS: usize = 65_535;
/// Queries of a tile of the attention kernel.
const QUERIES: usize = 32;
/// Entries that a sparse vector has room for in the first read-back; together, so that one may have more.
const ENTRIES: usize = 512;

const ACTIVATIONS: wgpu::BufferUsages = wgpu::BufferUsages::STORAGE
    .union(wgpu::BufferUsages::COPY_SRC)
    .union(wgpu::BufferUsages::COPY_DST);
const READ_BACK: wgpu::BufferUsages =
    wgpu::BufferUsages::MAP_READ.union(wgpu::BufferUsages::COPY_DST);

/// A GPU.
pub struct Gpu {
    device: Arc<Device>,
    pipelines: Pipelines,
    pool: Pool,
    recorder: Mutex<Recorder>,
    /// Bytes of the largest buffer of weights.
    largest: u64,
}

/// Activations `[rows, width]`.
pub struct Tensor {
    buffer: Lease,
    rows: usize,
    width: usize,
}

impl Tensor {
    fn argument(&self) -> Argument<'_> {
        Argument::Buffer(&self.buffer)
    }

    fn len(&self) -> usize {
        self.rows * self.width
    }

    fn bytes(&self) -> u64 {
        (self.len() * 4) as u64
    }
}

impl Gpu {
    /// The device of the adapter that suits best.
    pub async fn open() -> Result<Self> {
        let device = Device::open().await?;
        let largest = device.largest();
        Ok(Self {
            pool: Pool::new(&device),
            device: Arc::new(device),
            pipelines: Pipelines::default(),
            recorder: Mutex::default(),
            largest,
        })
    }

    /// Has weights in buffers of at most so many bytes each, where less is to be asked of a GPU than it says it takes.
    pub fn set_largest(&mut self, bytes: u64) {
        self.largest = bytes.min(self.device.largest());
    }

    /// Which adapter it is.
    pub fn name(&self) -> &str {
        &self.device.name
    }

    /// What has gone wrong, of which there may be no other sign.
    pub fn check(&self) -> Result<()> {
        self.device.check()
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tensor(&self, rows: usize, width: usize) -> Result<Tensor> {
        if rows > MOST_ROWS {
            return Err(Error::GpuLimit {
                bytes: (rows * width * 4) as u64,
                limit: (MOST_ROWS * width * 4) as u64,
            });
        }
        let bytes = (rows * width * 4) as u64;
        let buffer = self.pool.take(&self.device, bytes, ACTIVATIONS)?;
        Ok(Tensor {
            buffer,
            rows,
            width,
        })
    }

    /// Notes a kernel down. Its first binding are the numbers of its `Shape`.
    fn run(
        &self,
        kernel: Kernel,
        constants: Constants,
        shape: &[u32],
        arguments: &[Argument],
        groups: [usize; 2],
    ) {
        let pipeline = self.pipelines.get(&self.device, kernel, constants);
        let arguments = [&[host(shape)], arguments].concat();
        let groups = groups.map(number);
        self.recorder().dispatch(pipeline, &arguments, groups);
    }

    /// A product's kernel, over all parts of a matrix.
    fn product(
        &self,
        x: &Tensor,
        weight: &Matrix,
        bias: Option<&[f32]>,
        out: &Tensor,
        plan: &Product,
    ) -> Result<()> {
        let steps = matrix::steps(weight.columns, weight.dtype);
        let (packed, scales);
        let packing = match weight.dtype {
            WeightDtype::F32 => None,
            WeightDtype::F16 => Some(Kernel::Halve),
            WeightDtype::Q8 | WeightDtype::Q4 => Some(Kernel::Quantize),
        };
        let (words, x_words, x_scales) = if let Some(kernel) = packing {
            packed = self.tensor(x.rows, steps * 16)?;
            scales = self.tensor(x.rows, steps)?;
            let arguments = [x.argument(), packed.argument(), scales.argument()];
            let shape = [x.width, steps].map(number);
            let groups = [steps, x.rows];
            self.run(kernel, Vec::new(), &shape, &arguments, groups);
            (steps * 16, packed.argument(), scales.argument())
        } else {
            (x.width, x.argument(), x.argument())
        };
        let bias_values = bias.map_or(x.argument(), host);
        for part in &weight.parts {
            let mut constants = plan.constants.clone();
            constants.push(("BITS", bits(weight.dtype)));
            constants.push(("ROWS", plan.rows));
            let arguments = [
                x_words,
                x_scales,
                Argument::Buffer(&part.words),
                Argument::Buffer(&part.scales),
                bias_values,
                out.argument(),
                host(plan.offsets),
            ];
            let shape = [x.rows, part.rows, words, steps, out.width, part.first];
            let mut shape = shape.map(number).to_vec();
            shape.push(u32::from(bias.is_some()));
            let groups = [part.rows.div_ceil(64), plan.tiles];
            // Where sequences begin, for the kernel that asks.
            let arguments = match plan.offsets {
                [] => &arguments[..6],
                _ => &arguments[..],
            };
            self.run(plan.kernel, constants, &shape, arguments, groups);
        }
        Ok(())
    }

    /// Queries and keys with norms and rotation, side by side: `[tokens, (count + kv_count) · size]`.
    fn prepare(&self, qkv: &Tensor, offsets: &[usize], attention: Attention) -> Result<Tensor> {
        let Heads {
            count,
            kv_count,
            size,
        } = attention.heads;
        let out = self.tensor(qkv.rows, (count + kv_count) * size)?;
        let positions: Vec<u32> = offsets
            .windows(2)
            .flat_map(|pair| (0u32..).take(pair[1] - pair[0]))
            .collect();
        let mut norms = Vec::new();
        let (mut kind, mut eps, mut biased) = (3, 0.0, false);
        for norm in attention.head_norms.iter().flatten() {
            norms.extend_from_slice(norm.weight);
            norms.extend_from_slice(norm.bias.unwrap_or(norm.weight));
            (kind, eps, biased) = (norm_kind(norm.kind), norm.eps, norm.bias.is_some());
        }
        let (cosines, sines, half) = match attention.rotary {
            Some(rotary) => (rotary.cos.as_slice(), rotary.sin.as_slice(), rotary.half),
            None => (&[][..], &[][..], 0),
        };
        let arguments = [
            qkv.argument(),
            host(&positions),
            host(&norms),
            host(cosines),
            host(sines),
            out.argument(),
        ];
        let shape = [
            number(count),
            number(count + kv_count),
            number(qkv.width),
            eps.to_bits(),
            u32::from(biased),
            number(half),
        ];
        let constants = vec![("KIND", kind), ("SIZE", number(size))];
        let groups = [count + kv_count, qkv.rows];
        self.run(Kernel::Prepare, constants, &shape, &arguments, groups);
        Ok(out)
    }
}

/// The GPU has a row that the CPU has not.
pub fn cpu_must_read() -> Error {
    Error::input(
        "device",
        "weights that are on the GPU alone are not there at once; use `fetch_saved` of an `Embedder<Either>`",
    )
}

/// How a product is done, and what becomes of it.
struct Product<'a> {
    kernel: Kernel,
    constants: Constants,
    /// Rows of a tile.
    rows: u32,
    /// Tiles, or sequences.
    tiles: usize,
    offsets: &'a [u32],
}

/// Rows of a tile for products of so many.
fn tile_rows(rows: usize) -> u32 {
    match rows {
        0..=16 => 16,
        17..=32 => 32,
        _ => 64,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "no buffer has as many words"
)]
fn number(size: usize) -> u32 {
    size as u32
}

fn bits(dtype: WeightDtype) -> u32 {
    match dtype {
        WeightDtype::F32 => 32,
        WeightDtype::F16 => 16,
        WeightDtype::Q8 => 8,
        WeightDtype::Q4 => 4,
    }
}

fn norm_kind(kind: NormKind) -> u32 {
    match kind {
        NormKind::Layer => 0,
        NormKind::Rms => 1,
        NormKind::RmsPlusOne => 2,
    }
}

fn activation_number(activation: Activation) -> u32 {
    match activation {
        Activation::Identity => 0,
        Activation::Relu => 1,
        Activation::Gelu => 2,
        Activation::GeluTanh => 3,
        Activation::Silu => 4,
        Activation::Sigmoid => 5,
        Activation::Tanh => 6,
    }
}

/// Workgroups for kernels that go through all values, however few there are of them.
fn spread(values: usize) -> [usize; 2] {
    [values.div_ceil(256).min(MOST_ROWS), 1]
}

impl Backend for Gpu {
    type Tensor = Tensor;
    type Matrix = Matrix;

    fn pass_tokens(&self) -> usize {
        4096
    }

    fn matrix(&self, rows: usize, columns: usize, dtype: WeightDtype) -> Result<Matrix> {
        self.check()?;
        self.device.check_orders()?;
        Matrix::new(&self.device, [rows, columns], dtype, self.largest)
    }

    fn set_row(&self, matrix: &mut Matrix, row: usize, values: &[f32]) {
        matrix.set_row(&self.device, row, values);
    }

    fn check_read(&self) -> Result<()> {
        Err(cpu_must_read())
    }

    fn row(&self, _: &Matrix, _: usize, _: &mut [f32]) {}

    fn set_codes(&self, matrix: &mut Matrix, row: usize, codes: &[i8], scales: &[f32]) {
        matrix.set_codes(&self.device, row, codes, scales);
    }

    fn codes(&self, _: &Matrix, _: usize, _: &mut [i8], _: &mut [f32]) {}

    fn rows(&self, matrix: &Matrix) -> usize {
        matrix.rows
    }

    fn columns(&self, matrix: &Matrix) -> usize {
        matrix.columns
    }

    fn dtype(&self, matrix: &Matrix) -> WeightDtype {
        matrix.dtype
    }

    fn bytes(&self, matrix: &Matrix) -> usize {
        usize::try_from(matrix.bytes()).unwrap_or(usize::MAX)
    }

    fn embed(&self, tables: &[(&Matrix, &[u32])], scale: f32) -> Result<Tensor> {
        let (rows, width) = tables
            .first()
            .map_or((0, 0), |(table, ids)| (ids.len(), table.columns));
        let out = self.tensor(rows, width)?;
        for (index, (table, ids)) in tables.iter().enumerate() {
            let ids = host(ids);
            let steps = matrix::steps(table.columns, table.dtype);
            let stride = if table.dtype.is_codes() {
                steps
            } else {
                matrix::row_words(table.columns, table.dtype)
            };
            for part in &table.parts {
                let arguments = [
                    ids,
                    Argument::Buffer(&part.words),
                    Argument::Buffer(&part.scales),
                    out.argument(),
                ];
                let mut shape = [width, stride, part.first, part.rows].map(number).to_vec();
                shape.extend([scale.to_bits(), u32::from(index > 0)]);
                let constants = vec![("BITS", bits(table.dtype))];
                let groups = [width.div_ceil(64), rows];
                self.run(Kernel::Gather, constants, &shape, &arguments, groups);
            }
        }
        Ok(out)
    }

    fn norm(&self, x: &Tensor, residual: Option<&Tensor>, norm: Norm) -> Result<Tensor> {
        let out = self.tensor(x.rows, x.width)?;
        let arguments = [
            x.argument(),
            residual.unwrap_or(x).argument(),
            host(norm.weight),
            host(norm.bias.unwrap_or(norm.weight)),
            out.argument(),
        ];
        let shape = [
            number(x.width),
            norm.eps.to_bits(),
            u32::from(residual.is_some()),
            u32::from(norm.bias.is_some()),
        ];
        let constants = vec![("KIND", norm_kind(norm.kind))];
        self.run(Kernel::Norm, constants, &shape, &arguments, [x.rows, 1]);
        Ok(out)
    }

    fn add(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let out = self.tensor(x.rows, x.width)?;
        let arguments = [x.argument(), y.argument(), out.argument()];
        let shape = [number(x.len())];
        self.run(Kernel::Add, Vec::new(), &shape, &arguments, spread(x.len()));
        Ok(out)
    }

    fn linear(
        &self,
        x: &Tensor,
        weight: &Matrix,
        bias: Option<&[f32]>,
        activation: Activation,
    ) -> Result<Tensor> {
        let out = self.tensor(x.rows, weight.rows)?;
        let rows = tile_rows(x.rows);
        let plan = Product {
            kernel: Kernel::Linear,
            constants: vec![("ACTIVATION", activation_number(activation))],
            rows,
            tiles: x.rows.div_ceil(rows as usize),
            offsets: &[],
        };
        self.product(x, weight, bias, &out, &plan)?;
        Ok(out)
    }

    fn gate(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        let out = self.tensor(x.rows, x.width / 2)?;
        let shape = [out.len(), out.width].map(number);
        let constants = vec![("ACTIVATION", activation_number(activation))];
        let arguments = [x.argument(), out.argument()];
        self.run(
            Kernel::Gate,
            constants,
            &shape,
            &arguments,
            spread(out.len()),
        );
        Ok(out)
    }

    fn attention(&self, qkv: &Tensor, offsets: &[usize], attention: Attention) -> Result<Tensor> {
        let Heads {
            count,
            kv_count,
            size,
        } = attention.heads;
        let out = self.tensor(qkv.rows, count * size)?;
        let prepared = if attention.rotary.is_some() || attention.head_norms.is_some() {
            Some(self.prepare(qkv, offsets, attention)?)
        } else {
            None
        };
        let qk = prepared.as_ref().unwrap_or(qkv);
        let tiles: Vec<[u32; 3]> = offsets
            .windows(2)
            .flat_map(|pair| {
                let firsts = (pair[0]..pair[1]).step_by(QUERIES);
                firsts.map(|first| [first, pair[1], pair[0]].map(number))
            })
            .collect();
        let bias = attention.bias.map(|bias| bias.values.as_slice());
        let arguments = [
            qk.argument(),
            qkv.argument(),
            host(&tiles),
            host(bias.unwrap_or_default()),
            out.argument(),
        ];
        let seen = |most: Option<usize>| most.map_or(u32::MAX, number);
        let shape = [
            number(qk.width),
            number(qkv.width),
            number(count * size),
            number((count + kv_count) * size),
            number(count),
            number(count / kv_count),
            attention.scale.to_bits(),
            seen(attention.mask.before),
            seen(attention.mask.after),
            number(attention.bias.map_or(0, |bias| bias.reach)),
            u32::from(attention.bias.is_some()),
        ];
        let constants = vec![("SIZE", number(size))];
        let groups = [tiles.len(), count];
        self.run(Kernel::Attention, constants, &shape, &arguments, groups);
        Ok(out)
    }

    fn pool(
        &self,
        x: &Tensor,
        offsets: &[usize],
        skip: &[usize],
        pooling: Pooling,
    ) -> Result<Tensor> {
        let out = self.tensor(skip.len(), x.width)?;
        let (offsets, skip) = (numbers(offsets), numbers(skip));
        let arguments = [x.argument(), host(&offsets), host(&skip), out.argument()];
        let mode = match pooling {
            Pooling::Cls => 0,
            Pooling::Max => 1,
            Pooling::Mean => 2,
            Pooling::MeanSqrtLen => 3,
            Pooling::WeightedMean => 4,
            Pooling::LastToken => 5,
        };
        let (constants, shape) = (vec![("MODE", mode)], [number(x.width)]);
        let groups = [x.width.div_ceil(64), skip.len()];
        self.run(Kernel::Pool, constants, &shape, &arguments, groups);
        Ok(out)
    }

    fn splade(
        &self,
        x: &Tensor,
        offsets: &[usize],
        weight: &Matrix,
        bias: Option<&[f32]>,
        splade: Splade,
    ) -> Result<Tensor> {
        let longest = offsets.windows(2).map(|pair| pair[1] - pair[0]).max();
        let logs = match splade.activation {
            SpladeActivation::Log1pRelu => 1,
            SpladeActivation::Log1pLog1pRelu => 2,
        };
        let sum = u32::from(splade.strategy == SpladeStrategy::Sum);
        let out = self.tensor(offsets.len() - 1, weight.rows)?;
        let offsets = numbers(offsets);
        let plan = Product {
            kernel: Kernel::Splade,
            constants: vec![("SUM", sum), ("LOGS", logs)],
            rows: tile_rows(longest.unwrap_or(0)),
            tiles: out.rows,
            offsets: &offsets,
        };
        self.product(x, weight, bias, &out, &plan)?;
        Ok(out)
    }

    fn upload(&self, values: Vec<f32>, rows: usize) -> Result<Tensor> {
        let out = self.tensor(rows, values.len().checked_div(rows).unwrap_or(0))?;
        let mut recorder = self.recorder();
        recorder.copy(host(&values), (&out.buffer, 0), out.bytes());
        Ok(out)
    }

    fn concatenate(&self, parts: &[&Tensor]) -> Result<Tensor> {
        let rows = parts.first().map_or(0, |part| part.rows);
        let out = self.tensor(rows, parts.iter().map(|part| part.width).sum())?;
        let mut first = 0;
        for part in parts {
            let arguments = [part.argument(), out.argument()];
            let shape = [part.len(), part.width, out.width, first].map(number);
            let groups = spread(part.len());
            self.run(Kernel::Concatenate, Vec::new(), &shape, &arguments, groups);
            first += part.width;
        }
        Ok(out)
    }

    fn normalize(&self, x: &Tensor) -> Result<Tensor> {
        let out = self.tensor(x.rows, x.width)?;
        let unused = || x.argument();
        let arguments = [x.argument(), unused(), unused(), unused(), out.argument()];
        let shape = [number(x.width), 0, 0, 0];
        let constants = vec![("KIND", 3)];
        self.run(Kernel::Norm, constants, &shape, &arguments, [x.rows, 1]);
        Ok(out)
    }

    fn read(&self, wanted: Vec<Wanted<Tensor>>) -> Result<Reading> {
        self.check()?;
        let mut sources = Vec::new();
        for wanted in wanted {
            sources.push(match wanted {
                Wanted::All(x) => Source {
                    bytes: x.bytes(),
                    buffer: x.buffer,
                    list_of: None,
                },
                Wanted::Positive(x) => self.list(x)?,
            });
        }
        let device = Arc::clone(&self.device);
        let bytes: u64 = sources.iter().map(|source| source.bytes).sum();
        let back = self.pool.take_out(&device, bytes, READ_BACK)?;
        let pool = self.pool.clone();
        let words = {
            let mut recorder = self.recorder();
            let mut place = 0;
            for Source { buffer, bytes, .. } in &sources {
                recorder.copy(Argument::Buffer(buffer), (&back, place), *bytes);
                place += bytes;
            }
            words_of(&mut recorder, &device, &pool, back, bytes)?
        };
        Ok(Box::pin(async move {
            let words = words.await?;
            let mut left = words.as_slice();
            let mut values = Vec::new();
            for source in sources {
                let (own, rest) = left.split_at(usize::try_from(source.bytes / 4).unwrap_or(0));
                left = rest;
                values.push(match source.list_of {
                    None => Values::All(own.iter().copied().map(f32::from_bits).collect()),
                    Some(all) => Values::Positive(entries(&device, &pool, own, &all).await?),
                });
            }
            Ok(values)
        }))
    }
}

impl Gpu {
    /// Packs a matrix for the CPU, from what the GPU has.
    pub async fn fetch(&self, matrix: &Matrix, cpu: &Cpu) -> Result<cpu::Matrix> {
        let mut own = cpu.matrix(matrix.rows, matrix.columns, matrix.dtype)?;
        for part in &matrix.parts {
            let words = self.words(&part.words).await?;
            let scales = self.words(&part.scales).await?;
            part.unpack(
                matrix,
                &words,
                bytemuck::cast_slice(&scales),
                |row, values| match values {
                    Row::Values(values) => cpu.set_row(&mut own, row, values),
                    Row::Codes(codes, scales) => cpu.set_codes(&mut own, row, codes, scales),
                },
            );
        }
        Ok(own)
    }

    /// All that is in a buffer.
    async fn words(&self, buffer: &wgpu::Buffer) -> Result<Vec<u32>> {
        let bytes = buffer.size();
        let back = self.pool.take_out(&self.device, bytes, READ_BACK)?;
        let words = {
            let mut recorder = self.recorder();
            recorder.copy(Argument::Buffer(buffer), (&back, 0), bytes);
            words_of(&mut recorder, &self.device, &self.pool, back, bytes)?
        };
        words.await
    }
}

/// Something to be read.
struct Source {
    buffer: Lease,
    bytes: u64,
    /// The tensor of whose positive values it is a list.
    list_of: Option<Tensor>,
}

impl Gpu {
    /// The positive values of a tensor as a list, which is much shorter.
    fn list(&self, x: Tensor) -> Result<Source> {
        // Where it would not be shorter, there is room for all.
        let room = (x.rows * ENTRIES).min(x.len());
        let bytes = ((2 + 2 * room) * 4) as u64;
        let buffer = self.pool.take(&self.device, bytes, ACTIVATIONS)?;
        self.recorder().clear(&buffer);
        let shape = [x.len(), room].map(number);
        let arguments = [x.argument(), Argument::Buffer(&buffer)];
        let groups = spread(x.len());
        self.run(Kernel::Positive, Vec::new(), &shape, &arguments, groups);
        Ok(Source {
            buffer,
            bytes,
            list_of: Some(x),
        })
    }
}

/// Submits all that is noted down; then what is in `back`.
fn words_of(
    recorder: &mut Recorder,
    device: &Arc<Device>,
    pool: &Pool,
    back: wgpu::Buffer,
    bytes: u64,
) -> Result<impl Future<Output = Result<Vec<u32>>> + Send + use<>> {
    let (device, pool, home) = (Arc::clone(device), pool.clone(), pool.home());
    let scope = device.gpu.push_error_scope(wgpu::ErrorFilter::Validation);
    recorder.submit(&device, &pool)?;
    let mapping = Mapping::new(Arc::clone(&device), &back, bytes);
    let verdict = scope.pop();
    let orders = device.orders();
    Ok(async move {
        let mapped = mapping.await;
        let mut filled = Ok(());
        for order in orders {
            filled = filled.and(order.await);
        }
        let verdict = verdict.await;
        device.check_there()?;
        if let Err(Error::GpuMemory { bytes, taken }) = filled {
            pool.give_up(&home, bytes, taken);
        }
        filled?;
        device.check()?;
        if let Some(error) = verdict {
            // Perhaps for want of a buffer that another pass had before.
            return Err(match home.short() {
                Some([bytes, taken]) => Error::GpuMemory { bytes, taken },
                None => device::refused(&error.to_string()),
            });
        }
        let lost = |error: &dyn std::fmt::Display| Error::GpuLost(error.to_string());
        mapped.map_err(|error| lost(&error))?;
        let view = back.get_mapped_range(0..bytes);
        let view = view.map_err(|error| lost(&error))?;
        let words = bytemuck::pod_collect_to_vec(&view);
        drop(view);
        back.unmap();
        pool.put_back(back);
        Ok(words)
    })
}

/// The entries of a list; all of `x` is read where there were more than the list has room for.
async fn entries(
    device: &Arc<Device>,
    pool: &Pool,
    list: &[u32],
    x: &Tensor,
) -> Result<Vec<(u32, f32)>> {
    let count = list[0] as usize;
    let (pairs, _) = list[2..].as_chunks::<2>();
    if count <= pairs.len() {
        let pairs = pairs[..count].iter();
        let mut entries: Vec<_> = pairs
            .map(|[at, bits]| (*at, f32::from_bits(*bits)))
            .collect();
        entries.sort_unstable_by_key(|(at, _)| *at);
        return Ok(entries);
    }
    let back = pool.take_out(device, x.bytes(), READ_BACK)?;
    let mut recorder = Recorder::default();
    recorder.copy(x.argument(), (&back, 0), x.bytes());
    let words = words_of(&mut recorder, device, pool, back, x.bytes())?.await?;
    let all = (0u32..).zip(words.into_iter().map(f32::from_bits));
    Ok(all
        .filter(|(_, value)| *value > 0.0 || value.is_nan())
        .collect())
}

fn numbers(sizes: &[usize]) -> Vec<u32> {
    sizes.iter().copied().map(number).collect()
}
