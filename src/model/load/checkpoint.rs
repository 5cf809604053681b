//! Weight files → packed weights, while the bytes arrive.
//!
//! When a file's header is complete, every tensor that the model needs is looked up and checked, before any memory
//! is taken for it. Then each tensor goes, row by row, straight into its final form.

use std::collections::{BTreeMap, HashMap};

use crate::backend::{Backend, GROUP, WeightDtype, cpu};
use crate::error::{Error, Result};
use crate::model::load::fingerprint::Fingerprint;
use crate::model::load::kind;
use crate::model::load::save::Origin;
use crate::model::transformer::candle;
use crate::model::transformer::forward::Weights;
use crate::model::transformer::layout::{Layout, MatrixId, Slot, VectorId, Wanted, WeightFile};
use crate::weights::dtype::Dtype;
use crate::weights::gguf::{self, Block};
use crate::weights::onnx;
use crate::weights::quantized::{self, Found, Role, Row};
use crate::weights::rows::{Encoding, Rows};
use crate::weights::{Stream, TensorInfo, Visitor, invalid};

/// Names that an error message lists.
const LISTED: usize = 3;

/// Weights in the making.
pub struct Checkpoint<B: Backend> {
    layout: Layout,
    dtype: WeightDtype,
    weights: Weights<B>,
    /// Matrices that another one stands in for.
    tied: Vec<(MatrixId, MatrixId)>,
    collected: Vec<(usize, Collected)>,
    /// Matrices that files hold in several tensors.
    quantized: Vec<Quantized>,
    /// Whether all of those were in the grid that they are held in, so far.
    kept: bool,
    /// All that was found, for saving.
    tensors: Vec<Tensor>,
    /// Tensors that the model does not use and that may have an effect, and whether these may be left out.
    left_out: Vec<String>,
    insists: bool,
    /// What the model's files say that it is, if that is to be refused.
    foreign: Vec<String>,
    /// Block types that tensors are stored in, and of how many.
    blocks: Vec<(Block, usize)>,
    fingerprint: u64,
    /// How matrices of ONNX files are stored that are not stored as values.
    stored: Vec<String>,
    /// An ONNX file that has ended, whose tensors are in files beside it.
    unfinished: Option<Reading>,
}

/// A tensor of a file, and where its values went.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Index of its weight file.
    pub file: usize,
    /// What its name begins with, of the family's prefixes.
    pub prefix: &'static str,
    /// The rest of its name, in the family's own spelling.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Where its values are.
    pub slot: Slot,
}

/// A matrix that a file, or several shards of one, hold in several tensors.
struct Quantized {
    file: usize,
    slot: Slot,
    matrix: quantized::Matrix,
    hash: Fingerprint,
}

/// What a checkpoint has become.
pub struct Finished<B: Backend> {
    /// Packed weights.
    pub weights: Weights<B>,
    /// Matrices that others stand in for, as (replaced, stand-in).
    pub tied: Vec<(MatrixId, MatrixId)>,
    /// Tensors that were kept as they are, by the index of their file.
    pub collected: Vec<(usize, Collected)>,
    /// Hash of all values.
    pub fingerprint: u64,
    /// How matrices were quantised in the files, if any was.
    pub stored: Option<String>,
    /// Tensors that were left out though they may have an effect.
    pub left_out: Vec<String>,
    /// The weight files, and what was found in them.
    pub origin: Origin,
}

/// A tensor that was kept as it is.
pub struct Collected {
    /// Name in the file.
    pub name: String,
    /// Shape in the file.
    pub shape: Vec<usize>,
    /// Row by row.
    pub values: Vec<f32>,
}

/// One file that is being read.
pub struct Reading {
    index: usize,
    name: String,
    stream: Stream,
    targets: Vec<Option<Target>>,
    /// How many files beside it are left, once it has ended itself.
    beside: Option<usize>,
}

/// Where one tensor of the file goes.
enum Target {
    Plain(Plain),
    /// To the checkpoint's quantised matrix of that number
    Part(usize, Role),
}

/// A tensor that has values by itself.
struct Plain {
    slot: Slot,
    rows: Rows,
    hash: Fingerprint,
    tensor: String,
}

impl Reading {
    /// Size of the whole file, once its header has arrived.
    pub fn size(&self) -> Option<u64> {
        self.stream.size()
    }
}

