//! Saves a loaded model as a folder that loads without being quantised again, so that its vectors
//! are the same bits.
//!
//! Weights are safetensors. Quantised matrices are written in [`own_grid`], those of a model in q6
//! in [`levels`], static tables as they are held. Unquantised tensors are f32.
//!
//! The bytes of a file are made on demand, from any offset, from the packed weights: saving takes
//! no memory for them.

use std::borrow::Cow;
use std::sync::Arc;

use crate::backend::cpu::CpuMatrix;
use crate::backend::either::Either;
use crate::backend::{Backend, GROUP, WeightDtype};
use crate::error::{Error, Result};
use crate::model::load::saved_config;
pub use crate::model::load::saved_file::SavedFile;
use crate::model::load::saved_file::{MatrixCopy, SavedTensor, Segment, Source};
use crate::model::load::table;
use crate::model::loaded::{Model, Tensor};
use crate::model::transformer::layout::{Encoder, MatrixId, Slot};
use crate::model::transformer::route::Body;
use crate::model::transformer::static_table::TableId;
use crate::weights;
use crate::weights::quantized::levels;
use crate::weights::quantized::own_grid::{self, Module};

/// What a weight file is to hold.
#[derive(Default)]
struct Contents {
    /// Shapes of 4-bit matrices. They come first in the file, so that all tensors begin at
    /// multiples of their elements' sizes.
    shapes: Vec<SavedTensor>,
    /// All other tensors.
    tensors: Vec<SavedTensor>,
    /// The modules whose weights are codes.
    modules: Vec<Module>,
}

impl Model<Either> {
    /// As [`Model::read_saved`], also where only a GPU stores the weights: the matrices that these
    /// bytes come from are copied to host memory. The file keeps the last copy, since the next
    /// bytes mostly come from the same matrix.
    pub async fn fetch_saved(
        &self,
        file: &SavedFile,
        offset: u64,
        out: &mut [u8],
    ) -> Result<usize> {
        let mut copies: Vec<MatrixCopy> = Vec::new();
        for id in file.matrices(offset, out.len()) {
            let matrix = self.weights.matrix(id);
            if self.backend().on_host(matrix).is_ok() {
                continue;
            }
            let last = file.copy().clone().filter(|(of, _)| *of == id);
            let copy = match last {
                Some((_, copy)) => copy,
                None => Arc::new(self.backend().fetch(matrix).await?),
            };
            *file.copy() = Some((id, Arc::clone(&copy)));
            copies.push((id, copy));
        }
        let read = fill(file, offset, out, |segment, row| {
            self.row_of(segment, row, |id| {
                let copy = copies.iter().find(|(of, _)| *of == id);
                match copy {
                    Some((_, copy)) => Ok(&**copy),
                    None => self.backend().on_host(self.weights.matrix(id)),
                }
            })
        })?;
        if offset + read as u64 >= file.size {
            *file.copy() = None;
        }
        Ok(read)
    }
}

impl<B: Backend> Model<B> {
    /// The files of a folder that loads as this model in the dtype that it has now, without being
    /// quantised again: its vectors are the same bits. `shard` is the largest size of a file in
    /// bytes; weights are split into shards to keep it.
    pub fn save(&self, shard: Option<u64>) -> Result<Vec<SavedFile>> {
        self.saved_files(shard, false)
    }

    /// As [`Model::save`], but without what the options of loading changed: the folder loads as
    /// this model with the same options. For caches of models.
    pub fn save_original(&self, shard: Option<u64>) -> Result<Vec<SavedFile>> {
        self.saved_files(shard, true)
    }

