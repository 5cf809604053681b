//! The GPU backend, on wgpu: WebGPU in browsers and Deno, Vulkan or Metal natively.
//!
//! Operations are recorded (`recorder`) and submitted together when results are read: one upload,
//! one submission and one read-back for a batch. Results agree with the CPU's up to rounding: the
//! rotation and the groups are the same, and integer sums are exact.

mod buffers;
mod device;
mod matrix;
mod pipelines;
mod reading;
mod recorder;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
mod wgsl;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::buffers::{BufferPool, Lease};
use self::device::Device;
pub use self::matrix::GpuMatrix;
use self::pipelines::{Constants, Kernel, Pipelines};
use self::recorder::{Argument, Recorder, host};
use super::cpu::CpuMatrix;
use super::{
    Activation, Attention, Backend, Compute, Distances, Experts, Gate, Heads, Linear, Norm,
    NormKind, Pooling, ReadBack, Reading, Splade, SpladeActivation, SpladeStrategy, WeightDtype,
    cpu_alone,
};
use crate::error::{Error, Result};

/// Maximum workgroups in one dimension of a dispatch (WebGPU's default limit), and so the maximum
/// rows of a tensor.
const MOST_ROWS: usize = 65_535;
/// Queries of a tile of the attention kernel: `TILE` in attention.wgsl.
const QUERIES: usize = 32;

const ACTIVATIONS: wgpu::BufferUsages = wgpu::BufferUsages::STORAGE
    .union(wgpu::BufferUsages::COPY_SRC)
    .union(wgpu::BufferUsages::COPY_DST);

/// A GPU.
pub struct Gpu {
    device: Arc<Device>,
    pipelines: Pipelines,
    pool: BufferPool,
    recorder: Mutex<Recorder>,
    /// Maximum bytes of a buffer of weights.
    largest: u64,
}

/// Activations `[rows, width]`.
pub struct GpuTensor {
    buffer: Lease,
    rows: usize,
    width: usize,
}

impl GpuTensor {
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
    /// Opens the adapter that wgpu prefers for high performance.
    pub async fn open() -> Result<Self> {
        let device = Device::open().await?;
        let largest = device.largest();
        Ok(Self {
            pool: BufferPool::new(&device),
            device: Arc::new(device),
            pipelines: Pipelines::default(),
            recorder: Mutex::default(),
            largest,
        })
    }

    /// Limits buffers of weights to so many bytes each, below the limit that the GPU reports.
    pub fn set_largest(&mut self, bytes: u64) {
        self.largest = bytes.min(self.device.largest());
    }

    /// The adapter's name.
    pub fn name(&self) -> &str {
        &self.device.name
    }

