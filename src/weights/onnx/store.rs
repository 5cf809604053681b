//! Initializers → the tensors that they are in torch, row by row.
//!
//! A matrix whose rows lie in the file one after the other comes out as its bytes arrive. One that
//! is transposed is kept as it is stored until it is complete, and so is one in few bits until its
//! scales are there: at most the stored bytes of the matrices that wait. No copy in f32 is made.

use std::collections::HashMap;

use super::element::{Element, FP4, NF4, unpack};
use super::graph::Id;
use crate::error::{Error, Result, zeroed};
use crate::weights::{TensorInfo, Visitor, invalid};

/// Rows of a transposed matrix that are read at a time, so that a line of the cache is used whole.
const TILE: usize = 16;

/// How a weight is stored.
#[derive(Clone, Debug)]
pub enum Codes {
    /// As values.
    Plain,
    /// value = (code − zero) · scale; scales of the whole, of each row or column as it is stored,
    /// or of blocks of these.
    Scaled {
        /// Scales.
        scale: Id,
        /// Zero points.
        zero: Option<Id>,
        /// What they are along, where there are several.
        axis: usize,
        /// Elements of a block along that axis.
        block: usize,
    },
    /// The same, packed along rows of the matrix, with a scale for each block of a row
    /// (`MatMulNBits`, `GatherBlockQuantized`).
    Blocks {
        /// Scales.
        scale: Id,
        /// Zero points.
        zero: Option<Id>,
        /// Bits of a code.
        bits: usize,
        /// Elements of a block.
        block: usize,
        /// Whether a row is whole blocks, whatever its length.
        padded: bool,
    },
    /// bitsandbytes' tables of sixteen values, times the scale of a block of the whole matrix.
    Table {
        /// Scales.
        scale: Id,
        /// Elements of a block.
        block: usize,
        /// NF4, rather than FP4.
        normal: bool,
    },
}

/// A weight of the graph.
#[derive(Clone, Debug)]
pub struct Weight {
    /// Its initializer, or that of its codes.
    pub id: Id,
    /// Whether it is stored as `[in, out]`.
    pub transposed: bool,
    /// How it is stored.
    pub codes: Codes,
}

/// A tensor of torch's, and where its values are.
#[derive(Clone, Debug)]
pub struct Placement {
    /// Torch's name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its first row, or element of a vector, in a weight that holds several, …
    pub first: usize,
    /// … and how many that one has in all.
    pub of: usize,
    /// The weight.
    pub weight: Weight,
    /// Whether 1 has been added to it.
    pub plus_one: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Codes,
    Scale,
    Zero,
}

/// An initializer that is wanted.
struct Initializer {
    uses: Vec<(usize, Role)>,
    /// Once it has been described.
    element: Option<Element>,
    dims: Vec<u64>,
    size: u64,
    received: u64,
    /// What is kept; of what can come out at once, only the end.
    bytes: Vec<u8>,
    /// How many bytes before those have come out.
    dropped: usize,
}

impl Initializer {
    fn is_complete(&self) -> bool {
        self.element.is_some() && self.received == self.size
    }
}

/// Scales and zero points in f32.
#[derive(Default)]
struct Tables {
    scales: Vec<f32>,
    zeros: Vec<f32>,
}

struct Tensor {
    placement: Placement,
    tables: Option<Tables>,
    /// The next row.
    next: usize,
}

/// Initializers that arrive.
pub struct Store {
    file: String,
    tensors: Vec<Tensor>,
    initializers: HashMap<Id, Initializer>,
}

impl Placement {
    /// Rows and columns of the whole matrix, as torch has it; a vector is a row.
    fn size(&self) -> (usize, usize) {
        match self.shape[..] {
            [_, columns] => (self.of, columns),
            _ => (1, self.of),
        }
    }

    /// The rows that are its own.
    fn rows(&self) -> core::ops::Range<usize> {
        match self.shape[..] {
            [rows, _] => self.first..self.first + rows,
            _ => 0..1,
        }
    }

    /// The elements of a row that are its own.
    fn columns(&self) -> core::ops::Range<usize> {
        match self.shape[..] {
            [_, columns] => 0..columns,
            _ => self.first..self.first + self.shape.first().copied().unwrap_or(0),
        }
    }

