//! A GGUF header as it arrives: the numbers of tensors and keys, the keys' values, and the tensors'
//! descriptions.
//!
//! The format does not store the header's length, so the header is read value by value. Values are
//! kept as bytes, so that a large count or length does not allocate memory.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::blocks::Block;
use crate::error::{Error, Result};
use crate::full::Full;
use crate::weights::TensorInfo;

/// The most bytes of a header. A vocabulary of half a million entries takes 20 MB.
const MAX_HEADER: usize = 64 << 20;
/// The most keys, and the most tensors. The largest models have a few thousand.
const MAX_ENTRIES: u64 = 1 << 16;
/// The most bytes of a name.
const MAX_NAME: usize = 1 << 10;
/// The most dimensions that ggml supports.
const MAX_DIMENSIONS: u32 = 4;

/// Types of values, by their numbers in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Flag,
    Text,
    U64,
    I64,
    F64,
}

impl Kind {
    fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Flag,
            8 => Self::Text,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return None,
        })
    }

    /// Bytes of a value; `None` for strings.
    fn size(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Flag => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Text => None,
        }
    }

    /// A value of this type as a number, if the type is numeric.
    #[expect(clippy::cast_precision_loss, reason = "what is counted is small")]
    fn number(self, bytes: &[u8]) -> Option<f64> {
        Some(match self {
            Self::U8 => f64::from(u8::from_le_bytes(bytes.try_into().ok()?)),
            Self::I8 => f64::from(i8::from_le_bytes(bytes.try_into().ok()?)),
            Self::U16 => f64::from(u16::from_le_bytes(bytes.try_into().ok()?)),
            Self::I16 => f64::from(i16::from_le_bytes(bytes.try_into().ok()?)),
            Self::U32 => f64::from(u32::from_le_bytes(bytes.try_into().ok()?)),
            Self::I32 => f64::from(i32::from_le_bytes(bytes.try_into().ok()?)),
            Self::F32 => f64::from(f32::from_le_bytes(bytes.try_into().ok()?)),
            Self::U64 => u64::from_le_bytes(bytes.try_into().ok()?) as f64,
            Self::I64 => i64::from_le_bytes(bytes.try_into().ok()?) as f64,
            Self::F64 => f64::from_le_bytes(bytes.try_into().ok()?),
            Self::Flag | Self::Text => return None,
        })
    }
}

/// The place of a value in the header's bytes.
#[derive(Clone, Debug)]
enum Value {
    One(Kind, Range<usize>),
    List(Kind, Range<usize>),
}

/// The keys and values of a file.
pub struct Metadata {
    file: String,
    bytes: Vec<u8>,
    values: HashMap<String, Value>,
}

impl Metadata {
    /// The file's name.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// An error about the file.
    pub fn invalid(&self, reason: impl Into<String>) -> Error {
        invalid(&self.file, reason)
    }

    fn wrong(&self, key: &str, wanted: &str) -> Error {
        self.invalid(format!("its key {key} must be {wanted}"))
    }

