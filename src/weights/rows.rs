//! Assembles one tensor's rows in f32 from bytes in chunks of any size.

use super::dtype::Dtype;
use super::gguf::Block;
use crate::full::Full;

/// How a row's elements are stored.
#[derive(Clone, Copy, Debug)]
pub enum Encoding {
    /// One after the other.
    Elements(Dtype),
    /// In blocks; a row is a whole number of blocks.
    Blocks(Full<Block>),
}

impl Encoding {
    /// Bytes of a row of `width` elements, or `None` if the row is not a whole number of blocks.
    pub fn row_bytes(self, width: usize) -> Option<usize> {
        match self {
            Self::Elements(dtype) => width.checked_mul(dtype.size()),
            Self::Blocks(block) => width
                .is_multiple_of(block.elements())
                .then(|| (width / block.elements()).checked_mul(block.bytes()))?,
        }
    }

    fn decode(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Self::Elements(dtype) => dtype.decode(bytes, out),
            Self::Blocks(block) => block.decode(bytes, out),
        }
    }
}

/// The most bytes that are reserved before a row's bytes arrive, since a header may claim any size.
const ROOM: usize = 1 << 16;

/// Assembles the bytes of one tensor into rows. Memory holds at most one row.
pub struct Rows {
    encoding: Encoding,
    /// Bytes of the row that is being filled.
    bytes: Vec<u8>,
    row: Vec<f32>,
    width: usize,
    row_bytes: usize,
    next: usize,
}

impl Rows {
    /// For rows of `width` elements, or `None` if a row is not a whole number of blocks.
    pub fn new(encoding: Encoding, width: usize) -> Option<Self> {
        let row_bytes = encoding.row_bytes(width)?;
        Some(Self {
            encoding,
            bytes: Vec::new(),
            row: Vec::new(),
            width,
            row_bytes,
            next: 0,
        })
    }

    /// Takes the next bytes; calls `done(row index, values)` for each row that they complete.
    pub fn push(&mut self, mut bytes: &[u8], mut done: impl FnMut(usize, &[f32])) {
        while !bytes.is_empty() {
            // A row that arrived in one piece needs no copy.
            let source = if self.bytes.is_empty() && bytes.len() >= self.row_bytes {
                let (row, rest) = bytes.split_at(self.row_bytes);
                bytes = rest;
                row
            } else {
                let (part, rest) =
                    bytes.split_at(bytes.len().min(self.row_bytes - self.bytes.len()));
                bytes = rest;
                if self.bytes.capacity() == 0 {
                    self.bytes.reserve_exact(self.row_bytes.min(ROOM));
                }
                self.bytes.extend_from_slice(part);
                if self.bytes.len() < self.row_bytes {
                    return;
                }
                &self.bytes
            };
            self.row.resize(self.width, 0.0);
            self.encoding.decode(source, &mut self.row);
            self.bytes.clear();
            done(self.next, &self.row);
            self.next += 1;
        }
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_do_not_depend_on_the_chunking(
            values in prop::collection::vec(-10f32..10.0, 12 * 5),
            cuts in prop::collection::vec(0usize..240, 0..8),
        ) {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let mut cuts = cuts;
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut rows = Rows::new(Encoding::Elements(Dtype::F32), 5).unwrap();
            let mut got = Vec::new();
            for pair in cuts.windows(2) {
                rows.push(&bytes[pair[0]..pair[1]], |index, row| {
                    assert_eq!(index * 5, got.len());
                    got.extend_from_slice(row);
                });
            }
            prop_assert_eq!(got, values);
        }
    }

    #[test]
    fn half_precision_is_candlened_exactly() {
        let mut out = [0.0; 2];
        Dtype::F16.decode(&[0x00, 0x3c, 0x00, 0xc0], &mut out);
        assert_eq!(out.map(f32::to_bits), [1f32, -2.0].map(f32::to_bits));
        Dtype::Bf16.decode(&[0x80, 0x3f, 0x00, 0xc0], &mut out);
        assert_eq!(out.map(f32::to_bits), [1f32, -2.0].map(f32::to_bits));
    }

    #[test]
    fn eight_bits_are_widened_exactly() {
        let decode = |dtype: Dtype, byte| {
            let mut out = [0.0];
            dtype.decode(&[byte], &mut out);
            out[0]
        };
        // 1, the largest, the smallest normal, the smallest, -0.
        for (byte, value) in [
            (0x38, 1.0),
            (0x7e, 448.0),
            (0x08, 2f32.powi(-6)),
            (0x01, 2f32.powi(-9)),
            (0x80, -0.0),
            (0xc4, -3.0),
        ] {
            assert_eq!(
                decode(Dtype::F8E4M3, byte).to_bits(),
                value.to_bits(),
                "{byte:x}"
            );
        }
        assert!(decode(Dtype::F8E4M3, 0xff).is_nan());
        for (byte, value) in [
            (0x3c, 1.0),
            (0x7b, 57344.0),
            (0x01, 2f32.powi(-16)),
            (0xc2, -3.0),
        ] {
            assert_eq!(
                decode(Dtype::F8E5M2, byte).to_bits(),
                value.to_bits(),
                "{byte:x}"
            );
        }
        assert!(decode(Dtype::F8E5M2, 0x7c).is_infinite());
        let mut out = [0.0];
        Dtype::F64.decode(&0.1f64.to_le_bytes(), &mut out);
        assert_eq!(out[0].to_bits(), 0.1f32.to_bits());
    }
}