    fn parts(&self) -> impl Iterator<Item = (Id, Role)> {
        let (scale, zero) = match self.weight.codes {
            Codes::Plain => (None, None),
            Codes::Scaled { scale, zero, .. } | Codes::Blocks { scale, zero, .. } => {
                (Some(scale), zero)
            }
            Codes::Table { scale, .. } => (Some(scale), None),
        };
        [
            Some((self.weight.id, Role::Codes)),
            scale.map(|id| (id, Role::Scale)),
            zero.map(|id| (id, Role::Zero)),
        ]
        .into_iter()
        .flatten()
    }

    /// Bytes of a stored row, where it is whole bytes.
    fn row_bytes(&self, element: Element) -> Option<usize> {
        let (_, columns) = self.size();
        let bits = match self.weight.codes {
            Codes::Blocks {
                bits,
                block,
                padded: true,
                ..
            } => columns.div_ceil(block) * block * bits,
            Codes::Blocks { bits, .. } => columns * bits,
            Codes::Table { .. } => columns * 4,
            Codes::Plain | Codes::Scaled { .. } => {
                columns * usize::try_from(element.bits()).ok()?
            }
        };
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    /// Whether codes of such a shape and type can be its.
    fn fits(&self, dims: &[u64], element: Element) -> bool {
        let (rows, columns) = self.size();
        let is = |sizes: &[usize]| {
            let sizes = sizes.iter().map(|size| *size as u64);
            let dims = dims.iter().copied();
            // A vector may have been shaped for an addition: it may have sizes of 1 before its own.
            let is_one = |size: &u64| *size == 1;
            dims.clone().eq(sizes.clone())
                || (self.shape.len() == 1 && dims.skip_while(is_one).eq(sizes.skip_while(is_one)))
        };
        let all = || {
            dims.iter()
                .try_fold(1u64, |all, size| all.checked_mul(*size))
        };
        let bytes = || self.row_bytes(element);
        match self.weight.codes {
            Codes::Plain => element.is_value() && is(&self.stored()),
            Codes::Scaled { .. } => !element.is_value() && is(&self.stored()),
            Codes::Blocks { padded, bits, .. } => {
                let packed = match element {
                    Element::U8 => bytes().and_then(|bytes| bytes.checked_mul(rows)),
                    Element::Nibble { .. } if bits == 4 && !padded => rows.checked_mul(columns),
                    _ => None,
                };
                packed.is_some_and(|packed| all() == Some(packed as u64))
                    && dims.first() == Some(&(rows as u64))
            }
            Codes::Table { .. } => {
                element == Element::U8
                    && bytes().is_some_and(|bytes| all() == Some((bytes * rows) as u64))
            }
        }
    }

    /// Its shape in the file.
    fn stored(&self) -> [usize; 2] {
        let (rows, columns) = self.size();
        if self.weight.transposed {
            [columns, rows]
        } else {
            [rows, columns]
        }
    }
}

impl Store {
    /// Nothing has arrived yet. `file` is the name for errors.
    pub fn new(file: &str, placements: Vec<Placement>) -> Self {
        let mut initializers: HashMap<Id, Initializer> = HashMap::new();
        for (at, placement) in placements.iter().enumerate() {
            for (id, role) in placement.parts() {
                let initializer = initializers.entry(id).or_insert_with(|| Initializer {
                    uses: Vec::new(),
                    element: None,
                    dims: Vec::new(),
                    size: 0,
                    received: 0,
                    bytes: Vec::new(),
                    dropped: 0,
                });
                initializer.uses.push((at, role));
            }
        }
        let tensors = placements.into_iter().map(|placement| Tensor {
            placement,
            tables: None,
            next: 0,
        });
        Self {
            file: file.to_owned(),
            tensors: tensors.collect(),
            initializers,
        }
    }

    /// What comes out.
    pub fn tensors(&self) -> Vec<TensorInfo> {
        let tensors = self.tensors.iter().map(|tensor| TensorInfo {
            name: tensor.placement.name.clone(),
            dtype: "F32".to_owned(),
            block: None,
            shape: tensor
                .placement
                .shape
                .iter()
                .map(|size| *size as u64)
                .collect(),
            same_as: None,
        });
        tensors.collect()
    }

    /// Whether a value is wanted.
    pub fn wants(&self, id: Id) -> bool {
        self.initializers.contains_key(&id)
    }

    /// A tensor of the model whose values have not all arrived.
    pub fn missing(&self) -> Option<&str> {
        let mut tensors = self.tensors.iter();
        let tensor = tensors.find(|tensor| tensor.next < tensor.placement.rows().end)?;
        Some(&tensor.placement.name)
    }

