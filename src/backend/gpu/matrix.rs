//! Weights on their way to the GPU. Rows are packed as they arrive and go up in pieces; host memory holds one piece of each
//! matrix that is being filled. A matrix that is larger than what a kernel can be given is several buffers.

use half::f16;

use super::device::Device;
use crate::backend::{GROUP, WeightDtype, cpu};
use crate::error::Result;

/// Words of a step of the GEMM kernel: every row is filled up to whole ones.
const STEP: usize = 16;
/// Rows of a part are a multiple of this, a tile of the kernel.
const TILE: usize = 64;
/// Bytes of a piece.
const PIECE: usize = 1 << 16;

/// A weight matrix `[rows, columns]`.
pub struct Matrix {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) dtype: WeightDtype,
    /// One below the other.
    pub(super) parts: Vec<Part>,
    /// Rows that are set.
    set: usize,
    piece: Piece,
}

/// Some of a matrix's rows.
pub struct Part {
    /// Number of the first row.
    pub first: usize,
    pub rows: usize,
    /// `[row][step][words]`
    pub words: wgpu::Buffer,
    /// `[row][step]`; of no meaning where weights are not codes
    pub scales: wgpu::Buffer,
}

/// Rows, one after the other, that are packed and not gone up.
#[derive(Default)]
struct Piece {
    first: usize,
    rows: usize,
    words: Vec<u32>,
    scales: Vec<f32>,
}

/// Steps of a row: of 16 or 32 elements, or of a group.
pub fn steps(columns: usize, dtype: WeightDtype) -> usize {
    match dtype {
        WeightDtype::F32 => columns.div_ceil(STEP),
        WeightDtype::F16 => columns.div_ceil(2 * STEP),
        WeightDtype::Q8 | WeightDtype::Q4 => columns.div_ceil(GROUP),
    }
}

/// Words of a step of weights.
fn words(dtype: WeightDtype) -> usize {
    match dtype {
        WeightDtype::F32 | WeightDtype::F16 | WeightDtype::Q8 => STEP,
        WeightDtype::Q4 => STEP / 2,
    }
}

/// Words of a row of weights that are not codes.
pub fn row_words(columns: usize, dtype: WeightDtype) -> usize {
    steps(columns, dtype) * words(dtype)
}

impl Matrix {
    /// Room for one, in buffers of at most `limit` bytes.
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
                WeightDtype::Q8 | WeightDtype::Q4 => rows * steps * 4,
            };
            Ok(Part {
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
            piece: Piece::default(),
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
            self.piece.words.extend(words);
        } else {
            let words = values.iter().map(|value| value.to_bits());
            self.piece.words.extend(words);
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
            self.piece.words.extend(pairs);
            // The kernel gets codes times 16.
            self.piece
                .scales
                .extend(scales.iter().map(|scale| scale / 16.0));
        } else {
            self.piece.words.extend(quads.iter().map(word));
            self.piece.scales.extend_from_slice(scales);
        }
        self.advance(device);
    }

    /// Makes ready for a row.
    fn next(&mut self, device: &Device, row: usize) {
        if self.piece.first + self.piece.rows != row {
            self.send(device);
            self.piece.first = row;
        }
    }

    /// Fills a row up, and sends what is due.
    fn advance(&mut self, device: &Device) {
        self.piece.rows += 1;
        let row = steps(self.columns, self.dtype) * words(self.dtype);
        self.piece.words.resize(self.piece.rows * row, 0);
        self.set += 1;
        if self.piece.words.len() * 4 >= PIECE || self.set == self.rows {
            self.send(device);
        }
        if self.set == self.rows {
            self.piece = Piece::default();
        }
    }

    fn send(&mut self, device: &Device) {
        let Piece {
            first,
            rows,
            words,
            scales,
        } = &mut self.piece;
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

/// A row that has come back.
pub enum Row<'a> {
    Values(&'a [f32]),
    Codes(&'a [i8], &'a [f32]),
}

impl Part {
    /// The rows of this part of `matrix`, from what is in its buffers.
    pub fn unpack(
        &self,
        matrix: &Matrix,
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
                WeightDtype::Q8 => take(row, Row::Codes(bytemuck::cast_slice(words), scales)),
                WeightDtype::Q4 => {
                    // Upper halves of bytes, and down again with their signs.
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
