//! A quantised matrix whose tensors arrive in any order and in pieces of any size → its rows.

use super::grid::Grid;
use super::{Found, Layout, Library, Quantization, Role, RowDecoder};
use crate::backend::{GROUP, WeightDtype};
use crate::error::{Error, Result, zeroed};
use crate::weights::TensorInfo;
use crate::weights::dtype::Dtype;

/// The most bytes of a component that may be larger than its matrix: a table of values or a
/// description.
const MAX_TABLE_BYTES: usize = 1 << 16;

/// One row of a matrix.
pub enum Row<'a> {
    /// `[columns]`
    Values(&'a [f32]),
    /// A row in our own grid: codes of that dtype, `[groups · GROUP]`, and scales, `[groups]`.
    Own(WeightDtype, &'a [i8], &'a [f32]),
    /// A row of [`levels`](super::levels), expanded to codes of 8 bits: codes and scales as above.
    Levels(&'a [i8], &'a [f32]),
}

/// What a file's header says of a tensor of the matrix.
pub struct Component {
    /// Element type, in safetensors' spelling.
    pub dtype: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Bytes.
    pub size: usize,
}

/// One tensor of the matrix, as far as it has arrived.
struct Arriving {
    role: Role,
    /// Known once its file's header has been read.
    component: Option<Component>,
    bytes: Vec<u8>,
    /// How many bytes are no longer in `bytes`, because they are decoded or not needed.
    taken: usize,
}

impl Arriving {
    fn is_complete(&self) -> bool {
        let received = self.taken + self.bytes.len();
        self.component
            .as_ref()
            .is_some_and(|component| component.size == received)
    }
}

/// A matrix whose tensors arrive.
pub struct QuantizedMatrix {
    /// Layouts that have the names of its tensors; the shape of its codes leaves the first.
    candidates: Vec<(&'static Library, &'static Layout)>,
    name: String,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    pub(super) quantization: Quantization,
    tensors: Vec<Arriving>,
    /// Made once everything but the codes has arrived.
    decoder: Option<RowDecoder>,
    row: Vec<f32>,
    codes: Vec<i8>,
    next: usize,
}

impl QuantizedMatrix {
    /// A matrix of which nothing has arrived.
    pub fn new<T>(
        found: &Found<T>,
        name: &str,
        rows: usize,
        columns: usize,
        quantization: Quantization,
    ) -> Self {
        let arriving = |role| Arriving {
            role,
            component: None,
            bytes: Vec::new(),
            taken: 0,
        };
        let roles = found.components.iter().map(|(role, _)| *role);
        Self {
            candidates: found.candidates.clone(),
            name: name.to_owned(),
            rows,
            columns: if quantization.own_grid {
                columns.next_multiple_of(GROUP)
            } else {
                columns
            },
            quantization,
            tensors: roles.map(arriving).collect(),
            decoder: None,
            row: Vec::new(),
            codes: Vec::new(),
            next: 0,
        }
    }

    /// Takes note of what a file's header says of a tensor.
    pub fn describe(&mut self, role: Role, tensor: &TensorInfo) -> Result<()> {
        let shape = tensor.shape.iter().map(|size| usize::try_from(*size));
        let shape: Vec<usize> = shape
            .collect::<Result<_, _>>()
            .map_err(|_| self.wrong("is larger than memory"))?;
        let elements = shape
            .iter()
            .try_fold(1usize, |all, size| all.checked_mul(*size));
        let size = elements.and_then(|all| all.checked_mul(element_size(&tensor.dtype)?));
        let Some(size) = size else {
            return Err(Error::WrongDtype {
                tensor: tensor.name.clone(),
                dtype: tensor.dtype.clone(),
            });
        };
        let component = Component {
            dtype: tensor.dtype.clone(),
            shape,
            size,
        };
        if role == Role::Codes {
            self.choose(&component, &tensor.name)?;
        } else if size / 8
            > self
                .rows
                .saturating_mul(self.columns)
                .max(MAX_TABLE_BYTES / 8)
        {
            // Before memory is taken for it.
            let shape = &component.shape;
            return Err(self.wrong(&format!("its {role:?} have the shape {shape:?}")));
        }
        if let Some(tensor) = self.tensors.iter_mut().find(|tensor| tensor.role == role) {
            tensor.component = Some(component);
        }
        Ok(())
    }

