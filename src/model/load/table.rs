//! The tensors of a static table: sentence-transformers' `StaticEmbedding` (`embedding.weight`),
//! model2vec's own (`embeddings`), and model2vec's `mapping` and `weights` of a quantised
//! vocabulary. Their shapes are in no config, so they are checked against the tokenizer.

use crate::backend::WeightDtype;
use crate::error::{Error, Result};
use crate::model::load::fingerprint::Fingerprint;
use crate::model::transformer::layout::Layout;
use crate::model::transformer::static_table::{StaticTable, TableDtype, TableId};
use crate::weights::dtype::Dtype;
use crate::weights::rows::{Encoding, Rows};
use crate::weights::{TensorInfo, check_finite, invalid};

/// The vectors, in each spelling.
pub const VECTORS: [&str; 2] = ["embedding.weight", "embeddings"];
/// What follows the name of the vectors in that of the scales, one for each row of integers. Only
/// tables that we saved have scales.
pub const SCALES: &str = "_scale";
/// The row of each token.
pub const MAPPING: &str = "mapping";
/// The factor of each token.
pub const WEIGHTS: &str = "weights";

/// The most rows of a table.
const MAX_ROWS: usize = 1 << 24;

/// What a tensor is to the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Vectors,
    Scales,
    Mapping,
    Weights,
}

/// A tensor of a table that is arriving.
pub struct TableTensor {
    table: TableId,
    role: Role,
    name: String,
    rows: Rows,
}

/// A table, and what its file's headers say of it.
#[derive(Default)]
struct Arriving {
    table: StaticTable,
    /// Name of the tensor of vectors, once it has been described.
    vectors: Option<&'static str>,
    /// Entries of `mapping`, `weights` and the scales.
    lengths: [Option<usize>; 3],
    /// Whether the file has the vectors in 8 bits.
    in_codes: bool,
}

impl Arriving {
    fn length(&mut self, role: Role) -> Option<&mut Option<usize>> {
        match role {
            Role::Vectors => None,
            Role::Mapping => Some(&mut self.lengths[0]),
            Role::Weights => Some(&mut self.lengths[1]),
            Role::Scales => Some(&mut self.lengths[2]),
        }
    }

    /// Takes note of a tensor's header.
    fn describe(
        &mut self,
        name: &'static str,
        role: Role,
        tensor: &TensorInfo,
        asked: Option<WeightDtype>,
    ) -> Result<Rows> {
        let wrong_dtype = || Error::WrongDtype {
            tensor: tensor.name.clone(),
            dtype: tensor.dtype.clone(),
        };
        let dtype = match role {
            Role::Mapping => Dtype::of_integers(&tensor.dtype),
            Role::Vectors => Dtype::from_name(&tensor.dtype),
            Role::Weights | Role::Scales => Dtype::of_values(&tensor.dtype),
        };
        let dtype = dtype.ok_or_else(wrong_dtype)?;
        let size = |size: &u64| usize::try_from(*size).ok().filter(|size| *size > 0);
        let shape: Option<Vec<usize>> = tensor.shape.iter().map(size).collect();
        let shape = shape.unwrap_or_default();
        let width = match (role, shape.as_slice()) {
            (Role::Vectors, [rows, columns])
                if *rows <= MAX_ROWS && rows.checked_mul(*columns).is_some() =>
            {
                self.vectors = Some(name);
                self.in_codes = dtype == Dtype::I8;
                let held = match (dtype, asked) {
                    (Dtype::I8, _) => TableDtype::Codes,
                    (Dtype::F16, None) | (_, Some(WeightDtype::F16)) => TableDtype::F16,
                    (_, Some(WeightDtype::F32)) => TableDtype::F32,
                    _ => TableDtype::Quantized,
                };
                self.table = StaticTable::new([*rows, *columns], held);
                *columns
            }
            (Role::Mapping | Role::Weights | Role::Scales, [length])
            | (Role::Scales, [length, 1])
                if *length <= MAX_ROWS =>
            {
                if let Some(own) = self.length(role) {
                    *own = Some(*length);
                }
                *length
            }
            _ => {
                let form = if role == Role::Vectors {
                    "[rows, columns]"
                } else {
                    "[token ids]"
                };
                return Err(Error::UnsupportedModel(format!(
                    "tensor {} of a static table has the shape {:?}, which is not {form} of at most {MAX_ROWS}",
                    tensor.name, tensor.shape
                )));
            }
        };
        Rows::new(Encoding::Elements(dtype), width).ok_or_else(wrong_dtype)
    }

