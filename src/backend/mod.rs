//! What a forward pass needs of the hardware: a handful of fused operations on packed batches.
//!
//! Activations are `[tokens, width]` tensors of f32; all sequences of a batch lie end to end, and `offsets`
//! (`[sequences + 1]`, first 0, last `tokens`) says where each begins. There is no padding. A backend must give
//! each sequence the same bits whatever else is in the batch.

pub mod cpu;

use crate::error::Result;

/// How weights are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightDtype {
    /// 32-bit floating point.
    F32,
    /// 8-bit integers with a scale for each group of a row.
    Q8,
}

impl WeightDtype {
    /// The name that users give and see.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Q8 => "q8",
        }
    }
}

/// Element-wise activation functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x
    Identity,
    /// max(x, 0)
    Relu,
    /// x·Φ(x), the exact (erf) form
    Gelu,
    /// GELU's tanh approximation
    GeluTanh,
    /// x·σ(x)
    Silu,
    /// σ(x) = 1 / (1 + e⁻ˣ)
    Sigmoid,
    /// tanh(x)
    Tanh,
}

/// How token states become one vector; each is one of sentence-transformers' pooling modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// State of the first token.
    Cls,
    /// Element-wise maximum.
    Max,
    /// Arithmetic mean.
    Mean,
    /// Sum divided by the square root of the number of tokens.
    MeanSqrtLen,
    /// Mean weighted by position, 1 for the first token (SGPT, Muennighoff 2022).
    WeightedMean,
    /// State of the last token.
    LastToken,
}

/// The sizes that attention needs besides its input.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Number of attention heads.
    pub count: usize,
    /// Width of one head.
    pub size: usize,
}

/// Affine layer normalisation over the last dimension.
#[derive(Clone, Copy)]
pub struct LayerNorm<'a> {
    /// Scale, `[width]`.
    pub weight: &'a [f32],
    /// Shift, `[width]`.
    pub bias: &'a [f32],
    /// Added to the variance.
    pub eps: f32,
}

/// The operations of the forward pass. Shapes are checked by the caller, which builds them all from one `Spec`.
pub trait Backend {
    /// Activations, `[rows, width]`.
    type Tensor;
    /// A weight matrix `[out, in]`, packed for products and readable by row.
    type Matrix;

    /// Room for an `[rows, columns]` matrix, filled by [`Backend::set_row`].
    fn matrix(&self, rows: usize, columns: usize, dtype: WeightDtype) -> Result<Self::Matrix>;
    /// Packs one row, `[columns]`.
    fn set_row(&self, matrix: &mut Self::Matrix, row: usize, values: &[f32]);
    /// Bytes that a matrix occupies.
    fn bytes(&self, matrix: &Self::Matrix) -> usize;

    /// Sum over `tables` of the rows that `ids` name: `[tokens, width]`.
    fn embed(&self, tables: &[(&Self::Matrix, &[u32])]) -> Result<Self::Tensor>;
    /// `norm(x + residual)`.
    fn norm(
        &self,
        x: &Self::Tensor,
        residual: Option<&Self::Tensor>,
        norm: LayerNorm,
    ) -> Result<Self::Tensor>;
    /// `activation(x · weightᵀ + bias)`: `[rows, out]`.
    fn linear(
        &self,
        x: &Self::Tensor,
        weight: &Self::Matrix,
        bias: Option<&[f32]>,
        activation: Activation,
    ) -> Result<Self::Tensor>;
    /// Bidirectional attention of each sequence over itself; `qkv` is `[tokens, 3 · heads · size]`, queries, keys
    /// and values side by side; the result `[tokens, heads · size]`.
    fn attention(
        &self,
        qkv: &Self::Tensor,
        offsets: &[usize],
        heads: Heads,
    ) -> Result<Self::Tensor>;
    /// One vector a sequence, `[sequences, width]`, from its tokens after the first `skip[sequence]`.
    fn pool(
        &self,
        x: &Self::Tensor,
        offsets: &[usize],
        skip: &[usize],
        pooling: Pooling,
    ) -> Result<Self::Tensor>;
    /// For each sequence and each row of `weight`, the largest of `x · weightᵀ + bias` over its tokens
    /// (`[sequences, out]`); the `[tokens, out]` product is never stored.
    fn max_linear(
        &self,
        x: &Self::Tensor,
        offsets: &[usize],
        weight: &Self::Matrix,
        bias: Option<&[f32]>,
    ) -> Result<Self::Tensor>;
    /// Values from the host, `[rows, values / rows]`.
    fn upload(&self, values: Vec<f32>, rows: usize) -> Result<Self::Tensor>;
    /// Values to the host, row by row.
    fn read(&self, x: &Self::Tensor) -> Result<Vec<f32>>;
}
