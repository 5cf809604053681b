//! Element types of `TensorProto`, and their way to f32.

use crate::weights::dtype::Dtype;

/// An element type that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// One that safetensors has, too.
    Known(Dtype),
    /// Whole numbers of eight bits without sign.
    U8,
    /// Two a byte, the first in the low bits; from -8 to 7, or from 0 to 15.
    Nibble {
        /// Whether there are negative ones.
        signed: bool,
    },
}

impl Element {
    /// By its number in files.
    pub fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::Known(Dtype::F32),
            2 => Self::U8,
            3 => Self::Known(Dtype::I8),
            10 => Self::Known(Dtype::F16),
            11 => Self::Known(Dtype::F64),
            16 => Self::Known(Dtype::Bf16),
            17 => Self::Known(Dtype::F8E4M3),
            19 => Self::Known(Dtype::F8E5M2),
            21 => Self::Nibble { signed: false },
            22 => Self::Nibble { signed: true },
            _ => return None,
        })
    }

    /// Bits of an element.
    pub fn bits(self) -> u64 {
        match self {
            Self::Known(dtype) => dtype.size() as u64 * 8,
            Self::U8 => 8,
            Self::Nibble { .. } => 4,
        }
    }

    /// Whether elements are values by themselves, rather than codes.
    pub fn is_value(self) -> bool {
        matches!(
            self,
            Self::Known(Dtype::F32 | Dtype::F16 | Dtype::Bf16 | Dtype::F64)
        )
    }

    /// Decodes elements of `bytes`, from number `first` on.
    pub fn decode(self, bytes: &[u8], first: usize, out: &mut [f32]) {
        match self {
            Self::Known(dtype) => dtype.decode(&bytes[first * dtype.size()..], out),
            Self::U8 => {
                let codes = out.iter_mut().zip(&bytes[first..]);
                codes.for_each(|(out, code)| *out = f32::from(*code));
            }
            Self::Nibble { signed } => {
                for (at, out) in (first..).zip(out) {
                    let code = bytes[at / 2] >> (at % 2 * 4) & 15;
                    *out = f32::from(code);
                    if signed && code > 7 {
                        *out -= 16.0;
                    }
                }
            }
        }
    }
}

/// Codes without sign, low bits first.
pub fn unpack(bytes: &[u8], bits: usize, out: &mut [f32]) {
    let mask = u8::MAX >> (8 - bits);
    for (at, out) in out.iter_mut().enumerate() {
        let at = at * bits;
        *out = f32::from(bytes[at / 8] >> (at % 8) & mask);
    }
}

/// bitsandbytes' NF4 (Dettmers et al. 2023): quantiles of the normal distribution.
pub const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// bitsandbytes' FP4: a sign, two bits of exponent, one of mantissa.
pub const FP4: [f32; 16] = [
    0.0,
    0.005_208_333_3,
    0.666_666_7,
    1.0,
    0.333_333_34,
    0.5,
    0.166_666_67,
    0.25,
    0.0,
    -0.005_208_333_3,
    -0.666_666_7,
    -1.0,
    -0.333_333_34,
    -0.5,
    -0.166_666_67,
    -0.25,
];