impl<B: Backend> Checkpoint<B> {
    /// Nothing loaded yet.
    pub fn new(layout: Layout, dtype: WeightDtype) -> Self {
        let weights = Weights {
            matrices: layout.matrices.iter().map(|_| None).collect(),
            vectors: layout.vectors.iter().map(|_| Vec::new()).collect(),
        };
        Self {
            layout,
            dtype,
            weights,
            tied: Vec::new(),
            collected: Vec::new(),
            quantized: Vec::new(),
            kept: true,
            tensors: Vec::new(),
            left_out: Vec::new(),
            insists: false,
            foreign: Vec::new(),
            blocks: Vec::new(),
            fingerprint: 0,
            stored: Vec::new(),
            unfinished: None,
        }
    }

    /// Lets tensors be left out that the model has no use for.
    pub fn insist(&mut self) {
        self.insists = true;
    }

    /// Has the model refused for what its files say that it is, if they say anything, and for tensors that nothing uses.
    pub fn doubt(&mut self, foreign: Vec<String>) {
        self.foreign = foreign;
    }

    /// Takes note of tensors that the model has no use for, which is an error unless they may be left out.
    fn leave_out(&mut self, path: &str, names: &[&str]) -> Result<()> {
        if self.insists {
            self.left_out
                .extend(names.iter().map(|name| (*name).to_owned()));
            return Ok(());
        }
        let mut what = self.foreign.clone();
        if !names.is_empty() {
            what.push(format!(
                "one with tensors that nothing uses, {} in {path}",
                list(names)
            ));
        }
        if what.is_empty() {
            Ok(())
        } else {
            Err(kind::refuse(&what))
        }
    }

    /// Starts weight file number `index` of the layout, or the one of another `name` that stands in for it.
    pub fn begin(&mut self, index: usize, name: &str) -> Reading {
        if let Some(mut reading) = self.unfinished.take() {
            if let Stream::Onnx(stream) = &mut reading.stream {
                stream.go_on(name);
            }
            name.clone_into(&mut reading.name);
            return reading;
        }
        Reading {
            index,
            name: name.to_owned(),
            stream: Stream::new(name),
            targets: Vec::new(),
            beside: None,
        }
    }

    /// As [`Checkpoint::begin`], for a file that has been read up to its data.
    pub fn resume(index: usize, name: &str, stream: gguf::Stream) -> Reading {
        Reading {
            index,
            name: name.to_owned(),
            stream: Stream::Gguf(stream),
            targets: Vec::new(),
            beside: None,
        }
    }

    /// Takes note that a file is cut into shards: each tensor, and the path of its shard.
    pub fn cut(&mut self, index: usize, shards: Vec<(String, String)>) {
        self.layout.files[index].shards = shards;
    }

    /// Whether a file is cut into shards.
    pub fn is_cut(&self, index: usize) -> bool {
        !self.layout.files[index].shards.is_empty()
    }

    /// Fills a vector that comes from no weight file.
    pub fn set_vector(&mut self, id: VectorId, values: Vec<f32>) {
        let mut hash = Fingerprint::new("");
        hash.update(&values);
        self.fingerprint = self.fingerprint.wrapping_add(hash.0);
        self.weights.vectors[id] = values;
    }

    /// Takes the next bytes of a file.
    pub fn push(&mut self, backend: &B, reading: &mut Reading, bytes: &[u8]) -> Result<()> {
        let Reading {
            index,
            name,
            stream,
            targets,
            ..
        } = reading;
        stream.push(
            bytes,
            &mut Filler {
                checkpoint: self,
                backend,
                index: *index,
                file: name,
                targets,
            },
        )
    }

    /// Ends a file. Gives those that are to be read next: the files beside an ONNX file that hold its tensors.
    pub fn end(&mut self, mut reading: Reading) -> Result<Vec<String>> {
        reading.stream.finish()?;
        if let Stream::Onnx(stream) = &reading.stream {
            let files = match reading.beside {
                None => stream.beside_files()?,
                Some(_) => Vec::new(),
            };
            let left = reading.beside.map_or(files.len(), |left| left - 1);
            if left > 0 {
                reading.beside = Some(left);
                self.unfinished = Some(reading);
                return Ok(files);
            }
            stream.finish_all()?;
        }
        for target in reading.targets.iter().flatten() {
            if let Target::Plain(plain) = target {
                self.fingerprint = self.fingerprint.wrapping_add(plain.hash.0);
            }
        }
        Ok(Vec::new())
    }

