//! A loaded model → a folder that loads as it is: packed codes and scales are written, so that nothing is quantised again
//! and the vectors are the same bits.
//!
//! Weights are safetensors. Quantised matrices are written in [`own_grid`]; unquantised tensors are f32.
//!
//! A file's bytes are made on demand, at any offset, from the packed weights: saving takes no memory.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::backend::either::Either;
use crate::backend::{Backend, GROUP, WeightDtype};
use crate::error::{Error, Result};
use crate::model::embedder::Embedder;
use crate::model::families::config::Config;
use crate::model::load::checkpoint::{Tensor, table};
use crate::model::load::kind::Kind;
use crate::model::transformer::layout::{Encoder, MatrixId, Slot, VectorId};
use crate::model::transformer::route::{AnyEncoder, Body, Road};
use crate::model::transformer::static_table::TableId;
use crate::weights;
use crate::weights::quantized::own_grid::{self, Module, TensorSpec};

/// Where config.json says what is ours alone.
const MARKER: &str = "gossamer";

/// What the config of a saved model says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model) struct Marker {
    /// What it was saved as.
    pub dtype: WeightDtype,
    /// Hash of the weights that it was made of.
    pub fingerprint: u64,
    /// The kind that the caller insisted on.
    pub kind: Option<Kind>,
}

impl Marker {
    /// From a `config.json`, if the model was saved by us.
    pub fn read(config: &Config) -> Result<Option<Self>> {
        let Some(marker) = config.get(MARKER) else {
            return Ok(None);
        };
        let text = |field: &str| marker.get(field).and_then(Value::as_str);
        let dtype = text("dtype").and_then(WeightDtype::from_name);
        let fingerprint = text("fingerprint").and_then(|text| u64::from_str_radix(text, 16).ok());
        match (dtype, fingerprint) {
            (Some(dtype), Some(fingerprint)) => Ok(Some(Self {
                dtype,
                fingerprint,
                kind: text("kind").map(Kind::from_name).transpose()?,
            })),
            _ => Err(config.wrong(
                MARKER,
                "an object with dtype and fingerprint, as `save` writes it",
            )),
        }
    }
}

/// What a model was loaded from, as far as saving needs it.
#[derive(Default)]
pub struct Origin {
    /// Small files, by path.
    pub files: BTreeMap<String, Arc<Vec<u8>>>,
    /// Paths of weight files.
    pub weights: Vec<String>,
    /// What was in them.
    pub tensors: Vec<Tensor>,
    /// Matrices that another stands in for: file, name, and the other.
    pub tied: Vec<(usize, String, MatrixId)>,
}

/// The files of a saved model; [`Embedder::read_saved`] gives their bytes.
#[derive(Debug)]
pub struct SavedFile {
    /// Path in the folder.
    pub path: String,
    /// Bytes.
    pub size: u64,
    parts: Vec<Part>,
}

/// Some bytes of a file, in rows.
#[derive(Clone, Debug)]
struct Part {
    source: Source,
    rows: usize,
    row_bytes: usize,
}

/// Where they come from.
#[derive(Clone, Debug)]
enum Source {
    /// Made already.
    Bytes(Arc<Vec<u8>>),
    /// Codes of a matrix, from a row on.
    Codes(MatrixId, usize),
    /// Their scales.
    Scales(MatrixId, usize),
    /// Rows of a matrix in f32, from one on.
    Rows(MatrixId, usize),
    /// Elements of a vector, from one on.
    Elements(VectorId, usize),
    /// Rows of a static table, as they are held.
    Table(TableId),
}

/// A tensor that is to be written.
struct Entry {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
    part: Part,
}

impl Part {
    fn bytes(bytes: impl Into<Arc<Vec<u8>>>) -> Self {
        let bytes = bytes.into();
        Self {
            rows: 1,
            row_bytes: bytes.len(),
            source: Source::Bytes(bytes),
        }
    }

    fn size(&self) -> u64 {
        self.rows as u64 * self.row_bytes as u64
    }
}

impl SavedFile {
    fn new(path: String, parts: Vec<Part>) -> Self {
        Self {
            path,
            size: parts.iter().map(Part::size).sum(),
            parts,
        }
    }

