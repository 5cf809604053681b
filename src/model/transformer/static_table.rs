//! Static embeddings: a table with a vector for each token, whose mean is the vector of a text.
//! There is no transformer.
//!
//! Tables stay in host memory, row by row, also where a GPU computes other models: adding up a few
//! rows is less work than sending their numbers.

use half::f16;

use crate::backend::WeightDtype;
use crate::error::{Error, Result};

/// Index of a table in the layout.
pub type TableId = usize;

/// How much memory is taken ahead of the rows that arrive, in bytes: a header may claim any size.
const STEP: usize = 16 << 20;

/// Vectors of tokens, `[rows, columns]`.
#[derive(Default)]
pub struct StaticTable {
    rows: usize,
    columns: usize,
    held: Held,
    /// The row of each token, where tokens share rows. Else a token's id is its row.
    mapping: Option<Vec<u32>>,
    /// The factor of each token's vector, if there are any.
    weights: Option<Vec<f32>>,
}

/// Rows in the form in which they are held.
enum Held {
    F32(Vec<f32>),
    F16(Vec<f16>),
    /// 8-bit integers.
    Codes {
        codes: Vec<i8>,
        /// The scale of each row; empty if the integers are the values.
        scales: Vec<f32>,
        /// Whether rows are quantised here as they arrive.
        quantize: bool,
    },
}

/// In which form a table is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableDtype {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point.
    F16,
    /// 8-bit integers with a scale for each row, made here of other values.
    Quantized,
    /// 8-bit integers as the file has them.
    Codes,
}

impl Default for Held {
    fn default() -> Self {
        Self::F32(Vec::new())
    }
}

/// Makes room for `more` elements of `total`, some ahead of what is needed now.
fn reserve<T>(list: &mut Vec<T>, more: usize, total: usize) -> Result<()> {
    if list.capacity() - list.len() < more {
        let left = total.saturating_sub(list.len());
        let step = (STEP / size_of::<T>()).min(left).max(more);
        let bytes = step.saturating_mul(size_of::<T>());
        list.try_reserve_exact(step)
            .map_err(|_| Error::OutOfMemory { bytes })?;
    }
    Ok(())
}

impl StaticTable {
    /// A table whose rows are still to come.
    pub fn new([rows, columns]: [usize; 2], dtype: TableDtype) -> Self {
        let held = match dtype {
            TableDtype::F32 => Held::F32(Vec::new()),
            TableDtype::F16 => Held::F16(Vec::new()),
            TableDtype::Quantized | TableDtype::Codes => Held::Codes {
                codes: Vec::new(),
                scales: Vec::new(),
                quantize: dtype == TableDtype::Quantized,
            },
        };
        Self {
            rows,
            columns,
            held,
            ..Self::default()
        }
    }

    /// Adds the next row. Integers arrive as their values.
    pub fn push_row(&mut self, values: &[f32]) -> Result<()> {
        let total = self.rows.saturating_mul(self.columns);
        match &mut self.held {
            Held::F32(all) => {
                reserve(all, values.len(), total)?;
                all.extend_from_slice(values);
            }
            Held::F16(all) => {
                reserve(all, values.len(), total)?;
                all.extend(values.iter().map(|value| f16::from_f32(*value)));
            }
            Held::Codes {
                codes,
                scales,
                quantize,
            } => {
                reserve(codes, values.len(), total)?;
                let mut scale = 1.0;
                if *quantize {
                    scale = row_scale(values);
                    reserve(scales, 1, self.rows)?;
                    scales.push(scale);
                }
                #[expect(clippy::cast_possible_truncation, reason = "at most 127, or a code")]
                let code = |value: &f32| (value / scale).round_ties_even() as i8;
                codes.extend(values.iter().map(code));
            }
        }
        Ok(())
    }

    /// Sets the scale of each row of integers.
    pub fn set_scales(&mut self, values: Vec<f32>) {
        if let Held::Codes { scales, .. } = &mut self.held {
            *scales = values;
        }
    }

    /// Sets the row of each token.
    pub fn set_mapping(&mut self, mapping: Vec<u32>) {
        self.mapping = Some(mapping);
    }

    /// Sets the factor of each token.
    pub fn set_weights(&mut self, weights: Vec<f32>) {
        self.weights = Some(weights);
    }

    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// Rows that have arrived.
    pub fn arrived(&self) -> usize {
        let elements = match &self.held {
            Held::F32(all) => all.len(),
            Held::F16(all) => all.len(),
            Held::Codes { codes, .. } => codes.len(),
        };
        elements / self.columns.max(1)
    }

    /// The row of each token, if tokens share rows.
    pub fn mapping(&self) -> Option<&[u32]> {
        self.mapping.as_deref()
    }

    /// The factor of each token, if there are any.
    pub fn weights(&self) -> Option<&[f32]> {
        self.weights.as_deref()
    }

    /// The scales of rows of integers; `None` if the values are no integers, or have no scales.
    pub fn scales(&self) -> Option<&[f32]> {
        match &self.held {
            Held::Codes { scales, .. } if !scales.is_empty() => Some(scales),
            _ => None,
        }
    }