    /// Whether the next file is one beside an ONNX file.
    pub fn goes_on(&self) -> bool {
        self.unfinished.is_some()
    }

    /// The weights, once all files are read.
    pub fn finish(self) -> Result<Finished<B>> {
        let mut fingerprint = self.fingerprint;
        for Quantized {
            file, matrix, hash, ..
        } in &self.quantized
        {
            if !matrix.is_complete() {
                let path = &self.layout.files[*file].path;
                let reason = format!("not all parts of {} are there", matrix.name());
                return Err(invalid(path, reason));
            }
            fingerprint = fingerprint.wrapping_add(hash.0);
        }
        let mut stored = self.stored;
        for layout in self.quantized.iter().filter_map(|one| one.matrix.layout()) {
            if !stored.contains(&layout) {
                stored.push(layout);
            }
        }
        let mut blocks = self.blocks;
        blocks.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let blocks = blocks.iter();
        stored.extend(blocks.map(|(block, _)| format!("GGUF, {}", block.name())));
        let names = self.tied.iter().filter_map(|(replaced, stand_in)| {
            let slot = Slot::Rows {
                matrix: *replaced,
                first: 0,
            };
            let wanted = self
                .layout
                .wanted
                .iter()
                .find(|wanted| wanted.slot == slot)?;
            Some((wanted.file, wanted.name.clone(), *stand_in))
        });
        let tied = names.collect();
        let fate = match (self.dtype, self.kept) {
            (_, true) => " (kept)",
            (WeightDtype::F32 | WeightDtype::F16, false) => " (widened)",
            (_, false) => " (quantised anew)",
        };
        Ok(Finished {
            weights: self.weights,
            tied: self.tied,
            collected: self.collected,
            fingerprint,
            left_out: self.left_out,
            stored: (!stored.is_empty()).then(|| stored.join("; ") + fate),
            origin: Origin {
                weights: self
                    .layout
                    .files
                    .into_iter()
                    .map(|file| file.path)
                    .collect(),
                tensors: self.tensors,
                tied,
                files: BTreeMap::new(),
            },
        })
    }

    /// Number of parameters that the model uses.
    pub fn parameters(&self) -> usize {
        let tied = |id| self.tied.iter().any(|(replaced, _)| *replaced == id);
        let matrices = self.layout.matrices.iter().enumerate();
        let matrices = matrices.filter(|(id, _)| !tied(*id));
        matrices
            .map(|(_, shape)| shape.rows * shape.columns)
            .sum::<usize>()
            + self.layout.vectors.iter().sum::<usize>()
            + self
                .collected
                .iter()
                .map(|(_, tensor)| tensor.values.len())
                .sum::<usize>()
    }

    /// Takes every tensor of floating-point numbers of a file.
    fn collect(
        &mut self,
        file: usize,
        path: &str,
        tensors: &[TensorInfo],
    ) -> Result<Vec<Option<Target>>> {
        let names = tensors.iter().map(|tensor| tensor.name.as_str());
        let unused: Vec<_> = names.filter(|name| !candle::is_known(name)).collect();
        self.leave_out(path, &unused)?;
        let mut targets = Vec::new();
        for tensor in tensors {
            if Dtype::of_values(&tensor.dtype).is_none() {
                targets.push(None);
                continue;
            }
            // The file's reader has checked that so many bytes are in it.
            let shape: Vec<usize> = tensor
                .shape
                .iter()
                .filter_map(|size| usize::try_from(*size).ok())
                .collect();
            let wanted = Wanted {
                file,
                spelling: None,
                name: tensor.name.clone(),
                shape: shape.clone(),
                slot: Slot::Whole {
                    index: self.collected.len(),
                },
                tied: None,
            };
            targets.push(Some(Target::Plain(plain(tensor, &wanted)?)));
            let collected = Collected {
                name: tensor.name.clone(),
                shape,
                values: Vec::new(),
            };
            self.collected.push((file, collected));
        }
        Ok(targets)
    }

    /// An error about tensors that a file lacks. A model that says that it is another one lacks none.
    fn missing(&self, path: &str, missing: &[&str], present: &[&str]) -> Error {
        if self.foreign.is_empty() {
            Error::MissingTensor {
                file: path.to_owned(),
                missing: list(missing),
                present: list(present),
            }
        } else {
            kind::refuse(&self.foreign)
        }
    }

