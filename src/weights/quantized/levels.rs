//! The layout of models that are saved as q6: smaller than 8 bits on the way, and expanded to codes
//! of 8 bits when it arrives.
//!
//! As in [`own_grid`](super::own_grid), rows are cut into groups of [`GROUP`] and rotated, and each
//! group has one scale. A code of 8 bits is restricted to 32, 64 or 128 levels, as
//! the model's layout says (`Precision::bits`). A file holds the
//! index of the level, in 5, 6 or 7 bits, and the scale as BF16:
//!
//! - `{module}.weight_levels`: U8 `[out, groups · 8 · bits]`; eight indices make `bits` bytes, low
//!   bits first
//! - `{module}.weight_scale`: BF16 `[out, groups]`
//!
//! A rotated weight is nearly normally distributed, so the levels are denser around 0: with
//! t = (2k + 1) / (2h − 1) for k < h, where h is half the number of levels, they are
//! ±round(127 · (0.7 t + 0.3 t³)). With 64 of them the squared error is a fifth less than with even
//! ones.

use half::bf16;
use serde_json::{Value, json};

use super::grid::Grid;
use super::matrix::{Component, QuantizedMatrix};
use super::own_grid::TensorSpec;
use super::{Layout, Library, Role, RowDecoder};
use crate::backend::{GROUP, cpu};
use crate::error::Result;

const LEVELS: &str = ".weight_levels";
const SCALES: &str = ".weight_scale";
const HIGHEST: u8 = 127;

/// Looked at only in models that we saved.
pub(super) static LIBRARY: Library = Library {
    name: "Gossamer",
    method: None,
    check: None,
    layouts: &[Layout {
        tensors: &[(LEVELS, Role::Codes, true), (SCALES, Role::Scales, true)],
        dtypes: &["U8"],
        bits: |matrix, codes| Some(levels_of(matrix, codes)?.bits),
        needs_all_codes: false,
        decoder: reader,
    }],
};

/// The levels that the codes of a matrix have.
#[derive(Debug)]
pub struct Levels {
    /// Bits of an index.
    pub bits: usize,
    /// Codes by index, ascending.
    codes: [i8; 128],
    /// Index of the level nearest to each code, from -127 on.
    nearest: [u8; 2 * HIGHEST as usize + 1],
}

static FIVE: Levels = Levels::new(5);
static SIX: Levels = Levels::new(6);
static SEVEN: Levels = Levels::new(7);

/// The levels whose indices have 5, 6 or 7 bits.
pub fn levels(bits: usize) -> &'static Levels {
    match bits {
        5 => &FIVE,
        6 => &SIX,
        _ => &SEVEN,
    }
}

