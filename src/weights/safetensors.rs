//! The safetensors format as a stream: 8 bytes of little-endian header length, a JSON header
//! `{ name: { dtype, shape, data_offsets: [begin, end] }, … }`, then the tensors' bytes.
//!
//! The format's rules (github.com/huggingface/safetensors) are checked when the header is complete:
//! offsets start at 0, leave no gap, do not overlap, and agree with shape and dtype. The bytes then
//! pass through to the caller, which never needs the whole file.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{TensorInfo, Visitor};
use crate::error::{Error, Result};

/// The format's own limit for the header. It bounds the memory that a hostile file can make us
/// allocate.
const MAX_HEADER: u64 = 100_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TensorEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// Reads one file in chunks of any size.
pub struct Stream {
    file: String,
    received: u64,
    state: State,
}

enum State {
    /// The eight bytes of the header's length, so far.
    Length(Vec<u8>),
    /// The header, so far.
    Header { length: usize, bytes: Vec<u8> },
    /// In the data. `ends` has the end of each tensor in file order, `current` is the tensor of the
    /// next byte, and `size` is the size of the whole file.
    Data {
        ends: Vec<u64>,
        current: usize,
        data_start: u64,
        size: u64,
    },
}

impl Stream {
    /// An empty stream; `file` is the name for error messages.
    pub fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            received: 0,
            state: State::Length(Vec::with_capacity(8)),
        }
    }

    /// Size of the whole file, once the header has arrived.
    pub fn size(&self) -> Option<u64> {
        match &self.state {
            State::Data { size, .. } => Some(*size),
            _ => None,
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, mut bytes: &[u8], visitor: &mut dyn Visitor) -> Result<()> {
        while !bytes.is_empty() {
            let taken = self.take(bytes, visitor)?;
            self.received += taken as u64;
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Checks that all the data has arrived.
    pub fn finish(&self) -> Result<()> {
        match &self.state {
            State::Data { size, .. } if self.received == *size => Ok(()),
            State::Data { size, .. } => Err(self.truncated(*size)),
            State::Header { length, .. } => Err(self.truncated(8 + *length as u64)),
            State::Length(_) => Err(self.truncated(8)),
        }
    }

    fn truncated(&self, expected: u64) -> Error {
        Error::TruncatedStream {
            file: self.file.clone(),
            got: self.received,
            expected: Some(expected),
        }
    }

    fn invalid(&self, reason: impl Into<String>) -> Error {
        Error::InvalidSafetensors {
            file: self.file.clone(),
            reason: reason.into(),
        }
    }

    /// Consumes some of `bytes`, which are not empty, and returns how many.
    fn take(&mut self, bytes: &[u8], visitor: &mut dyn Visitor) -> Result<usize> {
        match &mut self.state {
            State::Length(length) => {
                let taken = bytes.len().min(8 - length.len());
                length.extend_from_slice(&bytes[..taken]);
                if let Ok(length) = <[u8; 8]>::try_from(length.as_slice()) {
                    let length = u64::from_le_bytes(length);
                    if !(2..=MAX_HEADER).contains(&length) {
                        return Err(self.invalid(format!(
                            "its first 8 bytes give a header of {length} bytes"
                        )));
                    }
                    #[expect(clippy::cast_possible_truncation, reason = "at most MAX_HEADER")]
                    let length = length as usize;
                    self.state = State::Header {
                        length,
                        bytes: Vec::new(),
                    };
                }
                Ok(taken)
            }
            State::Header {
                length,
                bytes: header,
            } => {
                let taken = bytes.len().min(*length - header.len());
                if header.is_empty() && bytes[0] != b'{' {
                    return Err(self.invalid("its header is not a JSON object"));
                }
                header
                    .try_reserve(taken)
                    .map_err(|_| Error::OutOfMemory { bytes: *length })?;
                header.extend_from_slice(&bytes[..taken]);
                if header.len() == *length {
                    let data_start = 8 + *length as u64;
                    let (tensors, ends) = parse(header).map_err(|reason| self.invalid(reason))?;
                    visitor.header(&tensors)?;
                    let size = data_start + ends.last().copied().unwrap_or(0);
                    self.state = State::Data {
                        ends,
                        current: 0,
                        data_start,
                        size,
                    };
                }
                Ok(taken)
            }
            State::Data {
                ends,
                current,
                data_start,
                size,
            } => {
                let position = self.received - *data_start;
                while ends.get(*current).is_some_and(|end| position >= *end) {
                    *current += 1;
                }
                let Some(end) = ends.get(*current) else {
                    let reason =
                        format!("it goes on after the {size} bytes that its header describes");
                    return Err(self.invalid(reason));
                };
                let left = usize::try_from(end - position).unwrap_or(usize::MAX);
                let taken = bytes.len().min(left);
                visitor.data(*current, &bytes[..taken])?;
                Ok(taken)
            }
        }
    }
}

/// The tensors of a header in file order, and where each ends.
fn parse(header: &[u8]) -> Result<(Vec<TensorInfo>, Vec<u64>), String> {
    let entries: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header)
        .map_err(|error| format!("its header is not valid JSON ({error})"))?;
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        if name == "__metadata__" {
            continue;
        }
        let TensorEntry {
            dtype,
            shape,
            data_offsets: [begin, end],
        } = serde_json::from_value(entry)
            .map_err(|error| format!("the header's entry for {name} is malformed ({error})"))?;
        if begin > end {
            return Err(format!("the offsets of {name} end before they begin"));
        }
        if let Some(bits) = bits(&dtype) {
            let size = shape
                .iter()
                .try_fold(bits, |size, dimension| size.checked_mul(*dimension));
            if size.map(|bits| bits.div_ceil(8)) != Some(end - begin) {
                return Err(format!(
                    "{name} is {dtype} of shape {shape:?} but has {} bytes",
                    end - begin
                ));
            }
        }
        let tensor = TensorInfo {
            name,
            dtype,
            block: None,
            shape,
            same_as: None,
        };
        tensors.push((begin, end, tensor));
    }
    tensors.sort_by_key(|(begin, end, _)| (*begin, *end));
    let mut position = 0;
    for (begin, end, tensor) in &tensors {
        match begin.cmp(&position) {
            std::cmp::Ordering::Less => {
                return Err(format!(
                    "the bytes of {} overlap another tensor's",
                    tensor.name
                ));
            }
            std::cmp::Ordering::Greater => {
                return Err(format!(
                    "there is a gap before the bytes of {}",
                    tensor.name
                ));
            }
            std::cmp::Ordering::Equal => position = *end,
        }
    }
    if position > 1 << 53 {
        return Err("its offsets are beyond any real file".to_owned());
    }
    Ok(tensors
        .into_iter()
        .map(|(_, end, tensor)| (tensor, end))
        .unzip())
}

