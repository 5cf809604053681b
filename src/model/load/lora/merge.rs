//! Where the tensors of an adapter belong in a model, and what becomes of the rows there.

use super::{Lora, Tensor};
use crate::error::{Error, Result};
use crate::model::load::fingerprint::Fingerprint;
use crate::model::transformer::layout::{
    Layout, MatrixId, Slot, VectorId, WantedTensor, WeightFile,
};

/// What the names of an adapter's tensors begin with.
const PREFIX: &str = "base_model.model.";

/// What an adapter changes, by where the weights are stored.
pub struct Merge {
    deltas: Vec<Delta>,
    rows: Vec<NewRows>,
    elements: Vec<NewElements>,
    /// Hash of what it changes.
    pub fingerprint: u64,
    path: String,
}

/// What is added to rows of a matrix: `scale · b · a`.
struct Delta {
    matrix: MatrixId,
    first: usize,
    rank: usize,
    /// `[rank, columns]`
    a: Vec<f32>,
    /// `[rows, rank]`
    b: Vec<f32>,
    scale: f32,
    /// The length that each row is scaled to.
    lengths: Option<Vec<f32>>,
}

/// Rows in place of a matrix's own.
struct NewRows {
    matrix: MatrixId,
    first: usize,
    columns: usize,
    values: Vec<f32>,
}

/// Elements in place of a vector's own.
struct NewElements {
    vector: VectorId,
    first: usize,
    values: Vec<f32>,
}

/// The matrices of a module.
#[derive(Default)]
struct Parts {
    module: String,
    is_table: bool,
    a: Option<Tensor>,
    b: Option<Tensor>,
    lengths: Option<Tensor>,
}

/// A tensor's place in a module.
enum Part {
    A,
    B,
    Lengths,
    /// A parameter of the base, by its name there.
    Parameter(String),
}

/// The module that a tensor belongs to, whether that is a table, and its part in it.
fn part(name: &str) -> Option<(String, bool, Part)> {
    let key = name.strip_prefix(PREFIX).unwrap_or(name);
    if let Some((module, end)) = key.split_once(".lora_") {
        let (is_table, part) = match end {
            "A.weight" => (false, Part::A),
            "B.weight" => (false, Part::B),
            "embedding_A" => (true, Part::A),
            "embedding_B" => (true, Part::B),
            "magnitude_vector" | "magnitude_vector.weight" => (false, Part::Lengths),
            _ => return None,
        };
        return Some((module.to_owned(), is_table, part));
    }
    let (module, parameter) = key.rsplit_once('.')?;
    let module = module.strip_suffix(".base_layer").unwrap_or(module);
    let name = format!("{module}.{parameter}");
    Some((module.to_owned(), false, Part::Parameter(name)))
}

impl Lora {
    /// Finds the places of all tensors in a model. `is_gguf` is whether its weights are a GGUF
    /// file.
    pub fn place(self, layout: &Layout, is_gguf: bool) -> Result<Merge> {
        let fingerprint = self.fingerprint();
        let encoders = layout.files.iter().enumerate();
        let encoders: Vec<usize> = encoders
            .filter(|(_, file)| file.layers.is_some())
            .map(|(index, _)| index)
            .collect();
        let [encoder] = encoders[..] else {
            return Err(Error::UnsupportedModel(format!(
                "adapters are merged into models with one transformer of the native road, and this one has {}",
                encoders.len()
            )));
        };
        let file = &layout.files[encoder];
        let Self {
            settings,
            tensors,
            path,
            ..
        } = self;
        let mut merge = Merge {
            deltas: Vec::new(),
            rows: Vec::new(),
            elements: Vec::new(),
            fingerprint,
            path,
        };
        let mut modules: Vec<Parts> = Vec::new();
        for tensor in tensors {
            let Some((module, is_table, part)) = part(&tensor.name) else {
                return Err(merge.left_over(&tensor.name));
            };
            if let Part::Parameter(name) = part {
                // A table that is saved with its adapter.
                let is_saved =
                    tensor.name.ends_with(".base_layer.weight") || settings.replaces(&name)?;
                match (is_saved, find(layout, file, encoder, &name)) {
                    (true, Some(wanted)) => merge.replace(wanted, tensor, is_gguf)?,
                    (true, None) if is_unused(file, &name) => {}
                    _ => return Err(merge.left_over(&tensor.name)),
                }
                continue;
            }
            let at = modules.iter().position(|own| own.module == module);
            let at = at.unwrap_or_else(|| {
                modules.push(Parts {
                    module,
                    ..Parts::default()
                });
                modules.len() - 1
            });
            let own = &mut modules[at];
            own.is_table |= is_table;
            let slot = match part {
                Part::A => &mut own.a,
                Part::B => &mut own.b,
                _ => &mut own.lengths,
            };
            *slot = Some(tensor);
        }
        for parts in modules {
            settings.check_target(&parts.module)?;
            let wanted = find(layout, file, encoder, &format!("{}.weight", parts.module));
            let Some(wanted) = wanted else {
                if is_unused(file, &format!("{}.", parts.module)) {
                    continue;
                }
                return Err(merge.left_over(&format!("{PREFIX}{}", parts.module)));
            };
            merge.add(wanted, parts, &settings)?;
        }
        if merge.deltas.is_empty() && merge.rows.is_empty() && merge.elements.is_empty() {
            let reason = "it changes nothing that this model uses: check that both belong together";
            return Err(Error::config(merge.path, reason));
        }
        Ok(merge)
    }
}