impl Levels {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "levels are at most 127, and there are 128 of them; a const fn has no conversions"
    )]
    const fn new(bits: usize) -> Self {
        let half = 1 << (bits - 1);
        let mut codes = [0; 128];
        let mut k = 0;
        while k < half {
            // 127 · (0.7 p / q + 0.3 p³ / q³), rounded, in integers.
            let (p, q) = (2 * k as u64 + 1, 2 * half as u64 - 1);
            let numerator = HIGHEST as u64 * (7 * p * q * q + 3 * p * p * p);
            let cube = 10 * q * q * q;
            let level = (2 * numerator + cube) / (2 * cube);
            codes[half + k] = level as i8;
            codes[half - 1 - k] = -(level as i8);
            k += 1;
        }
        let mut nearest = [0; 2 * HIGHEST as usize + 1];
        let (mut at, mut index) = (0, 0);
        while at < nearest.len() {
            let code = at as i32 - HIGHEST as i32;
            while index + 1 < 2 * half
                && (codes[index + 1] as i32 - code).abs() <= (codes[index] as i32 - code).abs()
            {
                index += 1;
            }
            nearest[at] = index as u8;
            at += 1;
        }
        Self {
            bits,
            codes,
            nearest,
        }
    }

    /// Bytes of the indices of a group.
    pub fn group_bytes(&self) -> usize {
        GROUP / 8 * self.bits
    }

    /// Quantises a row: codes, each at one of the levels, and scales that are values of BF16.
    pub fn quantize(&self, values: &[f32]) -> (Vec<i8>, Vec<f32>) {
        /// Candidates for the magnitude of the highest level, in multiples of the group's largest
        /// magnitude. Each group takes the one with the least squared error.
        const RANGES: [f32; 4] = [1.0, 1.02, 0.98, 0.96];
        let mut rotated = values.to_vec();
        rotated.resize(values.len().next_multiple_of(GROUP), 0.0);
        cpu::rotate(&mut rotated);
        let mut codes = Vec::with_capacity(rotated.len());
        let mut scales = Vec::with_capacity(rotated.len() / GROUP);
        for group in rotated.chunks(GROUP) {
            let largest = group.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
            // Where all are 0, so is the scale, and any level will do.
            let mut best = (f32::INFINITY, 0.0, [self.snap(0.0); GROUP]);
            for range in RANGES {
                let scale = bf16::from_f32(largest * range / f32::from(HIGHEST)).to_f32();
                let mut snapped = [0; GROUP];
                // In multiples of the scale, since squares of the values may be infinite.
                let mut error = 0.0;
                for (code, x) in snapped.iter_mut().zip(group) {
                    let exact = x / scale;
                    *code = self.snap(exact);
                    let distance = (exact - f32::from(*code)) * range;
                    error += distance * distance;
                }
                if error < best.0 {
                    best = (error, scale, snapped);
                }
            }
            scales.push(best.1);
            codes.extend(best.2);
        }
        (codes, scales)
    }

    /// The level that is nearest to a number.
    fn snap(&self, code: f32) -> i8 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the conversion stays within the range, and makes 0 of NaN"
        )]
        let place = (code + f32::from(HIGHEST) + 0.5) as usize;
        let index = self.nearest[place.min(self.nearest.len() - 1)];
        self.codes[usize::from(index)]
    }

    /// Whether all codes are levels.
    pub fn has_all(&self, codes: &[i8]) -> bool {
        codes
            .iter()
            .all(|code| self.codes[self.index(*code)] == *code)
    }

    /// The index of the level nearest to a code.
    fn index(&self, code: i8) -> usize {
        let place = i16::from(code) + i16::from(HIGHEST);
        usize::from(self.nearest[usize::try_from(place).unwrap_or_default()])
    }

    /// The bytes of a row of codes.
    pub fn pack(&self, codes: &[i8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(codes.len() / 8 * self.bits);
        for codes in codes.as_chunks::<8>().0 {
            let word = codes
                .iter()
                .rev()
                .fold(0, |word, code| word << self.bits | self.index(*code) as u64);
            bytes.extend_from_slice(&word.to_le_bytes()[..self.bits]);
        }
        bytes
    }

    /// The codes of a row, from its bytes.
    fn unpack(&self, bytes: &[u8], out: &mut [i8]) {
        let mask = (1 << self.bits) - 1;
        let chunks = out.as_chunks_mut::<8>().0;
        for (codes, bytes) in chunks.iter_mut().zip(bytes.chunks_exact(self.bits)) {
            let mut word = [0; 8];
            word[..self.bits].copy_from_slice(bytes);
            let mut word = u64::from_le_bytes(word);
            for code in codes {
                let index = word.to_le_bytes()[0] & mask;
                *code = self.codes[usize::from(index)];
                word >>= self.bits;
            }
        }
    }
}

/// The levels of a matrix in a file; `None` if the codes do not fit its shape.
fn levels_of(matrix: &QuantizedMatrix, codes: &Component) -> Option<&'static Levels> {
    let shape = |levels: &Levels| [matrix.rows, matrix.columns / GROUP * levels.group_bytes()];
    let all = [&FIVE, &SIX, &SEVEN];
    all.into_iter().find(|levels| codes.shape == shape(levels))
}

/// Reads rows as they are.
pub struct Reader {
    levels: &'static Levels,
    scales: Grid,
}

fn reader(matrix: &QuantizedMatrix) -> Result<RowDecoder> {
    let (codes, _) = matrix.needed(Role::Codes)?;
    let levels = levels_of(matrix, codes);
    let levels = levels.ok_or_else(|| matrix.wrong("its codes do not fit its shape"))?;
    let scales = matrix.scales()?;
    if scales.block != (1, GROUP) {
        return Err(matrix.wrong("not in groups of 64 as Gossamer does it"));
    }
    Ok(RowDecoder::Levels(Reader { levels, scales }))
}

