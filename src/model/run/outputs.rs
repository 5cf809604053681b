//! The vectors that a run gives. Dense ones may be in the formats that embedding APIs and vector
//! databases call int8, uint8, binary and ubinary.

use serde::Deserialize;

use crate::backend::cpu;
use crate::error::{Error, Result};
use crate::text::Chunk;

/// Dense vectors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DenseBatch {
    /// All vectors, row by row, `[inputs, dimensions]`; empty if they are quantised.
    pub data: Vec<f32>,
    /// The quantised vectors, if these were asked for.
    pub quantized: Option<Quantized>,
    /// Width of a vector.
    pub dimensions: usize,
    /// Tokens that were read of each input.
    pub tokens: Vec<u32>,
    /// Whether a part of the input was cut off.
    pub truncated: Vec<bool>,
}

/// One sparse vector: entries in ascending order of index.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseVector {
    /// Ids of vocabulary entries.
    pub indices: Vec<u32>,
    /// Their weights.
    pub values: Vec<f32>,
    /// Their tokens, if asked for.
    pub labels: Option<Vec<String>>,
}

/// Sparse vectors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseBatch {
    /// One for each input.
    pub vectors: Vec<SparseVector>,
    /// Tokens that were read of each input.
    pub tokens: Vec<u32>,
}

/// The vectors of one input's tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenVectors {
    /// Row by row, `[vectors, dimensions]`; empty if they are quantised.
    pub data: Vec<f32>,
    /// The quantised vectors, if these were asked for.
    pub quantized: Option<Quantized>,
    /// Width of a vector.
    pub dimensions: usize,
}

impl TokenVectors {
    /// Number of vectors.
    pub fn rows(&self) -> usize {
        let numbers = match &self.quantized {
            Some(quantized) => quantized.codes.len(),
            None => self.data.len(),
        };
        numbers / self.dimensions.max(1)
    }

    /// The late-interaction score of these vectors of a query and those of a document (`MaxSim`,
    /// Khattab & Zaharia 2020): the sum over the query's vectors of the largest dot product with a
    /// vector of the document. Both in 8 bits, or both not. 0 if either has no vectors.
    ///
    /// # Errors
    ///
    /// `invalid_input` if the vectors differ in width or format, or if a component is not finite.
    pub fn max_sim(&self, document: &Self) -> Result<f32> {
        let wrong = |reason: String| Error::input("document", reason);
        if self.dimensions != document.dimensions && self.rows() > 0 && document.rows() > 0 {
            return Err(wrong(format!(
                "the query's vectors have {} dimensions, and the document's {}: both must be of one model",
                self.dimensions, document.dimensions
            )));
        }
        let score = match (&self.quantized, &document.quantized) {
            (None, None) => cpu::max_sim(&self.data, &document.data, self.dimensions.max(1))?,
            (Some(query), Some(document)) => {
                let codes = [query, document].map(|side| bytemuck::cast_slice(&side.codes));
                let [query_codes, document_codes] = codes;
                cpu::max_sim_codes(
                    (query_codes, &query.scales),
                    (document_codes, &document.scales),
                    self.dimensions.max(1),
                )
            }
            _ => {
                return Err(wrong(
                    "one side's vectors are in 8 bits, and the other's are not".to_owned(),
                ));
            }
        };
        if score.is_finite() {
            Ok(score)
        } else {
            Err(wrong(
                "the score is not a number: a component is NaN or infinite".to_owned(),
            ))
        }
    }
}

/// How the products of a query's vectors with a document make its score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
}

impl Measure {
    /// sentence-transformers' name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sum => "maxsim",
            Self::Mean => "meanmaxsim",
        }
    }

    /// The score of a document.
    #[expect(clippy::cast_precision_loss, reason = "numbers of tokens are small")]
    pub fn score(self, query: &TokenVectors, document: &TokenVectors) -> Result<f32> {
        let sum = query.max_sim(document)?;
        Ok(match self {
            Self::Mean if query.rows() > 0 => sum / query.rows() as f32,
            _ => sum,
        })
    }
}