    /// A safetensors file of `entries`.
    fn safetensors(path: String, entries: Vec<Entry>) -> Self {
        let mut header = Map::new();
        header.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
        let mut end = 0;
        for entry in &entries {
            let start = end;
            end += entry.part.size();
            header.insert(
                entry.name.clone(),
                json!({ "dtype": entry.dtype, "shape": entry.shape, "data_offsets": [start, end] }),
            );
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        // Data begin at a multiple of eight bytes: readers map them as they are.
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.append(&mut header);
        let parts = entries.into_iter().map(|entry| entry.part);
        Self::new(
            path,
            std::iter::once(Part::bytes(bytes)).chain(parts).collect(),
        )
    }
}

impl Entry {
    /// Bytes of it and of its place in the header, at most.
    fn size(&self) -> u64 {
        /// Names of fields, punctuation, four numbers.
        const FIELDS: usize = 160;
        self.part.size() + (self.name.len() + FIELDS) as u64
    }
}

impl Embedder<Either> {
    /// As [`Embedder::read_saved`], where only a GPU has the weights, too: they come back a matrix at a time.
    pub async fn fetch_saved(
        &self,
        file: &SavedFile,
        offset: u64,
        out: &mut [u8],
    ) -> Result<usize> {
        loop {
            let read = self.fill(file, offset, out);
            let matrices = self.weights.matrices.iter().flatten();
            if !self.backend().bring_back(matrices).await? {
                return Ok(read);
            }
        }
    }
}

impl<B: Backend> Embedder<B> {
    /// The files of a folder that loads as this model in the dtype that it has now, without being quantised again: its
    /// vectors are the same bits. `shard` is the most bytes of a file, if there is a limit; weights are cut to keep it.
    pub fn save(&self, shard: Option<u64>) -> Result<Vec<SavedFile>> {
        if self.routes.iter().any(|route| route.road() == Road::Candle) {
            return Err(Error::UnsupportedModel(
                "a model that candle-transformers runs is in f32 as it is, and cannot be saved; use the original files"
                    .to_owned(),
            ));
        }
        if self.origin.files.is_empty() {
            return Err(Error::input(
                "saveable",
                "the model was not loaded to be saved: its small files have not been kept; load it with `saveable: true`",
            ));
        }
        let mut files = Vec::new();
        let mut small = self.origin.files.clone();
        for (index, path) in self.origin.weights.iter().enumerate() {
            let tensors = self.origin.tensors.iter();
            let tensors: Vec<&Tensor> = tensors.filter(|tensor| tensor.file == index).collect();
            let encoder = self.encoder(&tensors);
            let (entries, modules) = self.entries(index, &tensors, encoder);
            let config = format!("{}config.json", weights::folder(path));
            if let (Some(_), Some(bytes)) = (encoder, small.get_mut(&config)) {
                *bytes = Arc::new(self.config(&config, bytes, &modules)?);
            }
            // torch's files become safetensors, too.
            let path = path
                .strip_suffix(".pt")
                .map_or_else(|| path.clone(), |stem| format!("{stem}.safetensors"));
            files.append(&mut weight_files(&path, entries, shard));
        }
        let small = small
            .into_iter()
            .map(|(path, bytes)| SavedFile::new(path, vec![Part::bytes(bytes)]));
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

    /// The bytes of a file of [`Embedder::save`] from `offset` on, as many as fit in `out`; the answer is how many these
    /// are.
    pub fn read_saved(&self, file: &SavedFile, offset: u64, out: &mut [u8]) -> Result<usize> {
        let read = self.fill(file, offset, out);
        self.backend().check_read()?;
        Ok(read)
    }

    fn fill(&self, file: &SavedFile, offset: u64, out: &mut [u8]) -> usize {
        let (mut start, mut filled) = (0, 0);
        for part in &file.parts {
            let end = start + part.size();
            while filled < out.len() && (start..end).contains(&(offset + filled as u64)) {
                let at = offset + filled as u64 - start;
                let (row, skip) = (at / part.row_bytes as u64, at % part.row_bytes as u64);
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "of a part that is in memory"
                )]
                let (row, skip) = (row as usize, skip as usize);
                let bytes = self.row_of(part, row);
                let taken = (part.row_bytes - skip).min(out.len() - filled);
                out[filled..filled + taken].copy_from_slice(&bytes[skip..skip + taken]);
                filled += taken;
            }
            start = end;
        }
        filled
    }

