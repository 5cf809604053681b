//! Weight matrices on the GPU. Rows are packed as they arrive and uploaded in blocks; host memory
//! holds one block of each matrix that is being filled. A matrix that is larger than a kernel can
//! bind is split into several buffers.

use half::f16;

use super::device::Device;
use crate::backend::{GROUP, WeightDtype, cpu};
use crate::error::Result;

/// 32-bit words of a step of the GEMM kernel. Rows are padded to whole steps.
pub const STEP: usize = 16;
/// The rows of a part are a multiple of this: columns of a tile of the GEMM kernel.
const TILE: usize = 64;
/// Bytes of packed rows that are uploaded at once.
const BLOCK_BYTES: usize = 1 << 16;

/// A weight matrix `[rows, columns]`.
pub struct GpuMatrix {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) dtype: WeightDtype,
    /// Consecutive ranges of rows.
    pub(super) parts: Vec<MatrixPart>,
    /// Number of rows that are set.
    set: usize,
    block: RowBlock,
}

/// A range of a matrix's rows.
pub struct MatrixPart {
    /// Index of the first row.
    pub first: usize,
    pub rows: usize,
    /// `[row][step][word]`
    pub words: wgpu::Buffer,
    /// `[row][step]`; unused for floating-point weights
    pub scales: wgpu::Buffer,
}

/// Consecutive rows that are packed and not yet uploaded.
#[derive(Default)]
struct RowBlock {
    first: usize,
    rows: usize,
    words: Vec<u32>,
    scales: Vec<f32>,
}

/// Steps of a row. A step has 16 elements in f32, 32 in f16, and a group of 64 in integers.
pub fn steps(columns: usize, dtype: WeightDtype) -> usize {
    match dtype {
        WeightDtype::F32 => columns.div_ceil(STEP),
        WeightDtype::F16 => columns.div_ceil(2 * STEP),
        WeightDtype::Q8 | WeightDtype::Q6 | WeightDtype::Q4 => columns.div_ceil(GROUP),
    }
}

/// Words of a step of weights.
fn words(dtype: WeightDtype) -> usize {
    match dtype {
        WeightDtype::F32 | WeightDtype::F16 | WeightDtype::Q8 | WeightDtype::Q6 => STEP,
        WeightDtype::Q4 => STEP / 2,
    }
}

/// Words of a row of floating-point weights.
pub fn row_words(columns: usize, dtype: WeightDtype) -> usize {
    steps(columns, dtype) * words(dtype)
}

impl GpuMatrix {
    /// Allocates a matrix, in buffers of at most `limit` bytes.
    pub fn new(
        device: &Device,
        [rows, columns]: [usize; 2],
        dtype: WeightDtype,
        limit: u64,
    ) -> Result<Self> {
        let steps = steps(columns, dtype);
        let row = (steps * words(dtype) * 4) as u64;
        let most = usize::try_from(limit / row.max(1)).unwrap_or(usize::MAX);
        let most = (most / TILE * TILE).max(TILE);
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_DST
            | wgpu::BufferUsages::COPY_SRC;
        let part = |first: usize| {
            let rows = most.min(rows - first);
            let scales = match dtype {
                WeightDtype::F32 | WeightDtype::F16 => 4,
                WeightDtype::Q8 | WeightDtype::Q6 | WeightDtype::Q4 => rows * steps * 4,
            };
            Ok(MatrixPart {
                first,
                rows,
                words: device.buffer(row * rows as u64, usage)?,
                scales: device.buffer(scales as u64, usage)?,
            })
        };
        let parts = (0..rows).step_by(most).map(part).collect::<Result<_>>()?;
        Ok(Self {
            rows,
            columns,
            dtype,
            parts,
            set: 0,
            block: RowBlock::default(),
        })
    }

    /// Bytes of all buffers.
    pub fn bytes(&self) -> u64 {
        let parts = self.parts.iter();
        parts
            .map(|part| part.words.size() + part.scales.size())
            .sum()
    }

    /// Packs a row of values.
    pub fn set_row(&mut self, device: &Device, row: usize, values: &[f32]) {
        if self.dtype.is_codes() {
            let (codes, scales) = cpu::quantize(self.dtype, values);
            return self.set_codes(device, row, &codes, &scales);
        }
        self.next(device, row);
        if self.dtype == WeightDtype::F16 {
            let half = |value: &f32| u32::from(f16::from_f32(*value).to_bits());
            let words = values
                .chunks(2)
                .map(|pair| half(&pair[0]) | pair.get(1).map_or(0, half) << 16);
            self.block.words.extend(words);
        } else {
            let words = values.iter().map(|value| value.to_bits());
            self.block.words.extend(words);
        }
        self.advance(device);
    }