    /// Finds the tensor for each wanted one in a file, or in the shard of it at `path`.
    fn assign(
        &mut self,
        index: usize,
        path: &str,
        tensors: &[TensorInfo],
    ) -> Result<Vec<Option<Target>>> {
        if self.layout.files[index].collect {
            return self.collect(index, path, tensors);
        }
        let file = &self.layout.files[index];
        let here: HashMap<&str, usize> = tensors
            .iter()
            .enumerate()
            .map(|(at, tensor)| (tensor.name.as_str(), at))
            .collect();
        // Of all shards: what is missing here may be in another one.
        let shards = file.shards.iter().enumerate();
        let names: HashMap<&str, usize> = if file.shards.is_empty() {
            here.clone()
        } else {
            shards.map(|(at, (name, _))| (name.as_str(), at)).collect()
        };
        let all: Vec<&Wanted> = self
            .layout
            .wanted
            .iter()
            .filter(|wanted| wanted.file == index)
            .collect();
        let last = all.iter().filter_map(|wanted| wanted.spelling).max();
        let best = (0..=last.unwrap_or(0))
            .map(|spelling| Match::new(file, &names, &all, spelling))
            .reduce(|best, next| {
                if next.missing.len() < best.missing.len() {
                    next
                } else {
                    best
                }
            });
        let Some(mut best) = best else {
            return Ok(tensors.iter().map(|_| None).collect());
        };
        if file.shards.is_empty() {
            best.tie(tensors);
        }
        let mut targets: Vec<Option<Target>> = tensors.iter().map(|_| None).collect();
        for (wanted, prefix, place) in &best.found {
            note(&mut self.tensors, wanted, prefix);
            // Here, in another shard, or listed but not there.
            let mut resolve = |at: usize| match file.shards.get(at) {
                None => Some(at),
                Some((_, other)) if other != path => None,
                Some((name, _)) => {
                    let here = here.get(name.as_str()).copied();
                    if here.is_none() {
                        best.missing.push(name);
                    }
                    here
                }
            };
            match place {
                Place::Plain(at) => {
                    if let Some(at) = resolve(*at) {
                        targets[at] = Some(Target::Plain(plain(&tensors[at], wanted)?));
                        if let Some(block) = tensors[at].block {
                            self.kept = false;
                            count(&mut self.blocks, block);
                        }
                    }
                }
                Place::Parts(found) => {
                    let number = quantized_matrix(&mut self.quantized, file, wanted, found)?;
                    for (role, at) in &found.parts {
                        if let Some(at) = resolve(*at) {
                            let matrix = &mut self.quantized[number].matrix;
                            matrix.describe(*role, &tensors[at])?;
                            targets[at] = Some(Target::Part(number, *role));
                        }
                    }
                }
            }
        }
        let unused = || {
            let unused = tensors
                .iter()
                .zip(&targets)
                .filter(|(_, target)| target.is_none());
            unused.map(|(tensor, _)| tensor.name.as_str())
        };
        let left: Vec<&str> = unused()
            .filter(|name| !file.is_of_no_effect(name))
            .collect();
        if !best.missing.is_empty() {
            return Err(self.missing(path, &best.missing, &unused().collect::<Vec<_>>()));
        }
        let beyond: Vec<_> = unused().filter(|name| file.is_beyond(name)).collect();
        if !beyond.is_empty() {
            return Err(Error::UnexpectedTensor {
                file: path.to_owned(),
                unexpected: list(&beyond),
                layers: file.layers.as_ref().map_or(0, |(_, count)| *count),
            });
        }
        // Every shard finds the same.
        best.tied.retain(|tied| !self.tied.contains(tied));
        self.tied.extend(best.tied);
        self.leave_out(path, &left)?;
        Ok(targets)
    }

    /// A matrix, for which room is made first.
    fn matrix(&mut self, backend: &B, id: MatrixId) -> Result<&mut B::Matrix> {
        match &mut self.weights.matrices[id] {
            Some(matrix) => Ok(matrix),
            empty => {
                let shape = self.layout.matrices[id];
                let dtype = shape.precision.dtype(self.dtype);
                Ok(empty.insert(backend.matrix(shape.rows, shape.columns, dtype)?))
            }
        }
    }

