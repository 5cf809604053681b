//! What a forward pass needs of the hardware: a handful of fused operations on packed batches.
//!
//! Activations are `[tokens, width]` tensors of f32; all sequences of a batch lie end to end, and `offsets`
//! (`[sequences + 1]`, first 0, last `tokens`) says where each begins. There is no padding. A backend must give
//! each sequence the same bits whatever else is in the batch.

pub mod cpu;
pub mod either;
pub mod gpu;

use std::pin::Pin;

use crate::error::Result;

/// Elements of a row that share a scale where weights are integers: w ≈ scale · code for each group, after a rotation by
/// H₆₄ / 8 (see `cpu::rotation`), which is its own inverse. A row's last group is filled up with zeros.
pub const GROUP: usize = 64;

/// How weights are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightDtype {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point, for GPUs: the CPU widens it, with the same values.
    F16,
    /// 8-bit integers with a scale for each group of a row.
    Q8,
    /// 4-bit integers with a scale for each group of a row.
    Q4,
}

impl WeightDtype {
    /// From the name that users give.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::F32, Self::F16, Self::Q8, Self::Q4]
            .into_iter()
            .find(|dtype| dtype.name() == name)
    }

    /// Whether weights are codes with scales.
    pub fn is_codes(self) -> bool {
        matches!(self, Self::Q8 | Self::Q4)
    }

    /// The name that users give and see.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
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

/// How token logits become weights of vocabulary entries (SPLADE, Formal et al. 2021).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Splade {
    /// Over the tokens.
    pub strategy: SpladeStrategy,
    /// Of each logit.
    pub activation: SpladeActivation,
}

/// What a vocabulary entry takes of the tokens' activated logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpladeStrategy {
    /// The largest.
    Max,
    /// All of them, added up.
    Sum,
}

/// What SPLADE applies to a logit. Both forms rise with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpladeActivation {
    /// log(1 + relu(x)), SPLADE's
    Log1pRelu,
    /// log(1 + log(1 + relu(x))), that of inference-free models
    Log1pLog1pRelu,
}

impl SpladeActivation {
    /// The weight of a logit, through f64 so that engines and platforms agree on the f32.
    pub fn apply(self, logit: f32) -> f32 {
        #[expect(clippy::cast_possible_truncation, reason = "an f32 in, an f32 out")]
        let ln_1p = |x: f32| libm::log1p(f64::from(x)) as f32;
        let weight = ln_1p(logit.max(0.0));
        match self {
            Self::Log1pRelu => weight,
            Self::Log1pLog1pRelu => ln_1p(weight),
        }
    }
}

/// Attention heads. Several query heads may share a key and value head (grouped-query attention, Ainslie et al.
/// 2023).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Number of query heads.
    pub count: usize,
    /// Number of key and value heads, a divisor of `count`.
    pub kv_count: usize,
    /// Width of one head.
    pub size: usize,
}

impl Heads {
    /// Width of the queries.
    pub fn query_width(&self) -> usize {
        self.count * self.size
    }

    /// Width of the keys, and of the values.
    pub fn kv_width(&self) -> usize {
        self.kv_count * self.size
    }
}

/// Which tokens of its sequence a token attends to, besides itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    /// The most tokens before it; all where none is given.
    pub before: Option<usize>,
    /// The most tokens after it; all where none is given.
    pub after: Option<usize>,
}

/// Rotary position embeddings (Su et al. 2021): element `i` of a head's first half and element `i` of its second half
/// are turned by the same angle.
#[derive(Clone, Debug)]
pub struct Rotary {
    /// Half the size of a head.
    pub half: usize,
    /// Cosines, `[positions, half]`
    pub cos: Vec<f32>,
    /// Sines, `[positions, half]`
    pub sin: Vec<f32>,
}

/// A number for each head and each distance between two tokens, added to attention's scores.
#[derive(Clone, Debug)]
pub struct RelativeBias {
    /// The largest distance.
    pub reach: usize,
    /// `[heads, 2 · reach + 1]`, from a key that far before the query to one that far after it.
    pub values: Vec<f32>,
}

/// What attention does besides its products and its softmax.
#[derive(Clone, Copy)]
pub struct Attention<'a> {
    /// Sizes.
    pub heads: Heads,
    /// Factor of the scores.
    pub scale: f32,
    /// Who sees whom.
    pub mask: Mask,
    /// Norms of every query head and of every key head.
    pub head_norms: Option<[Norm<'a>; 2]>,
    /// Applied to queries and keys, after their norms.
    pub rotary: Option<&'a Rotary>,
    /// Added to the scaled scores.
    pub bias: Option<&'a RelativeBias>,
}

/// Which norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// LayerNorm (Ba et al. 2016): `(x − mean) / √(variance + eps) · weight + bias`
    Layer,
    /// RMSNorm (Zhang & Sennrich 2019): `x / √(mean of x² + eps) · weight`
    Rms,
    /// Gemma's RMSNorm, which multiplies by `1 + weight`.
    RmsPlusOne,
}

/// A norm over the last dimension.
#[derive(Clone, Copy)]
pub struct Norm<'a> {
    /// Which.
    pub kind: NormKind,
    /// Scale, `[width]`.
    pub weight: &'a [f32],
    /// Shift, `[width]`.
    pub bias: Option<&'a [f32]>,
    /// Added under the root.
    pub eps: f32,
}

/// A weight matrix and what is added to its products.
pub struct Linear<'a, B: Backend + ?Sized> {
    /// `[out, in]`
    pub weight: &'a B::Matrix,
    /// `[out]`
    pub bias: Option<&'a [f32]>,
}

/// A tensor that the host wants back.
pub enum Wanted<T> {
    /// All of its values, row by row.
    All(T),
    /// Those above 0, which are few.
    Positive(T),
}