    /// Row number `row` of a part.
    fn row_of<'a>(&self, part: &'a Part, row: usize) -> Cow<'a, [u8]> {
        let floats = |values: &[f32]| -> Vec<u8> {
            values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect()
        };
        match part.source {
            Source::Bytes(ref bytes) => return bytes.as_slice().into(),
            Source::Codes(id, first) => self.codes_of(id, first + row).0,
            Source::Scales(id, first) => floats(&self.codes_of(id, first + row).1),
            Source::Rows(id, first) => {
                let mut values = vec![0.0; part.row_bytes / 4];
                self.backend()
                    .row(self.weights.matrix(id), first + row, &mut values);
                floats(&values)
            }
            Source::Table(id) => self.weights.tables[id].row_bytes(row),
            Source::Elements(id, first) => {
                floats(&self.weights.vector(id)[first..][..part.row_bytes / 4])
            }
        }
        .into()
    }

    /// A row of a matrix: codes as they are stored, and scales.
    fn codes_of(&self, id: MatrixId, row: usize) -> (Vec<u8>, Vec<f32>) {
        let matrix = self.weights.matrix(id);
        let groups = self.backend().columns(matrix).div_ceil(GROUP);
        let (mut codes, mut scales) = (vec![0; groups * GROUP], vec![0.0; groups]);
        self.backend().codes(matrix, row, &mut codes, &mut scales);
        let bytes = own_grid::bytes(self.backend().dtype(matrix), codes);
        (bytes, scales)
    }

    /// The encoder that is in a file of these tensors.
    fn encoder(&self, tensors: &[&Tensor]) -> Option<&Encoder> {
        self.routes.iter().find_map(|route| match &route.body {
            Body::Transformer(transformer) => match &transformer.encoder {
                AnyEncoder::Native { encoder, .. } => {
                    let words = Slot::Rows {
                        matrix: encoder.word_embeddings,
                        first: 0,
                    };
                    tensors
                        .iter()
                        .any(|tensor| tensor.slot == words)
                        .then_some(encoder)
                }
                #[cfg(not(target_arch = "wasm32"))]
                AnyEncoder::Candle { .. } => None,
            },
            Body::Static(_) | Body::Table { .. } => None,
        })
    }

    /// The tensors of a static table, as it is held. Larger elements come first.
    fn table_entries(&self, id: TableId) -> Vec<Entry> {
        let table = &self.weights.tables[id];
        let [rows, columns] = table.shape();
        let entry = |name: &str, dtype, shape: Vec<usize>, part| Entry {
            name: name.to_owned(),
            dtype,
            shape,
            part,
        };
        let list = |name: &str, values: &[f32], shape| {
            let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            entry(name, "F32", shape, Part::bytes(bytes))
        };
        // Plain integers, mapping and weights are read in model2vec's files alone.
        let is_plain = table.dtype() == WeightDtype::Q8 && table.scales().is_none();
        let is_model2vec = is_plain || table.mapping().is_some() || table.weights().is_some();
        let name = table::VECTORS[usize::from(is_model2vec)];
        let mut entries = Vec::new();
        if let Some(mapping) = table.mapping() {
            let bytes: Vec<u8> = mapping
                .iter()
                .flat_map(|row| u64::from(*row).to_le_bytes())
                .collect();
            let shape = vec![mapping.len()];
            entries.push(entry(table::MAPPING, "I64", shape, Part::bytes(bytes)));
        }
        if let Some(weights) = table.weights() {
            entries.push(list(table::WEIGHTS, weights, vec![weights.len()]));
        }
        if let Some(scales) = table.scales() {
            entries.push(list(&[name, table::SCALES].concat(), scales, vec![rows, 1]));
        }
        let (dtype, size) = match table.dtype() {
            WeightDtype::F32 => ("F32", 4),
            WeightDtype::F16 => ("F16", 2),
            WeightDtype::Q8 | WeightDtype::Q4 => ("I8", 1),
        };
        let part = Part {
            source: Source::Table(id),
            rows,
            row_bytes: columns * size,
        };
        entries.push(entry(name, dtype, vec![rows, columns], part));
        entries
    }

    /// What a file is to hold, and the modules whose weights are codes.
    fn entries(
        &self,
        file: usize,
        tensors: &[&Tensor],
        encoder: Option<&Encoder>,
    ) -> (Vec<Entry>, Vec<Module>) {
        // The shapes come first, so that all others are at multiples of their elements' sizes.
        let (mut shapes, mut entries, mut modules) = (Vec::new(), Vec::new(), Vec::new());
        let entry = |(name, dtype, shape): TensorSpec, source: Source| {
            let (rows, width) = match shape[..] {
                [] => (1, 1),
                [ref outer @ .., width] => (outer.iter().product(), width),
            };
            let size = if dtype == "I8" { 1 } else { 4 };
            let row_bytes = width * size;
            let part = Part {
                source,
                rows,
                row_bytes,
            };
            Entry {
                name,
                dtype,
                shape,
                part,
            }
        };
        let scales = |module: &str, id: MatrixId, first: usize, rows: usize| {
            let groups = self
                .backend()
                .columns(self.weights.matrix(id))
                .div_ceil(GROUP);
            let tensor = own_grid::scales_tensor(module, rows, groups);
            (groups, entry(tensor, Source::Scales(id, first)))
        };
        for tensor in tensors {
            let name = format!("{}{}", tensor.prefix, tensor.name);
            let (id, first) = match tensor.slot {
                Slot::Rows { matrix, first } => (matrix, first),
                Slot::Elements { vector, first } => {
                    let elements: usize = tensor.shape.iter().product();
                    let values = (name, "F32", tensor.shape.clone());
                    let mut entry = entry(values, Source::Elements(vector, first));
                    (entry.part.rows, entry.part.row_bytes) = (1, elements * 4);
                    entries.push(entry);
                    continue;
                }
                Slot::Table { table } => {
                    entries.extend(self.table_entries(table));
                    continue;
                }
                Slot::Whole { .. } => continue,
            };
            let dtype = self.backend().dtype(self.weights.matrix(id));
            let module = name.strip_suffix(".weight");
            let (Some(module), [rows, _]) =
                (module.filter(|_| dtype.is_codes()), &tensor.shape[..])
            else {
                let values = (name, "F32", tensor.shape.clone());
                entries.push(entry(values, Source::Rows(id, first)));
                continue;
            };
            let (groups, scales) = scales(module, id, first, *rows);
            entries.push(scales);
            if let Some((shape, bytes)) = own_grid::shape_tensor(module, dtype, *rows, groups) {
                let (name, dtype, shape) = shape;
                shapes.push(Entry {
                    name,
                    dtype,
                    shape,
                    part: Part::bytes(bytes),
                });
            }
            let codes = own_grid::codes_tensor(module, dtype, *rows, groups);
            entries.push(entry(codes, Source::Codes(id, first)));
            let is_table = encoder.is_some_and(|encoder| encoder.word_embeddings == id);
            modules.push(Module::new(&tensor.name, dtype, is_table));
        }
        // A decoder whose codes are those of the embeddings: Python ties the codes, and wants scales for both.
        for (_, name, id) in self.origin.tied.iter().filter(|(other, ..)| *other == file) {
            let matrix = self.weights.matrix(*id);
            let dtype = self.backend().dtype(matrix);
            if let Some(module) = name.strip_suffix(".weight").filter(|_| dtype.is_codes()) {
                let rows = self.backend().rows(matrix);
                entries.push(scales(module, *id, 0, rows).1);
                modules.push(Module::new(name, dtype, false));
            }
        }
        shapes.append(&mut entries);
        (shapes, modules)
    }

    /// The config of a saved encoder.
    fn config(&self, path: &str, bytes: &[u8], modules: &[Module]) -> Result<Vec<u8>> {
        let mut config = Config::parse(path, bytes)?.into_fields();
        // What the model was quantised with before, and what MLX calls it.
        for field in ["quantization_config", "quantization", "torch_dtype", MARKER] {
            config.remove(field);
        }
        // All that is no codes; else scales would be rounded as they are read.
        config.insert("dtype".to_owned(), json!("float32"));
        if !modules.is_empty() {
            config.insert(
                "quantization_config".to_owned(),
                own_grid::quantization_config(modules),
            );
        }
        let info = self.info();
        // Else the weights are those of the original.
        if info.dtype != WeightDtype::F32 {
            let fingerprint = format!("{:016x}", info.fingerprint);
            let mut marker = json!({ "dtype": info.dtype.name(), "fingerprint": fingerprint });
            if let Some(kind) = info.kind {
                marker["kind"] = kind.name().into();
            }
            config.insert(MARKER.to_owned(), marker);
        }
        let text = serde_json::to_string_pretty(&Value::Object(config));
        let text = text.map_err(|error| Error::Internal(error.to_string()))?;
        Ok((text + "\n").into_bytes())
    }
}

