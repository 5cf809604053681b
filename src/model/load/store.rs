//! Stores rows of tensors in their final form: packed matrices of the backend, or vectors in f32.

use half::bf16;

use crate::backend::cpu::{self, Cpu, CpuMatrix};
use crate::backend::{Backend, GROUP, WeightDtype};
use crate::error::{Error, Result};
use crate::full::Full;
use crate::model::load::fingerprint::Fingerprint;
use crate::model::load::lora::Merge;
use crate::model::transformer::forward::Weights;
use crate::model::transformer::layout::{Layout, MatrixId, Slot, StackSlot};
use crate::weights::quantized::levels::{self, Levels};

/// The weights that have been stored so far.
pub struct Store<B: Backend> {
    /// The dtype of the model.
    pub dtype: WeightDtype,
    /// Packed matrices and vectors.
    pub weights: Weights<B>,
    /// Values of each of the layout's picks so far.
    pub picked: Vec<Vec<f32>>,
    /// Columns of the matrix of which the last ones are still to come.
    columns: Vec<f32>,
    /// Sum of the hashes of all matrices that were parts of stacks. Each is that of the tensor
    /// which a saved model has for the matrix.
    pub stacks: u64,
    /// Hash of the matrix of a stack of which the last rows are still to come.
    hash: Fingerprint,
    /// The adapter that is merged into the rows.
    pub merge: Option<Full<Merge>>,
}

impl<B: Backend> Store<B> {
    /// Room for nothing yet.
    pub fn new(layout: &Layout, dtype: WeightDtype) -> Self {
        Self {
            dtype,
            weights: Weights {
                matrices: layout.matrices.iter().map(|_| None).collect(),
                vectors: layout.vectors.iter().map(|_| Vec::new()).collect(),
                tables: Vec::new(),
            },
            picked: layout.picks.iter().map(|_| Vec::new()).collect(),
            columns: Vec::new(),
            stacks: 0,
            hash: Fingerprint::new(""),
            merge: None,
        }
    }

    /// Adds a row to the picks that it belongs to, as its matrix holds it: `fill` puts it into a
    /// matrix of one row.
    fn pick(
        &mut self,
        layout: &Layout,
        id: MatrixId,
        row: usize,
        fill: impl Fn(&Cpu, &mut CpuMatrix),
    ) -> Result<()> {
        for (pick, sum) in layout.picks.iter().zip(&mut self.picked) {
            let mut rows = pick.rows.iter().filter(|(own, _)| *own == row);
            let Some((_, factor)) = rows.next().filter(|_| pick.from == id) else {
                continue;
            };
            let shape = layout.matrices[id];
            let cpu = Cpu::new();
            let mut one = cpu.matrix(1, shape.columns, shape.precision.dtype(self.dtype))?;
            fill(&cpu, &mut one);
            let mut values = vec![0.0; shape.columns];
            one.row(0, &mut values);
            sum.resize(shape.columns, 0.0);
            for (sum, value) in sum.iter_mut().zip(values) {
                *sum += factor * value;
            }
        }
        Ok(())
    }

    /// Stores the picks. Their rows have all been read.
    pub fn finish_picks(&mut self, backend: &B, layout: &Layout) -> Result<()> {
        for (number, pick) in layout.picks.iter().enumerate() {
            let values = std::mem::take(&mut self.picked[number]);
            if values.is_empty() {
                return Err(Error::Internal("a row was not read".to_owned()));
            }
            backend.set_row(self.matrix(backend, layout, pick.into)?, 0, &values);
        }
        Ok(())
    }

    /// The matrix, allocated if this is its first row.
    fn matrix(&mut self, backend: &B, layout: &Layout, id: MatrixId) -> Result<&mut B::Matrix> {
        match &mut self.weights.matrices[id] {
            Some(matrix) => Ok(matrix),
            empty => {
                let shape = layout.matrices[id];
                let dtype = shape.precision.dtype(self.dtype);
                Ok(empty.insert(backend.matrix(shape.rows, shape.columns, dtype)?))
            }
        }
    }