/// The tensor that the model wants under a name of the reference's, in any of the family's
/// spellings.
fn find<'a>(
    layout: &'a Layout,
    file: &WeightFile,
    index: usize,
    name: &str,
) -> Option<&'a WantedTensor> {
    let mut names = file
        .prefixes
        .iter()
        .filter_map(|prefix| name.strip_prefix(prefix));
    names.find_map(|name| {
        let mut wanted = layout.wanted.iter();
        wanted.find(|wanted| wanted.file == index && wanted.name == name)
    })
}

/// Whether the model makes no use of a tensor or module.
fn is_unused(file: &WeightFile, name: &str) -> bool {
    let mut rests = file
        .prefixes
        .iter()
        .filter_map(|prefix| name.strip_prefix(prefix));
    rests.any(|rest| file.unused.iter().any(|start| rest.starts_with(start)))
}

impl Merge {
    /// The error about a tensor that belongs nowhere.
    fn left_over(&self, name: &str) -> Error {
        Error::UnsupportedModel(format!(
            "{} has {name}, which has no place in this model: check that the adapter was trained on it, or merge it with PEFT (merge_and_unload), and load the result",
            self.path
        ))
    }

    /// Has a tensor take the place of one of the model.
    fn replace(&mut self, wanted: &WantedTensor, tensor: Tensor, is_gguf: bool) -> Result<()> {
        if is_gguf {
            return Err(Error::UnsupportedModel(format!(
                "{} has {} in place of the model's own, and the model is a GGUF file: load the original's safetensors with the adapter",
                self.path, tensor.name
            )));
        }
        check(&tensor, &wanted.shape)?;
        let Tensor { values, .. } = tensor;
        match wanted.slot {
            Slot::Rows { matrix, first } => {
                let columns = wanted.shape.last().copied().unwrap_or(1);
                self.rows.push(NewRows {
                    matrix,
                    first,
                    columns,
                    values,
                });
            }
            Slot::Elements { vector, first } => self.elements.push(NewElements {
                vector,
                first,
                values,
            }),
            _ => return Err(self.left_over(&tensor.name)),
        }
        Ok(())
    }

    fn add(
        &mut self,
        wanted: &WantedTensor,
        parts: Parts,
        settings: &super::Settings,
    ) -> Result<()> {
        let Parts {
            module,
            is_table,
            a,
            b,
            lengths,
        } = parts;
        let (Slot::Rows { matrix, first }, [rows, columns]) = (wanted.slot, &wanted.shape[..])
        else {
            return Err(self.left_over(&format!("{PREFIX}{module}")));
        };
        let (rows, columns) = (*rows, *columns);
        let missing = |what: &str| Error::MissingTensor {
            file: self.path.clone(),
            missing: format!("{PREFIX}{module}.{what}"),
            present: "the other matrices of the module".to_owned(),
        };
        let a = a.ok_or_else(|| missing("lora_A.weight"))?;
        let b = b.ok_or_else(|| missing("lora_B.weight"))?;
        if lengths.is_some() != settings.has_lengths {
            return Err(if settings.has_lengths {
                missing("lora_magnitude_vector")
            } else {
                self.left_over(&format!("{PREFIX}{module}.lora_magnitude_vector"))
            });
        }
        let rank = a.shape.first().copied().unwrap_or(0);
        let scale = settings.scale(&module, rank)?;
        let mut hash = Fingerprint::new(&module);
        hash.update(&[scale]);
        self.fingerprint = self.fingerprint.wrapping_add(hash.0);
        // A row of a table is a column of `b · a`.
        let (a, b) = if is_table {
            if lengths.is_some() {
                return Err(Error::UnsupportedModel(format!(
                    "{} has DoRA (use_dora) for {module}, which is a table, and it is supported for linear modules; merge the adapter with PEFT",
                    self.path
                )));
            }
            check(&a, &[rank, rows])?;
            check(&b, &[columns, rank])?;
            (transposed(&b.values, rank), transposed(&a.values, rows))
        } else {
            check(&a, &[rank, columns])?;
            check(&b, &[rows, rank])?;
            (a.values, b.values)
        };
        if let Some(lengths) = &lengths {
            check(lengths, &[rows])?;
        }
        let lengths = lengths.map(|lengths| lengths.values);
        self.deltas.push(Delta {
            matrix,
            first,
            rank,
            a,
            b,
            scale,
            lengths,
        });
        Ok(())
    }