    /// Stores one row that is in our own grid, as it is if its matrix is held in that.
    fn store_codes(
        &mut self,
        backend: &B,
        slot: Slot,
        row: usize,
        (dtype, codes, scales): (WeightDtype, &[i8], &[f32]),
    ) -> Result<()> {
        let Slot::Rows { matrix: id, first } = slot else {
            let reason = "a vector is quantised".to_owned();
            return Err(Error::UnsupportedModel(reason));
        };
        let matrix = self.matrix(backend, id)?;
        if backend.dtype(matrix) == dtype {
            backend.set_codes(matrix, first + row, codes, scales);
            return Ok(());
        }
        let groups = codes.chunks(GROUP).zip(scales);
        let mut values: Vec<f32> = groups
            .flat_map(|(codes, scale)| codes.iter().map(move |code| f32::from(*code) * scale))
            .collect();
        cpu::rotate(&mut values);
        values.truncate(self.layout.matrices[id].columns);
        self.kept = false;
        self.store(backend, slot, row, &values)
    }

    /// Stores one row of a tensor, making room for its matrix or vector first.
    fn store(&mut self, backend: &B, slot: Slot, row: usize, values: &[f32]) -> Result<()> {
        match slot {
            Slot::Rows { matrix: id, first } => {
                backend.set_row(self.matrix(backend, id)?, first + row, values);
            }
            Slot::Whole { index } => {
                let tensor = &mut self.collected[index].1.values;
                tensor
                    .try_reserve(values.len())
                    .map_err(|_| Error::OutOfMemory {
                        bytes: size_of_val(values),
                    })?;
                tensor.extend_from_slice(values);
            }
            Slot::Elements { vector: id, first } => {
                let vector = &mut self.weights.vectors[id];
                vector.resize(self.layout.vectors[id], 0.0);
                let first = first + row * values.len();
                vector[first..first + values.len()].copy_from_slice(values);
            }
        }
        Ok(())
    }
}

/// Where a wanted tensor is, by the numbers of tensors.
enum Place {
    Plain(usize),
    Parts(Found<usize>),
}

/// How a file fits the names of one spelling.
struct Match<'a> {
    /// What is wanted, the prefix of its name, and where it is.
    found: Vec<(&'a Wanted, &'static str, Place)>,
    tied: Vec<(MatrixId, MatrixId)>,
    missing: Vec<&'a str>,
}

impl<'a> Match<'a> {
    fn new(
        file: &WeightFile,
        names: &HashMap<&str, usize>,
        all: &[&'a Wanted],
        spelling: usize,
    ) -> Self {
        let mut matched = Self {
            found: Vec::new(),
            tied: Vec::new(),
            missing: Vec::new(),
        };
        let spelt = all
            .iter()
            .filter(|wanted| wanted.spelling.is_none_or(|own| own == spelling));
        for wanted in spelt {
            let mut prefixes = file.prefixes.iter();
            let found =
                prefixes.find_map(|prefix| Some((*prefix, find(names, prefix, &wanted.name)?)));
            match (found, wanted.tied, wanted.slot) {
                (Some((prefix, at)), ..) => matched.found.push((wanted, prefix, at)),
                (None, Some(stand_in), Slot::Rows { matrix, .. }) => {
                    matched.tied.push((matrix, stand_in));
                }
                (None, ..) => matched.missing.push(&wanted.name),
            }
        }
        matched
    }
}

impl Match<'_> {
    /// Lets a matrix stand in for another that is the same bytes in the file.
    fn tie(&mut self, tensors: &[TensorInfo]) {
        let first = |place: &Place| match place {
            Place::Plain(at) => Some(tensors[*at].same_as.unwrap_or(*at)),
            Place::Parts(_) => None,
        };
        let places: Vec<_> = self
            .found
            .iter()
            .filter_map(|(wanted, _, place)| Some((wanted.slot, first(place)?)))
            .collect();
        let tied = &mut self.tied;
        self.found.retain(|(wanted, _, place)| {
            let (Some(stand_in), Slot::Rows { matrix, .. }) = (wanted.tied, wanted.slot) else {
                return true;
            };
            let same = places.iter().any(|(slot, other)| {
                matches!(slot, Slot::Rows { matrix, .. } if *matrix == stand_in)
                    && Some(*other) == first(place)
            });
            if same {
                tied.push((matrix, stand_in));
            }
            !same
        });
    }
}