    /// A string.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::One(Kind::Text, range)) => std::str::from_utf8(&self.bytes[range.clone()])
                .map(Some)
                .map_err(|_| self.wrong(key, "UTF-8")),
            Some(_) => Err(self.wrong(key, "a string")),
        }
    }

    /// A finite number.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::One(kind, range)) => kind
                .number(&self.bytes[range.clone()])
                .filter(|number| number.is_finite())
                .map(Some)
                .ok_or_else(|| self.wrong(key, "a number")),
            Some(Value::List(..)) => Err(self.wrong(key, "a number")),
        }
    }

    /// An integer of at least 0.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be whole, in bounds"
    )]
    pub fn size(&self, key: &str) -> Result<Option<u64>> {
        match self.number(key)? {
            None => Ok(None),
            Some(number) if number.fract() == 0.0 && (0.0..9e15).contains(&number) => {
                Ok(Some(number as u64))
            }
            Some(_) => Err(self.wrong(key, "a whole number from 0 on")),
        }
    }

    /// A Boolean.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::One(Kind::Flag, range)) => Ok(Some(self.bytes[range.start] != 0)),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    /// A list of strings.
    pub fn texts(&self, key: &str) -> Result<Option<Vec<&str>>> {
        let range = match self.values.get(key) {
            None => return Ok(None),
            Some(Value::List(Kind::Text, range)) => range.clone(),
            Some(_) => return Err(self.wrong(key, "a list of strings")),
        };
        let (mut texts, mut at) = (Vec::new(), range.start);
        while at < range.end {
            // It was checked when the header was read.
            let Some(text) = text(&self.bytes[..range.end], at) else {
                return Err(self.wrong(key, "a list of strings"));
            };
            at = text.end;
            let text = std::str::from_utf8(&self.bytes[text]);
            texts.push(text.map_err(|_| self.wrong(key, "UTF-8"))?);
        }
        Ok(Some(texts))
    }

    /// A list of numbers.
    pub fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>> {
        let wrong = || self.wrong(key, "a list of numbers");
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::List(kind, range)) => {
                let size = kind.size().ok_or_else(wrong)?;
                let values = self.bytes[range.clone()].chunks_exact(size);
                let numbers: Option<Vec<f64>> = values.map(|value| kind.number(value)).collect();
                numbers.map(Some).ok_or_else(wrong)
            }
            Some(Value::One(..)) => Err(wrong()),
        }
    }

    /// A list of bytes.
    pub fn bytes(&self, key: &str) -> Result<Option<&[u8]>> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::List(Kind::U8 | Kind::I8, range)) => Ok(Some(&self.bytes[range.clone()])),
            Some(_) => Err(self.wrong(key, "a list of bytes")),
        }
    }
}

/// A header that is being read.
pub struct Header {
    file: String,
    bytes: Vec<u8>,
    /// Bytes of the header that have been read.
    at: usize,
    step: Step,
    keys: u64,
    tensors: u64,
    values: HashMap<String, Value>,
    described: Vec<Described>,
    names: HashSet<String>,
}

/// What is read next.
enum Step {
    Start,
    Key,
    /// Strings of a list that began at `start`
    Texts {
        key: String,
        start: usize,
        left: u64,
    },
    Tensor,
    Padding,
}

/// A tensor, and the place of its bytes in the data.
struct Described {
    info: TensorInfo,
    start: u64,
    size: u64,
}

/// A complete header.
pub struct Complete {
    pub metadata: Metadata,
    /// In file order.
    pub tensors: Vec<TensorInfo>,
    /// Offset of the data in the file.
    pub data_start: u64,
    /// Every tensor begins at a multiple of this, from the start of the data.
    pub alignment: u64,
    /// The end of each tensor, from the start of the data.
    pub ends: Vec<u64>,
}