    /// Errors if the device is lost or a command failed. wgpu reports these by callbacks only.
    pub fn check(&self) -> Result<()> {
        self.device.check()
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tensor(&self, rows: usize, width: usize) -> Result<GpuTensor> {
        if rows > MOST_ROWS {
            return Err(Error::GpuLimit {
                bytes: (rows * width * 4) as u64,
                limit: (MOST_ROWS * width * 4) as u64,
            });
        }
        let bytes = (rows * width * 4) as u64;
        let buffer = self.pool.take(&self.device, bytes, ACTIVATIONS)?;
        Ok(GpuTensor {
            buffer,
            rows,
            width,
        })
    }

    /// Records a kernel. Binding 0 is its uniform `Shape`; the arguments are the bindings from 1
    /// on.
    fn run(
        &self,
        kernel: Kernel,
        constants: Constants,
        shape: &[u32],
        arguments: &[Argument],
        groups: [usize; 2],
    ) -> Result<()> {
        let pipeline = self.pipelines.get(&self.device, kernel, constants)?;
        let arguments = [&[host(shape)], arguments].concat();
        let groups = groups.map(number);
        self.recorder().dispatch(pipeline, &arguments, groups);
        Ok(())
    }

    /// The activations of a product with weights of `dtype`: as they are for f32, else packed.
    fn packed(&self, x: &GpuTensor, dtype: WeightDtype) -> Result<Option<PackedActivations>> {
        let kernel = match dtype {
            WeightDtype::F32 => return Ok(None),
            WeightDtype::F16 => Kernel::Halve,
            WeightDtype::Q8 | WeightDtype::Q6 | WeightDtype::Q4 => Kernel::Quantize,
        };
        let steps = matrix::steps(x.width, dtype);
        let words = self.tensor(x.rows, steps * matrix::STEP)?;
        let scales = self.tensor(x.rows, steps)?;
        let arguments = [x.argument(), words.argument(), scales.argument()];
        let shape = [x.width, steps].map(number);
        self.run(kernel, Vec::new(), &shape, &arguments, [steps, x.rows])?;
        Ok(Some(PackedActivations { words, scales }))
    }

    /// Records a product's kernel for each part of a matrix.
    fn product(
        &self,
        x: &GpuTensor,
        weight: &GpuMatrix,
        bias: Option<&[f32]>,
        out: &GpuTensor,
        plan: &Product,
    ) -> Result<()> {
        let steps = matrix::steps(weight.columns, weight.dtype);
        let packed = self.packed(x, weight.dtype)?;
        let (width, words, scales) = match &packed {
            None => (x.width, x.argument(), x.argument()),
            Some(packed) => (
                packed.words.width,
                packed.words.argument(),
                packed.scales.argument(),
            ),
        };
        for part in &weight.parts {
            let mut constants = plan.constants.clone();
            constants.push(("BITS", bits(weight.dtype)));
            constants.push(("ROWS", plan.rows));
            let arguments = [
                words,
                scales,
                Argument::Buffer(&part.words),
                Argument::Buffer(&part.scales),
                // A binding must be given even if the kernel does not read it.
                bias.map_or(x.argument(), host),
                out.argument(),
                host(plan.offsets),
            ];
            // Only the SPLADE kernel has a binding for offsets.
            let arguments = match plan.offsets {
                [] => &arguments[..6],
                _ => &arguments[..],
            };
            let shape = [x.rows, part.rows, width, steps, out.width, part.first];
            let mut shape = shape.map(number).to_vec();
            shape.push(u32::from(bias.is_some()));
            let groups = [part.rows.div_ceil(64), plan.tiles];
            self.run(plan.kernel, constants, &shape, arguments, groups)?;
        }
        Ok(())
    }

    /// Queries and keys with norms and rotation, side by side: `[tokens, (count + kv_count) ·
    /// size]`.
    fn prepare(
        &self,
        qkv: &GpuTensor,
        offsets: &[usize],
        attention: Attention,
    ) -> Result<GpuTensor> {
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
        let (mut kind, mut eps, mut biased) = (NormKind::Layer, 0.0, false);
        for norm in attention.head_norms.iter().flatten() {
            norms.extend_from_slice(norm.weight);
            norms.extend_from_slice(norm.bias.unwrap_or(norm.weight));
            (kind, eps, biased) = (norm.kind, norm.eps, norm.bias.is_some());
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
        let constants = vec![
            ("NORMS", u32::from(attention.head_norms.is_some())),
            ("KIND", kind.number()),
            ("SIZE", number(size)),
        ];
        let groups = [count + kv_count, qkv.rows];
        self.run(Kernel::Prepare, constants, &shape, &arguments, groups)?;
        Ok(out)
    }
}

/// The error of reading a row of weights that only a GPU stores.
pub fn not_on_host() -> Error {
    Error::input(
        "device",
        "only the GPU stores the weights, so they cannot be read at once; use `fetch_saved` of an `Embedder<Either>`",
    )
}

/// Activations in the format of a product's weights.
struct PackedActivations {
    /// `[rows, steps · 16]`: 32-bit words of codes or halves.
    words: GpuTensor,
    /// `[rows, steps]`
    scales: GpuTensor,
}

/// The parameters of a product's dispatches.
struct Product<'a> {
    kernel: Kernel,
    constants: Constants,
    /// Rows of a tile.
    rows: u32,
    /// Number of tiles; for SPLADE, of sequences.
    tiles: usize,
    /// Where sequences begin, for SPLADE; else empty.
    offsets: &'a [u32],
}

/// Rows of a tile for a product of so many rows. Smaller tiles waste fewer threads on few rows.
fn tile_rows(rows: usize) -> u32 {
    match rows {
        0..=16 => 16,
        17..=32 => 32,
        _ => 64,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "no buffer has 2³² words")]
fn number(size: usize) -> u32 {
    size as u32
}

/// `BITS` of kernels.
fn bits(dtype: WeightDtype) -> u32 {
    match dtype {
        WeightDtype::F32 => 32,
        WeightDtype::F16 => 16,
        WeightDtype::Q8 | WeightDtype::Q6 => 8,
        WeightDtype::Q4 => 4,
    }
}

/// Workgroups of kernels whose threads loop over all values, for any number of workgroups.
fn spread(values: usize) -> [usize; 2] {
    [values.div_ceil(256).min(MOST_ROWS), 1]
}

impl Backend for Gpu {
    fn pass_tokens(&self) -> usize {
        4096
    }

    fn need_cpu(&self, what: &str) -> Result<()> {
        Err(cpu_alone(what))
    }