    /// Whether it changes a row of a matrix.
    pub fn covers(&self, matrix: MatrixId, row: usize) -> bool {
        self.delta(matrix, row).is_some() || self.new_row(matrix, row).is_some()
    }

    fn delta(&self, matrix: MatrixId, row: usize) -> Option<(&Delta, usize)> {
        let mut deltas = self.deltas.iter().filter(|delta| delta.matrix == matrix);
        deltas.find_map(|delta| {
            let at = row.checked_sub(delta.first)?;
            (at < delta.b.len() / delta.rank).then_some((delta, at))
        })
    }

    fn new_row(&self, matrix: MatrixId, row: usize) -> Option<&[f32]> {
        let mut all = self.rows.iter().filter(|rows| rows.matrix == matrix);
        all.find_map(|rows| {
            let at = row.checked_sub(rows.first)?.checked_mul(rows.columns)?;
            rows.values.get(at..at + rows.columns)
        })
    }

    /// A row of a matrix as the adapter makes it; none if it leaves it as it is.
    pub fn row(&self, matrix: MatrixId, row: usize, values: &[f32]) -> Result<Option<Vec<f32>>> {
        let own = self.new_row(matrix, row);
        let Some((delta, at)) = self.delta(matrix, row) else {
            return Ok(own.map(<[f32]>::to_vec));
        };
        let mut sum = vec![0.0; values.len()];
        let factors = &delta.b[at * delta.rank..][..delta.rank];
        for (factor, part) in factors.iter().zip(delta.a.chunks_exact(values.len())) {
            sum.iter_mut()
                .zip(part)
                .for_each(|(sum, value)| *sum += factor * value);
        }
        for (sum, value) in sum.iter_mut().zip(own.unwrap_or(values)) {
            *sum = value + delta.scale * *sum;
        }
        if let Some(lengths) = &delta.lengths {
            let square: f64 = sum
                .iter()
                .map(|value| f64::from(*value) * f64::from(*value))
                .sum();
            #[expect(clippy::cast_possible_truncation, reason = "f32, as in the reference")]
            let factor = lengths[at] / square.sqrt() as f32;
            sum.iter_mut().for_each(|value| *value *= factor);
        }
        crate::weights::check_finite(&self.path, "of a merged module", &sum)?;
        Ok(Some(sum))
    }

    /// Elements of a vector as the adapter has them; none if it has none.
    pub fn elements(&self, vector: VectorId, first: usize) -> Option<&[f32]> {
        let mut all = self.elements.iter();
        let found = all.find(|own| own.vector == vector && own.first == first);
        found.map(|own| own.values.as_slice())
    }

    /// Refuses a changed table that another matrix is tied to: the reference leaves that one as it
    /// is.
    pub fn check_tied(&self, tied: &[(MatrixId, MatrixId)]) -> Result<()> {
        let changed = |id: MatrixId| {
            self.deltas.iter().any(|own| own.matrix == id)
                || self.rows.iter().any(|own| own.matrix == id)
        };
        if tied.iter().any(|(_, other)| changed(*other)) {
            return Err(Error::UnsupportedModel(format!(
                "{} changes the table of words, which is the model's decoder, too; merge it with PEFT (merge_and_unload), and load the result",
                self.path
            )));
        }
        Ok(())
    }
}

/// The rows of a matrix of `columns` as columns.
fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    let mut all = Vec::with_capacity(values.len());
    for column in 0..columns {
        all.extend(values.chunks_exact(columns).map(|row| row[column]));
    }
    all
}

/// Checks a tensor's shape.
fn check(tensor: &Tensor, expected: &[usize]) -> Result<()> {
    if tensor.shape == expected && !expected.contains(&0) {
        return Ok(());
    }
    Err(Error::WrongShape {
        tensor: tensor.name.clone(),
        got: tensor.shape.iter().map(|size| *size as u64).collect(),
        expected: expected.to_vec(),
    })
}