/// The weight file at `path`, or its shards and their index.
fn weight_files(path: &str, entries: Vec<Entry>, shard: Option<u64>) -> Vec<SavedFile> {
    /// Of a header without tensors, at most.
    const HEADER: u64 = 64;
    let mut shards: Vec<Vec<Entry>> = vec![Vec::new()];
    let mut size = HEADER;
    for entry in entries {
        if shard.is_some_and(|most| size + entry.size() > most) {
            shards.push(Vec::new());
            size = HEADER;
        }
        size += entry.size();
        if let Some(last) = shards.last_mut() {
            last.push(entry);
        }
    }
    shards.retain(|entries| !entries.is_empty());
    let count = shards.len();
    if count <= 1 {
        let one = shards.pop().unwrap_or_default();
        return vec![SavedFile::safetensors(path.to_owned(), one)];
    }
    let stem = path.strip_suffix(".safetensors").unwrap_or(path);
    let (mut map, mut total, mut files) = (Map::new(), 0, Vec::new());
    for (number, entries) in shards.into_iter().enumerate() {
        let path = format!("{stem}-{:05}-of-{count:05}.safetensors", number + 1);
        let name = path.rsplit('/').next().unwrap_or(&path);
        for entry in &entries {
            map.insert(entry.name.clone(), json!(name));
            total += entry.part.size();
        }
        files.push(SavedFile::safetensors(path, entries));
    }
    let index = json!({ "metadata": { "total_size": total }, "weight_map": map });
    let index = Part::bytes(index.to_string().into_bytes());
    files.push(SavedFile::new(format!("{path}.index.json"), vec![index]));
    files
}