/// What came back of it.
pub enum Values {
    /// All of its values, row by row.
    All(Vec<f32>),
    /// Those above 0, and whatever is not a number, each after its place in the tensor; places ascend.
    Positive(Vec<(u32, f32)>),
}

/// Values on their way to the host, in the order in which they were asked for. A browser's GPU answers from the event loop
/// alone; everything else has the answer when it is asked.
pub type Reading = Pin<Box<dyn Future<Output = Result<Vec<Values>>> + Send>>;

/// The operations of the forward pass. Shapes are checked by the caller, which builds them all from one `Spec`. They may
/// only be noted down, to be done by the time that a reading arrives.
pub trait Backend {
    /// Activations, `[rows, width]`.
    type Tensor;
    /// A weight matrix `[out, in]`, packed for products and readable by row.
    type Matrix;

    /// Tokens of one pass: enough to keep the kernels busy, few enough to bound memory and the wait for a cancellation.
    fn pass_tokens(&self) -> usize;

    /// Room for an `[rows, columns]` matrix, filled by [`Backend::set_row`].
    fn matrix(&self, rows: usize, columns: usize, dtype: WeightDtype) -> Result<Self::Matrix>;
    /// Packs one row, `[columns]`.
    fn set_row(&self, matrix: &mut Self::Matrix, row: usize, values: &[f32]);
    /// Refuses if a row was read since the last time that cannot be read at once.
    fn check_read(&self) -> Result<()>;
    /// Reads one row, `[columns]`.
    fn row(&self, matrix: &Self::Matrix, row: usize, out: &mut [f32]);
    /// Packs one row of a new matrix that is quantised already: codes `[groups · GROUP]`, of as many bits as the matrix has
    /// and none the lowest of 8 bits, and scales `[groups]`. The matrix is not f32.
    fn set_codes(&self, matrix: &mut Self::Matrix, row: usize, codes: &[i8], scales: &[f32]);
    /// Reads them.
    fn codes(&self, matrix: &Self::Matrix, row: usize, codes: &mut [i8], scales: &mut [f32]);
    /// Rows of a matrix.
    fn rows(&self, matrix: &Self::Matrix) -> usize;
    /// Columns of a matrix.
    fn columns(&self, matrix: &Self::Matrix) -> usize;
    /// How a matrix is held.
    fn dtype(&self, matrix: &Self::Matrix) -> WeightDtype;
    /// Bytes that a matrix occupies.
    fn bytes(&self, matrix: &Self::Matrix) -> usize;

    /// Sum over `tables` of the rows that `ids` name, times `scale`: `[tokens, width]`.
    fn embed(&self, tables: &[(&Self::Matrix, &[u32])], scale: f32) -> Result<Self::Tensor>;
    /// `norm(x + residual)`.
    fn norm(
        &self,
        x: &Self::Tensor,
        residual: Option<&Self::Tensor>,
        norm: Norm,
    ) -> Result<Self::Tensor>;
    /// `x + y`
    fn add(&self, x: &Self::Tensor, y: &Self::Tensor) -> Result<Self::Tensor>;
    /// `activation(x · weightᵀ + bias)`: `[rows, out]`.
    fn linear(
        &self,
        x: &Self::Tensor,
        weight: &Self::Matrix,
        bias: Option<&[f32]>,
        activation: Activation,
    ) -> Result<Self::Tensor>;
    /// A feed-forward block, `down(activation(up(x)))`.
    fn feed_forward(
        &self,
        x: &Self::Tensor,
        [up, down]: [Linear<Self>; 2],
        activation: Activation,
    ) -> Result<Self::Tensor> {
        let inner = self.linear(x, up.weight, up.bias, activation)?;
        self.linear(&inner, down.weight, down.bias, Activation::Identity)
    }
    /// The gate of a gated feed-forward block (GLU variants, Shazeer 2020): `x` is `[rows, 2 · width]`, the result
    /// `activation(first half) · second half`, `[rows, width]`.
    fn gate(&self, x: &Self::Tensor, activation: Activation) -> Result<Self::Tensor>;
    /// Attention of each sequence over itself; `qkv` is `[tokens, (count + 2 · kv_count) · size]`, queries, keys and
    /// values side by side; the result `[tokens, count · size]`.
    fn attention(
        &self,
        qkv: &Self::Tensor,
        offsets: &[usize],
        attention: Attention,
    ) -> Result<Self::Tensor>;
    /// One vector a sequence, `[sequences, width]`, from its tokens after the first `skip[sequence]`.
    fn pool(
        &self,
        x: &Self::Tensor,
        offsets: &[usize],
        skip: &[usize],
        pooling: Pooling,
    ) -> Result<Self::Tensor>;
    /// For each sequence and each row of `weight`, SPLADE's weight from `x · weightᵀ + bias` of its tokens
    /// (`[sequences, out]`); the `[tokens, out]` product is never stored.
    fn splade(
        &self,
        x: &Self::Tensor,
        offsets: &[usize],
        weight: &Self::Matrix,
        bias: Option<&[f32]>,
        splade: Splade,
    ) -> Result<Self::Tensor>;
    /// Values from the host, `[rows, values / rows]`.
    fn upload(&self, values: Vec<f32>, rows: usize) -> Result<Self::Tensor>;
    /// Rows of all `parts`, side by side.
    fn concatenate(&self, parts: &[&Self::Tensor]) -> Result<Self::Tensor>;
    /// Each row scaled to length 1.
    fn normalize(&self, x: &Self::Tensor) -> Result<Self::Tensor>;
    /// Values to the host: does all that is noted down.
    fn read(&self, wanted: Vec<Wanted<Self::Tensor>>) -> Result<Reading>;
}