impl Reader {
    /// The scales of a row.
    pub fn scales(&self, row: usize) -> &[f32] {
        self.scales.row(row)
    }

    /// The codes of a row, from its bytes.
    pub fn codes(&self, bytes: &[u8], out: &mut [i8]) {
        self.levels.unpack(bytes, out);
    }
}

/// The tensor of the levels of a module's matrix.
pub fn levels_tensor(module: &str, levels: &Levels, rows: usize, groups: usize) -> TensorSpec {
    let shape = vec![rows, groups * levels.group_bytes()];
    (format!("{module}{LEVELS}"), "U8", shape)
}

/// The tensor of its scales.
pub fn scales_tensor(module: &str, rows: usize, groups: usize) -> TensorSpec {
    (format!("{module}{SCALES}"), "BF16", vec![rows, groups])
}

/// Values of BF16 as files have them.
pub fn halves(values: &[f32]) -> Vec<u8> {
    let values = values.iter();
    let bytes = values.flat_map(|value| bf16::from_f32(*value).to_le_bytes());
    bytes.collect()
}

/// The `quantization_config` of a model that is saved in this layout. Other libraries refuse the
/// method by its name.
pub fn quantization_config() -> Value {
    json!({ "quant_method": "gossamer", "format": "levels", "group_size": GROUP })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_distinct_and_symmetric() {
        for levels in [&FIVE, &SIX, &SEVEN] {
            let codes = &levels.codes[..1 << levels.bits];
            assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
            assert_eq!((codes[0], codes[codes.len() - 1]), (-127, 127));
            let mirrored: Vec<i8> = codes.iter().rev().map(|code| -code).collect();
            assert_eq!(mirrored, codes);
            for (at, nearest) in levels.nearest.iter().enumerate() {
                let code = i32::try_from(at).unwrap() - 127;
                let distance = |level: &i8| (i32::from(*level) - code).abs();
                let least = codes.iter().map(distance).min().unwrap();
                assert_eq!(distance(&codes[usize::from(*nearest)]), least, "{code}");
            }
        }
    }

    #[test]
    fn rows_survive_packing_and_are_near_their_values() {
        // Sums of four random numbers are nearly normal. Each group has its own size.
        let mut state = 1u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from((state >> 16) as u16) / 65536.0 - 0.5
        };
        let mut value = |at: usize| {
            let sum = random() + random() + random() + random();
            sum * if at < 64 { 1e-3 } else { 4.0 }
        };
        let values: Vec<f32> = (0..150).map(&mut value).collect();
        for (levels, most) in [(&SEVEN, 3e-4), (&SIX, 1e-3), (&FIVE, 4e-3)] {
            let (codes, scales) = levels.quantize(&values);
            assert_eq!((codes.len(), scales.len()), (192, 3));
            assert!(levels.has_all(&codes));
            let mut again = vec![0; 192];
            levels.unpack(&levels.pack(&codes), &mut again);
            assert_eq!(again, codes);
            let mut decoded: Vec<f32> = codes
                .chunks(GROUP)
                .zip(&scales)
                .flat_map(|(codes, scale)| codes.iter().map(move |code| f32::from(*code) * scale))
                .collect();
            cpu::rotate(&mut decoded);
            for (group, decoded) in values.chunks(GROUP).zip(decoded.chunks(GROUP)) {
                let norm: f32 = group.iter().map(|x| x * x).sum();
                let error: f32 = group
                    .iter()
                    .zip(decoded)
                    .map(|(x, y)| (x - y) * (x - y))
                    .sum();
                assert!(error < most * norm, "{error} of {norm}");
            }
        }
    }

    #[test]
    fn extreme_values_stay_finite() {
        for value in [0.0, f32::MIN_POSITIVE, 1e-40, 1e-30, 1e30, 3e38] {
            let mut values = [0.0; GROUP];
            values[5] = value;
            let (codes, scales) = SIX.quantize(&values);
            assert!(scales.iter().all(|scale| scale.is_finite()), "{value}");
            assert!(SIX.has_all(&codes), "{value}");
        }
    }
}
