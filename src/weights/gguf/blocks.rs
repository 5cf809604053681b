//! ggml's block types: 32 or 256 elements of a row as small codes with their own scales.

use half::f16;

/// An element type that is stored in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// 32 codes of four bits, a scale
    Q4_0,
    /// 32 codes of four bits, a scale and a minimum
    Q4_1,
    /// 32 codes of five bits, a scale
    Q5_0,
    /// 32 codes of five bits, a scale and a minimum
    Q5_1,
    /// 32 codes of eight bits, a scale
    Q8_0,
    /// 256 codes of four bits in groups of 32, whose scales and minima have six bits
    Q4K,
    /// As `Q4K`, with codes of five bits
    Q5K,
    /// 256 codes of six bits in groups of 16, whose scales have eight bits
    Q6K,
}

/// Elements of a block of the types with 32.
const SMALL: usize = 32;
/// Elements of a block of the types with 256.
const LARGE: usize = 256;
/// Bytes of eight scales and eight minima of six bits each.
const SCALES: usize = 12;

impl Block {
    /// All block types.
    pub const ALL: [Self; 8] = [
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// From its number in files.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|block| block.number() == number)
    }

    fn number(self) -> u32 {
        match self {
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Q4K => 12,
            Self::Q5K => 13,
            Self::Q6K => 14,
        }
    }

    /// ggml's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// Elements of a block.
    pub fn elements(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => SMALL,
            Self::Q4K | Self::Q5K | Self::Q6K => LARGE,
        }
    }

    /// Bytes of a block.
    pub fn bytes(self) -> usize {
        match self {
            Self::Q4_0 => 2 + SMALL / 2,
            Self::Q4_1 => 4 + SMALL / 2,
            Self::Q5_0 => 2 + SMALL / 8 + SMALL / 2,
            Self::Q5_1 => 4 + SMALL / 8 + SMALL / 2,
            Self::Q8_0 => 2 + SMALL,
            Self::Q4K => 4 + SCALES + LARGE / 2,
            Self::Q5K => 4 + SCALES + LARGE / 8 + LARGE / 2,
            Self::Q6K => LARGE / 2 + LARGE / 4 + LARGE / 16 + 2,
        }
    }

    /// Decodes whole blocks into `out`, which must be as long as `bytes` has elements.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        let blocks = bytes.chunks_exact(self.bytes());
        for (bytes, out) in blocks.zip(out.chunks_exact_mut(self.elements())) {
            match self {
                Self::Q4_0 => small(bytes, out, false, false),
                Self::Q4_1 => small(bytes, out, false, true),
                Self::Q5_0 => small(bytes, out, true, false),
                Self::Q5_1 => small(bytes, out, true, true),
                Self::Q8_0 => {
                    let (scale, codes) = number(bytes);
                    for (out, code) in out.iter_mut().zip(codes) {
                        *out = f32::from(code.cast_signed()) * scale;
                    }
                }
                Self::Q4K => large(bytes, out, false),
                Self::Q5K => large(bytes, out, true),
                Self::Q6K => six_bits(bytes, out),
            }
        }
    }
}

/// Splits off a half-precision number at the start.
fn number(bytes: &[u8]) -> (f32, &[u8]) {
    match bytes.split_first_chunk() {
        Some((number, rest)) => (f16::from_le_bytes(*number).to_f32(), rest),
        None => (0.0, bytes),
    }
}

/// Decodes 32 codes. The low half of byte i is element i, the high half element i + 16. The fifth
/// bits are in four separate bytes. Without a minimum, codes are centred on the middle of their
/// range.
fn small(bytes: &[u8], out: &mut [f32], fifth: bool, minimum: bool) {
    let (scale, rest) = number(bytes);
    let (offset, middle, rest) = if minimum {
        let (offset, rest) = number(rest);
        (offset, 0.0, rest)
    } else {
        (0.0, if fifth { 16.0 } else { 8.0 }, rest)
    };
    let (high, codes) = match rest.split_first_chunk() {
        Some((high, codes)) if fifth => (u32::from_le_bytes(*high), codes),
        _ => (0, rest),
    };
    let (lower, upper) = out.split_at_mut(SMALL / 2);
    for (i, ((code, lower), upper)) in codes.iter().zip(lower).zip(upper).enumerate() {
        let fifth = |at: usize| if high >> at & 1 == 1 { 16.0 } else { 0.0 };
        let value = |code: u8, at: usize| {
            let code = f32::from(code) + fifth(at) - middle;
            // Adding zero would turn -0 into 0.
            if minimum {
                code * scale + offset
            } else {
                code * scale
            }
        };
        *lower = value(code & 15, i);
        *upper = value(code >> 4, i + SMALL / 2);
    }
}

