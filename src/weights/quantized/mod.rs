//! Matrices that a checkpoint holds in 2 to 8 bits, in the layouts of the libraries that people quantise with: several
//! tensors (codes, scales, zero points, …) make one matrix.
//!
//! Layouts are told by the names of their tensors, and bits and group sizes by the shapes. Parts are kept as they are
//! stored until all that a row needs has arrived; then rows come out in f32, one at a time.
//!
//! | layout | codes | value |
//! |---|---|---|
//! | MLX, affine | `weight`: U32 `[out, in · bits / 32]`, low bits first | code · `scales` + `biases`, `[out, groups]` |
//! | compressed-tensors, packed | `weight_packed`: I32, the same | (code − zero) · `weight_scale` |
//! | compressed-tensors, and others' | `weight`: I8 or F8 `[out, in]` | (code − zero) · `weight_scale` of the tensor, its rows, groups or blocks |
//! | GPTQ | `qweight`: I32 `[in · bits / 32, out]`, along the columns | (code − zero) · `scales`, `[groups, out]` |
//! | AWQ | `qweight`: I32 `[in, out / 8]`, columns of a word in the order 0 2 4 6 1 3 5 7 | the same |
//! | bitsandbytes, int8 | `weight`: I8 `[out, in]` | code · `SCB` / 127 |
//! | bitsandbytes, nf4 and fp4 | `weight`: U8, two codes a byte, the first one high, over the whole matrix | `quant_map`\[code\] · `absmax` of the block |

mod decoder;
mod layouts;

use serde::Deserialize;

use self::decoder::{Codes, Decoder, Grid, awq_code, code};
use self::layouts::Kind;
pub use self::layouts::{Found, Role, find};
use super::TensorInfo;
use super::dtype::Dtype;
use crate::backend::{GROUP, WeightDtype};
use crate::error::{Error, Result, zeroed};

/// Bytes that tables and descriptions may have, whatever the size of their matrix.
const MOST_TABLES: usize = 1 << 16;

/// What a model's config says of its quantised matrices, besides what tensors tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantization {
    /// Whether GPTQ's zero points are stored as they are (`gptq_v2`), rather than less one.
    pub gptq_v2: bool,
    /// Whether they are in our own grid: rotated, in groups of 64, symmetric (see `backend::GROUP`). `model::load::save` writes
    /// such files.
    pub own_grid: bool,
}

/// One row of a matrix.
pub enum Row<'a> {
    /// `[columns]`
    Values(&'a [f32]),
    /// A row in our own grid: codes of that dtype, `[groups · GROUP]`, and scales, `[groups]`.
    Own(WeightDtype, &'a [i8], &'a [f32]),
}

/// One tensor of a matrix.
struct Part {
    role: Role,
    /// Known once its file's header has been read.
    info: Option<Info>,
    bytes: Vec<u8>,
    /// How many of them have been taken already, of the codes.
    taken: usize,
}

struct Info {
    dtype: String,
    shape: Vec<usize>,
    size: usize,
}

impl Part {
    fn is_complete(&self) -> bool {
        let received = self.taken + self.bytes.len();
        self.info.as_ref().is_some_and(|info| info.size == received)
    }
}

/// How rows come out, once all that they need but their codes is here.
enum Out {
    /// In f32
    Values(Decoder),
    /// As they are, in our own grid
    Own { bits: usize, scales: Grid },
}

/// A matrix whose parts arrive.
pub struct Matrix {
    kind: Kind,
    library: &'static str,
    name: String,
    rows: usize,
    columns: usize,
    quantization: Quantization,
    parts: Vec<Part>,
    out: Option<Out>,
    row: Vec<f32>,
    codes: Vec<i8>,
    next: usize,
}

impl Matrix {
    /// Nothing of it is here yet.
    pub fn new<T>(
        found: &Found<T>,
        name: &str,
        rows: usize,
        columns: usize,
        quantization: Quantization,
    ) -> Self {
        let part = |role| Part {
            role,
            info: None,
            bytes: Vec::new(),
            taken: 0,
        };
        Self {
            kind: found.kind,
            library: found.library,
            name: name.to_owned(),
            rows,
            columns: if quantization.own_grid {
                columns.next_multiple_of(GROUP)
            } else {
                columns
            },
            quantization,
            parts: found.parts.iter().map(|(role, _)| part(*role)).collect(),
            out: None,
            row: Vec::new(),
            codes: Vec::new(),
            next: 0,
        }
    }