    /// Number of token ids that have a vector, once that is known.
    fn ids(&self) -> usize {
        self.lengths[0].unwrap_or(self.table.shape()[0])
    }

    /// Checks the shapes against each other and against the tokenizer, which has `tokens` ids.
    fn check(&self, path: &str, tokens: usize) -> Result<()> {
        let Some(vectors) = self.vectors else {
            return Ok(());
        };
        let [rows, _] = self.table.shape();
        let ids = self.ids();
        let [mapping, weights, scales] = self.lengths;
        let reason = if ids < tokens {
            let what = match mapping {
                Some(_) => format!("{MAPPING} has {ids} entries"),
                None => format!("{vectors} has {ids} rows"),
            };
            format!("{what}, and the tokenizer has {tokens} ids")
        } else if let Some(weights) = weights.filter(|weights| *weights != ids) {
            format!("{WEIGHTS} has {weights} entries, and {ids} token ids have vectors")
        } else if let Some(scales) = scales.filter(|scales| *scales != rows || !self.in_codes) {
            format!(
                "{vectors}{SCALES} has {scales} entries, and {vectors} has {rows} rows, which must be 8-bit integers"
            )
        } else {
            return Ok(());
        };
        Err(invalid(path, reason))
    }
}

/// What a table has become.
pub struct FinishedTable {
    /// The table.
    pub table: StaticTable,
    /// Hash of everything in it.
    pub fingerprint: u64,
    /// Whether the file has plain integers without any factor, which only model2vec reads.
    pub only_model2vec: bool,
}

/// The static tables of a model.
pub struct Tables {
    all: Vec<Arriving>,
    /// The dtype that the caller asked for.
    asked: Option<WeightDtype>,
}

impl Tables {
    /// Nothing read yet.
    pub fn new(layout: &Layout, asked: Option<WeightDtype>) -> Self {
        Self {
            all: layout.tables.iter().map(|_| Arriving::default()).collect(),
            asked,
        }
    }

    /// Takes note of the tensors of a file, or of a shard of it, that has its vectors in `vectors`,
    /// one of [`VECTORS`]. Tensors that a table does not have get no target.
    pub fn assign(
        &mut self,
        table: TableId,
        vectors: &'static str,
        tensors: &[TensorInfo],
    ) -> Result<Vec<Option<TableTensor>>> {
        let arriving = &mut self.all[table];
        let scales = [vectors, SCALES].concat();
        let mut targets = Vec::new();
        for tensor in tensors {
            let role = match tensor.name.as_str() {
                name if name == vectors => Role::Vectors,
                name if name == scales => Role::Scales,
                // sentence-transformers reads these in model2vec's files alone.
                MAPPING if vectors == VECTORS[1] => Role::Mapping,
                WEIGHTS if vectors == VECTORS[1] => Role::Weights,
                _ => {
                    targets.push(None);
                    continue;
                }
            };
            targets.push(Some(TableTensor {
                table,
                role,
                name: tensor.name.clone(),
                rows: arriving.describe(vectors, role, tensor, self.asked)?,
            }));
        }
        Ok(targets)
    }

    /// Checks the shapes of a table whose headers have all been read.
    pub fn check(&self, table: TableId, layout: &Layout) -> Result<()> {
        self.all[table].check(path(table, layout), layout.tables[table])
    }

