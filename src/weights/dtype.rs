//! Element types of a checkpoint, and their conversion to f32.

use half::{bf16, f16};

/// An element type that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE 754 single precision
    F32,
    /// IEEE 754 half precision
    F16,
    /// The upper 16 bits of a single-precision number
    Bf16,
    /// IEEE 754 double precision, rounded
    F64,
    /// Four bits of exponent, three of mantissa, no infinities (Micikevicius et al. 2022)
    F8E4M3,
    /// The upper 8 bits of a half-precision number
    F8E5M2,
    /// 8-bit integers; only as codes of quantised weights
    I8,
    /// 32-bit integers; only as indices
    I32,
    /// 64-bit integers; only as indices
    I64,
}

impl Dtype {
    /// From the name in a safetensors header.
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

    /// As [`Dtype::from_name`], for types whose elements are values. Integers are not: they are
    /// codes, which need scales.
    pub fn of_values(name: &str) -> Option<Self> {
        Self::from_name(name).filter(|dtype| *dtype != Self::I8)
    }

    /// From the name, for types whose elements are integers.
    pub fn of_integers(name: &str) -> Option<Self> {
        match name {
            "I8" => Some(Self::I8),
            "I32" => Some(Self::I32),
            "I64" => Some(Self::I64),
            _ => None,
        }
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::F8E4M3 | Self::F8E5M2 | Self::I8 => 1,
        }
    }

    /// Decodes little-endian elements into `out`, which must be as long as `bytes` has elements.
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
            #[expect(clippy::cast_precision_loss, reason = "indices are smaller than 2²⁴")]
            Self::I32 => each(bytes, out, |bytes| i32::from_le_bytes(bytes) as f32),
            #[expect(clippy::cast_precision_loss, reason = "indices are smaller than 2²⁴")]
            Self::I64 => each(bytes, out, |bytes| i64::from_le_bytes(bytes) as f32),
        }
    }
}

/// Converts E4M3, whose exponent has a bias of 7 and whose codes with all bits set are NaN.
fn e4m3(byte: u8) -> f32 {
    let magnitude = byte & 0x7f;
    if magnitude == 0x7f {
        return f32::NAN;
    }
    // Read as a half, whose exponent has a bias of 15, the value is 2⁸ times too small.
    let half = f16::from_bits(u16::from(magnitude) << 7).to_f32() * 256.0;
    if byte < 0x80 { half } else { -half }
}

fn each<const N: usize>(bytes: &[u8], out: &mut [f32], f: impl Fn([u8; N]) -> f32) {
    for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *out = f(*bytes);
    }
}
