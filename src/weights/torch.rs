//! torch checkpoints (`torch.save` since 1.6) as a stream. A checkpoint is an uncompressed zip
//! archive. Its first entry is a pickle that describes tensors as views of storages; the entries
//! `data/…` are the storages.
//!
//! torch writes an entry's size after its bytes. The sizes of storages follow from the pickle. The
//! end of any other entry is found by its data descriptor, which holds the number of bytes that
//! preceded it.

use std::collections::HashMap;

use super::pickle::{self, Contents, Storage};
use super::{TensorInfo, Visitor};
use crate::error::{Error, Result};

/// The most bytes of the pickle, and of other entries of unknown size.
const MOST_UNSIZED: usize = 1 << 26;
const LOCAL: [u8; 4] = *b"PK\x03\x04";
const DESCRIPTOR: [u8; 4] = *b"PK\x07\x08";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
/// How many times the elements of a storage may be used in total. Tied matrices use them twice.
const MOST_VIEWS: u64 = 16;
/// Bytes of the fixed part of an entry's header.
const HEADER: usize = 30;

/// Reads one file in chunks of any size.
pub struct Stream {
    file: String,
    received: u64,
    /// Bytes of an incomplete header, descriptor or small entry.
    held: Vec<u8>,
    state: State,
    /// The contents of the pickle; empty until `described`.
    contents: Contents,
    described: bool,
    /// The indices of the tensors in each storage.
    views: Vec<Vec<usize>>,
    /// Which storages have arrived.
    arrived: Vec<bool>,
}

#[derive(Clone, Copy)]
enum State {
    /// Before an entry's header.
    Header,
    /// In an entry of unknown size. `searched` bytes have been searched for its end.
    Unsized { pickle: bool, searched: usize },
    /// In an entry that is skipped; `left` bytes are still to come.
    Skip { left: u64 },
    /// In a storage, at byte `at` of `size`.
    Data {
        storage: usize,
        at: u64,
        size: u64,
        described: bool,
    },
    /// Before the descriptor of an entry of `size` bytes.
    Descriptor { size: u64 },
    /// In the archive's central directory, which is not needed.
    End,
}