    fn saved_files(&self, shard: Option<u64>, original: bool) -> Result<Vec<SavedFile>> {
        if self.origin.files.is_empty() {
            return Err(Error::input(
                "saveable",
                "the model was not loaded to be saved: its small files have not been kept; load it with `saveable: true`",
            ));
        }
        let mut files = Vec::new();
        let mut small = self.origin.files.clone();
        for (path, bytes) in self.origin.replaced.iter().filter(|_| !original) {
            match bytes {
                Some(bytes) => small.insert(path.clone(), Arc::clone(bytes)),
                None => small.remove(path),
            };
        }
        for (index, path) in self.origin.weights.iter().enumerate() {
            let tensors = self.origin.tensors.iter();
            let tensors: Vec<&Tensor> = tensors.filter(|tensor| tensor.file == index).collect();
            let encoder = self.encoder(&tensors);
            let mut contents = self.contents(index, &tensors, encoder);
            let config = format!("{}config.json", weights::folder(path));
            if let (Some(_), Some(bytes)) = (encoder, small.get_mut(&config)) {
                let new = saved_config::config(&config, bytes, &contents.modules, self.info())?;
                *bytes = Arc::new(new);
            }
            // torch's files become safetensors, too.
            let path = path
                .strip_suffix(".pt")
                .map_or_else(|| path.clone(), |stem| format!("{stem}.safetensors"));
            contents.shapes.append(&mut contents.tensors);
            files.append(&mut SavedFile::weights(&path, contents.shapes, shard));
        }
        let small = small
            .into_iter()
            .map(|(path, bytes)| SavedFile::new(path, vec![Segment::bytes(bytes)]));
        files.extend(small);
        match files
            .iter()
            .find(|file| shard.is_some_and(|most| file.size > most))
        {
            Some(file) => Err(Error::input(
                "shard",
                format!(
                    "{} takes {} bytes: no tensor is cut, so that the limit for a file must be at least that",
                    file.path, file.size
                ),
            )),
            None => Ok(files),
        }
    }

    /// Reads the bytes of a file of [`Model::save`] from `offset` on, as many as fit in `out`, and
    /// returns how many these are. Errors if only a GPU stores the weights: see
    /// [`Model::fetch_saved`].
    pub fn read_saved(&self, file: &SavedFile, offset: u64, out: &mut [u8]) -> Result<usize> {
        fill(file, offset, out, |segment, row| {
            self.row_of(segment, row, |id| {
                self.backend().on_host(self.weights.matrix(id))
            })
        })
    }

