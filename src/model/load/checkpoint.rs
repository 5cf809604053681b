//! Weight files → packed weights, while the bytes arrive.
//!
//! When the header of a file is complete, every tensor that the model needs is found and checked
//! before memory is taken for it. Then each tensor is stored row by row in its final form.

use std::collections::BTreeMap;

use crate::backend::{Backend, WeightDtype};
use crate::error::{Error, Result};
use crate::full::{self, Full};
use crate::model::info::{Outcome, Stored};
use crate::model::load::fingerprint::Fingerprint;
use crate::model::load::inventory::{Inventory, Target};
use crate::model::load::kind;
use crate::model::load::lora::Merge;
use crate::model::load::matching::{Matching, Names, has_no_effect, is_beyond_layers};
use crate::model::load::onnx as graphs;
use crate::model::load::store::Store;
use crate::model::load::table::{FinishedTable, Tables, VECTORS};
use crate::model::loaded::Origin;
use crate::model::transformer::forward::Weights;
use crate::model::transformer::layout::{Layout, MatrixId, Slot, VectorId, WantedTensor};
use crate::model::transformer::static_table::TableId;
use crate::weights::onnx;
use crate::weights::quantized::{self, Row};
use crate::weights::{Stream, TensorInfo, Visitor, check_finite, invalid};

/// Weights that are being read.
pub struct Checkpoint<B: Backend> {
    layout: Layout,
    store: Store<B>,
    inventory: Inventory,
    tables: Tables,
    unused: Unused,
    fingerprint: u64,
    /// How ONNX files store the matrices that they have quantised.
    onnx: Vec<String>,
    /// An ONNX file that has ended and whose tensors are in files beside it.
    unfinished: Option<Reading>,
}

/// A checkpoint of which all files have been read.
pub struct Finished<B: Backend> {
    /// Packed weights, without static tables.
    pub weights: Weights<B>,
    /// Static tables.
    pub tables: Vec<FinishedTable>,
    /// Tied matrices: the matrix, and the one that is used instead.
    pub tied: Vec<(MatrixId, MatrixId)>,
    /// Hash of all values, as the files have them.
    pub fingerprint: u64,
    /// Hash of the adapter that is merged into them; 0 without one.
    pub merged: u64,
    /// How matrices were quantised in the files, if they were, and what became of them.
    pub stored: Option<Stored>,
    /// Tensors that are ignored though they may have an effect.
    pub left_out: Vec<String>,
    /// The weight files, and what was found in them.
    pub origin: Origin,
}

/// One file that is being read.
pub struct Reading {
    /// Index of the file in the layout.
    index: usize,
    /// Its path, or the path of the shard.
    path: String,
    stream: Stream,
    targets: Vec<Option<Target>>,
    /// Number of files beside an ONNX file that are still to be read, once the file itself has
    /// ended.
    beside: Option<usize>,
}

impl Reading {
    /// Starts to read weight file number `index` of the layout at `path`: its own path, or that of
    /// a shard or of another file that is read instead.
    pub fn new(index: usize, path: &str) -> Result<Self> {
        Ok(Self::resume(index, path, Stream::new(path)?))
    }

    /// As [`Reading::new`], for a file of which the header has been read.
    pub fn resume(index: usize, path: &str, stream: Stream) -> Self {
        Self {
            index,
            path: path.to_owned(),
            stream,
            targets: Vec::new(),
            beside: None,
        }
    }

    /// Size of the whole file, once its header has arrived.
    pub fn size(&self) -> Option<u64> {
        self.stream.size()
    }
}

/// What happens with tensors that the model does not use.
#[derive(Default)]
struct Unused {
    /// Whether they are ignored, because the caller asked for a kind.
    ignore: bool,
    /// What the model's files say that it is and that is not supported.
    foreign: Vec<String>,
    /// What was ignored.
    left_out: Vec<String>,
}