    fn matrix(&self, rows: usize, columns: usize, dtype: WeightDtype) -> Result<GpuMatrix> {
        self.check()?;
        self.device.check_allocations()?;
        GpuMatrix::new(&self.device, [rows, columns], dtype, self.largest)
    }

    fn set_row(&self, matrix: &mut GpuMatrix, row: usize, values: &[f32]) {
        matrix.set_row(&self.device, row, values);
    }

    fn set_codes(&self, matrix: &mut GpuMatrix, row: usize, codes: &[i8], scales: &[f32]) {
        matrix.set_codes(&self.device, row, codes, scales);
    }

    fn on_host<'a>(&self, _: &'a GpuMatrix) -> Result<&'a CpuMatrix> {
        Err(not_on_host())
    }

    fn rows(&self, matrix: &GpuMatrix) -> usize {
        matrix.rows
    }

    fn columns(&self, matrix: &GpuMatrix) -> usize {
        matrix.columns
    }

    fn dtype(&self, matrix: &GpuMatrix) -> WeightDtype {
        matrix.dtype
    }

    fn bytes(&self, matrix: &GpuMatrix) -> usize {
        usize::try_from(matrix.bytes()).unwrap_or(usize::MAX)
    }
}

impl Compute for Gpu {
    type Tensor = GpuTensor;
    type Matrix = GpuMatrix;