/// The vectors that were asked for. Each kind has an entry for each input.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// Dense vectors, row by row.
    pub dense: Option<Vec<f32>>,
    /// Quantised dense vectors. If there are any, `dense` is empty.
    pub quantized: Option<Quantized>,
    /// Width of a dense vector, or the number of scores of an input.
    pub dimensions: usize,
    /// Sparse vectors.
    pub sparse: Option<Vec<SparseVector>>,
    /// Vectors of tokens.
    pub token_vectors: Option<Vec<TokenVectors>>,
    /// Scores, row by row: one for each label.
    pub scores: Option<Vec<f32>>,
    /// Tokens that were read of each input.
    pub tokens: Vec<u32>,
    /// Whether a part of the input was cut off.
    pub truncated: Vec<bool>,
    /// The chunks of each input, if chunks were embedded. All other lists then have an entry for
    /// each chunk.
    pub chunks: Vec<Vec<Chunk>>,
}

impl Output {
    /// The dense vectors; empty if they were not asked for.
    pub fn into_dense(self) -> DenseBatch {
        DenseBatch {
            data: self.dense.unwrap_or_default(),
            quantized: self.quantized,
            dimensions: self.dimensions,
            tokens: self.tokens,
            truncated: self.truncated,
        }
    }

    /// The scores; empty if they were not asked for.
    pub fn into_scores(self) -> ScoreBatch {
        ScoreBatch {
            scores: self.scores.unwrap_or_default(),
            labels: self.dimensions,
            tokens: self.tokens,
            truncated: self.truncated,
        }
    }

    /// The sparse vectors; empty if they were not asked for.
    pub fn into_sparse(self) -> SparseBatch {
        SparseBatch {
            vectors: self.sparse.unwrap_or_default(),
            tokens: self.tokens,
        }
    }
}

/// Scores of pairs of texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScoreBatch {
    /// All scores, row by row, `[inputs, labels]`.
    pub scores: Vec<f32>,
    /// Scores of an input: one for each of the model's labels.
    pub labels: usize,
    /// Tokens that were read of each input.
    pub tokens: Vec<u32>,
    /// Whether something of the input was cut off.
    pub truncated: Vec<bool>,
}

/// A document's place in a ranking.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// Its place in the list that was ranked.
    pub index: usize,
    /// Its score.
    pub score: f32,
}

impl ScoreBatch {
    /// The inputs by the score of their first label, the highest first, `top_k` at most. Of equal
    /// scores the one that comes first in the list is first.
    pub fn ranked(&self, top_k: Option<usize>) -> Vec<Ranked> {
        let scores = self.scores.iter().step_by(self.labels.max(1)).enumerate();
        let mut ranked: Vec<Ranked> = scores
            .map(|(index, score)| Ranked {
                index,
                score: *score,
            })
            .collect();
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
        ranked.truncate(top_k.unwrap_or(usize::MAX));
        ranked
    }
}

/// Format of dense vectors' components.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum OutputDtype {
    /// f32
    #[default]
    Float,
    /// Whole numbers from -127 to 127, which is the largest absolute value of each vector.
    Int8,
    /// `int8` plus 128.
    Uint8,
    /// `ubinary` minus 128.
    Binary,
    /// A bit for each component, 1 if it is above 0. The first of eight is a byte's highest bit.
    Ubinary,
}