impl Unused {
    /// Ignores tensors that may have an effect, or refuses the model for them and for what its
    /// files say that it is.
    fn check(&mut self, path: &str, names: &[&str]) -> Result<()> {
        if self.ignore {
            let names = names.iter().map(|name| (*name).to_owned());
            self.left_out.extend(names);
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

    /// The error about tensors that a file lacks. A model of another kind is refused as such.
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
}

impl<B: Backend> Checkpoint<B> {
    /// Nothing read yet. `dtype` is that of the model, `asked` the one that the caller asked for.
    pub fn new(layout: Layout, dtype: WeightDtype, asked: Option<WeightDtype>) -> Self {
        Self {
            store: Store::new(&layout, dtype),
            tables: Tables::new(&layout, asked),
            layout,
            inventory: Inventory::new(),
            unused: Unused::default(),
            fingerprint: 0,
            onnx: Vec::new(),
            unfinished: None,
        }
    }

    /// Ignores tensors that the model does not use, even if they may have an effect.
    pub fn ignore_unused(&mut self) {
        self.unused.ignore = true;
    }

    /// Refuses the model as `foreign`, unless that is empty, once the header of the weights is
    /// known.
    pub fn refuse_as(&mut self, foreign: Vec<String>) {
        self.unused.foreign = foreign;
    }

    /// Has an adapter merged into the weights.
    pub fn merge(&mut self, merge: Full<Merge>) {
        self.store.merge = Some(merge);
    }

    /// Records that a file is split into shards: name of each tensor, and path of its shard.
    pub fn set_shards(&mut self, index: usize, shards: Vec<(String, String)>) {
        self.layout.files[index].shards = shards;
    }

    /// Whether a file is split into shards.
    pub fn has_shards(&self, index: usize) -> bool {
        !self.layout.files[index].shards.is_empty()
    }

    /// Fills a vector that comes from no weight file.
    pub fn set_vector(&mut self, id: VectorId, values: Vec<f32>) {
        let mut hash = Fingerprint::new("");
        hash.update(&values);
        self.fingerprint = self.fingerprint.wrapping_add(hash.0);
        self.store.weights.vectors[id] = values;
    }

    /// Takes the next bytes of a file.
    pub fn push(&mut self, backend: &B, reading: &mut Reading, bytes: &[u8]) -> Result<()> {
        let Reading {
            index,
            path,
            stream,
            targets,
            ..
        } = reading;
        let mut filler = Filler {
            checkpoint: self,
            backend,
            index: *index,
            path,
            targets,
        };
        stream.push(bytes, &mut filler)
    }

    /// Starts to read weight file number `index` at `path`, or goes on with an ONNX file in the
    /// file beside it at `path`.
    pub fn begin(&mut self, index: usize, path: &str) -> Result<Reading> {
        let Some(mut reading) = self.unfinished.take() else {
            return Reading::new(index, path);
        };
        if let Stream::Onnx(stream) = &mut reading.stream {
            stream.go_on(path);
        }
        path.clone_into(&mut reading.path);
        Ok(reading)
    }

    /// Whether the next file is one beside an ONNX file.
    pub fn goes_on(&self) -> bool {
        self.unfinished.is_some()
    }

    /// Ends a file. Returns the paths of the files beside an ONNX file that hold its tensors: they
    /// are to be read next.
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
            let named = self
                .onnx
                .iter_mut()
                .find(|stored| *stored == onnx::EIGHT_BITS);
            if let (Some(stored), true) = (named, stream.is_by_tensor()) {
                stored.push_str(" by tensor");
            }
        }
        for target in reading.targets.iter().flatten() {
            // The store has the hashes of stacks.
            if let Target::Plain(plain) = target
                && !matches!(plain.slot, Slot::Stack(_))
            {
                self.fingerprint = self.fingerprint.wrapping_add(plain.hash.0);
            }
        }
        Ok(Vec::new())
    }

    /// The weights, once all files have been read.
    pub fn finish(mut self, backend: &B) -> Result<Finished<B>> {
        self.store.finish_picks(backend, &self.layout)?;
        if let Some(merge) = &self.store.merge {
            merge.check_tied(&self.inventory.tied)?;
        }
        let merged = self
            .store
            .merge
            .as_ref()
            .map_or(0, |merge| merge.fingerprint);
        let mut fingerprint = self.fingerprint.wrapping_add(self.store.stacks);
        for partial in &self.inventory.quantized {
            if !partial.matrix.is_complete() {
                let path = &self.layout.files[partial.file].path;
                let reason = format!("not all parts of {} are there", partial.matrix.name());
                return Err(invalid(path, reason));
            }
            fingerprint = fingerprint.wrapping_add(partial.hash.0);
        }
        let (tables, layouts) = self.tables.finish(&self.layout)?;
        for finished in &tables {
            fingerprint = fingerprint.wrapping_add(finished.fingerprint);
        }
        let layouts = [self.onnx, layouts].concat();
        let stored = stored(&self.inventory, self.store.dtype, layouts);
        let tied = tied_names(&self.inventory, &self.layout);
        let Inventory {
            tensors,
            tied: tied_matrices,
            ..
        } = self.inventory;
        let matrices = self.layout.matrices.iter();
        let files = self.layout.files.iter();
        Ok(Finished {
            weights: self.store.weights,
            tables,
            tied: tied_matrices,
            fingerprint,
            merged,
            left_out: self.unused.left_out,
            stored,
            origin: Origin {
                weights: files.map(|file| file.path.clone()).collect(),
                tensors,
                tied,
                precisions: matrices.map(|matrix| matrix.precision).collect(),
                files: BTreeMap::new(),
                replaced: BTreeMap::new(),
            },
        })
    }