    /// Chooses the layout that the codes fit.
    fn choose(&mut self, codes: &Component, tensor: &str) -> Result<()> {
        let dtype = codes.dtype.as_str();
        let mut candidates = std::mem::take(&mut self.candidates);
        let has_dtype = candidates
            .iter()
            .any(|(_, layout)| layout.dtypes.contains(&dtype));
        let chosen = candidates.iter().position(|(_, layout)| {
            layout.dtypes.contains(&dtype) && (layout.bits)(self, codes).is_some()
        });
        candidates.rotate_left(chosen.unwrap_or(0));
        self.candidates = candidates;
        if !has_dtype {
            return Err(self.wrong(&format!("its codes are {dtype}")));
        }
        if chosen.is_none() {
            return Err(Error::WrongShape {
                tensor: tensor.to_owned(),
                got: codes.shape.iter().map(|size| *size as u64).collect(),
                expected: vec![self.rows, self.columns],
            });
        }
        self.candidates.truncate(1);
        Ok(())
    }

    fn needs_all_codes(&self) -> bool {
        self.candidates
            .first()
            .is_some_and(|(_, layout)| layout.needs_all_codes)
    }

    /// Takes the next bytes of a tensor; `store` gets each row that they complete.
    pub fn push(
        &mut self,
        role: Role,
        bytes: &[u8],
        mut store: impl FnMut(usize, Row) -> Result<()>,
    ) -> Result<()> {
        let needs_all_codes = self.needs_all_codes();
        let Some(tensor) = self.tensors.iter_mut().find(|tensor| tensor.role == role) else {
            return Ok(());
        };
        if role == Role::Unused {
            tensor.taken += bytes.len();
        } else {
            // Room for the whole tensor, or for these bytes alone if they can be decoded at once.
            let size = match &tensor.component {
                Some(component) if self.decoder.is_none() || needs_all_codes => {
                    component.size.saturating_sub(tensor.bytes.len())
                }
                _ => bytes.len(),
            };
            let full = |_| Error::OutOfMemory { bytes: size };
            tensor.bytes.try_reserve_exact(size).map_err(full)?;
            tensor.bytes.extend_from_slice(bytes);
        }
        if self.decoder.is_none() {
            // A decoder needs no more than the shape of the codes, which may still be in another
            // shard.
            let ready = |tensor: &Arriving| match tensor.role {
                Role::Codes => tensor.component.is_some(),
                _ => tensor.is_complete(),
            };
            if !self.tensors.iter().all(ready) {
                return Ok(());
            }
            self.decoder = Some(self.decoder()?);
            let others = self
                .tensors
                .iter_mut()
                .filter(|tensor| tensor.role != Role::Codes);
            others.for_each(|tensor| {
                tensor.taken += tensor.bytes.len();
                tensor.bytes = Vec::new();
            });
        }
        self.drain(&mut store)
    }

    fn decoder(&mut self) -> Result<RowDecoder> {
        let Some((_, layout)) = self.candidates.first() else {
            return Err(self.wrong("in no known layout"));
        };
        let decoder = (layout.decoder)(self)?;
        match decoder {
            RowDecoder::Values(_) => self.row = zeroed(self.columns)?,
            RowDecoder::Own(_) | RowDecoder::Levels(_) => self.codes = zeroed(self.columns)?,
        }
        Ok(decoder)
    }

    /// Whether all rows have come out.
    pub fn is_complete(&self) -> bool {
        self.next == self.rows
    }

    /// The name that the matrix has where it is not quantised.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The layout in words: the library, and the bits.
    pub fn label(&self) -> Option<String> {
        let (library, layout) = self.candidates.first()?;
        let (codes, _) = self.component(Role::Codes)?;
        let bits = (layout.bits)(self, codes)?;
        let name = library.name;
        let rotated = if self.quantization.own_grid {
            ", rotated"
        } else {
            ""
        };
        Some(if codes.dtype.starts_with("F8") {
            format!("{name}, FP8")
        } else {
            format!("{name}, {bits} bits{rotated}")
        })
    }

    /// An error about this matrix: `what` goes on from "it is quantised by that library, but".
    pub(super) fn wrong(&self, what: &str) -> Error {
        let mut libraries: Vec<_> = self.candidates.iter().map(|(one, _)| one.name).collect();
        libraries.dedup();
        Error::UnsupportedModel(format!(
            "{} is quantised as {} does it, but {what}; use a checkpoint in 16 bits, or one of the layouts in the documentation",
            self.name,
            libraries.join(" or ")
        ))
    }

    /// A tensor of the matrix, and what has arrived of it.
    pub(super) fn component(&self, role: Role) -> Option<(&Component, &[u8])> {
        let tensor = self.tensors.iter().find(|tensor| tensor.role == role)?;
        Some((tensor.component.as_ref()?, &tensor.bytes))
    }