impl Header {
    pub fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            bytes: Vec::new(),
            at: 0,
            step: Step::Start,
            keys: 0,
            tensors: 0,
            values: HashMap::new(),
            described: Vec::new(),
            names: HashSet::new(),
        }
    }

    /// Takes the next bytes, and returns how many of them belong to the header.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(usize, Option<Complete>)> {
        /// How many bytes are taken at a time, so that few of those after the header are copied.
        const PART: usize = 1 << 16;
        let mut taken = 0;
        for part in bytes.chunks(PART) {
            let before = self.bytes.len();
            if before + part.len() > MAX_HEADER + PART {
                return Err(self.too_large());
            }
            self.bytes
                .try_reserve(part.len())
                .map_err(|_| Error::OutOfMemory { bytes: part.len() })?;
            self.bytes.extend_from_slice(part);
            while self.step()? {}
            if let Step::Padding = self.step {
                let alignment = self.alignment()?;
                let start = (self.at as u64).next_multiple_of(alignment);
                let end = usize::try_from(start).unwrap_or(usize::MAX);
                if end <= self.bytes.len() {
                    taken += end - before;
                    self.bytes.truncate(end);
                    return Ok((taken, Some(self.complete(start, alignment)?)));
                }
            }
            taken += part.len();
        }
        Ok((taken, None))
    }

    fn invalid(&self, reason: impl Into<String>) -> Error {
        invalid(&self.file, reason)
    }

    fn too_large(&self) -> Error {
        self.invalid(format!("its header has more than {} MB", MAX_HEADER >> 20))
    }

    /// The fixed-size value at `at`, if it has arrived.
    fn take<const N: usize>(&self, at: &mut usize) -> Option<[u8; N]> {
        let bytes = self.bytes.get(*at..*at + N)?.try_into().ok();
        *at += N;
        bytes
    }

    /// The string at `at`, if it has arrived.
    fn text(&self, at: &mut usize, most: usize) -> Result<Option<Range<usize>>> {
        let Some(length) = self.take(&mut at.clone()).map(u64::from_le_bytes) else {
            return Ok(None);
        };
        if length > most as u64 {
            return Err(self.invalid(format!("its header has a string of {length} bytes")));
        }
        let range = text(&self.bytes, *at);
        if let Some(range) = &range {
            *at = range.end;
        }
        Ok(range)
    }

    fn name(&self, range: Range<usize>) -> Result<String> {
        match std::str::from_utf8(&self.bytes[range]) {
            Ok(name) if !name.is_empty() => Ok(name.to_owned()),
            _ => Err(self.invalid("its header has a name that is empty or not UTF-8")),
        }
    }

    /// Reads the next item. Returns false if it has not arrived completely, or if the header is
    /// complete.
    fn step(&mut self) -> Result<bool> {
        match &self.step {
            Step::Start => self.start(),
            Step::Key if self.keys == 0 => {
                self.step = Step::Tensor;
                Ok(true)
            }
            Step::Key => self.key(),
            Step::Texts { .. } => self.texts(),
            Step::Tensor if self.tensors == 0 => {
                self.step = Step::Padding;
                Ok(false)
            }
            Step::Tensor => self.tensor(),
            Step::Padding => Ok(false),
        }
    }

    fn start(&mut self) -> Result<bool> {
        let begins = &self.bytes[..self.bytes.len().min(4)];
        if !b"GGUF".starts_with(begins) {
            return Err(self.invalid("it does not begin with GGUF"));
        }
        let mut at = 4;
        let Some(version) = self.take(&mut at).map(u32::from_le_bytes) else {
            return Ok(false);
        };
        match version {
            2 | 3 => {}
            1 => return Err(self.invalid("it is of version 1, of August 2023")),
            other if other.swap_bytes() <= 3 => return Err(self.invalid("it is big-endian")),
            other => return Err(self.invalid(format!("it is of version {other}"))),
        }
        let (Some(tensors), Some(keys)) = (self.take(&mut at), self.take(&mut at)) else {
            return Ok(false);
        };
        self.tensors = u64::from_le_bytes(tensors);
        self.keys = u64::from_le_bytes(keys);
        if self.tensors.max(self.keys) > MAX_ENTRIES {
            let (tensors, keys) = (self.tensors, self.keys);
            let reason = format!("it would have {tensors} tensors and {keys} keys");
            return Err(self.invalid(reason));
        }
        if self.tensors == 0 {
            return Err(self.invalid("it has no tensors"));
        }
        (self.at, self.step) = (at, Step::Key);
        Ok(true)
    }

    fn key(&mut self) -> Result<bool> {
        let mut at = self.at;
        let Some(key) = self.text(&mut at, MAX_NAME)? else {
            return Ok(false);
        };
        let key = self.name(key)?;
        let Some(kind) = self.take(&mut at).map(u32::from_le_bytes) else {
            return Ok(false);
        };
        let value = if kind == 9 {
            let Some(kind) = self.take(&mut at).map(u32::from_le_bytes) else {
                return Ok(false);
            };
            let Some(count) = self.take(&mut at).map(u64::from_le_bytes) else {
                return Ok(false);
            };
            let kind = self.kind(&key, kind)?;
            // A string takes at least the eight bytes of its length.
            let least = count.checked_mul(kind.size().unwrap_or(8) as u64);
            let least = least.and_then(|size| usize::try_from(size).ok());
            let Some(least) = least.filter(|size| *size <= MAX_HEADER) else {
                return Err(self.invalid(format!("its key {key} has a list of {count} values")));
            };
            if kind == Kind::Text {
                self.step = Step::Texts {
                    key,
                    start: at,
                    left: count,
                };
                self.at = at;
                return Ok(true);
            }
            Value::List(kind, at..at + least)
        } else {
            let kind = self.kind(&key, kind)?;
            match kind.size() {
                Some(size) => Value::One(kind, at..at + size),
                None => match self.text(&mut at, MAX_HEADER)? {
                    Some(range) => Value::One(kind, range),
                    None => return Ok(false),
                },
            }
        };
        let (Value::One(_, range) | Value::List(_, range)) = &value;
        if range.end > self.bytes.len() {
            return Ok(false);
        }
        self.at = range.end;
        self.keep(key, value)
    }

    fn kind(&self, key: &str, number: u32) -> Result<Kind> {
        Kind::from_number(number).ok_or_else(|| {
            // Nested lists have the number 9. No model has any.
            let reason = format!("its key {key} has a value of type {number}, which is unknown");
            self.invalid(reason)
        })
    }

    fn keep(&mut self, key: String, value: Value) -> Result<bool> {
        if self.values.contains_key(&key) {
            return Err(self.invalid(format!("its key {key} is there twice")));
        }
        self.values.insert(key, value);
        self.keys -= 1;
        self.step = Step::Key;
        Ok(true)
    }

    fn texts(&mut self) -> Result<bool> {
        let Step::Texts { key, start, left } = &self.step else {
            return Ok(false);
        };
        let (mut at, mut left) = (self.at, *left);
        while left > 0 && self.text(&mut at, MAX_HEADER)?.is_some() {
            left -= 1;
        }
        self.at = at;
        if left == 0 {
            let value = Value::List(Kind::Text, *start..at);
            let key = key.clone();
            return self.keep(key, value);
        }
        if let Step::Texts { left: before, .. } = &mut self.step {
            *before = left;
        }
        Ok(false)
    }

    fn tensor(&mut self) -> Result<bool> {
        let mut at = self.at;
        let Some(name) = self.text(&mut at, MAX_NAME)? else {
            return Ok(false);
        };
        let name = self.name(name)?;
        let Some(dimensions) = self.take(&mut at).map(u32::from_le_bytes) else {
            return Ok(false);
        };
        if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
            return Err(self.invalid(format!("tensor {name} has {dimensions} dimensions")));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            match self.take(&mut at).map(u64::from_le_bytes) {
                Some(size) => shape.push(size),
                None => return Ok(false),
            }
        }
        let (Some(kind), Some(start)) = (self.take(&mut at), self.take(&mut at)) else {
            return Ok(false);
        };
        let kind = u32::from_le_bytes(kind);
        // The innermost dimension comes first in the file.
        shape.reverse();
        let (dtype, block) = self.element(&name, kind)?;
        let Some(size) = size(&shape, dtype, block) else {
            let reason = format!("tensor {name} is {dtype} of shape {shape:?}, which cannot be");
            return Err(self.invalid(reason));
        };
        if !self.names.insert(name.clone()) {
            return Err(self.invalid(format!("tensor {name} is there twice")));
        }
        let block = block.map(|block| Full::new(dtype, || block)).transpose()?;
        let info = TensorInfo {
            name,
            dtype: dtype.to_owned(),
            block,
            shape,
            same_as: None,
        };
        let start = u64::from_le_bytes(start);
        self.described.push(Described { info, start, size });
        self.at = at;
        self.tensors -= 1;
        Ok(true)
    }

    /// The name of an element type, and its block type if it has one.
    fn element(&self, tensor: &str, number: u32) -> Result<(&'static str, Option<Block>)> {
        let plain = match number {
            0 => "F32",
            1 => "F16",
            24 => "I8",
            25 => "I16",
            26 => "I32",
            27 => "I64",
            28 => "F64",
            30 => "BF16",
            _ => "",
        };
        match Block::from_number(number) {
            None if plain.is_empty() => {
                let blocks = Block::ALL.map(Block::name).join(", ");
                let reason = format!(
                    "tensor {tensor} is of type {number}; F32, F16, BF16, {blocks} can be read"
                );
                Err(self.invalid(reason))
            }
            None => Ok((plain, None)),
            Some(block) => Ok((block.name(), Some(block))),
        }
    }

    fn alignment(&self) -> Result<u64> {
        const KEY: &str = "general.alignment";
        match self.values.get(KEY) {
            None => Ok(32),
            Some(Value::One(kind @ (Kind::U32 | Kind::U64), range)) => {
                let bytes = &self.bytes[range.clone()];
                let low = bytes
                    .first_chunk()
                    .map_or(0, |low| u32::from_le_bytes(*low));
                let exact = kind.number(bytes) == Some(f64::from(low));
                if exact && low.is_power_of_two() && low <= 1 << 16 {
                    Ok(low.into())
                } else {
                    Err(self.invalid(format!("its key {KEY} is not a power of two up to 65536")))
                }
            }
            Some(_) => Err(self.invalid(format!("its key {KEY} must be a whole number"))),
        }
    }

    fn complete(&mut self, data_start: u64, alignment: u64) -> Result<Complete> {
        let mut described = std::mem::take(&mut self.described);
        described.sort_by_key(|tensor| tensor.start);
        let mut position = 0;
        let mut ends = Vec::with_capacity(described.len());
        for Described { info, start, size } in &described {
            if *start != position {
                let name = &info.name;
                let reason = format!("the bytes of {name} begin at {start}, not at {position}");
                return Err(self.invalid(reason));
            }
            let end = start.checked_add(*size).filter(|end| *end <= 1 << 53);
            let Some(end) = end else {
                return Err(self.invalid("its offsets are beyond any real file"));
            };
            ends.push(end);
            position = end.next_multiple_of(alignment);
        }
        Ok(Complete {
            metadata: Metadata {
                file: self.file.clone(),
                bytes: std::mem::take(&mut self.bytes),
                values: std::mem::take(&mut self.values),
            },
            tensors: described.into_iter().map(|tensor| tensor.info).collect(),
            data_start,
            alignment,
            ends,
        })
    }
}

