//! Codes → values, a row at a time.

use crate::backend::WeightDtype;
use crate::weights::dtype::Dtype;

/// Numbers for the matrix, each row, each group of a row, or each block.
pub struct Grid {
    pub values: Vec<f32>,
    pub columns: usize,
    /// Rows, and columns, that one number is for.
    pub block: (usize, usize),
}

impl Grid {
    /// `rows` by `columns` numbers for a matrix of `height` by `width`, if they can be.
    pub fn new(
        values: Vec<f32>,
        rows: usize,
        columns: usize,
        height: usize,
        width: usize,
    ) -> Option<Self> {
        if rows == 0 || columns == 0 || values.len() != rows * columns {
            return None;
        }
        // Groups and blocks are powers of two, and the last one may be cut off.
        let size = |count: usize, length: usize| {
            let mut powers = (0..20).map(|power| 1usize << power);
            let power = powers.find(|size| length.div_ceil(*size) == count);
            let even = length.is_multiple_of(count).then(|| length / count);
            if count == 1 { even } else { power.or(even) }
        };
        Some(Self {
            values,
            columns,
            block: (size(rows, height)?, size(columns, width)?),
        })
    }

    /// The numbers of a row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row / self.block.0 * self.columns..][..self.columns]
    }
}

/// How codes are stored.
pub enum Codes {
    /// One after the other, low bits first.
    Bits(usize),
    /// An element each.
    Plain(Dtype),
    /// Packed along the columns.
    Columns { bits: usize, awq: bool },
}

/// What turns codes into values.
pub enum Decoder {
    /// (code − zero) · scale
    Affine {
        codes: Codes,
        scales: Grid,
        zeros: Option<Grid>,
        /// The group of each column, where they are not in order.
        groups: Option<Vec<usize>>,
    },
    /// code · scale + bias
    Biased {
        bits: usize,
        scales: Grid,
        biases: Grid,
    },
    /// A value for each of sixteen codes, times the scale of a block of the whole matrix
    Table {
        map: [f32; 16],
        scales: Vec<f32>,
        block: usize,
    },
}

impl Decoder {
    /// Decodes row number `row` of `rows`; `bytes` are its codes, or all of them where they are packed along the columns.
    pub fn row(&self, bytes: &[u8], row: usize, rows: usize, out: &mut [f32]) {
        match self {
            Self::Affine {
                codes,
                scales,
                zeros,
                groups,
            } => {
                match codes {
                    Codes::Bits(bits) => unpack(bytes, *bits, out),
                    Codes::Plain(dtype) => dtype.decode(bytes, out),
                    Codes::Columns { bits, awq } => column(bytes, row, rows, *bits, *awq, out),
                }
                let group = |at: usize, grid: &Grid| match groups {
                    Some(groups) => groups[at],
                    None => at / grid.block.1,
                };
                if let Some(zeros) = zeros {
                    let own = zeros.row(row);
                    for (at, value) in out.iter_mut().enumerate() {
                        *value -= own[if own.len() == 1 { 0 } else { group(at, zeros) }];
                    }
                }
                let own = scales.row(row);
                for (at, value) in out.iter_mut().enumerate() {
                    *value *= own[group(at, scales)];
                }
            }
            Self::Biased {
                bits,
                scales,
                biases,
            } => {
                unpack(bytes, *bits, out);
                let pairs = scales.row(row).iter().zip(biases.row(row));
                for ((scale, bias), values) in pairs.zip(out.chunks_mut(scales.block.1)) {
                    values
                        .iter_mut()
                        .for_each(|value| *value = *value * scale + bias);
                }
            }
            Self::Table { map, scales, block } => {
                let first = row * out.len();
                for (at, value) in out.iter_mut().enumerate() {
                    let byte = bytes[at / 2];
                    let code = if at % 2 == 0 { byte >> 4 } else { byte & 15 };
                    *value = map[usize::from(code)] * scales[(first + at) / block];
                }
            }
        }
    }
}

/// The codes of a row in our own grid.
pub fn own_codes(bytes: &[u8], bits: usize, out: &mut [i8]) -> WeightDtype {
    if bits == 8 {
        let codes = bytes.iter().map(|byte| byte.cast_signed());
        out.iter_mut()
            .zip(codes)
            .for_each(|(out, code)| *out = code);
        return WeightDtype::Q8;
    }
    for (pair, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [byte & 15, byte >> 4].map(|code| code.cast_signed() - 8);
    }
    WeightDtype::Q4
}

/// Code number `at` of a stream of codes, low bits first.
pub fn code(bytes: &[u8], at: usize, bits: usize) -> f32 {
    let (byte, shift) = (at * bits / 8, at * bits % 8);
    let low = u16::from(bytes[byte]);
    let high = u16::from(bytes.get(byte + 1).copied().unwrap_or(0)) << 8;
    f32::from((low | high) >> shift & ((1 << bits) - 1))
}

fn unpack(bytes: &[u8], bits: usize, out: &mut [f32]) {
    match bits {
        8 => out
            .iter_mut()
            .zip(bytes)
            .for_each(|(out, byte)| *out = f32::from(*byte)),
        4 => {
            for (pair, byte) in out.chunks_mut(2).zip(bytes) {
                let codes = [byte & 15, byte >> 4];
                pair.iter_mut()
                    .zip(codes)
                    .for_each(|(out, code)| *out = f32::from(code));
            }
        }
        _ => out
            .iter_mut()
            .enumerate()
            .for_each(|(at, out)| *out = code(bytes, at, bits)),
    }
}

/// Row `row` of a matrix that is packed along its columns.
fn column(bytes: &[u8], row: usize, rows: usize, bits: usize, awq: bool, out: &mut [f32]) {
    if awq {
        let stride = rows / 8 * 4;
        for (out, line) in out.iter_mut().zip(bytes.chunks_exact(stride)) {
            *out = awq_code(line, row);
        }
        return;
    }
    let words = bytes.chunks_exact(4).skip(row).step_by(rows);
    for (values, word) in out.chunks_mut(32 / bits).zip(words) {
        unpack(word, bits, values);
    }
}

/// Code number `at` of a row of AWQ's.
pub fn awq_code(bytes: &[u8], at: usize) -> f32 {
    /// Place in a word of its columns.
    const PLACES: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];
    code(bytes, at / 8 * 8 + PLACES[at % 8], 4)
}