    /// The levels of a matrix's codes, if the model is q6 and the matrix is quantised.
    fn levels_of(&self, layout: &Layout, id: MatrixId) -> Option<&'static Levels> {
        let bits = layout.matrices[id].precision.bits()?;
        (self.dtype == WeightDtype::Q6).then(|| levels::levels(bits))
    }

    /// Stores one row of a tensor.
    pub fn row(
        &mut self,
        backend: &B,
        layout: &Layout,
        slot: Slot,
        row: usize,
        values: &[f32],
    ) -> Result<()> {
        match slot {
            Slot::Rows { matrix: id, first } => {
                let merged = match &self.merge {
                    Some(merge) => merge.row(id, first + row, values)?,
                    None => None,
                };
                let values = merged.as_deref().unwrap_or(values);
                let (dtype, levels) = (self.dtype, self.levels_of(layout, id));
                let matrix = self.matrix(backend, layout, id)?;
                match levels {
                    Some(levels) => {
                        let (codes, scales) = levels.quantize(values);
                        backend.set_codes(matrix, first + row, &codes, &scales);
                    }
                    None if dtype == WeightDtype::Q6 => {
                        // A file in q6 has these values in 16 bits.
                        let rounded = values.iter().map(|value| bf16::from_f32(*value).to_f32());
                        backend.set_row(matrix, first + row, &rounded.collect::<Vec<_>>());
                    }
                    None => backend.set_row(matrix, first + row, values),
                }
                self.pick(layout, id, first + row, |cpu, one| {
                    cpu.set_row(one, 0, values);
                })?;
            }
            Slot::Stack(stack) => {
                let StackSlot {
                    matrix,
                    rows,
                    transposed,
                } = *stack;
                let (index, row) = (row / rows, row % rows);
                let own = Slot::Rows {
                    matrix: matrix + index,
                    first: 0,
                };
                if row == 0 {
                    let mut all = layout.wanted.iter();
                    let wanted = all.find(|wanted| wanted.slot == slot);
                    let name = wanted.map_or_else(String::new, |wanted| wanted.part(index));
                    self.hash = Fingerprint::new(&name);
                }
                if transposed {
                    extend(&mut self.columns, values)?;
                } else {
                    self.hash.update(values);
                    self.row(backend, layout, own, row, values)?;
                }
                if row + 1 < rows {
                    return Ok(());
                }
                let columns = std::mem::take(&mut self.columns);
                let mut transposed_row = vec![0.0; rows];
                for at in (0..values.len()).filter(|_| transposed) {
                    let column = columns.chunks_exact(values.len());
                    let pairs = transposed_row.iter_mut().zip(column);
                    pairs.for_each(|(value, column)| *value = column[at]);
                    self.hash.update(&transposed_row);
                    self.row(backend, layout, own, at, &transposed_row)?;
                }
                self.stacks = self.stacks.wrapping_add(self.hash.0);
            }
            Slot::Table { .. } => {
                return Err(Error::Internal(
                    "rows of a static table are stored by the table".to_owned(),
                ));
            }
            Slot::Elements { vector: id, first } => {
                let merge = self.merge.as_ref();
                let own = merge.and_then(|merge| merge.elements(id, first));
                let values = own.map_or(values, |own| &own[row * values.len()..][..values.len()]);
                let vector = &mut self.weights.vectors[id];
                vector.resize(layout.vectors[id], 0.0);
                let first = first + row * values.len();
                vector[first..first + values.len()].copy_from_slice(values);
            }
        }
        Ok(())
    }

    /// Stores one row that is quantised in our own grid. Returns whether the codes were kept; they
    /// are decoded if the matrix has another dtype.
    pub fn codes(
        &mut self,
        backend: &B,
        layout: &Layout,
        slot: Slot,
        row: usize,
        (dtype, codes, scales): (WeightDtype, &[i8], &[f32]),
    ) -> Result<bool> {
        let (id, first) = rows_of(slot)?;
        let is_levels = self.levels_of(layout, id).is_some();
        let is_merged = self.is_merged(id, first + row);
        let matrix = self.matrix(backend, layout, id)?;
        if backend.dtype(matrix) == dtype && !is_levels && !is_merged {
            backend.set_codes(matrix, first + row, codes, scales);
            self.pick(layout, id, first + row, |cpu, one| {
                cpu.set_codes(one, 0, codes, scales);
            })?;
            return Ok(true);
        }
        self.decoded(backend, layout, slot, row, codes, scales)?;
        Ok(false)
    }

    /// As [`Self::codes`], for codes of 8 bits that were stored as levels.
    pub fn levels(
        &mut self,
        backend: &B,
        layout: &Layout,
        slot: Slot,
        row: usize,
        codes: &[i8],
        scales: &[f32],
    ) -> Result<bool> {
        let (id, first) = rows_of(slot)?;
        let levels = self.levels_of(layout, id);
        let is_merged = self.is_merged(id, first + row);
        let matrix = self.matrix(backend, layout, id)?;
        if backend.dtype(matrix) == WeightDtype::Q8
            && !is_merged
            && levels.is_none_or(|levels| levels.has_all(codes))
        {
            backend.set_codes(matrix, first + row, codes, scales);
            return Ok(true);
        }
        self.decoded(backend, layout, slot, row, codes, scales)?;
        Ok(false)
    }

    /// Whether the adapter changes a row.
    fn is_merged(&self, id: MatrixId, row: usize) -> bool {
        let merge = self.merge.as_ref();
        merge.is_some_and(|merge| merge.covers(id, row))
    }

    /// Stores one row that is quantised in our own grid, decoded.
    fn decoded(
        &mut self,
        backend: &B,
        layout: &Layout,
        slot: Slot,
        row: usize,
        codes: &[i8],
        scales: &[f32],
    ) -> Result<()> {
        let (id, _) = rows_of(slot)?;
        let groups = codes.chunks(GROUP).zip(scales);
        let mut values: Vec<f32> = groups
            .flat_map(|(codes, scale)| codes.iter().map(move |code| f32::from(*code) * scale))
            .collect();
        cpu::rotate(&mut values);
        values.truncate(layout.matrices[id].columns);
        self.row(backend, layout, slot, row, &values)
    }
}

/// The matrix and its first row that a quantised tensor is for.
fn rows_of(slot: Slot) -> Result<(MatrixId, usize)> {
    match slot {
        Slot::Rows { matrix, first } => Ok((matrix, first)),
        _ => Err(Error::UnsupportedModel("a vector is quantised".to_owned())),
    }
}

/// Adds values, if there is memory for them.
fn extend(all: &mut Vec<f32>, values: &[f32]) -> Result<()> {
    all.try_reserve(values.len())
        .map_err(|_| Error::OutOfMemory {
            bytes: size_of_val(values),
        })?;
    all.extend_from_slice(values);
    Ok(())
}