    /// Takes note of what a file says of a part.
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
        let info = Info {
            dtype: tensor.dtype.clone(),
            shape,
            size,
        };
        if role == Role::Codes {
            self.check_codes(&info, &tensor.name)?;
        } else if info.size / 8 > self.rows.saturating_mul(self.columns).max(MOST_TABLES / 8) {
            // Before memory is taken for it.
            return Err(self.wrong(&format!("its {role:?} have the shape {:?}", info.shape)));
        }
        if let Some(part) = self.parts.iter_mut().find(|part| part.role == role) {
            part.info = Some(info);
        }
        Ok(())
    }

    /// Takes the next bytes of a part; `store` gets each row that they complete.
    pub fn push(
        &mut self,
        role: Role,
        bytes: &[u8],
        mut store: impl FnMut(usize, Row) -> Result<()>,
    ) -> Result<()> {
        let Some(part) = self.parts.iter_mut().find(|part| part.role == role) else {
            return Ok(());
        };
        if role == Role::Unused {
            part.taken += bytes.len();
        } else {
            // Codes that can be decoded do not stay, unless rows run across all of them.
            let size = match &part.info {
                Some(info) if self.out.is_none() || self.kind == Kind::Columns => {
                    info.size.saturating_sub(part.bytes.len())
                }
                _ => bytes.len(),
            };
            let full = |_| Error::OutOfMemory { bytes: size };
            part.bytes.try_reserve_exact(size).map_err(full)?;
            part.bytes.extend_from_slice(bytes);
        }
        if self.out.is_none() {
            // Of the codes, which may still be in another shard, the shape is all that a decoder needs.
            let ready = |part: &Part| match part.role {
                Role::Codes => part.info.is_some(),
                _ => part.is_complete(),
            };
            if !self.parts.iter().all(ready) {
                return Ok(());
            }
            self.out = Some(if self.quantization.own_grid {
                self.codes = zeroed(self.columns)?;
                self.own_grid()?
            } else {
                self.row = zeroed(self.columns)?;
                Out::Values(self.decoder()?)
            });
            let others = self
                .parts
                .iter_mut()
                .filter(|part| part.role != Role::Codes);
            others.for_each(|part| {
                part.taken += part.bytes.len();
                part.bytes = Vec::new();
            });
        }
        self.drain(&mut store)
    }

    /// Whether all rows have come out.
    pub fn is_complete(&self) -> bool {
        self.next == self.rows
    }

    /// The name of the matrix where it is plain.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The layout in words: the library, and the bits.
    pub fn layout(&self) -> Option<String> {
        let codes = self.parts.iter().find(|part| part.role == Role::Codes)?;
        let info = codes.info.as_ref()?;
        let (library, bits) = match self.kind {
            Kind::Scaled if info.dtype.starts_with("F8") => {
                return Some(format!("{}, FP8", self.library));
            }
            Kind::Scaled | Kind::BnbInt8 => (self.library, 8),
            Kind::BnbTable => (self.library, 4),
            Kind::Mlx | Kind::Packed => (self.library, self.row_bits(info)?),
            Kind::Columns => {
                let (bits, awq) = self.column_bits(info)?;
                (if awq { "AWQ" } else { "GPTQ" }, bits)
            }
        };
        let rotated = if self.quantization.own_grid {
            ", rotated"
        } else {
            ""
        };
        Some(format!("{library}, {bits} bits{rotated}"))
    }

    fn wrong(&self, what: &str) -> Error {
        Error::UnsupportedModel(format!(
            "{} is quantised as {} does it, but {what}; use a checkpoint in 16 bits, or one of the layouts in the documentation",
            self.name, self.library
        ))
    }

    /// Bits of a code whose row is `words` words of 32 bits.
    fn row_bits(&self, info: &Info) -> Option<usize> {
        let [rows, words] = info.shape[..] else {
            return None;
        };
        let fits = |bits: &usize| (self.columns * bits).div_ceil(32) == words;
        // Short rows leave a choice: then the usual numbers come first.
        (rows == self.rows).then(|| [4, 8, 2, 3, 5, 6, 7].into_iter().find(|bits| fits(bits)))?
    }

    /// Bits of a code that is packed along columns, and whether it is AWQ's way.
    fn column_bits(&self, info: &Info) -> Option<(usize, bool)> {
        let [first, second] = info.shape[..] else {
            return None;
        };
        if first == self.columns && second.saturating_mul(8) == self.rows {
            return Some((4, true));
        }
        let fits = |bits: &usize| self.columns * bits == first.saturating_mul(32);
        let bits = [2, 4, 8].into_iter().find(fits)?;
        (second == self.rows).then_some((bits, false))
    }

    fn check_codes(&self, info: &Info, tensor: &str) -> Result<()> {
        let plain = info.shape == [self.rows, self.columns];
        let (dtypes, fits): (&[&str], bool) = match self.kind {
            Kind::Mlx => (&["U32"], self.row_bits(info).is_some()),
            Kind::Packed => (&["I32"], self.row_bits(info).is_some()),
            Kind::Scaled => (&["I8", "F8_E4M3", "F8_E5M2"], plain),
            Kind::Columns => (&["I32"], self.column_bits(info).is_some()),
            Kind::BnbInt8 => (&["I8"], plain),
            Kind::BnbTable => (
                &["U8"],
                self.columns.is_multiple_of(2) && info.size * 2 == self.rows * self.columns,
            ),
        };
        if !dtypes.contains(&info.dtype.as_str()) {
            return Err(self.wrong(&format!("its codes are {}", info.dtype)));
        }
        if !fits {
            return Err(Error::WrongShape {
                tensor: tensor.to_owned(),
                got: info.shape.iter().map(|size| *size as u64).collect(),
                expected: vec![self.rows, self.columns],
            });
        }
        Ok(())
    }

    fn part(&self, role: Role) -> Option<(&Info, &[u8])> {
        let part = self.parts.iter().find(|part| part.role == role)?;
        Some((part.info.as_ref()?, &part.bytes))
    }

    fn needed(&self, role: Role) -> Result<(&Info, &[u8])> {
        let part = self.part(role);
        part.ok_or_else(|| self.wrong(&format!("it has no {role:?}")))
    }

    /// The numbers of a part.
    fn numbers(&self, role: Role) -> Result<Option<Vec<f32>>> {
        let Some((info, bytes)) = self.part(role) else {
            return Ok(None);
        };
        let dtype = Dtype::from_name(&info.dtype)
            .ok_or_else(|| self.wrong(&format!("its {role:?} are {}", info.dtype)))?;
        let mut values = zeroed(bytes.len() / dtype.size())?;
        dtype.decode(bytes, &mut values);
        if values.iter().any(|value| !value.is_finite()) {
            return Err(self.wrong(&format!("its {role:?} are not finite")));
        }
        Ok(Some(values))
    }

    /// A part that has a number for the matrix, each row, each group of a row or each block.
    fn grid(&self, role: Role) -> Result<Option<Grid>> {
        let (Some((info, _)), Some(values)) = (self.part(role), self.numbers(role)?) else {
            return Ok(None);
        };
        let (rows, columns) = match info.shape[..] {
            [] => (1, 1),
            [rows] => (rows, 1),
            [rows, columns] | [rows, columns, 1] => (rows, columns),
            _ => (0, 0),
        };
        let grid = Grid::new(values, rows, columns, self.rows, self.columns);
        let shape = || self.wrong(&format!("its {role:?} have the shape {:?}", info.shape));
        grid.map(Some).ok_or_else(shape)
    }

    /// What rows are decoded with, once everything but the codes is here.
    fn decoder(&self) -> Result<Decoder> {
        let (codes, _) = self.needed(Role::Codes)?;
        let misfit = || self.wrong("its codes do not fit its shape");
        let missing = || self.wrong("it has no scales");
        if self.kind == Kind::BnbTable {
            return self.table();
        }
        let groups = match self.part(Role::Groups) {
            None => None,
            Some((info, bytes)) => Some(self.group_index(info, bytes)?),
        };
        if self.kind == Kind::Columns {
            let (bits, awq) = self.column_bits(codes).ok_or_else(misfit)?;
            let (scales, zeros) = self.column_grids(bits, awq)?;
            return Ok(Decoder::Affine {
                codes: Codes::Columns { bits, awq },
                scales,
                zeros: Some(zeros),
                groups,
            });
        }
        let mut scales = self.grid(Role::Scales)?.ok_or_else(missing)?;
        Ok(match self.kind {
            Kind::Mlx => {
                let bits = self.row_bits(codes).ok_or_else(misfit)?;
                let biases = self.grid(Role::Biases)?.ok_or_else(|| {
                    self.wrong("in a mode other than affine (mxfp4, mxfp8, nvfp4)")
                })?;
                if biases.block != scales.block {
                    return Err(self.wrong("its biases are not as many as its scales"));
                }
                Decoder::Biased {
                    bits,
                    scales,
                    biases,
                }
            }
            Kind::Packed => {
                let bits = self.row_bits(codes).ok_or_else(misfit)?;
                Decoder::Affine {
                    codes: Codes::Bits(bits),
                    zeros: self.packed_zeros(bits, &scales)?,
                    scales,
                    groups,
                }
            }
            Kind::BnbInt8 => {
                scales
                    .values
                    .iter_mut()
                    .for_each(|scale| *scale *= 1.0 / 127.0);
                Decoder::Affine {
                    codes: Codes::Plain(Dtype::I8),
                    scales,
                    zeros: None,
                    groups: None,
                }
            }
            _ => Decoder::Affine {
                codes: Codes::Plain(Dtype::from_name(&codes.dtype).ok_or_else(misfit)?),
                scales,
                zeros: self.grid(Role::Zeros)?,
                groups: None,
            },
        })
    }

    /// Our own grid, as the config promises it.
    fn own_grid(&self) -> Result<Out> {
        let (codes, _) = self.needed(Role::Codes)?;
        let bits = match self.kind {
            Kind::Scaled if codes.dtype == "I8" => Some(8),
            Kind::Packed => self.row_bits(codes).filter(|bits| *bits == 4),
            _ => None,
        };
        let scales = self.grid(Role::Scales)?;
        match (bits, scales) {
            (Some(bits), Some(scales))
                if scales.block == (1, GROUP)
                    && self.part(Role::Zeros).is_none()
                    && self.part(Role::Groups).is_none() =>
            {
                Ok(Out::Own { bits, scales })
            }
            _ => Err(self.wrong("not in groups of 64 and 4 or 8 bits as Gossamer does it")),
        }
    }

    /// compressed-tensors' zero points: packed along the rows.
    fn packed_zeros(&self, bits: usize, scales: &Grid) -> Result<Option<Grid>> {
        let Some((info, bytes)) = self.part(Role::Zeros) else {
            // Symmetric: codes are stored with half of their range added.
            let middle = f32::from(1u8 << (bits - 1));
            return Ok(Grid::new(vec![middle], 1, 1, self.rows, self.columns));
        };
        let (rows, columns) = (scales.values.len() / scales.columns, scales.columns);
        if info.dtype != "I32" || info.shape != [(rows * bits).div_ceil(32), columns] {
            return Err(self.wrong(&format!("its zero points have the shape {:?}", info.shape)));
        }
        let words = words(bytes);
        let mut values = zeroed(rows * columns)?;
        let mut column = Vec::new();
        for at in 0..columns {
            column.clear();
            let own = words.iter().skip(at).step_by(columns);
            own.for_each(|word| column.extend_from_slice(word));
            for row in 0..rows {
                values[row * columns + at] = code(&column, row, bits);
            }
        }
        Ok(Grid::new(values, rows, columns, self.rows, self.columns))
    }

    /// GPTQ's and AWQ's scales and zero points, turned so that rows are the matrix's.
    fn column_grids(&self, bits: usize, awq: bool) -> Result<(Grid, Grid)> {
        let shape = |role| self.part(role).map_or(&[][..], |(info, _)| &info.shape);
        let [groups, rows] = *shape(Role::Scales) else {
            return Err(self.wrong("its scales are no matrix"));
        };
        let packed = [groups, (self.rows * bits).div_ceil(32)];
        let (zeros, stored) = self.needed(Role::Zeros)?;
        if rows != self.rows || zeros.shape != packed || zeros.dtype != "I32" || groups == 0 {
            return Err(self.wrong("its scales and zero points do not fit its codes"));
        }
        let scales = self.numbers(Role::Scales)?.unwrap_or_default();
        let stride = packed[1] * 4;
        let (mut turned, mut zero) = (zeroed(rows * groups)?, zeroed(rows * groups)?);
        for group in 0..groups {
            let stored = &stored[group * stride..][..stride];
            for row in 0..rows {
                turned[row * groups + group] = scales[group * rows + row];
                zero[row * groups + group] = match (awq, self.quantization.gptq_v2) {
                    (true, _) => awq_code(stored, row),
                    (false, true) => code(stored, row, bits),
                    (false, false) => code(stored, row, bits) + 1.0,
                };
            }
        }
        let grid = |values| Grid::new(values, rows, groups, rows, self.columns);
        let wrong = || self.wrong("its groups do not divide its columns");
        Ok((
            grid(turned).ok_or_else(wrong)?,
            grid(zero).ok_or_else(wrong)?,
        ))
    }

    /// The group of each column.
    fn group_index(&self, info: &Info, bytes: &[u8]) -> Result<Vec<usize>> {
        let count = match self.part(Role::Scales) {
            Some((scales, _)) if self.kind == Kind::Columns => scales.shape.first(),
            Some((scales, _)) => scales.shape.get(1),
            None => None,
        };
        let groups = words(bytes)
            .iter()
            .map(|word| u32::from_le_bytes(*word) as usize);
        let groups: Vec<usize> = groups.collect();
        let count = count.copied().unwrap_or(0);
        if info.dtype != "I32"
            || groups.len() != self.columns
            || groups.iter().any(|group| *group >= count)
        {
            return Err(self.wrong("its columns belong to groups that it does not have"));
        }
        Ok(groups)
    }

    /// bitsandbytes' table of sixteen values, and the scales of blocks.
    fn table(&self) -> Result<Decoder> {
        #[derive(Deserialize)]
        struct State {
            blocksize: usize,
            #[serde(default)]
            nested_blocksize: usize,
            #[serde(default)]
            nested_offset: f32,
        }
        let (_, json) = self.needed(Role::State)?;
        let state: State = serde_json::from_slice(json)
            .map_err(|error| self.wrong(&format!("its quant_state cannot be read ({error})")))?;
        let map = self.numbers(Role::Map)?.unwrap_or_default();
        let map =
            <[f32; 16]>::try_from(map).map_err(|_| self.wrong("its map is not of 16 values"))?;
        let scales = match (self.part(Role::Scales), self.numbers(Role::NestedScales)?) {
            (Some((_, codes)), Some(nested)) => {
                let map = self.numbers(Role::NestedMap)?.unwrap_or_default();
                let size = state.nested_blocksize;
                if map.len() != 256 || size == 0 || codes.len().div_ceil(size) != nested.len() {
                    return Err(self.wrong("its nested scales do not fit"));
                }
                let value = |(at, code): (usize, &u8)| {
                    map[usize::from(*code)] * nested[at / size] + state.nested_offset
                };
                codes.iter().enumerate().map(value).collect()
            }
            _ => self.numbers(Role::Scales)?.unwrap_or_default(),
        };
        let block = state.blocksize;
        if block == 0 || (self.rows * self.columns).div_ceil(block) != scales.len() {
            return Err(self.wrong("its scales do not fit its blocks"));
        }
        Ok(Decoder::Table { map, scales, block })
    }

    /// Decodes the rows whose codes are here.
    fn drain(&mut self, store: &mut impl FnMut(usize, Row) -> Result<()>) -> Result<()> {
        let (Some(out), Some(codes)) = (
            &self.out,
            self.parts.iter_mut().find(|part| part.role == Role::Codes),
        ) else {
            return Ok(());
        };
        let Some(size) = codes.info.as_ref().map(|info| info.size) else {
            return Ok(());
        };
        if let Out::Values(decoder) = out
            && let Decoder::Affine {
                codes: Codes::Columns { .. },
                ..
            } = decoder
        {
            if !codes.is_complete() {
                return Ok(());
            }
            while self.next < self.rows {
                decoder.row(&codes.bytes, self.next, self.rows, &mut self.row);
                store(self.next, Row::Values(&self.row))?;
                self.next += 1;
            }
            codes.bytes = Vec::new();
            codes.taken = size;
            return Ok(());
        }
        let row_bytes = size / self.rows.max(1);
        let mut rows = codes.bytes.chunks_exact(row_bytes.max(1));
        for bytes in rows.by_ref().take(self.rows - self.next) {
            let row = match out {
                Out::Values(decoder) => {
                    decoder.row(bytes, self.next, self.rows, &mut self.row);
                    Row::Values(&self.row)
                }
                Out::Own { bits, scales } => {
                    let dtype = decoder::own_codes(bytes, *bits, &mut self.codes);
                    if dtype == WeightDtype::Q8 && self.codes.contains(&i8::MIN) {
                        let reason = format!(
                            "{} has a code of -128, which its grid has not; save the model again",
                            self.name
                        );
                        return Err(Error::UnsupportedModel(reason));
                    }
                    Row::Own(dtype, &self.codes, scales.row(self.next))
                }
            };
            store(self.next, row)?;
            self.next += 1;
        }
        let left = rows.remainder().len();
        codes.taken += codes.bytes.len() - left;
        if self.next == self.rows {
            codes.bytes = Vec::new();
        } else {
            codes.bytes.drain(..codes.bytes.len() - left);
        }
        Ok(())
    }
}

fn words(bytes: &[u8]) -> &[[u8; 4]] {
    bytes.as_chunks::<4>().0
}

/// Bytes of an element of any dtype that a part may have.
fn element_size(dtype: &str) -> Option<usize> {
    Some(match dtype {
        "I64" => 8,
        "I32" | "U32" => 4,
        "U8" => 1,
        other => Dtype::from_name(other)?.size(),
    })
}