    /// Number of parameters that the model uses.
    pub fn parameters(&self) -> usize {
        let tied = &self.inventory.tied;
        let is_tied = |id| tied.iter().any(|(matrix, _)| *matrix == id);
        let matrices = self.layout.matrices.iter().enumerate();
        let matrices = matrices.filter(|(id, _)| !is_tied(*id));
        let matrices: usize = matrices.map(|(_, shape)| shape.rows * shape.columns).sum();
        let vectors: usize = self.layout.vectors.iter().sum();
        matrices + vectors + self.tables.parameters()
    }

    /// Finds the target of each tensor of a file, or of the shard of it at `path`.
    fn assign(
        &mut self,
        index: usize,
        path: &str,
        tensors: &[TensorInfo],
    ) -> Result<Vec<Option<Target>>> {
        let file = &self.layout.files[index];
        if let Some(table) = file.table {
            return self.assign_table(index, path, tensors, table);
        }
        quantized::check_names(&file.quantization, tensors)?;
        let names = Names::new(file, path, tensors);
        let wanted = self.layout.wanted.iter();
        let wanted: Vec<&WantedTensor> = wanted.filter(|wanted| wanted.file == index).collect();
        let matching = Matching::best(file, &names, &wanted, tensors);
        let (targets, absent) = self.inventory.add(file, &names, &matching, tensors)?;
        let unused = tensors.iter().zip(&targets);
        let unused = unused.filter(|(_, target)| target.is_none());
        let unused: Vec<&str> = unused.map(|(tensor, _)| tensor.name.as_str()).collect();
        let mut missing = matching.missing;
        missing.extend(absent.iter().map(String::as_str));
        if !missing.is_empty() {
            return Err(self.unused.missing(path, &missing, &unused));
        }
        let unexpected: Vec<&str> = unused
            .iter()
            .copied()
            .filter(|name| is_beyond_layers(file, name))
            .collect();
        if !unexpected.is_empty() {
            return Err(Error::UnexpectedTensor {
                file: path.to_owned(),
                unexpected: list(&unexpected),
                layers: file.layers.as_ref().map_or(0, |(_, count)| *count),
            });
        }
        self.inventory.tie(&matching.tied);
        let unused = unused.into_iter().filter(|name| !has_no_effect(file, name));
        self.unused.check(path, &unused.collect::<Vec<_>>())?;
        Ok(targets)
    }

    /// As [`Self::assign`], for the file of a static table.
    fn assign_table(
        &mut self,
        index: usize,
        path: &str,
        tensors: &[TensorInfo],
        table: TableId,
    ) -> Result<Vec<Option<Target>>> {
        let file = &self.layout.files[index];
        let names: Vec<&str> = if file.shards.is_empty() {
            tensors.iter().map(|tensor| tensor.name.as_str()).collect()
        } else {
            file.shards.iter().map(|(name, _)| name.as_str()).collect()
        };
        let Some(vectors) = VECTORS.into_iter().find(|name| names.contains(name)) else {
            return Err(self.unused.missing(path, &[&VECTORS.join(" or ")], &names));
        };
        let targets = self.tables.assign(table, vectors, tensors)?;
        if file.shards.is_empty() {
            self.tables.check(table, &self.layout)?;
        }
        if let Some(shape) = self.tables.shape(table) {
            self.inventory.record_table(index, table, vectors, shape);
        }
        let unused = tensors.iter().zip(&targets);
        let unused = unused.filter(|(_, target)| target.is_none());
        let unused: Vec<&str> = unused.map(|(tensor, _)| tensor.name.as_str()).collect();
        self.unused.check(path, &unused)?;
        let targets = targets.into_iter();
        Ok(targets.map(|target| target.map(Target::Table)).collect())
    }
}

/// How matrices were quantised in the files, if they were. `layouts` are those of static tables and
/// ONNX files.
fn stored(inventory: &Inventory, dtype: WeightDtype, mut layouts: Vec<String>) -> Option<Stored> {
    let quantized = inventory.quantized.iter();
    for layout in quantized.filter_map(|partial| partial.matrix.label()) {
        if !layouts.contains(&layout) {
            layouts.push(layout);
        }
    }
    let mut blocks = inventory.blocks.clone();
    blocks.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let blocks = blocks.iter();
    layouts.extend(blocks.map(|(block, _)| format!("GGUF, {}", block.name())));
    let outcome = match (dtype, inventory.kept) {
        (_, true) => Outcome::Kept,
        (WeightDtype::F32 | WeightDtype::F16, false) => Outcome::Widened,
        (_, false) => Outcome::Requantized,
    };
    (!layouts.is_empty()).then(|| Stored {
        layout: layouts.join("; "),
        outcome,
    })
}