    /// Number of weights.
    pub fn parameters(&self) -> usize {
        self.rows * self.columns + self.weights.as_ref().map_or(0, Vec::len)
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        let held = match &self.held {
            Held::F32(all) => size_of_val(all.as_slice()),
            Held::F16(all) => size_of_val(all.as_slice()),
            Held::Codes { codes, scales, .. } => {
                size_of_val(codes.as_slice()) + size_of_val(scales.as_slice())
            }
        };
        let mapping = self.mapping.as_deref().map_or(0, size_of_val);
        held + mapping + self.weights.as_deref().map_or(0, size_of_val)
    }

    /// How the table is held, as a model's dtype.
    pub fn dtype(&self) -> WeightDtype {
        match &self.held {
            Held::F32(_) => WeightDtype::F32,
            Held::F16(_) => WeightDtype::F16,
            Held::Codes { .. } => WeightDtype::Q8,
        }
    }

    /// The bytes of a row as they are held, little-endian.
    pub fn row_bytes(&self, row: usize) -> Vec<u8> {
        let own = row * self.columns..(row + 1) * self.columns;
        match &self.held {
            Held::F32(all) => all[own].iter().flat_map(|x| x.to_le_bytes()).collect(),
            Held::F16(all) => all[own].iter().flat_map(|x| x.to_le_bytes()).collect(),
            Held::Codes { codes, .. } => codes[own].iter().map(|x| x.cast_unsigned()).collect(),
        }
    }

    /// Writes the mean of the vectors of some tokens to `out`; zeros if there are none. The caller
    /// has checked the ids against the size of the vocabulary.
    pub fn mean(&self, ids: &[u32], dropped: Option<u32>, out: &mut [f32]) {
        out.fill(0.0);
        let mut count = 0u32;
        for id in ids.iter().filter(|id| Some(**id) != dropped) {
            count += 1;
            let at = *id as usize;
            let row = self.mapping.as_ref().map_or(at, |map| map[at] as usize);
            let weight = self.weights.as_ref().map_or(1.0, |weights| weights[at]);
            let own = row * self.columns..(row + 1) * self.columns;
            match &self.held {
                Held::F32(all) => add(out, &all[own], |value| value * weight),
                Held::F16(all) => add(out, &all[own], |value| value.to_f32() * weight),
                Held::Codes { codes, scales, .. } => {
                    let scale = scales.get(row).copied().unwrap_or(1.0) * weight;
                    add(out, &codes[own], |code| f32::from(code) * scale);
                }
            }
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a text has fewer than 2²⁴ tokens"
        )]
        let count = count.max(1) as f32;
        out.iter_mut().for_each(|value| *value /= count);
    }
}

fn add<T: Copy>(out: &mut [f32], row: &[T], value: impl Fn(T) -> f32) {
    for (out, element) in out.iter_mut().zip(row) {
        *out += value(*element);
    }
}

/// The scale of a row in 8 bits.
fn row_scale(values: &[f32]) -> f32 {
    let largest = values
        .iter()
        .fold(0f32, |most, value| most.max(value.abs()));
    let scale = largest / 127.0;
    if scale.is_normal() { scale } else { 1.0 }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "sums of these numbers are exact")]
mod tests {
    use super::*;

    #[test]
    fn means_leave_out_the_dropped_token_and_follow_mapping_and_weights() {
        let mut table = StaticTable::new([2, 2], TableDtype::F32);
        table.push_row(&[1.0, 2.0]).unwrap();
        assert_eq!(table.arrived(), 1);
        table.push_row(&[10.0, 20.0]).unwrap();
        let mut out = [f32::NAN; 2];
        table.mean(&[0, 1], None, &mut out);
        assert_eq!(out, [5.5, 11.0]);
        table.set_mapping(vec![1, 0, 1]);
        table.set_weights(vec![1.0, 4.0, 0.5]);
        table.mean(&[2, 1, 0, 0], Some(0), &mut out);
        assert_eq!(out, [4.5, 9.0]);
        table.mean(&[], None, &mut out);
        assert_eq!(out, [0.0; 2]);
    }

    #[test]
    fn rows_are_held_within_half_a_step() {
        let row: Vec<f32> = (0..96u8).map(|at| f32::from(at).sin() / 3.0).collect();
        for (dtype, most) in [
            (TableDtype::F32, 0.0),
            (TableDtype::F16, 2f32.powi(-13)),
            (TableDtype::Quantized, 0.5 / 127.0 / 3.0 + 1e-6),
        ] {
            let mut table = StaticTable::new([2, 96], dtype);
            table.push_row(&[0.0; 96]).unwrap();
            table.push_row(&row).unwrap();
            let mut out = [0.0; 96];
            table.mean(&[1], None, &mut out);
            for (held, exact) in out.iter().zip(&row) {
                assert!((held - exact).abs() <= most, "{held} {exact}");
            }
            table.mean(&[0], None, &mut out);
            assert_eq!(out, [0.0; 96]);
        }
    }
}