    /// The bytes of row `row` of a segment. `matrix` gives matrices in host memory.
    fn row_of<'a, 'm>(
        &self,
        segment: &'a Segment,
        row: usize,
        matrix: impl Fn(MatrixId) -> Result<&'m CpuMatrix>,
    ) -> Result<Cow<'a, [u8]>> {
        Ok(match segment.source {
            Source::Bytes(ref bytes) => return Ok(bytes.as_slice().into()),
            Source::Codes(id, first) => stored_codes(matrix(id)?, first + row).0,
            Source::Scales(id, first) => floats(&stored_codes(matrix(id)?, first + row).1),
            Source::Levels(id, first, levels) => levels.pack(&codes_of(matrix(id)?, first + row).0),
            Source::LevelScales(id, first) => levels::halves(&codes_of(matrix(id)?, first + row).1),
            Source::Rows(id, first) => {
                let mut values = vec![0.0; segment.row_bytes / 4];
                matrix(id)?.row(first + row, &mut values);
                floats(&values)
            }
            Source::Halves(id, first) => {
                let mut values = vec![0.0; segment.row_bytes / 2];
                matrix(id)?.row(first + row, &mut values);
                levels::halves(&values)
            }
            Source::Table(id) => self.weights.tables[id].row_bytes(row),
            Source::Elements(id, first) => {
                floats(&self.weights.vector(id)[first..][..segment.row_bytes / 4])
            }
        }
        .into())
    }

    /// Groups in a row of a matrix.
    fn groups(&self, id: MatrixId) -> usize {
        let columns = self.backend().columns(self.weights.matrix(id));
        columns.div_ceil(GROUP)
    }

    /// The encoder that a file with these tensors holds, if it holds one.
    fn encoder(&self, tensors: &[&Tensor]) -> Option<&Encoder> {
        self.routes.iter().find_map(|route| match &route.body {
            Body::Transformer(transformer) => {
                let encoder = &*transformer.encoder;
                let words = Slot::Rows {
                    matrix: encoder.word_embeddings,
                    first: 0,
                };
                let mut slots = tensors.iter().map(|tensor| tensor.slot);
                slots.any(|slot| slot == words).then_some(encoder)
            }
            Body::Static(_) | Body::Table { .. } => None,
        })
    }

    /// What weight file number `file` is to hold.
    fn contents(&self, file: usize, tensors: &[&Tensor], encoder: Option<&Encoder>) -> Contents {
        let mut contents = Contents::default();
        for tensor in tensors {
            let name = format!("{}{}", tensor.prefix, tensor.name);
            match tensor.slot {
                Slot::Elements { vector, first } => {
                    let saved = SavedTensor::vector(name, &tensor.shape, vector, first);
                    contents.tensors.push(saved);
                }
                Slot::Rows { matrix, first } => {
                    let is_table = encoder.is_some_and(|encoder| encoder.word_embeddings == matrix);
                    self.add_rows(&mut contents, tensor, name, (matrix, first), is_table);
                }
                Slot::Table { table } => self.add_table(&mut contents, table),
                // Stacks are recorded as their matrices.
                Slot::Stack(_) => {}
            }
        }
        if self.info().dtype == WeightDtype::Q6 {
            return contents;
        }
        // A decoder that is tied to the embeddings has their codes. Python ties the codes, and
        // needs scales for both.
        for (_, name, id) in self.origin.tied.iter().filter(|(other, ..)| *other == file) {
            let matrix = self.weights.matrix(*id);
            let dtype = self.backend().dtype(matrix);
            if let Some(module) = name.strip_suffix(".weight").filter(|_| dtype.is_codes()) {
                let rows = self.backend().rows(matrix);
                let scales = own_grid::scales_tensor(module, rows, self.groups(*id));
                let scales = SavedTensor::new(scales, Source::Scales(*id, 0));
                contents.tensors.push(scales);
                contents.modules.push(Module::new(name, dtype, false));
            }
        }
        contents
    }

    /// Adds the tensors of a static table, as it is held. Larger elements come first.
    fn add_table(&self, contents: &mut Contents, id: TableId) {
        let table = &self.weights.tables[id];
        let [rows, columns] = table.shape();
        // Plain integers, mapping and weights are read in model2vec's files alone.
        let is_plain = table.dtype() == WeightDtype::Q8 && table.scales().is_none();
        let is_model2vec = is_plain || table.mapping().is_some() || table.weights().is_some();
        let name = table::VECTORS[usize::from(is_model2vec)];
        let tensors = &mut contents.tensors;
        if let Some(mapping) = table.mapping() {
            let rows = mapping.iter();
            let bytes: Vec<u8> = rows.flat_map(|row| u64::from(*row).to_le_bytes()).collect();
            let spec = (table::MAPPING.to_owned(), "I64", vec![mapping.len()]);
            tensors.push(SavedTensor::bytes(spec, bytes));
        }
        if let Some(weights) = table.weights() {
            let spec = (table::WEIGHTS.to_owned(), "F32", vec![weights.len()]);
            tensors.push(SavedTensor::bytes(spec, floats(weights)));
        }
        if let Some(scales) = table.scales() {
            let spec = ([name, table::SCALES].concat(), "F32", vec![rows, 1]);
            tensors.push(SavedTensor::bytes(spec, floats(scales)));
        }
        let dtype = match table.dtype() {
            WeightDtype::F32 => "F32",
            WeightDtype::F16 => "F16",
            WeightDtype::Q8 | WeightDtype::Q6 | WeightDtype::Q4 => "I8",
        };
        let spec = (name.to_owned(), dtype, vec![rows, columns]);
        tensors.push(SavedTensor::new(spec, Source::Table(id)));
    }

    /// Adds the rows of a matrix from `first` on that are one tensor: codes and scales, or f32 if
    /// it is not quantised.
    fn add_rows(
        &self,
        contents: &mut Contents,
        tensor: &Tensor,
        name: String,
        (id, first): (MatrixId, usize),
        is_table: bool,
    ) {
        let dtype = self.backend().dtype(self.weights.matrix(id));
        let module = name.strip_suffix(".weight").filter(|_| dtype.is_codes());
        let (Some(module), [rows, _]) = (module, &tensor.shape[..]) else {
            let (dtype, source) = if self.info().dtype == WeightDtype::Q6 {
                ("BF16", Source::Halves(id, first))
            } else {
                ("F32", Source::Rows(id, first))
            };
            let spec = (name, dtype, tensor.shape.clone());
            contents.tensors.push(SavedTensor::new(spec, source));
            return;
        };
        let groups = self.groups(id);
        let bits = self.origin.precisions[id].bits();
        if let (WeightDtype::Q6, Some(bits)) = (self.info().dtype, bits) {
            let levels = levels::levels(bits);
            let scales = levels::scales_tensor(module, *rows, groups);
            let scales = SavedTensor::new(scales, Source::LevelScales(id, first));
            let codes = levels::levels_tensor(module, levels, *rows, groups);
            let codes = SavedTensor::new(codes, Source::Levels(id, first, levels));
            contents.tensors.extend([scales, codes]);
            contents
                .modules
                .push(Module::new(&tensor.name, dtype, is_table));
            return;
        }
        let scales = own_grid::scales_tensor(module, *rows, groups);
        contents
            .tensors
            .push(SavedTensor::new(scales, Source::Scales(id, first)));
        if let Some((shape, bytes)) = own_grid::shape_tensor(module, dtype, *rows, groups) {
            contents.shapes.push(SavedTensor::bytes(shape, bytes));
        }
        let codes = own_grid::codes_tensor(module, dtype, *rows, groups);
        contents
            .tensors
            .push(SavedTensor::new(codes, Source::Codes(id, first)));
        let module = Module::new(&tensor.name, dtype, is_table);
        contents.modules.push(module);
    }
}