/// Tied matrices by the index of their file and their name in it.
fn tied_names(inventory: &Inventory, layout: &Layout) -> Vec<(usize, String, MatrixId)> {
    let named = inventory.tied.iter().filter_map(|(matrix, other)| {
        let slot = Slot::Rows {
            matrix: *matrix,
            first: 0,
        };
        let mut wanted = layout.wanted.iter();
        let wanted = wanted.find(|wanted| wanted.slot == slot)?;
        Some((wanted.file, wanted.name.clone(), *other))
    });
    named.collect()
}

/// Lists the first few of `names` for an error message.
fn list(names: &[&str]) -> String {
    const MOST: usize = 3;
    let more = names.len().saturating_sub(MOST);
    match names {
        [] => "none besides".to_owned(),
        names if more == 0 => names.join(", "),
        names => format!("{} and {more} more", names[..MOST].join(", ")),
    }
}

/// Fills the checkpoint from the stream of one file.
struct Filler<'a, B: Backend> {
    checkpoint: &'a mut Checkpoint<B>,
    backend: &'a B,
    index: usize,
    path: &'a str,
    targets: &'a mut Vec<Option<Target>>,
}

impl<B: Backend> Visitor for Filler<'_, B> {
    fn header(&mut self, tensors: &[TensorInfo]) -> Result<()> {
        *self.targets = self.checkpoint.assign(self.index, self.path, tensors)?;
        Ok(())
    }

    fn graph(&mut self, graph: &onnx::Graph) -> Result<onnx::Plan> {
        // No stream calls it in the common build, but the linker cannot see that.
        full::need("an ONNX file")?;
        let Checkpoint {
            layout,
            inventory,
            unused,
            onnx,
            store,
            ..
        } = &mut *self.checkpoint;
        if store.merge.is_some() {
            return Err(Error::UnsupportedModel(format!(
                "{} is an ONNX file, and adapters are merged into safetensors, torch checkpoints and GGUF files: take the model's safetensors",
                self.path
            )));
        }
        let blueprint = layout.files[self.index].blueprint.as_deref();
        let plan = graphs::find(self.path, graph, blueprint);
        // The model is refused as what its files say that it is, if they say so.
        let plan = plan.map_err(|error| match unused.foreign.as_slice() {
            [] => error,
            foreign => kind::refuse(foreign),
        })?;
        for stored in plan.stored() {
            inventory.kept = false;
            if !onnx.contains(&stored) {
                onnx.push(stored);
            }
        }
        Ok(plan)
    }

    fn data(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        let Self { backend, path, .. } = self;
        let Checkpoint {
            layout,
            store,
            inventory,
            tables,
            ..
        } = &mut *self.checkpoint;
        match &mut self.targets[index] {
            None => Ok(()),
            Some(Target::Plain(plain)) => {
                let mut result = Ok(());
                plain.rows.push(bytes, |row, values| {
                    if result.is_ok() {
                        result = check_finite(path, &plain.name, values).and_then(|()| {
                            plain.hash.update(values);
                            store.row(backend, layout, plain.slot, row, values)
                        });
                    }
                });
                result
            }
            Some(Target::Table(tensor)) => tables.fill(path, tensor, bytes),
            Some(Target::Component(number, role)) => {
                let partial = &mut inventory.quantized[*number];
                let (slot, hash) = (partial.slot, &mut partial.hash);
                let name = partial.matrix.name().to_owned();
                let kept = &mut inventory.kept;
                partial.matrix.push(*role, bytes, |at, row| match row {
                    Row::Values(values) => {
                        check_finite(path, &name, values)?;
                        hash.update(values);
                        *kept = false;
                        store.row(backend, layout, slot, at, values)
                    }
                    Row::Own(dtype, codes, scales) => {
                        hash.update_codes(codes, scales);
                        let row = (dtype, codes, scales);
                        *kept &= store.codes(backend, layout, slot, at, row)?;
                        Ok(())
                    }
                    Row::Levels(codes, scales) => {
                        hash.update_codes(codes, scales);
                        *kept &= store.levels(backend, layout, slot, at, codes, scales)?;
                        Ok(())
                    }
                })
            }
        }
    }
}
