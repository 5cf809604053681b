//! The files of a saved model: which bytes they consist of, row by row, and the headers of
//! safetensors.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};

use crate::backend::cpu::CpuMatrix;
use crate::model::transformer::layout::{MatrixId, VectorId};
use crate::model::transformer::static_table::TableId;
use crate::weights::quantized::levels::Levels;
use crate::weights::quantized::own_grid::TensorSpec;

/// A file of a saved model. [`Model::read_saved`](crate::Model::read_saved) makes its bytes.
#[derive(Debug)]
pub struct SavedFile {
    /// Path in the folder.
    pub path: String,
    /// Bytes.
    pub size: u64,
    pub(super) segments: Vec<Segment>,
    copy: Mutex<Option<MatrixCopy>>,
}

/// A copy of a matrix that only a GPU stores. It belongs to a [`SavedFile`] that is being read.
pub(super) type MatrixCopy = (MatrixId, Arc<CpuMatrix>);

/// Consecutive bytes of a file, in rows of the same size.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub source: Source,
    pub rows: usize,
    pub row_bytes: usize,
}

/// What bytes are made from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Bytes that are in memory, as one row.
    Bytes(Arc<Vec<u8>>),
    /// Codes of a matrix, from this row on.
    Codes(MatrixId, usize),
    /// Scales of a matrix, from this row on.
    Scales(MatrixId, usize),
    /// Codes of a matrix as indices of these levels, from this row on.
    Levels(MatrixId, usize, &'static Levels),
    /// Scales of such a matrix, from this row on.
    LevelScales(MatrixId, usize),
    /// Rows of a floating-point matrix in BF16, from this row on.
    Halves(MatrixId, usize),
    /// Rows of a matrix in f32, from this row on.
    Rows(MatrixId, usize),
    /// Elements of a vector, from this element on, as one row.
    Elements(VectorId, usize),
    /// Rows of a static table, as they are held.
    Table(TableId),
}

impl Segment {
    /// Bytes that are in memory.
    pub fn bytes(bytes: impl Into<Arc<Vec<u8>>>) -> Self {
        let bytes = bytes.into();
        Self {
            rows: 1,
            row_bytes: bytes.len(),
            source: Source::Bytes(bytes),
        }
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.rows as u64 * self.row_bytes as u64
    }
}

/// A tensor of a safetensors file.
pub(super) struct SavedTensor {
    pub name: String,
    /// Element type in safetensors' spelling.
    dtype: &'static str,
    shape: Vec<usize>,
    segment: Segment,
}

impl SavedTensor {
    /// A tensor whose rows are made from `source`.
    pub fn new((name, dtype, shape): TensorSpec, source: Source) -> Self {
        let (rows, width) = match shape[..] {
            [] => (1, 1),
            [ref outer @ .., width] => (outer.iter().product(), width),
        };
        let element = match dtype {
            "I8" | "U8" => 1,
            "F16" | "BF16" => 2,
            _ => 4,
        };
        Self {
            name,
            dtype,
            shape,
            segment: Segment {
                source,
                rows,
                row_bytes: width * element,
            },
        }
    }

    /// A tensor whose bytes are in memory.
    pub fn bytes((name, dtype, shape): TensorSpec, bytes: Vec<u8>) -> Self {
        Self {
            name,
            dtype,
            shape,
            segment: Segment::bytes(bytes),
        }
    }

    /// Elements of a vector, from `first` on.
    pub fn vector(name: String, shape: &[usize], vector: VectorId, first: usize) -> Self {
        let spec = (name, "F32", shape.to_vec());
        let mut tensor = Self::new(spec, Source::Elements(vector, first));
        let segment = &mut tensor.segment;
        (segment.rows, segment.row_bytes) = (1, segment.rows * segment.row_bytes);
        tensor
    }

    /// An upper bound of the bytes of the tensor and of its entry in the header.
    fn size(&self) -> u64 {
        /// Names of fields, punctuation, four numbers.
        const FIELDS: usize = 160;
        self.segment.size() + (self.name.len() + FIELDS) as u64
    }
}

impl SavedFile {
    /// A file of these segments.
    pub(super) fn new(path: String, segments: Vec<Segment>) -> Self {
        Self {
            path,
            size: segments.iter().map(Segment::size).sum(),
            segments,
            copy: Mutex::default(),
        }
    }

    /// The copy of the matrix that was read last.
    pub(super) fn copy(&self) -> MutexGuard<'_, Option<MatrixCopy>> {
        self.copy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The matrices that `len` bytes from `offset` on come from.
    pub(super) fn matrices(&self, offset: u64, len: usize) -> Vec<MatrixId> {
        let (mut start, end) = (0, offset + len as u64);
        let mut ids = Vec::new();
        for segment in &self.segments {
            let from = start;
            start += segment.size();
            if let Source::Codes(id, _)
            | Source::Scales(id, _)
            | Source::Levels(id, ..)
            | Source::LevelScales(id, _)
            | Source::Halves(id, _)
            | Source::Rows(id, _) = segment.source
                && from < end
                && offset < start
                && !ids.contains(&id)
            {
                ids.push(id);
            }
        }
        ids
    }

    /// A safetensors file of these tensors.
    fn safetensors(path: String, tensors: Vec<SavedTensor>) -> Self {
        let mut header = Map::new();
        header.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
        let mut end = 0;
        for tensor in &tensors {
            let start = end;
            end += tensor.segment.size();
            header.insert(
                tensor.name.clone(),
                json!({ "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, end] }),
            );
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        // Data begin at a multiple of eight bytes, so that readers can map them.
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.append(&mut header);
        let segments = tensors.into_iter().map(|tensor| tensor.segment);
        let header = std::iter::once(Segment::bytes(bytes));
        Self::new(path, header.chain(segments).collect())
    }

    /// The weight file at `path`, or its shards of at most `shard` bytes and their index.
    pub(super) fn weights(path: &str, tensors: Vec<SavedTensor>, shard: Option<u64>) -> Vec<Self> {
        /// An upper bound of a header without tensors.
        const HEADER: u64 = 64;
        let mut shards: Vec<Vec<SavedTensor>> = vec![Vec::new()];
        let mut size = HEADER;
        for tensor in tensors {
            if shard.is_some_and(|most| size + tensor.size() > most) {
                shards.push(Vec::new());
                size = HEADER;
            }
            size += tensor.size();
            if let Some(last) = shards.last_mut() {
                last.push(tensor);
            }
        }
        shards.retain(|tensors| !tensors.is_empty());
        let count = shards.len();
        if count <= 1 {
            let one = shards.pop().unwrap_or_default();
            return vec![Self::safetensors(path.to_owned(), one)];
        }
        let stem = path.strip_suffix(".safetensors").unwrap_or(path);
        let (mut map, mut total, mut files) = (Map::new(), 0, Vec::new());
        for (number, tensors) in shards.into_iter().enumerate() {
            let path = format!("{stem}-{:05}-of-{count:05}.safetensors", number + 1);
            let name = path.rsplit('/').next().unwrap_or(&path);
            for tensor in &tensors {
                map.insert(tensor.name.clone(), json!(name));
                total += tensor.segment.size();
            }
            files.push(Self::safetensors(path, tensors));
        }
        let index = json!({ "metadata": { "total_size": total }, "weight_map": map });
        let index = Segment::bytes(index.to_string().into_bytes());
        files.push(Self::new(format!("{path}.index.json"), vec![index]));
        files
    }
}