impl WeightFile {
    /// Whether a tensor that the model does not use cannot change its vectors: heads for training, tables that follow from
    /// the config, and scales for activations and key-value caches, which are held in full here.
    fn is_of_no_effect(&self, tensor: &str) -> bool {
        const BUFFERS: [&str; 10] = [
            "position_ids",
            "token_type_ids",
            "inv_freq",
            "masked_bias",
            "input_scale",
            "output_scale",
            "k_scale",
            "v_scale",
            "num_batches_tracked",
            "weight_format",
        ];
        let last = tensor.rsplit('.').next().unwrap_or_default();
        let mut rests = self
            .prefixes
            .iter()
            .filter_map(|prefix| tensor.strip_prefix(prefix));
        BUFFERS.contains(&last)
            || rests.any(|rest| self.unused.iter().any(|start| rest.starts_with(start)))
    }

    /// Whether a tensor belongs to a layer that the config does not have.
    fn is_beyond(&self, tensor: &str) -> bool {
        let Some((starts, count)) = &self.layers else {
            return false;
        };
        let number = |prefix: &str, start: &str| -> Option<usize> {
            let rest = tensor.strip_prefix(prefix)?.strip_prefix(start)?;
            rest.split_once('.')?.0.parse().ok()
        };
        self.prefixes
            .iter()
            .flat_map(|prefix| starts.iter().filter_map(move |start| number(prefix, start)))
            .any(|layer| layer >= *count)
    }
}

/// Where `prefix` + `name` is, or the same under an older spelling.
fn find(names: &HashMap<&str, usize>, prefix: &str, name: &str) -> Option<Place> {
    // TensorFlow's names for LayerNorm's parameters live on in old BERT checkpoints.
    let older = match name.rsplit_once('.') {
        Some((module, "weight")) => format!("{prefix}{module}.gamma"),
        Some((module, "bias")) => format!("{prefix}{module}.beta"),
        _ => String::new(),
    };
    let name = format!("{prefix}{name}");
    let at = |name: &str| names.get(name).copied();
    if let Some(found) = quantized::find(&name, at) {
        return Some(Place::Parts(found));
    }
    at(&name).or_else(|| at(&older)).map(Place::Plain)
}

/// The number of the quantised matrix for what is wanted; other shards may have parts of it.
fn quantized_matrix(
    all: &mut Vec<Quantized>,
    file: &WeightFile,
    wanted: &Wanted,
    found: &Found<usize>,
) -> Result<usize> {
    let known = |one: &Quantized| one.file == wanted.file && one.slot == wanted.slot;
    if let Some(number) = all.iter().position(known) {
        return Ok(number);
    }
    let [rows, columns] = wanted.shape[..] else {
        let reason = format!("{} is quantised, and no matrix", wanted.name);
        return Err(invalid(&file.path, reason));
    };
    all.push(Quantized {
        file: wanted.file,
        slot: wanted.slot,
        matrix: quantized::Matrix::new(found, &wanted.name, rows, columns, file.quantization),
        hash: Fingerprint::new(&wanted.name),
    });
    Ok(all.len() - 1)
}

/// Checks shape and dtype.
fn plain(tensor: &TensorInfo, wanted: &Wanted) -> Result<Plain> {
    // A matrix of one row may be stored as a vector.
    fn flat(shape: &[u64]) -> &[u64] {
        match shape {
            [1, rest @ ..] if !rest.is_empty() => rest,
            shape => shape,
        }
    }
    let shape: Vec<u64> = wanted.shape.iter().map(|size| *size as u64).collect();
    if flat(&tensor.shape) != flat(&shape) {
        return Err(Error::WrongShape {
            tensor: tensor.name.clone(),
            got: tensor.shape.clone(),
            expected: wanted.shape.clone(),
        });
    }
    let encoding = tensor
        .block
        .map(Encoding::Blocks)
        .or_else(|| Dtype::of_values(&tensor.dtype).map(Encoding::Elements));
    let width = wanted.shape.last().copied().unwrap_or(1);
    let rows = encoding.and_then(|encoding| Rows::new(encoding, width));
    let rows = rows.ok_or_else(|| Error::WrongDtype {
        tensor: tensor.name.clone(),
        dtype: tensor.dtype.clone(),
    })?;
    Ok(Plain {
        slot: wanted.slot,
        rows,
        hash: Fingerprint::new(&wanted.name),
        tensor: tensor.name.clone(),
    })
}