/// Fills `out` with the bytes of a file from `offset` on, and returns how many these are. `row_of`
/// gives the bytes of a row of a segment.
fn fill<'a>(
    file: &'a SavedFile,
    offset: u64,
    out: &mut [u8],
    row_of: impl Fn(&'a Segment, usize) -> Result<Cow<'a, [u8]>>,
) -> Result<usize> {
    let (mut start, mut filled) = (0, 0);
    for segment in &file.segments {
        let end = start + segment.size();
        while filled < out.len() && (start..end).contains(&(offset + filled as u64)) {
            let at = offset + filled as u64 - start;
            let row_bytes = segment.row_bytes as u64;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the segment is in memory, so its size fits"
            )]
            let (row, skip) = ((at / row_bytes) as usize, (at % row_bytes) as usize);
            let bytes = row_of(segment, row)?;
            let taken = (segment.row_bytes - skip).min(out.len() - filled);
            out[filled..filled + taken].copy_from_slice(&bytes[skip..skip + taken]);
            filled += taken;
        }
        start = end;
    }
    Ok(filled)
}

/// A row of an integer matrix: codes as files have them, and scales.
fn stored_codes(matrix: &CpuMatrix, row: usize) -> (Vec<u8>, Vec<f32>) {
    let (codes, scales) = codes_of(matrix, row);
    (own_grid::bytes(matrix.dtype(), codes), scales)
}

/// A row of an integer matrix: codes and scales.
fn codes_of(matrix: &CpuMatrix, row: usize) -> (Vec<i8>, Vec<f32>) {
    let groups = matrix.columns().div_ceil(GROUP);
    let (mut codes, mut scales) = (vec![0; groups * GROUP], vec![0.0; groups]);
    matrix.codes(row, &mut codes, &mut scales);
    (codes, scales)
}

/// Values as files have them.
fn floats(values: &[f32]) -> Vec<u8> {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    bytes.collect()
}
