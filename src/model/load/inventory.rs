//! What weight files were found to hold, and where the bytes of each tensor go.

use crate::error::{Error, Result};
use crate::model::load::fingerprint::Fingerprint;
use crate::model::load::matching::{Location, Match, Matching, Names, Place};
use crate::model::load::table::TableTensor;
use crate::model::loaded::Tensor;
use crate::model::transformer::layout::{MatrixId, Slot, StackSlot, WantedTensor, WeightFile};
use crate::model::transformer::static_table::TableId;
use crate::weights::dtype::Dtype;
use crate::weights::gguf::Block;
use crate::weights::quantized::{Found, QuantizedMatrix, Role};
use crate::weights::rows::{Encoding, Rows};
use crate::weights::{TensorInfo, invalid};

/// What was found in the files so far.
pub struct Inventory {
    /// All tensors that the model uses, for saving.
    pub tensors: Vec<Tensor>,
    /// Tied matrices: the matrix, and the one that is used instead.
    pub tied: Vec<(MatrixId, MatrixId)>,
    /// Matrices that files hold in several tensors.
    pub quantized: Vec<PartialMatrix>,
    /// Block types of GGUF, and how many tensors have each.
    pub blocks: Vec<(Block, usize)>,
    /// Whether all quantised matrices so far are in our own grid and in the dtype that they are
    /// held in.
    pub kept: bool,
}

/// A matrix that a file, or several shards of it, hold in several tensors.
pub struct PartialMatrix {
    /// Index of the file.
    pub file: usize,
    /// Where it is stored.
    pub slot: Slot,
    /// Decodes its rows.
    pub matrix: QuantizedMatrix,
    /// Hash of its values.
    pub hash: Fingerprint,
}

/// Where the bytes of one tensor go.
pub enum Target {
    /// A tensor with values.
    Plain(PlainTensor),
    /// One of the tensors of a static table.
    Table(TableTensor),
    /// One of the tensors of a quantised matrix: its index in [`Inventory::quantized`], and its
    /// role.
    Component(usize, Role),
}

/// A tensor with values.
pub struct PlainTensor {
    /// Where it is stored.
    pub slot: Slot,
    /// Decodes its rows.
    pub rows: Rows,
    /// Hash of its values.
    pub hash: Fingerprint,
    /// Its name in the file.
    pub name: String,
}

impl Inventory {
    /// Nothing found yet.
    pub fn new() -> Self {
        Self {
            tensors: Vec::new(),
            tied: Vec::new(),
            quantized: Vec::new(),
            blocks: Vec::new(),
            kept: true,
        }
    }

    /// Records what was found in a file with `tensors`, and finds the target of each. Tensors that
    /// the index of shards lists for this file and that it lacks are added to the missing ones.
    pub fn add(
        &mut self,
        file: &WeightFile,
        names: &Names<'_>,
        matching: &Matching,
        tensors: &[TensorInfo],
    ) -> Result<(Vec<Option<Target>>, Vec<String>)> {
        let mut targets: Vec<Option<Target>> = tensors.iter().map(|_| None).collect();
        let mut missing = Vec::new();
        let mut here = |index: usize| match names.locate(index) {
            Location::Here(at) => Some(at),
            Location::Elsewhere => None,
            Location::Missing(name) => {
                missing.push(name.to_owned());
                None
            }
        };
        for found in &matching.found {
            self.record(found);
            match &found.place {
                Place::Plain(index) => {
                    if let Some(at) = here(*index) {
                        targets[at] = Some(Target::Plain(plain(&tensors[at], found.wanted)?));
                        if let Some(block) = tensors[at].block {
                            self.kept = false;
                            self.count(*block);
                        }
                    }
                }
                Place::Quantized(quantized) => {
                    let number = self.partial(file, found.wanted, quantized)?;
                    for (role, index) in &quantized.components {
                        if let Some(at) = here(*index) {
                            let matrix = &mut self.quantized[number].matrix;
                            matrix.describe(*role, &tensors[at])?;
                            targets[at] = Some(Target::Component(number, *role));
                        }
                    }
                }
            }
        }
        Ok((targets, missing))
    }

    /// Records tied matrices. Every shard of a file finds the same.
    pub fn tie(&mut self, tied: &[(MatrixId, MatrixId)]) {
        for pair in tied {
            if !self.tied.contains(pair) {
                self.tied.push(*pair);
            }
        }
    }

    /// Records a tensor. Every shard of a file finds the same.
    fn record(&mut self, Match { wanted, prefix, .. }: &Match) {
        let mut add = |name: String, shape: Vec<usize>, slot: Slot| {
            let is_it = |tensor: &Tensor| tensor.file == wanted.file && tensor.slot == slot;
            if !self.tensors.iter().any(is_it) {
                self.tensors.push(Tensor {
                    file: wanted.file,
                    prefix,
                    name,
                    shape,
                    slot,
                });
            }
        };
        let Slot::Stack(stack) = wanted.slot else {
            let name = wanted.saved_name().to_owned();
            return add(name, wanted.shape.clone(), wanted.slot);
        };
        let StackSlot {
            matrix,
            rows,
            transposed,
        } = *stack;
        let columns = wanted.shape.last().copied().unwrap_or(1);
        let count = wanted.shape.iter().product::<usize>() / (rows * columns);
        let shape = if transposed {
            [columns, rows]
        } else {
            [rows, columns]
        };
        for index in 0..count {
            let slot = Slot::Rows {
                matrix: matrix + index,
                first: 0,
            };
            add(wanted.part(index), shape.to_vec(), slot);
        }
    }

    /// Records a static table. Every shard of its file finds the same.
    pub fn record_table(&mut self, file: usize, table: TableId, name: &str, shape: [usize; 2]) {
        if !self.tensors.iter().any(|tensor| tensor.file == file) {
            self.tensors.push(Tensor {
                file,
                prefix: "",
                name: name.to_owned(),
                shape: shape.to_vec(),
                slot: Slot::Table { table },
            });
        }
    }

    fn count(&mut self, block: Block) {
        match self.blocks.iter_mut().find(|(other, _)| *other == block) {
            Some((_, count)) => *count += 1,
            None => self.blocks.push((block, 1)),
        }
    }

    /// Index of the partial matrix for what is wanted. Other shards may have components of it.
    fn partial(
        &mut self,
        file: &WeightFile,
        wanted: &WantedTensor,
        found: &Found<usize>,
    ) -> Result<usize> {
        let is_it = |one: &PartialMatrix| one.file == wanted.file && one.slot == wanted.slot;
        if let Some(index) = self.quantized.iter().position(is_it) {
            return Ok(index);
        }
        let [rows, columns] = wanted.shape[..] else {
            let reason = format!("{} is quantised, and no matrix", wanted.name);
            return Err(invalid(&file.path, reason));
        };
        self.quantized.push(PartialMatrix {
            file: wanted.file,
            slot: wanted.slot,
            matrix: QuantizedMatrix::new(
                found,
                &wanted.name,
                rows,
                columns,
                file.quantization.clone(),
            ),
            hash: Fingerprint::new(&wanted.name),
        });
        Ok(self.quantized.len() - 1)
    }
}

/// Checks shape and dtype of a tensor with values.
pub fn plain(tensor: &TensorInfo, wanted: &WantedTensor) -> Result<PlainTensor> {
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
    Ok(PlainTensor {
        slot: wanted.slot,
        rows,
        hash: Fingerprint::new(wanted.saved_name()),
        name: tensor.name.clone(),
    })
}