/// Takes note of what was found. Every shard finds the same.
fn note(tensors: &mut Vec<Tensor>, wanted: &Wanted, prefix: &'static str) {
    let known = |tensor: &Tensor| tensor.file == wanted.file && tensor.slot == wanted.slot;
    if !tensors.iter().any(known) {
        tensors.push(Tensor {
            file: wanted.file,
            prefix,
            name: wanted.name.clone(),
            shape: wanted.shape.clone(),
            slot: wanted.slot,
        });
    }
}

fn count(blocks: &mut Vec<(Block, usize)>, block: Block) {
    match blocks.iter_mut().find(|(other, _)| *other == block) {
        Some((_, count)) => *count += 1,
        None => blocks.push((block, 1)),
    }
}

/// The first few of `names`.
fn list(names: &[&str]) -> String {
    let more = names.len().saturating_sub(LISTED);
    match names {
        [] => "none besides".to_owned(),
        names if more == 0 => names.join(", "),
        names => format!("{} and {more} more", names[..LISTED].join(", ")),
    }
}

/// Fills the checkpoint from one file's stream.
struct Filler<'a, B: Backend> {
    checkpoint: &'a mut Checkpoint<B>,
    backend: &'a B,
    index: usize,
    file: &'a str,
    targets: &'a mut Vec<Option<Target>>,
}

impl<B: Backend> Visitor for Filler<'_, B> {
    fn header(&mut self, tensors: &[TensorInfo]) -> Result<()> {
        *self.targets = self.checkpoint.assign(self.index, self.file, tensors)?;
        Ok(())
    }

    fn graph(&mut self, graph: &onnx::Graph) -> Result<onnx::Plan> {
        let file = &self.checkpoint.layout.files[self.index];
        let Some(blueprint) = &file.blueprint else {
            return Err(Error::UnsupportedModel(format!(
                "{} is an ONNX file, and graphs of this model's family are not known; take its safetensors",
                self.file
            )));
        };
        // The graph of a model that says that it is another one is another, too.
        let foreign = &self.checkpoint.foreign;
        let found = crate::model::load::onnx::find(self.file, graph, blueprint);
        let plan = found.map_err(|error| match foreign.as_slice() {
            [] => error,
            foreign => kind::refuse(foreign),
        })?;
        for stored in plan.stored() {
            self.checkpoint.kept = false;
            if !self.checkpoint.stored.contains(&stored) {
                self.checkpoint.stored.push(stored);
            }
        }
        Ok(plan)
    }

    fn data(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        match &mut self.targets[index] {
            None => Ok(()),
            Some(Target::Plain(plain)) => {
                let Plain {
                    slot,
                    rows,
                    hash,
                    tensor,
                } = plain;
                let mut result = Ok(());
                rows.push(bytes, |row, values| {
                    if result.is_ok() {
                        result = check_finite(self.file, tensor, values).and_then(|()| {
                            hash.update(values);
                            self.checkpoint.store(self.backend, *slot, row, values)
                        });
                    }
                });
                result
            }
            Some(Target::Part(number, role)) => {
                // Taken out, so that its rows can be stored.
                let mut all = std::mem::take(&mut self.checkpoint.quantized);
                let Quantized {
                    slot, matrix, hash, ..
                } = &mut all[*number];
                let name = matrix.name().to_owned();
                let result = matrix.push(*role, bytes, |at, row| match row {
                    Row::Values(values) => {
                        check_finite(self.file, &name, values)?;
                        hash.update(values);
                        self.checkpoint.kept = false;
                        self.checkpoint.store(self.backend, *slot, at, values)
                    }
                    Row::Own(dtype, codes, scales) => {
                        hash.update_codes(codes, scales);
                        let (checkpoint, backend) = (&mut self.checkpoint, self.backend);
                        checkpoint.store_codes(backend, *slot, at, (dtype, codes, scales))
                    }
                });
                self.checkpoint.quantized = all;
                result
            }
        }
    }
}

fn check_finite(file: &str, tensor: &str, values: &[f32]) -> Result<()> {
    if values.iter().all(|value| value.is_finite()) {
        return Ok(());
    }
    let reason = format!("tensor {tensor} holds values that are not finite");
    Err(invalid(file, reason))
}