fn invalid(file: &str, reason: impl Into<String>) -> Error {
    Error::InvalidGguf {
        file: file.to_owned(),
        reason: reason.into(),
    }
}

/// The string at `at`, if it is completely in `bytes`.
fn text(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let start = at.checked_add(8)?;
    let length = bytes.get(at..start)?.try_into().ok()?;
    let length = usize::try_from(u64::from_le_bytes(length)).ok()?;
    let end = start.checked_add(length)?;
    (end <= bytes.len()).then_some(start..end)
}

/// Bytes of a tensor, or `None` if there are none or too many, or if a row is not a whole number of
/// blocks.
fn size(shape: &[u64], dtype: &str, block: Option<Block>) -> Option<u64> {
    let row = *shape.last()?;
    let (elements, bytes) = match (block, dtype) {
        (Some(block), _) => (block.elements() as u64, block.bytes() as u64),
        (None, "I8") => (1, 1),
        (None, "F16" | "BF16" | "I16") => (1, 2),
        (None, "F64" | "I64") => (1, 8),
        (None, _) => (1, 4),
    };
    if !row.is_multiple_of(elements) {
        return None;
    }
    let sizes = shape.iter().rev().skip(1);
    sizes
        .chain([&bytes])
        .try_fold(row / elements, |size, next| size.checked_mul(*next))
        .filter(|size| *size > 0)
}