    fn embed(&self, tables: &[(&GpuMatrix, &[u32])], scale: f32) -> Result<GpuTensor> {
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
                self.run(Kernel::Gather, constants, &shape, &arguments, groups)?;
            }
        }
        Ok(out)
    }

    fn norm(&self, x: &GpuTensor, residual: Option<&GpuTensor>, norm: Norm) -> Result<GpuTensor> {
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
        let constants = vec![("KIND", norm.kind.number())];
        self.run(Kernel::Norm, constants, &shape, &arguments, [x.rows, 1])?;
        Ok(out)
    }

    fn add(
        &self,
        x: &GpuTensor,
        y: &GpuTensor,
        scale: f32,
        activation: Activation,
    ) -> Result<GpuTensor> {
        let out = self.tensor(x.rows, x.width)?;
        let arguments = [x.argument(), y.argument(), out.argument()];
        let shape = [number(x.len()), scale.to_bits()];
        let constants = vec![("ACTIVATION", activation.number())];
        self.run(Kernel::Add, constants, &shape, &arguments, spread(x.len()))?;
        Ok(out)
    }

    /// The sum of all experts of all tokens, with factor 0 for those that a token does not take.
    /// Which these are is known on the GPU only, and asking it would stop the pass.
    fn experts(
        &self,
        x: &GpuTensor,
        experts: &Experts<Self>,
        activation: Activation,
    ) -> Result<GpuTensor> {
        let logits = self.linear(x, experts.router, None, Activation::Identity)?;
        let out = self.tensor(x.rows, x.width)?;
        for (index, matrices) in experts.matrices.iter().enumerate() {
            let layers = matrices.map(|weight| Linear { weight, bias: None });
            let given = self.feed_forward(x, layers, activation)?;
            let arguments = [
                logits.argument(),
                given.argument(),
                host(experts.bias),
                out.argument(),
            ];
            let shape = [out.len(), out.width, logits.width, experts.top, index].map(number);
            let groups = spread(out.len());
            self.run(Kernel::Expert, Vec::new(), &shape, &arguments, groups)?;
        }
        Ok(out)
    }

    fn linear(
        &self,
        x: &GpuTensor,
        weight: &GpuMatrix,
        bias: Option<&[f32]>,
        activation: Activation,
    ) -> Result<GpuTensor> {
        let out = self.tensor(x.rows, weight.rows)?;
        let rows = tile_rows(x.rows);
        let plan = Product {
            kernel: Kernel::Linear,
            constants: vec![("ACTIVATION", activation.number())],
            rows,
            tiles: x.rows.div_ceil(rows as usize),
            offsets: &[],
        };
        self.product(x, weight, bias, &out, &plan)?;
        Ok(out)
    }

    fn gate(&self, x: &GpuTensor, gate: Gate, activation: Activation) -> Result<GpuTensor> {
        let out = self.tensor(x.rows, x.width / 2)?;
        let shape = [out.len(), out.width].map(number);
        let constants = vec![
            ("ACTIVATION", activation.number()),
            ("LAST", u32::from(gate == Gate::Last)),
        ];
        let arguments = [x.argument(), out.argument()];
        let groups = spread(out.len());
        self.run(Kernel::Gate, constants, &shape, &arguments, groups)?;
        Ok(out)
    }

    fn attention(
        &self,
        qkv: &GpuTensor,
        offsets: &[usize],
        attention: Attention,
    ) -> Result<GpuTensor> {
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
        let tiles = query_tiles(offsets, attention.keys);
        let bias = attention.bias.map(|bias| bias.values.as_slice());
        let arguments = [
            qk.argument(),
            qkv.argument(),
            host(&tiles),
            host(bias.unwrap_or_default()),
            out.argument(),
        ];
        let distance = |most: Option<usize>| most.map_or(u32::MAX, number);
        let shape = [
            number(qk.width),
            number(qkv.width),
            number(count * size),
            number((count + kv_count) * size),
            number(count),
            number(count / kv_count),
            attention.scale.to_bits(),
            distance(attention.mask.before),
            distance(attention.mask.after),
            number(attention.bias.map_or(0, |bias| bias.reach)),
            u32::from(attention.bias.is_some()),
            attention.cap.unwrap_or(0.0).to_bits(),
        ];
        let constants = vec![("SIZE", number(size))];
        let groups = [tiles.len(), count];
        self.run(Kernel::Attention, constants, &shape, &arguments, groups)?;
        Ok(out)
    }

    /// Models with this operation run on the CPU, see [`Backend::need_cpu`].
    fn disentangled(
        &self,
        _: &GpuTensor,
        _: &[usize],
        _: Attention,
        _: (&GpuTensor, &Distances),
    ) -> Result<GpuTensor> {
        Err(cpu_alone("an attention with positions"))
    }

    fn pool(
        &self,
        x: &GpuTensor,
        offsets: &[usize],
        skip: &[usize],
        pooling: Pooling,
    ) -> Result<GpuTensor> {
        let out = self.tensor(skip.len(), x.width)?;
        let (offsets, skip) = (numbers(offsets), numbers(skip));
        let arguments = [x.argument(), host(&offsets), host(&skip), out.argument()];
        let (constants, shape) = (vec![("MODE", pooling.number())], [number(x.width)]);
        let groups = [x.width.div_ceil(64), skip.len()];
        self.run(Kernel::Pool, constants, &shape, &arguments, groups)?;
        Ok(out)
    }

    fn splade(
        &self,
        x: &GpuTensor,
        offsets: &[usize],
        weight: &GpuMatrix,
        bias: Option<&[f32]>,
        splade: Splade,
    ) -> Result<GpuTensor> {
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

    fn upload(&self, values: Vec<f32>, rows: usize) -> Result<GpuTensor> {
        let out = self.tensor(rows, values.len().checked_div(rows).unwrap_or(0))?;
        let mut recorder = self.recorder();
        recorder.copy(host(&values), (&out.buffer, 0), out.bytes());
        Ok(out)
    }

    fn concatenate(&self, parts: &[&GpuTensor]) -> Result<GpuTensor> {
        let rows = parts.first().map_or(0, |part| part.rows);
        let out = self.tensor(rows, parts.iter().map(|part| part.width).sum())?;
        let mut first = 0;
        for part in parts {
            let arguments = [part.argument(), out.argument()];
            let shape = [part.len(), part.width, out.width, first].map(number);
            let groups = spread(part.len());
            self.run(Kernel::Concatenate, Vec::new(), &shape, &arguments, groups)?;
            first += part.width;
        }
        Ok(out)
    }

    fn normalize(&self, x: &GpuTensor) -> Result<GpuTensor> {
        let out = self.tensor(x.rows, x.width)?;
        let unused = || x.argument();
        let arguments = [x.argument(), unused(), unused(), unused(), out.argument()];
        let shape = [number(x.width), 0, 0, 0];
        let constants = vec![("UNIT", 1)];
        self.run(Kernel::Norm, constants, &shape, &arguments, [x.rows, 1])?;
        Ok(out)
    }

    fn read(&self, tensors: Vec<ReadBack<GpuTensor>>) -> Result<Reading> {
        self.read_back(tensors)
    }
}

/// Tiles of the attention kernel: first query, end of its sequence, start of its sequence, and end
/// of the sequence's keys.
fn query_tiles(offsets: &[usize], keys: Option<&[usize]>) -> Vec<[u32; 4]> {
    let tiles = offsets.windows(2).enumerate().flat_map(|(sequence, pair)| {
        let end = keys.map_or(pair[1], |keys| pair[1].min(pair[0] + keys[sequence]));
        let firsts = (pair[0]..pair[1]).step_by(QUERIES);
        firsts.map(move |first| [first, pair[1], pair[0], end].map(number))
    });
    tiles.collect()
}

fn numbers(sizes: &[usize]) -> Vec<u32> {
    sizes.iter().copied().map(number).collect()
}