    fn invalid(&self, reason: String) -> Error {
        invalid(&self.file, reason)
    }

    /// Takes note of an initializer, called `name`, before its bytes. Gives their number.
    pub fn describe(&mut self, id: Id, name: &str, dims: Vec<u64>, dtype: u64) -> Result<u64> {
        let Some(initializer) = self.initializers.get_mut(&id) else {
            return Ok(0);
        };
        let Some(element) = Element::from_number(dtype) else {
            return Err(Error::WrongDtype {
                tensor: name.to_owned(),
                dtype: format!("of ONNX's type {dtype}"),
            });
        };
        for (at, role) in &initializer.uses {
            let placement = &self.tensors[*at].placement;
            if *role == Role::Codes && !placement.fits(&dims, element) {
                let whole = placement.stored();
                return Err(
                    if placement.fits(&dims, Element::U8)
                        || placement.fits(&dims, Element::Known(crate::weights::dtype::Dtype::F32))
                    {
                        Error::WrongDtype {
                            tensor: format!("{name} ({})", placement.name),
                            dtype: format!("of ONNX's type {dtype}"),
                        }
                    } else {
                        Error::WrongShape {
                            tensor: format!("{name} ({})", placement.name),
                            got: dims,
                            expected: whole.to_vec(),
                        }
                    },
                );
            }
        }
        let bits = dims
            .iter()
            .try_fold(element.bits(), |all, size| all.checked_mul(*size));
        let Some(size) = bits
            .filter(|bits| *bits <= 1 << 53)
            .map(|bits| bits.div_ceil(8))
        else {
            let reason = format!("initializer {name} is larger than any real one");
            return Err(invalid(&self.file, reason));
        };
        initializer.element = Some(element);
        initializer.dims = dims;
        initializer.size = size;
        Ok(size)
    }

    /// Takes the next bytes of an initializer.
    pub fn data(&mut self, id: Id, bytes: &[u8], visitor: &mut dyn Visitor) -> Result<()> {
        let Some(initializer) = self.initializers.get_mut(&id) else {
            return Ok(());
        };
        let full = |_| Error::OutOfMemory { bytes: bytes.len() };
        initializer.bytes.try_reserve(bytes.len()).map_err(full)?;
        initializer.bytes.extend_from_slice(bytes);
        initializer.received += bytes.len() as u64;
        let uses = initializer.uses.clone();
        let complete = initializer.is_complete();
        for (at, role) in &uses {
            if *role == Role::Codes || complete {
                self.advance(*at, visitor)?;
            }
        }
        self.release();
        Ok(())
    }

    /// Lets rows of a tensor come out, as many as can.
    fn advance(&mut self, at: usize, visitor: &mut dyn Visitor) -> Result<()> {
        if self.tensors[at].tables.is_none() {
            self.tensors[at].tables = self.tables(at)?;
        }
        let tensor = &mut self.tensors[at];
        let placement = &tensor.placement;
        let (Some(tables), Some(codes)) =
            (&tensor.tables, self.initializers.get(&placement.weight.id))
        else {
            return Ok(());
        };
        let Some(element) = codes.element else {
            return Ok(());
        };
        let (_, columns) = placement.size();
        let (rows, own) = (placement.rows(), placement.columns());
        if placement.weight.transposed && placement.shape.len() == 2 {
            if !codes.is_complete() || tensor.next == rows.end {
                return Ok(());
            }
            let mut tile: Vec<f32> = zeroed(TILE * columns)?;
            let mut line = [0.0; TILE];
            let mut first = rows.start;
            while first < rows.end {
                let count = TILE.min(rows.end - first);
                for column in 0..columns {
                    let line = &mut line[..count];
                    element.decode(&codes.bytes, column * placement.of + first, line);
                    for (row, value) in line.iter().enumerate() {
                        tile[row * columns + column] = *value;
                    }
                }
                for (row, values) in (first..first + count).zip(tile.chunks_mut(columns)) {
                    placement.finish(tables, row, values);
                    visitor.data(at, bytemuck::cast_slice(values))?;
                }
                first += count;
            }
            tensor.next = rows.end;
            return Ok(());
        }
        let mut values: Vec<f32> = Vec::new();
        let Some(row_bytes) = placement.row_bytes(element).filter(|bytes| *bytes > 0) else {
            // Nibbles of rows that begin within a byte.
            if codes.is_complete() && tensor.next < rows.end {
                values = zeroed(columns)?;
                for row in rows.clone() {
                    placement.read(
                        tables,
                        element,
                        (&codes.bytes, row * columns),
                        row,
                        &mut values,
                    );
                    placement.finish(tables, row, &mut values);
                    visitor.data(at, bytemuck::cast_slice(&values[own.clone()]))?;
                }
                tensor.next = rows.end;
            }
            return Ok(());
        };
        loop {
            let row = tensor.next;
            let from = row * row_bytes;
            let bytes = from
                .checked_sub(codes.dropped)
                .and_then(|from| codes.bytes.get(from..)?.get(..row_bytes));
            let Some(bytes) = bytes.filter(|_| row < rows.end) else {
                return Ok(());
            };
            if row >= rows.start {
                if values.is_empty() {
                    values = zeroed(columns)?;
                }
                placement.read(tables, element, (bytes, 0), row, &mut values);
                placement.finish(tables, row, &mut values);
                visitor.data(at, bytemuck::cast_slice(&values[own.clone()]))?;
            }
            tensor.next += 1;
        }
    }

