//! The GGUF format (github.com/ggml-org/ggml, docs/gguf.md) as a stream, versions 2 and 3: a header
//! of keys with values and of tensors, then the tensors' bytes, each aligned.
//!
//! The header holds what other formats keep in small files. The caller therefore opens a stream
//! first, which reads the header alone, and renames the tensors before their bytes are read.

mod blocks;
mod header;

pub use blocks::Block;
pub use header::Metadata;

use header::{Complete, Header};

use super::{TensorInfo, Visitor};
use crate::error::{Error, Result};

/// Reads one file in chunks of any size.
pub struct Stream {
    file: String,
    received: u64,
    state: State,
}

enum State {
    /// The header, so far.
    Header(Box<Header>),
    /// The data. `told` says whether the visitor has received the header.
    Data { data: Data, told: bool },
}

struct Data {
    tensors: Vec<TensorInfo>,
    /// The end of each tensor, from the start of the data.
    ends: Vec<u64>,
    /// The tensor of the next byte.
    current: usize,
    start: u64,
    alignment: u64,
}

impl Data {
    /// Sizes of the file without and with padding after the last tensor.
    fn sizes(&self) -> (u64, u64) {
        let end = self.ends.last().copied().unwrap_or(0);
        let padded = end.next_multiple_of(self.alignment);
        (self.start + end, self.start + padded)
    }
}

/// Whether a name is that of a GGUF file.
pub fn is_gguf(file: &str) -> bool {
    let extension = std::path::Path::new(file).extension();
    extension.is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

impl Stream {
    /// An empty stream; `file` is the name for error messages.
    pub fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            received: 0,
            state: State::Header(Box::new(Header::new(file))),
        }
    }

    /// Size of the whole file, once the header has arrived.
    pub fn size(&self) -> Option<u64> {
        match &self.state {
            State::Data { data, .. } => Some(data.sizes().1),
            State::Header(_) => None,
        }
    }

    /// Takes the bytes that belong to the header, and returns how many these are. With the last of
    /// them it returns the header's keys. The rest is for [`Stream::push`].
    pub fn open(&mut self, bytes: &[u8]) -> Result<(usize, Option<Metadata>)> {
        let State::Header(header) = &mut self.state else {
            return Ok((0, None));
        };
        let (taken, complete) = header.push(bytes)?;
        self.received += taken as u64;
        let Some(complete) = complete else {
            return Ok((taken, None));
        };
        let Complete {
            metadata,
            tensors,
            data_start,
            alignment,
            ends,
        } = complete;
        let data = Data {
            tensors,
            ends,
            current: 0,
            start: data_start,
            alignment,
        };
        self.state = State::Data { data, told: false };
        Ok((taken, Some(metadata)))
    }

    /// The tensors in file order, once the header has arrived.
    pub fn tensors(&self) -> &[TensorInfo] {
        match &self.state {
            State::Data { data, .. } => &data.tensors,
            State::Header(_) => &[],
        }
    }

    /// Renames tensors, before the visitor receives the header.
    pub fn rename(&mut self, name: impl Fn(&str) -> Option<String>) {
        if let State::Data { data, told: false } = &mut self.state {
            for tensor in &mut data.tensors {
                if let Some(other) = name(&tensor.name) {
                    tensor.name = other;
                }
            }
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, mut bytes: &[u8], visitor: &mut dyn Visitor) -> Result<()> {
        while !bytes.is_empty() {
            let taken = match &mut self.state {
                State::Header(_) => self.open(bytes)?.0,
                State::Data { data, told } => {
                    if !*told {
                        visitor.header(&data.tensors)?;
                        *told = true;
                    }
                    let taken = data.take(self.received, bytes, visitor)?;
                    let Some(taken) = taken else {
                        let (size, _) = data.sizes();
                        let reason =
                            format!("it goes on after the {size} bytes that its header describes");
                        return Err(super::invalid(&self.file, reason));
                    };
                    self.received += taken as u64;
                    taken
                }
            };
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Checks that all the data has arrived.
    pub fn finish(&self) -> Result<()> {
        let expected = match &self.state {
            State::Data { data, told: true } => {
                let (size, padded) = data.sizes();
                if self.received == size || self.received == padded {
                    return Ok(());
                }
                Some(size)
            }
            State::Data { data, .. } => Some(data.sizes().0),
            State::Header(_) => None,
        };
        Err(Error::TruncatedStream {
            file: self.file.clone(),
            got: self.received,
            expected,
        })
    }
}

impl Data {
    /// Consumes some of `bytes` and returns how many, or `None` if no more data is expected.
    fn take(
        &mut self,
        received: u64,
        bytes: &[u8],
        visitor: &mut dyn Visitor,
    ) -> Result<Option<usize>> {
        let position = received - self.start;
        let padded = |end: u64| end.next_multiple_of(self.alignment);
        while self
            .ends
            .get(self.current)
            .is_some_and(|end| position >= padded(*end))
        {
            self.current += 1;
        }
        let Some(end) = self.ends.get(self.current).copied() else {
            return Ok(None);
        };
        let part = |to: u64| {
            let left = usize::try_from(to - position).unwrap_or(usize::MAX);
            &bytes[..bytes.len().min(left)]
        };
        if position >= end {
            return Ok(Some(part(padded(end)).len()));
        }
        let part = part(end);
        visitor.data(self.current, part)?;
        Ok(Some(part.len()))
    }
}