    /// The shape of a table, once the header of its vectors has been read.
    pub fn shape(&self, table: TableId) -> Option<[usize; 2]> {
        let arriving = &self.all[table];
        arriving.vectors.map(|_| arriving.table.shape())
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        let tables = self.all.iter();
        tables.map(|arriving| arriving.table.parameters()).sum()
    }

    /// Takes the next bytes of a tensor.
    pub fn fill(&mut self, file: &str, tensor: &mut TableTensor, bytes: &[u8]) -> Result<()> {
        let Arriving { table, .. } = &mut self.all[tensor.table];
        let (role, name) = (tensor.role, &tensor.name);
        let mut result = Ok(());
        tensor.rows.push(bytes, |_, values| {
            if result.is_ok() {
                result = check_finite(file, name, values).and_then(|()| match role {
                    Role::Vectors => table.push_row(values),
                    Role::Scales => {
                        table.set_scales(values.to_vec());
                        Ok(())
                    }
                    Role::Weights => {
                        table.set_weights(values.to_vec());
                        Ok(())
                    }
                    Role::Mapping => {
                        table.set_mapping(rows_of_tokens(file, values)?);
                        Ok(())
                    }
                });
            }
        });
        result
    }

    /// The tables, once all files have been read, and the layouts of those in integers.
    pub fn finish(self, layout: &Layout) -> Result<(Vec<FinishedTable>, Vec<String>)> {
        let (mut finished, mut layouts) = (Vec::new(), Vec::new());
        for (id, arriving) in self.all.into_iter().enumerate() {
            let path = path(id, layout);
            arriving.check(path, layout.tables[id])?;
            let [rows, _] = arriving.table.shape();
            if rows == 0 || arriving.table.arrived() != rows {
                let reason = format!("not all rows of {} are there", VECTORS[0]);
                return Err(invalid(path, reason));
            }
            let mapping = arriving.table.mapping().unwrap_or_default();
            if let Some(token) = mapping.iter().position(|row| *row as usize >= rows) {
                let row = mapping[token];
                let reason = format!("{MAPPING} gives token {token} row {row} of {rows} rows");
                return Err(invalid(path, reason));
            }
            let [_, weights, scales] = arriving.lengths;
            if arriving.in_codes {
                let library = match scales {
                    Some(_) => "compressed-tensors",
                    None => "model2vec",
                };
                layouts.push(format!("{library}, 8 bits"));
            }
            finished.push(FinishedTable {
                only_model2vec: arriving.in_codes && weights.is_none() && scales.is_none(),
                fingerprint: fingerprint(&arriving.table),
                table: arriving.table,
            });
        }
        Ok((finished, layouts))
    }
}

/// Path of the file of a table.
fn path(table: TableId, layout: &Layout) -> &str {
    let mut files = layout.files.iter();
    let file = files.find(|file| file.table == Some(table));
    file.map_or("", |file| file.path.as_str())
}

/// Hash of everything in a table, which does not depend on the order in which it arrived.
fn fingerprint(table: &StaticTable) -> u64 {
    let mut hash = Fingerprint::new("embedding");
    let [rows, _] = table.shape();
    for row in 0..rows {
        hash.update_bytes(&table.row_bytes(row));
    }
    hash.update(table.scales().unwrap_or_default());
    for row in table.mapping().unwrap_or_default() {
        hash.update_bytes(&row.to_le_bytes());
    }
    hash.update(table.weights().unwrap_or_default());
    hash.0
}

/// Rows by token, from their values. Values beyond f32's exact integers are beyond all rows, too.
fn rows_of_tokens(file: &str, values: &[f32]) -> Result<Vec<u32>> {
    if let Some(token) = values.iter().position(|value| *value < 0.0) {
        let reason = format!("{MAPPING} gives token {token} row {}", values[token]);
        return Err(invalid(file, reason));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "negative values are refused, and larger ones saturate"
    )]
    let rows = values.iter().map(|value| *value as u32);
    Ok(rows.collect())
}