/// Scale and minimum of group `group`, from the twelve bytes that hold eight of each. Those of the
/// first four groups have their own bytes, whose upper two bits belong to the last four groups.
fn scale_and_minimum(packed: &[u8], group: usize) -> (f32, f32) {
    let at = |i: usize| packed.get(i).copied().unwrap_or(0);
    let (scale, minimum) = if group < 4 {
        (at(group) & 63, at(group + 4) & 63)
    } else {
        let lower = at(group + 4);
        (
            lower & 15 | at(group - 4) >> 6 << 4,
            lower >> 4 | at(group) >> 6 << 4,
        )
    };
    (f32::from(scale), f32::from(minimum))
}

/// Decodes 256 codes of four or five bits. 32 bytes hold two groups, one in the low halves and one
/// in the high halves. The fifth bit of element i of group g is bit g of byte i.
fn large(bytes: &[u8], out: &mut [f32], fifth: bool) {
    let (scale, rest) = number(bytes);
    let (minimum, rest) = number(rest);
    let (scales, rest) = rest.split_at(SCALES);
    let (high, codes) = rest.split_at(if fifth { LARGE / 8 } else { 0 });
    for (group, out) in out.chunks_exact_mut(SMALL).enumerate() {
        let (own_scale, own_minimum) = scale_and_minimum(scales, group);
        let (scale, minimum) = (scale * own_scale, minimum * own_minimum);
        let codes = &codes[group / 2 * SMALL..][..SMALL];
        let shift = group % 2 * 4;
        for (i, (out, code)) in out.iter_mut().zip(codes).enumerate() {
            let high = high.get(i).map_or(0, |high| high >> group & 1);
            let code = code >> shift & 15 | high << 4;
            *out = scale * f32::from(code) - minimum;
        }
    }
}

/// Decodes 256 codes of six bits, centred on 32, in two halves of four rows of 32 elements. 64
/// bytes have the low four bits: first two rows in their low halves, then two in their high halves.
/// Byte i of 32 more has the upper two bits of element i of each row.
fn six_bits(bytes: &[u8], out: &mut [f32]) {
    let (lower, rest) = bytes.split_at(LARGE / 2);
    let (upper, rest) = rest.split_at(LARGE / 4);
    let (scales, scale) = rest.split_at(LARGE / 16);
    let (scale, _) = number(scale);
    for (row, out) in out.chunks_exact_mut(SMALL).enumerate() {
        let (half, row) = (row / 4, row % 4);
        let lower = &lower[half * 64 + row % 2 * SMALL..][..SMALL];
        let upper = &upper[half * SMALL..][..SMALL];
        let scales = &scales[half * 8 + row * 2..][..2];
        for (i, (out, (lower, upper))) in out.iter_mut().zip(lower.iter().zip(upper)).enumerate() {
            let code = lower >> (row / 2 * 4) & 15 | (upper >> (row * 2) & 3) << 4;
            let own = f32::from(scales[i / 16].cast_signed());
            *out = scale * own * (f32::from(code) - 32.0);
        }
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use candle_core::Device;
    use candle_core::quantized::{GgmlDType, ggml_file::qtensor_from_ggml};
    use proptest::prelude::*;

    fn theirs(block: Block) -> GgmlDType {
        match block {
            Block::Q4_0 => GgmlDType::Q4_0,
            Block::Q4_1 => GgmlDType::Q4_1,
            Block::Q5_0 => GgmlDType::Q5_0,
            Block::Q5_1 => GgmlDType::Q5_1,
            Block::Q8_0 => GgmlDType::Q8_0,
            Block::Q4K => GgmlDType::Q4K,
            Block::Q5K => GgmlDType::Q5K,
            Block::Q6K => GgmlDType::Q6K,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn candle_decodes_the_same_bits(mut bytes in prop::collection::vec(any::<u8>(), 3 * 256)) {
            for block in Block::ALL {
                prop_assert_eq!(theirs(block).type_size(), block.bytes());
                prop_assert_eq!(theirs(block).block_size(), block.elements());
                let size = block.bytes();
                for bytes in bytes.chunks_exact_mut(size) {
                    // Blocks with scales that are infinite or NaN have no values to compare.
                    let at = if block == Block::Q6K { size - 1 } else { 1 };
                    bytes[at] &= 0xbf;
                    bytes[3] &= 0xbf;
                }
                let whole = bytes.len() / size * size;
                let elements = whole / size * block.elements();
                let mut ours = vec![0.0; elements];
                block.decode(&bytes[..whole], &mut ours);
                let tensor =
                    qtensor_from_ggml(theirs(block), &bytes[..whole], vec![elements], &Device::Cpu);
                let theirs = tensor.unwrap().dequantize(&Device::Cpu).unwrap();
                let theirs: Vec<f32> = theirs.to_vec1().unwrap();
                for (ours, theirs) in ours.iter().zip(&theirs) {
                    prop_assert_eq!(ours.to_bits(), theirs.to_bits(), "{:?}", block);
                }
            }
        }
    }
}