    /// Gives back the memory of what has come out.
    fn release(&mut self) {
        for initializer in self.initializers.values_mut() {
            if initializer.bytes.is_empty() {
                continue;
            }
            let Some(element) = initializer.element else {
                continue;
            };
            // Up to where all that use it have come.
            let mut until = usize::MAX;
            for (at, role) in &initializer.uses {
                let tensor = &self.tensors[*at];
                let placement = &tensor.placement;
                let is_done = tensor.next >= placement.rows().end;
                let is_kept = match role {
                    Role::Codes => placement.weight.transposed && placement.shape.len() == 2,
                    Role::Scale | Role::Zero => tensor.tables.is_none(),
                };
                until = until.min(match role {
                    _ if is_done => usize::MAX,
                    _ if is_kept => 0,
                    Role::Codes => tensor.next * placement.row_bytes(element).unwrap_or(0),
                    Role::Scale | Role::Zero => usize::MAX,
                });
            }
            let count = until
                .saturating_sub(initializer.dropped)
                .min(initializer.bytes.len());
            if count == initializer.bytes.len() && initializer.is_complete() {
                initializer.bytes = Vec::new();
            } else {
                initializer.bytes.drain(..count);
            }
            initializer.dropped += count;
        }
    }

    /// Whether every matrix in 8 bits has one scale, rather than one for each channel.
    pub fn is_by_tensor(&self) -> bool {
        let mut any = false;
        for tensor in &self.tensors {
            let Codes::Scaled { scale, .. } = tensor.placement.weight.codes else {
                continue;
            };
            let part = self.initializers.get(&scale);
            if part.is_none_or(|part| part.dims.iter().product::<u64>() != 1) {
                return false;
            }
            any = true;
        }
        any
    }