    /// Packs a row of codes.
    pub fn set_codes(&mut self, device: &Device, row: usize, codes: &[i8], scales: &[f32]) {
        self.next(device, row);
        let word = |codes: &[i8; 4]| u32::from_le_bytes(codes.map(i8::cast_unsigned));
        let (quads, _) = codes.as_chunks::<4>();
        if self.dtype == WeightDtype::Q4 {
            let (pairs, _) = quads.as_chunks::<2>();
            let pairs = pairs.iter().map(|pair| {
                let [low, high] = [word(&pair[0]), word(&pair[1])];
                (low & 0x0f0f_0f0f) | (high & 0x0f0f_0f0f) << 4
            });
            self.block.words.extend(pairs);
            // Kernels read codes as the upper halves of bytes, that is times 16.
            self.block
                .scales
                .extend(scales.iter().map(|scale| scale / 16.0));
        } else {
            self.block.words.extend(quads.iter().map(word));
            self.block.scales.extend_from_slice(scales);
        }
        self.advance(device);
    }

    /// Begins a row; a row that does not follow the last one begins a new block.
    fn next(&mut self, device: &Device, row: usize) {
        if self.block.first + self.block.rows != row {
            self.send(device);
            self.block.first = row;
        }
    }

    /// Ends a row: pads it, and uploads the block if it is full or the matrix complete.
    fn advance(&mut self, device: &Device) {
        self.block.rows += 1;
        let row = steps(self.columns, self.dtype) * words(self.dtype);
        self.block.words.resize(self.block.rows * row, 0);
        self.set += 1;
        if self.block.words.len() * 4 >= BLOCK_BYTES || self.set == self.rows {
            self.send(device);
        }
        if self.set == self.rows {
            self.block = RowBlock::default();
        }
    }

    /// Uploads the block.
    fn send(&mut self, device: &Device) {
        let RowBlock {
            first,
            rows,
            words,
            scales,
        } = &mut self.block;
        if *rows == 0 {
            return;
        }
        let (row_words, row_scales) = (words.len() / *rows, scales.len() / *rows);
        for part in &self.parts {
            let start = (*first).max(part.first);
            let end = (*first + *rows).min(part.first + part.rows);
            if start >= end {
                continue;
            }
            let (here, there) = (start - *first..end - *first, (start - part.first) as u64);
            let send = |buffer: &wgpu::Buffer, width: usize, bytes: &[u8]| {
                if width > 0 {
                    let bytes = &bytes[here.start * width * 4..here.end * width * 4];
                    let place = there * (width * 4) as u64;
                    device.queue.write_buffer(buffer, place, bytes);
                }
            };
            send(&part.words, row_words, bytemuck::cast_slice(words));
            send(&part.scales, row_scales, bytemuck::cast_slice(scales));
        }
        *first += *rows;
        *rows = 0;
        words.clear();
        scales.clear();
    }
}

/// A row that was read back.
pub enum Row<'a> {
    Values(&'a [f32]),
    Codes(&'a [i8], &'a [f32]),
}

impl MatrixPart {
    /// Unpacks the rows of this part of `matrix` from the contents of its buffers.
    pub fn unpack(
        &self,
        matrix: &GpuMatrix,
        words: &[u32],
        scales: &[f32],
        mut take: impl FnMut(usize, Row),
    ) {
        let steps = steps(matrix.columns, matrix.dtype);
        let rows = words.chunks_exact(steps * self::words(matrix.dtype));
        for (index, words) in rows.take(self.rows).enumerate() {
            let row = self.first + index;
            let scales = scales.chunks_exact(steps).nth(index).unwrap_or_default();
            match matrix.dtype {
                WeightDtype::F32 => {
                    let values: &[f32] = bytemuck::cast_slice(words);
                    take(row, Row::Values(&values[..matrix.columns]));
                }
                WeightDtype::F16 => {
                    let halves: &[u16] = bytemuck::cast_slice(words);
                    let values = halves.iter().map(|bits| f16::from_bits(*bits).to_f32());
                    let values: Vec<f32> = values.collect();
                    take(row, Row::Values(&values[..matrix.columns]));
                }
                WeightDtype::Q8 | WeightDtype::Q6 => {
                    take(row, Row::Codes(bytemuck::cast_slice(words), scales));
                }
                WeightDtype::Q4 => {
                    // Each code becomes the upper half of a byte; an arithmetic shift then extends
                    // its sign.
                    let codes = words.iter().flat_map(|word| {
                        [(word & 0x0f0f_0f0f) << 4, word & 0xf0f0_f0f0]
                            .map(|word| word.to_le_bytes().map(|byte| byte.cast_signed() >> 4))
                    });
                    let codes: Vec<i8> = codes.flatten().collect();
                    let scales: Vec<f32> = scales.iter().map(|scale| scale * 16.0).collect();
                    take(row, Row::Codes(&codes, &scales));
                }
            }
        }
    }
}