impl Stream {
    /// An empty stream; `file` is the name for error messages.
    pub fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            received: 0,
            held: Vec::new(),
            state: State::Header,
            contents: Contents::default(),
            described: false,
            views: Vec::new(),
            arrived: Vec::new(),
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, mut bytes: &[u8], visitor: &mut dyn Visitor) -> Result<()> {
        self.received += bytes.len() as u64;
        while !bytes.is_empty() {
            match self.state {
                State::End => return Ok(()),
                State::Skip { left } => {
                    let taken = part(bytes, left);
                    bytes = &bytes[taken.len()..];
                    self.state = match left - taken.len() as u64 {
                        0 => State::Header,
                        left => State::Skip { left },
                    };
                }
                State::Data {
                    storage,
                    at,
                    size,
                    described,
                } => {
                    let taken = part(bytes, size - at);
                    bytes = &bytes[taken.len()..];
                    self.hand_on(storage, at, taken, visitor)?;
                    let at = at + taken.len() as u64;
                    self.state = self.in_storage(storage, at, size, described);
                }
                State::Header | State::Descriptor { .. } | State::Unsized { .. } => {
                    // Small entries are taken in pieces, so that the bytes after them are not held.
                    let taken = &bytes[..bytes.len().min(4096)];
                    bytes = &bytes[taken.len()..];
                    self.held.extend_from_slice(taken);
                    let rest = self.small(visitor)?;
                    if !rest.is_empty() {
                        self.received -= rest.len() as u64;
                        self.push(&rest, visitor)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Checks that all storages have arrived.
    pub fn finish(&self) -> Result<()> {
        if matches!(self.state, State::End) && self.arrived.iter().all(|arrived| *arrived) {
            return Ok(());
        }
        Err(Error::TruncatedStream {
            file: self.file.clone(),
            got: self.received,
            expected: None,
        })
    }

    fn invalid(&self, reason: impl Into<String>) -> Error {
        Error::InvalidTorch {
            file: self.file.clone(),
            reason: reason.into(),
        }
    }

    /// Reads what is held, if it is complete, and returns the bytes after it.
    fn small(&mut self, visitor: &mut dyn Visitor) -> Result<Vec<u8>> {
        let used = match self.state {
            State::Header => self.header()?,
            State::Descriptor { size } => descriptor_length(&self.held, size)
                .map_err(|reason| self.invalid(reason))?
                .inspect(|_| self.state = State::Header),
            State::Unsized { pickle, searched } => self.unsized_entry(pickle, searched, visitor)?,
            State::Skip { .. } | State::Data { .. } | State::End => None,
        };
        Ok(match used {
            Some(used) => {
                let rest = self.held.split_off(used);
                self.held.clear();
                rest
            }
            None => Vec::new(),
        })
    }

    /// Reads an entry's header, or the start of the central directory.
    fn header(&mut self) -> Result<Option<usize>> {
        let held = &self.held;
        let Some(signature) = held.first_chunk::<4>() else {
            return Ok(None);
        };
        if *signature == CENTRAL && self.described {
            self.state = State::End;
            return Ok(Some(held.len()));
        }
        if *signature != LOCAL {
            let old = held[..2] == [0x80, 0x02] && !self.described;
            return Err(self.invalid(if old {
                "it is in the format of torch before 1.6"
            } else {
                "it is not the archive that torch.save writes"
            }));
        }
        if held.len() < HEADER {
            return Ok(None);
        }
        let number = |at: usize, size: usize| -> u64 {
            let bytes = held[at..at + size].iter().rev();
            bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        let (flags, method, size) = (number(6, 2), number(8, 2), number(18, 4));
        #[expect(clippy::cast_possible_truncation, reason = "of 16 bits each")]
        let (name, extra) = (number(26, 2) as usize, number(28, 2) as usize);
        let end = HEADER + name + extra;
        if held.len() < end {
            return Ok(None);
        }
        if method != 0 {
            return Err(self.invalid("its entries are compressed"));
        }
        let name = String::from_utf8_lossy(&held[HEADER..HEADER + name]).into_owned();
        let described = flags & 8 != 0;
        let (_, inner) = name.split_once('/').unwrap_or(("", &name));
        let storage = inner
            .strip_prefix("data/")
            .and_then(|key| self.contents.by_key.get(key).copied());
        self.state = match storage {
            Some(storage) if self.arrived[storage] => {
                return Err(self.invalid(format!("entry {name} is in it twice")));
            }
            Some(storage) => {
                let size = self.storage_size(storage)?;
                self.in_storage(storage, 0, size, described)
            }
            None if described => State::Unsized {
                pickle: inner == "data.pkl",
                searched: 0,
            },
            None if inner == "data.pkl" || size == u64::from(u32::MAX) => {
                return Err(self.invalid("its archive was not written by torch.save"));
            }
            None if size == 0 => State::Header,
            None => State::Skip { left: size },
        };
        Ok(Some(end))
    }

    /// The state at byte `at` of a storage, or after its end.
    fn in_storage(&mut self, storage: usize, at: u64, size: u64, described: bool) -> State {
        if at < size {
            return State::Data {
                storage,
                at,
                size,
                described,
            };
        }
        self.arrived[storage] = true;
        if described {
            State::Descriptor { size }
        } else {
            State::Header
        }
    }

    fn storage_size(&self, storage: usize) -> Result<u64> {
        let Storage { class, len, .. } = &self.contents.storages[storage];
        let (_, size) = element(class).ok_or_else(|| {
            self.invalid(format!(
                "it holds elements of a class that is not known ({class})"
            ))
        })?;
        len.checked_mul(size)
            .filter(|size| *size <= 1 << 53)
            .ok_or_else(|| self.invalid("a storage is larger than any real file"))
    }

    /// Reads an entry of unknown size.
    fn unsized_entry(
        &mut self,
        pickle: bool,
        searched: usize,
        visitor: &mut dyn Visitor,
    ) -> Result<Option<usize>> {
        let Some((size, end)) = find_descriptor(&self.held, searched) else {
            if self.held.len() > MOST_UNSIZED {
                return Err(self.invalid("an entry that should be small has no end"));
            }
            // The last bytes may be the beginning of the longest descriptor.
            let searched = self.held.len().saturating_sub(24);
            self.state = State::Unsized { pickle, searched };
            return Ok(None);
        };
        if pickle && !self.described {
            self.contents =
                pickle::read(&self.held[..size]).map_err(|reason| self.invalid(reason))?;
            self.arrived = vec![false; self.contents.storages.len()];
            self.described = true;
            self.views = self.views()?;
            let tensors = self.describe();
            visitor.header(&tensors)?;
        }
        self.state = State::Header;
        Ok(Some(end))
    }

    /// The tensors in each storage, checked against its size.
    fn views(&self) -> Result<Vec<Vec<usize>>> {
        let Contents {
            storages, tensors, ..
        } = &self.contents;
        let mut views: Vec<Vec<usize>> = storages.iter().map(|_| Vec::new()).collect();
        let mut used = vec![0u64; storages.len()];
        for (index, (name, tensor)) in tensors.iter().enumerate() {
            if !contiguous(&tensor.shape, &tensor.strides) {
                continue;
            }
            let len = storages[tensor.storage].len;
            let count = tensor
                .shape
                .iter()
                .try_fold(1u64, |count, size| count.checked_mul(*size));
            let end = count.and_then(|count| count.checked_add(tensor.offset));
            if end.is_none_or(|end| end > len) {
                return Err(self.invalid(format!("tensor {name} goes beyond its storage")));
            }
            // Without this limit, few bytes could describe a model of any size.
            let used = &mut used[tensor.storage];
            *used = used.saturating_add(count.unwrap_or(0));
            if *used > len.saturating_mul(MOST_VIEWS) {
                return Err(self.invalid("too many of its tensors share a storage"));
            }
            views[tensor.storage].push(index);
        }
        Ok(views)
    }

    /// Describes the tensors of the pickle.
    fn describe(&self) -> Vec<TensorInfo> {
        let Contents {
            storages, tensors, ..
        } = &self.contents;
        let (mut first, mut described) = (HashMap::new(), Vec::with_capacity(tensors.len()));
        for (index, (name, tensor)) in tensors.iter().enumerate() {
            let class = &*storages[tensor.storage].class;
            let dtype = element(class).map_or(class, |(dtype, _)| dtype);
            let same = *first.entry(tensor).or_insert(index);
            described.push(TensorInfo {
                name: name.clone(),
                dtype: if contiguous(&tensor.shape, &tensor.strides) {
                    dtype.to_owned()
                } else {
                    format!("{dtype}, transposed or with gaps")
                },
                block: None,
                shape: tensor.shape.clone(),
                same_as: (same < index).then_some(same),
            });
        }
        described
    }

    /// Passes bytes of a storage, from byte `at` on, to every tensor that overlaps them.
    fn hand_on(
        &self,
        storage: usize,
        at: u64,
        bytes: &[u8],
        visitor: &mut dyn Visitor,
    ) -> Result<()> {
        let contents = &self.contents;
        let (_, size) = element(&contents.storages[storage].class).unwrap_or(("", 1));
        let until = at + bytes.len() as u64;
        for &index in &self.views[storage] {
            let (_, tensor) = &contents.tensors[index];
            let count: u64 = tensor.shape.iter().product();
            let begin = (tensor.offset * size).max(at);
            let end = ((tensor.offset + count) * size).min(until);
            if begin < end {
                #[expect(clippy::cast_possible_truncation, reason = "within the slice")]
                let range = (begin - at) as usize..(end - at) as usize;
                visitor.data(index, &bytes[range])?;
            }
        }
        Ok(())
    }
}

/// The first `left` of `bytes`.
fn part(bytes: &[u8], left: u64) -> &[u8] {
    let left = usize::try_from(left).unwrap_or(usize::MAX);
    &bytes[..bytes.len().min(left)]
}

/// Length of the data descriptor of an entry of `size` bytes, if it has arrived: signature, CRC-32,
/// and the size twice, in 32 or 64 bits.
fn descriptor_length(held: &[u8], size: u64) -> core::result::Result<Option<usize>, String> {
    let Some((signature, rest)) = held.split_first_chunk::<4>() else {
        return Ok(None);
    };
    if *signature != DESCRIPTOR {
        return Err("an entry is not as long as its tensors".to_owned());
    }
    let sizes = rest.get(4..).unwrap_or_default();
    let short = sizes
        .first_chunk::<8>()
        .map(|sizes| u64::from_le_bytes(*sizes));
    match short {
        None => Ok(None),
        Some(twice)
            if u32::try_from(size)
                .is_ok_and(|size| twice == u64::from(size) << 32 | u64::from(size)) =>
        {
            Ok(Some(16))
        }
        Some(long) if long == size => Ok((held.len() >= 24).then_some(24)),
        Some(_) => Err("an entry is not as long as its tensors".to_owned()),
    }
}

/// The end of an entry, found by a descriptor that holds its size: the size, and the end of the
/// descriptor.
fn find_descriptor(held: &[u8], searched: usize) -> Option<(usize, usize)> {
    held.windows(4)
        .enumerate()
        .skip(searched)
        .filter(|(_, window)| *window == DESCRIPTOR)
        .find_map(|(size, _)| {
            let length = descriptor_length(&held[size..], size as u64).ok()??;
            Some((size, size + length))
        })
}

/// Dtype of a storage class, in safetensors' spelling, and the bytes of an element.
fn element(class: &str) -> Option<(&'static str, u64)> {
    Some(match class.strip_prefix("torch.")? {
        "FloatStorage" => ("F32", 4),
        "HalfStorage" => ("F16", 2),
        "BFloat16Storage" => ("BF16", 2),
        "DoubleStorage" => ("F64", 8),
        "LongStorage" => ("I64", 8),
        "IntStorage" => ("I32", 4),
        "ShortStorage" => ("I16", 2),
        "CharStorage" => ("I8", 1),
        "ByteStorage" => ("U8", 1),
        "BoolStorage" => ("BOOL", 1),
        _ => return None,
    })
}

/// Whether elements are stored row by row without gaps.
fn contiguous(shape: &[u64], strides: &[u64]) -> bool {
    let mut expected = 1u64;
    shape.len() == strides.len()
        && shape.iter().zip(strides).rev().all(|(size, stride)| {
            let fits = *size <= 1 || *stride == expected;
            expected = expected.saturating_mul((*size).max(1));
            fits
        })
}