    /// Scales and zero points of a tensor, once they are there.
    fn tables(&self, at: usize) -> Result<Option<Tables>> {
        let placement = &self.tensors[at].placement;
        let name = &placement.name;
        let (rows, columns) = placement.size();
        let values = |id: Id| -> Result<Option<Vec<f32>>> {
            let part = self.initializers.get(&id).filter(|part| part.is_complete());
            let Some((part, element)) = part.and_then(|part| Some((part, part.element?))) else {
                return Ok(None);
            };
            let count: u64 = part.dims.iter().product();
            let mut values = zeroed(usize::try_from(count).unwrap_or(usize::MAX))?;
            element.decode(&part.bytes, 0, &mut values);
            Ok(Some(values))
        };
        let wrong = |what: &str, count: usize| {
            let what =
                format!("{name} has {count} {what}, which do not fit its {rows} × {columns}");
            Err(self.invalid(what))
        };
        let (scale, zero) = match placement.weight.codes {
            Codes::Plain => return Ok(Some(Tables::default())),
            Codes::Scaled { scale, zero, .. } | Codes::Blocks { scale, zero, .. } => (scale, zero),
            Codes::Table { scale, .. } => (scale, None),
        };
        let Some(scales) = values(scale)? else {
            return Ok(None);
        };
        if let Some(part) = self.initializers.get(&scale)
            && part.element.is_some_and(|element| !element.is_value())
        {
            return Err(self.invalid(format!("the scales of {name} are whole numbers")));
        }
        if scales.iter().any(|scale| !scale.is_finite()) {
            return Err(self.invalid(format!("the scales of {name} are not finite")));
        }
        let mut zeros = match zero {
            None => Vec::new(),
            Some(zero) => match values(zero)? {
                None => return Ok(None),
                Some(zeros) => zeros,
            },
        };
        match placement.weight.codes {
            Codes::Plain => {}
            Codes::Scaled { axis, block, .. } => {
                let stored = placement.stored();
                let blocks = stored[axis].div_ceil(block);
                let many = if block == 1 {
                    blocks
                } else {
                    blocks * stored[1 - axis]
                };
                if scales.len() != 1 && scales.len() != many {
                    return wrong("scales", scales.len());
                }
                if !(zeros.is_empty() || zeros.len() == 1 || zeros.len() == scales.len()) {
                    return wrong("zero points", zeros.len());
                }
            }
            Codes::Blocks { bits, block, .. } => {
                let blocks = columns.div_ceil(block);
                let count = rows * blocks;
                if scales.len() != count {
                    return wrong("scales", scales.len());
                }
                let packed = zero.and_then(|zero| self.initializers.get(&zero));
                if let Some(part) = packed.filter(|part| part.element == Some(Element::U8)) {
                    // Each row's are whole bytes.
                    let bytes = (blocks * bits).div_ceil(8);
                    if part.bytes.len() != rows * bytes {
                        return wrong("bytes of zero points", part.bytes.len());
                    }
                    zeros = zeroed(count)?;
                    for (zeros, bytes) in zeros.chunks_mut(blocks).zip(part.bytes.chunks(bytes)) {
                        unpack(bytes, bits, zeros);
                    }
                }
                if !zeros.is_empty() && zeros.len() != count {
                    return wrong("zero points", zeros.len());
                }
            }
            Codes::Table { block, .. } => {
                if scales.len() != (rows * columns).div_ceil(block) {
                    return wrong("scales", scales.len());
                }
            }
        }
        Ok(Some(Tables { scales, zeros }))
    }
}

impl Placement {
    /// Decodes the codes of a row that lie together, from element number `first` of `bytes` on.
    fn read(
        &self,
        tables: &Tables,
        element: Element,
        (bytes, first): (&[u8], usize),
        row: usize,
        out: &mut [f32],
    ) {
        match self.weight.codes {
            Codes::Plain | Codes::Scaled { .. } => element.decode(bytes, first, out),
            Codes::Blocks { bits, block, .. } => {
                if element == Element::U8 {
                    unpack(bytes, bits, out);
                } else {
                    element.decode(bytes, first, out);
                }
                let blocks = out.len().div_ceil(block);
                // Without zero points, codes without sign are around the middle of their range.
                let middle = if element == Element::U8 {
                    f32::from(1u8 << (bits - 1))
                } else {
                    0.0
                };
                for (at, values) in (row * blocks..).zip(out.chunks_mut(block)) {
                    let zero = tables.zeros.get(at).copied().unwrap_or(middle);
                    let scale = tables.scales[at];
                    values
                        .iter_mut()
                        .for_each(|value| *value = (*value - zero) * scale);
                }
            }
            Codes::Table { block, normal, .. } => {
                let map = if normal { &NF4 } else { &FP4 };
                let first = row * out.len();
                for (at, value) in out.iter_mut().enumerate() {
                    let code = bytes[at / 2] >> ((at + 1) % 2 * 4) & 15;
                    *value = map[usize::from(code)] * tables.scales[(first + at) / block];
                }
            }
        }
    }

    /// What is left to do for a row of codes or values.
    fn finish(&self, tables: &Tables, row: usize, values: &mut [f32]) {
        if let Codes::Scaled { axis, block, .. } = self.weight.codes {
            let stored = self.stored();
            for (column, value) in values.iter_mut().enumerate() {
                let at = if self.weight.transposed {
                    [column, row]
                } else {
                    [row, column]
                };
                let index = match (block, axis) {
                    (1, axis) => at[axis],
                    (_, 0) => at[0] / block * stored[1] + at[1],
                    _ => at[0] * stored[1].div_ceil(block) + at[1] / block,
                };
                let of = |table: &[f32]| match table {
                    [] => 0.0,
                    [one] => *one,
                    many => many[index],
                };
                *value = (*value - of(&tables.zeros)) * of(&tables.scales);
            }
        }
        if self.plus_one {
            values.iter_mut().for_each(|value| *value -= 1.0);
        }
    }
}