    /// As [`QuantizedMatrix::component`], for one that must be there.
    pub(super) fn needed(&self, role: Role) -> Result<(&Component, &[u8])> {
        let component = self.component(role);
        component.ok_or_else(|| self.wrong(&format!("it has no {role:?}")))
    }

    /// Bits of a code.
    pub(super) fn bits(&self) -> Result<usize> {
        let (codes, _) = self.needed(Role::Codes)?;
        let chosen = self.candidates.first();
        let bits = chosen.and_then(|(_, layout)| (layout.bits)(self, codes));
        bits.ok_or_else(|| self.wrong("its codes do not fit its shape"))
    }

    /// The values of a tensor.
    pub(super) fn numbers(&self, role: Role) -> Result<Option<Vec<f32>>> {
        let Some((component, bytes)) = self.component(role) else {
            return Ok(None);
        };
        let dtype = Dtype::from_name(&component.dtype)
            .ok_or_else(|| self.wrong(&format!("its {role:?} are {}", component.dtype)))?;
        let mut values = zeroed(bytes.len() / dtype.size())?;
        dtype.decode(bytes, &mut values);
        if values.iter().any(|value| !value.is_finite()) {
            return Err(self.wrong(&format!("its {role:?} are not finite")));
        }
        Ok(Some(values))
    }

    /// A tensor that has a number for the matrix, each row, each group of a row or each block.
    pub(super) fn grid(&self, role: Role) -> Result<Option<Grid>> {
        let (Some((component, _)), Some(values)) = (self.component(role), self.numbers(role)?)
        else {
            return Ok(None);
        };
        let (rows, columns) = match component.shape[..] {
            [] => (1, 1),
            [rows] => (rows, 1),
            [rows, columns] | [rows, columns, 1] => (rows, columns),
            _ => (0, 0),
        };
        let grid = Grid::new(values, rows, columns, self.rows, self.columns);
        let shape = || {
            self.wrong(&format!(
                "its {role:?} have the shape {:?}",
                component.shape
            ))
        };
        grid.map(Some).ok_or_else(shape)
    }

    /// The scales.
    pub(super) fn scales(&self) -> Result<Grid> {
        let scales = self.grid(Role::Scales)?;
        scales.ok_or_else(|| self.wrong("it has no scales"))
    }

    /// Decodes the rows whose codes have arrived.
    fn drain(&mut self, store: &mut impl FnMut(usize, Row) -> Result<()>) -> Result<()> {
        let needs_all_codes = self.needs_all_codes();
        let (Some(decoder), Some(codes)) = (
            &self.decoder,
            self.tensors
                .iter_mut()
                .find(|tensor| tensor.role == Role::Codes),
        ) else {
            return Ok(());
        };
        let Some(size) = codes.component.as_ref().map(|component| component.size) else {
            return Ok(());
        };
        if needs_all_codes && !codes.is_complete() {
            return Ok(());
        }
        let row_bytes = (size / self.rows.max(1)).max(1);
        let arrived = if needs_all_codes {
            self.rows
        } else {
            (self.rows - self.next).min(codes.bytes.len() / row_bytes)
        };
        for at in 0..arrived {
            let bytes = if needs_all_codes {
                &codes.bytes[..]
            } else {
                &codes.bytes[at * row_bytes..][..row_bytes]
            };
            let row = match decoder {
                RowDecoder::Values(decoder) => {
                    decoder.decode(bytes, self.next, &mut self.row);
                    Row::Values(&self.row)
                }
                RowDecoder::Own(reader) => {
                    let dtype = reader.codes(&self.name, bytes, &mut self.codes)?;
                    Row::Own(dtype, &self.codes, reader.scales(self.next))
                }
                RowDecoder::Levels(reader) => {
                    reader.codes(bytes, &mut self.codes);
                    Row::Levels(&self.codes, reader.scales(self.next))
                }
            };
            store(self.next, row)?;
            self.next += 1;
        }
        if self.next == self.rows {
            codes.taken += codes.bytes.len();
            codes.bytes = Vec::new();
        } else {
            let taken = arrived * row_bytes;
            codes.taken += taken;
            codes.bytes.drain(..taken);
        }
        Ok(())
    }
}

/// Bytes of an element of any dtype that a component may have.
fn element_size(dtype: &str) -> Option<usize> {
    Some(match dtype {
        "I64" => 8,
        "I32" | "U32" => 4,
        "U8" => 1,
        other => Dtype::from_name(other)?.size(),
    })
}
