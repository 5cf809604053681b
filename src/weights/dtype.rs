//! Element types of a checkpoint, and their way to f32.

use half::{bf16, f16};

/// An element type that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE 754 single precision
    F32,
    /// IEEE 754 half precision
    F16,
    /// The upper half of a single
    Bf16,
    /// IEEE 754 double precision, rounded
    F64,
    /// Four bits of exponent, three of mantissa, no infinities (Micikevicius et al. 2022)
    F8E4M3,
    /// The upper half of a half
    F8E5M2,
    /// Whole numbers; only as codes of quantised weights
    I8,
}

impl Dtype {
    /// From the spelling in a safetensors header.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "F32" => Some(Self::F32),
            "F16" => Some(Self::F16),
            "BF16" => Some(Self::Bf16),
            "F64" => Some(Self::F64),
            "F8_E4M3" => Some(Self::F8E4M3),
            "F8_E5M2" => Some(Self::F8E5M2),
            "I8" => Some(Self::I8),
            _ => None,
        }
    }

    /// From the same, if elements are values by themselves: integers are codes, which mean nothing without scales.
    pub fn of_values(name: &str) -> Option<Self> {
        Self::from_name(name).filter(|dtype| *dtype != Self::I8)
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::F8E4M3 | Self::F8E5M2 | Self::I8 => 1,
        }
    }

    /// Decodes little-endian elements; `out` has room for as many as `bytes` holds.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Self::F32 => each(bytes, out, f32::from_le_bytes),
            Self::F16 => each(bytes, out, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Self::Bf16 => each(bytes, out, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            #[expect(clippy::cast_possible_truncation, reason = "rounded to nearest")]
            Self::F64 => each(bytes, out, |bytes| f64::from_le_bytes(bytes) as f32),
            Self::F8E4M3 => each(bytes, out, |[byte]| e4m3(byte)),
            Self::F8E5M2 => each(bytes, out, |[byte]| {
                f16::from_bits(u16::from(byte) << 8).to_f32()
            }),
            Self::I8 => each(bytes, out, |bytes| f32::from(i8::from_le_bytes(bytes))),
        }
    }
}

/// The exponent's bias is 7; all ones are NaN.
fn e4m3(byte: u8) -> f32 {
    let magnitude = byte & 0x7f;
    if magnitude == 0x7f {
        return f32::NAN;
    }
    // As a half, whose bias is 15, it is 2⁸ times too small.
    let half = f16::from_bits(u16::from(magnitude) << 7).to_f32() * 256.0;
    if byte < 0x80 { half } else { -half }
}

fn each<const N: usize>(bytes: &[u8], out: &mut [f32], f: impl Fn([u8; N]) -> f32) {
    for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *out = f(*bytes);
    }
}