/// Bits of an element, for the dtypes of the format. Tensors of other dtypes are not checked, since
/// the model may not need them.
fn bits(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F64" | "I64" | "U64" | "C64" => 64,
        "F32" | "I32" | "U32" => 32,
        "F16" | "BF16" | "I16" | "U16" => 16,
        "BOOL" | "I8" | "U8" | "F8_E4M3" | "F8_E5M2" | "F8_E8M0" => 8,
        "F6_E2M3" | "F6_E3M2" => 6,
        "F4" => 4,
        _ => return None,
    })
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Collect {
        names: Vec<String>,
        data: Vec<Vec<u8>>,
    }

    impl Visitor for Collect {
        fn header(&mut self, tensors: &[TensorInfo]) -> Result<()> {
            self.names = tensors.iter().map(|tensor| tensor.name.clone()).collect();
            self.data = vec![Vec::new(); tensors.len()];
            Ok(())
        }
        fn data(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
            self.data[index].extend_from_slice(bytes);
            Ok(())
        }
    }

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data);
        bytes
    }

    fn read(bytes: &[u8], chunk: usize) -> Result<Collect> {
        let mut stream = Stream::new("test.safetensors");
        let mut collect = Collect::default();
        for chunk in bytes.chunks(chunk) {
            stream.push(chunk, &mut collect)?;
        }
        stream.finish()?;
        Ok(collect)
    }

    fn error(header: &str, data: &[u8]) -> String {
        read(&file(header, data), 7)
            .err()
            .expect("must be refused")
            .to_string()
    }

    const TWO: &str = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"U8","shape":[3],"data_offsets":[4,7]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;

    #[test]
    fn any_chunking_gives_the_same_tensors_in_file_order() {
        let bytes = file(TWO, &[1, 2, 3, 4, 5, 6, 7]);
        for chunk in 1..=bytes.len() {
            let read = read(&bytes, chunk).unwrap();
            assert_eq!(read.names, ["a", "b"]);
            assert_eq!(read.data, [vec![1, 2, 3, 4], vec![5, 6, 7]]);
        }
    }

    #[test]
    fn every_truncation_is_reported() {
        let bytes = file(TWO, &[1, 2, 3, 4, 5, 6, 7]);
        for end in 0..bytes.len() {
            assert!(
                matches!(read(&bytes[..end], 5), Err(Error::TruncatedStream { got, .. }) if got == end as u64),
                "{end}"
            );
        }
    }

    #[test]
    fn broken_headers_are_refused_in_words() {
        assert!(
            read(b"<!doctype html><html>", 4)
                .err()
                .unwrap()
                .to_string()
                .contains("not a valid safetensors")
        );
        assert!(
            read(&u64::MAX.to_le_bytes(), 8)
                .err()
                .unwrap()
                .to_string()
                .contains("header of")
        );
        assert!(error("[]", &[]).contains("not a JSON object"));
        assert!(error("{\"a\":", &[]).contains("not valid JSON"));
        assert!(error(r#"{"a":{"dtype":"F32"}}"#, &[]).contains("malformed"));
        let one = |dtype: &str, shape: &str, offsets: &str| {
            error(
                &format!(
                    r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#
                ),
                &[0; 8],
            )
        };
        assert!(one("F32", "[1]", "[4,0]").contains("end before"));
        assert!(one("F32", "[2]", "[0,4]").contains("has 4 bytes"));
        assert!(one("F32", "[4294967296,4294967296]", "[0,4]").contains("has 4 bytes"));
        assert!(one("F32", "[1]", "[4,8]").contains("gap"));
        assert!(one("F32", "[1]", "[0,4]").contains("goes on after"));
        let overlap = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#;
        assert!(error(overlap, &[0; 6]).contains("overlap"));
    }

    proptest! {
        #[test]
        fn mutated_files_never_panic(at in 0usize..200, byte: u8, chunk in 1usize..50) {
            let mut bytes = file(TWO, &[1, 2, 3, 4, 5, 6, 7]);
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = read(&bytes, chunk);
        }
    }
}