impl OutputDtype {
    /// Its name in options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float => "float",
            Self::Int8 => "int8",
            Self::Uint8 => "uint8",
            Self::Binary => "binary",
            Self::Ubinary => "ubinary",
        }
    }

    /// Whether its bytes are signed.
    pub fn is_signed(self) -> bool {
        matches!(self, Self::Int8 | Self::Binary)
    }

    /// Whether a component has a byte, and a vector a scale.
    pub fn has_scales(self) -> bool {
        matches!(self, Self::Int8 | Self::Uint8)
    }

    /// Bytes of a quantised vector.
    pub fn width(self, dimensions: usize) -> usize {
        if self.has_scales() {
            dimensions
        } else {
            dimensions.div_ceil(8)
        }
    }

    /// Appends a vector's codes. Returns the scale that the codes are to be multiplied by.
    pub fn push(self, vector: &[f32], codes: &mut Vec<u8>) -> f32 {
        if !self.has_scales() {
            let flip = if self == Self::Binary { 0x80 } else { 0 };
            codes.extend(vector.chunks(8).map(|eight| bits(eight) ^ flip));
            return 1.0;
        }
        let largest = vector.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let scale = largest / 127.0;
        let flip = if self == Self::Uint8 { 0x80 } else { 0 };
        #[expect(clippy::cast_possible_truncation, reason = "it is at most 127")]
        let code = |x: &f32| {
            let code = if scale > 0.0 {
                (x / scale).round()
            } else {
                0.0
            };
            (code as i8).cast_unsigned() ^ flip
        };
        codes.extend(vector.iter().map(code));
        scale
    }
}

/// The bits of up to eight components.
fn bits(components: &[f32]) -> u8 {
    let bits = components.iter().enumerate();
    bits.fold(0, |byte, (i, x)| byte | u8::from(*x > 0.0) << (7 - i))
}

/// Quantised dense vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantized {
    /// The format.
    pub dtype: OutputDtype,
    /// All vectors, row by row, [`OutputDtype::width`] bytes each.
    pub codes: Vec<u8>,
    /// For each vector the scale that its codes are to be multiplied by; 1 for bits.
    pub scales: Vec<f32>,
}

impl Quantized {
    pub(in crate::model) fn new(dtype: OutputDtype) -> Self {
        Self {
            dtype,
            codes: Vec::new(),
            scales: Vec::new(),
        }
    }

    /// The codes as numbers for JSON.
    pub fn numbers(codes: &[u8], dtype: OutputDtype) -> Vec<i16> {
        let number = |code: &u8| {
            if dtype.is_signed() {
                i16::from(code.cast_signed())
            } else {
                i16::from(*code)
            }
        };
        codes.iter().map(number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTOR: [f32; 10] = [0.5, -0.25, 0.0, 1e-9, -1.0, 0.9, -0.004, 0.3, -0.1, 0.2];

    fn codes(dtype: OutputDtype) -> (Vec<i16>, f32) {
        let mut codes = Vec::new();
        let scale = dtype.push(&VECTOR, &mut codes);
        assert_eq!(codes.len(), dtype.width(VECTOR.len()));
        (Quantized::numbers(&codes, dtype), scale)
    }

    #[test]
    fn whole_numbers_are_the_components_divided_by_the_scale() {
        let (int8, scale) = codes(OutputDtype::Int8);
        assert_eq!(int8, [64, -32, 0, 0, -127, 114, -1, 38, -13, 25]);
        for (code, x) in int8.iter().zip(VECTOR) {
            assert!((f32::from(*code) * scale - x).abs() <= scale / 2.0 + f32::EPSILON);
        }
        let (uint8, same) = codes(OutputDtype::Uint8);
        assert_eq!(
            uint8,
            int8.iter().map(|code| code + 128).collect::<Vec<_>>()
        );
        assert!((scale - same).abs() < f32::EPSILON);
    }

    #[test]
    fn bits_are_those_of_packbits() {
        // numpy.packbits(vector > 0)
        assert_eq!(codes(OutputDtype::Ubinary).0, [0b1001_0101, 0b0100_0000]);
        assert_eq!(codes(OutputDtype::Binary).0, [149 - 128, 64 - 128]);
    }

    #[test]
    fn nothing_is_divided_by_zero() {
        let mut codes = Vec::new();
        assert!(OutputDtype::Int8.push(&[0.0, 0.0], &mut codes).abs() < f32::EPSILON);
        assert_eq!(codes, [0, 0]);
    }
}
