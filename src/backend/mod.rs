//! The hardware interface of a forward pass: a few fused operations on packed batches.
//!
//! Activations are `[tokens, width]` tensors of f32. The sequences of a batch lie end to end
//! without padding; `offsets` (`[sequences + 1]`, first 0, last `tokens`) holds the row at which
//! each begins. A backend must give each sequence the same bits whatever else is in the batch.
//!
//! [`Compute`] is the operations. [`Backend`] is a `Compute` that also stores weights. There are
//! three backends: the CPU, a GPU, and [`either::Either`] with one or both of them.
//! [`rehearsal::Rehearsal`] is a `Compute` only: it runs a pass on the CPU over weights that a GPU
//! stores.

/// Declares an enum whose variants GPU kernels know by number. The numbers are stated once, in the
/// declaration. `WGSL` declares a constant for each variant, such as `const Pooling_Mean = 2u;`;
/// these declarations stand before the source of every kernel, so that no kernel spells a number.
macro_rules! kernel_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $($(#[$doc:meta])* $variant:ident = $number:literal,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant = $number,)+
        }

        #[cfg(feature = "full")]
        impl $name {
            /// WGSL declarations of a constant for each variant.
            pub(in crate::backend) const WGSL: &str = concat!(
                $("const ", stringify!($name), "_", stringify!($variant), " = ", $number, "u;\n",)+
            );

            /// The variant's number in kernels.
            pub(in crate::backend) const fn number(self) -> u32 {
                self as u32
            }
        }
    };
}

pub mod cpu;
pub mod either;
#[cfg(feature = "full")]
pub mod gpu;
#[cfg(not(feature = "full"))]
#[path = "no_gpu.rs"]
pub mod gpu;
mod pooling;
pub mod rehearsal;

use std::pin::Pin;

use self::cpu::CpuMatrix;
pub use self::pooling::Pooling;
use crate::error::{Error, Result};

/// Version of the numbers that kernels compute, part of every `spaceId`. It is raised whenever a
/// change gives other vectors, so that vectors of two versions are told apart. `cpu::numerics` pins
/// each version together with the hashes of the kernels' results.
pub const NUMERICS: u32 = 3;

/// Elements of a row that share a scale in integer weights: w ≈ scale · code in each group, after a
/// rotation by H₆₄ / 8 (see `cpu::rotation`), which is its own inverse. A row's last group is
/// padded with zeros.
pub const GROUP: usize = 64;

/// Number format of stored weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightDtype {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point, for GPUs. The CPU computes with the same values, widened to f32.
    F16,
    /// 8-bit integers with one scale for each group of a row.
    Q8,
    /// As [`Self::Q8`], with codes at a few levels, so that a saved model has 5 to 7 bits for each.
    /// The dtype of a model; its matrices are `Q8`.
    Q6,
    /// 4-bit integers with one scale for each group of a row.
    Q4,
}

impl WeightDtype {
    /// The dtype of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::F32, Self::F16, Self::Q8, Self::Q6, Self::Q4]
            .into_iter()
            .find(|dtype| dtype.name() == name)
    }

    /// Whether weights are integer codes with scales.
    pub fn is_codes(self) -> bool {
        matches!(self, Self::Q8 | Self::Q6 | Self::Q4)
    }

    /// The name in options and in `info`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8 => "q8",
            Self::Q6 => "q6",
            Self::Q4 => "q4",
        }
    }
}

kernel_enum! {
    /// Element-wise activation functions.
    pub enum Activation {
        /// x
        Identity = 0,
        /// max(x, 0)
        Relu = 1,
        /// x·Φ(x), the exact (erf) form
        Gelu = 2,
        /// GELU's tanh approximation
        GeluTanh = 3,
        /// x·σ(x)
        Silu = 4,
        /// σ(x) = 1 / (1 + e⁻ˣ)
        Sigmoid = 5,
        /// tanh(x)
        Tanh = 6,
    }
}

/// The half of a row that is activated in a gated feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// The first half.
    First,
    /// The second half.
    Last,
}

/// SPLADE (Formal et al. 2021): how token logits become weights of vocabulary entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Splade {
    /// Reduction over the tokens.
    pub strategy: SpladeStrategy,
    /// Activation of each logit.
    pub activation: SpladeActivation,
}

/// SPLADE's reduction of a vocabulary entry's activated logits over the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpladeStrategy {
    /// Maximum.
    Max,
    /// Sum.
    Sum,
}

/// SPLADE's activation of a logit. Both forms are monotonically increasing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpladeActivation {
    /// log(1 + relu(x)), as in the paper
    Log1pRelu,
    /// log(1 + log(1 + relu(x))), of inference-free models
    Log1pLog1pRelu,
}

impl SpladeActivation {
    /// The weight of a logit. It is computed in f64, so that engines and platforms round to the
    /// same f32.
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

/// Attention heads. Several query heads may share a key and value head (grouped-query attention,
/// Ainslie et al. 2023).
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

/// Attention mask: the tokens of its sequence that a token attends to, besides itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    /// Maximum distance to a token before it; `None` for no limit.
    pub before: Option<usize>,
    /// Maximum distance to a token after it; `None` for no limit.
    pub after: Option<usize>,
}

/// Rotary position embeddings (Su et al. 2021): element `i` of a head's first half and element `i`
/// of its second half are rotated by the same angle.
#[derive(Clone, Debug)]
pub struct Rotary {
    /// Half the size of a head.
    pub half: usize,
    /// Cosines, `[positions, half]`
    pub cos: Vec<f32>,
    /// Sines, `[positions, half]`
    pub sin: Vec<f32>,
}

/// A learned or fixed bias of attention scores for each head and each distance between two tokens.
#[derive(Clone, Debug)]
pub struct RelativeBias {
    /// The largest distance.
    pub reach: usize,
    /// `[heads, 2 · reach + 1]`: from a key at `reach` before the query to a key at `reach` after
    /// it.
    pub values: Vec<f32>,
}

/// How attention compares contents with positions (He et al. 2021).
#[derive(Clone, Debug)]
pub struct Distances {
    /// For each distance of a query after a key, from -r to r, the row of a tensor. They ascend
    /// from 0.
    pub rows: Vec<u32>,
    /// Whether the product of a token's query and its row's key is added to the score.
    pub to_positions: bool,
    /// Whether the product of its row's query and a token's key is added to the score.
    pub to_contents: bool,
}

/// Parameters of an attention operation.
#[derive(Clone, Copy)]
pub struct Attention<'a> {
    /// Sizes.
    pub heads: Heads,
    /// Factor of the scores.
    pub scale: f32,
    /// Bound of the scaled scores: s becomes cap · tanh(s / cap) (Gemma Team 2024).
    pub cap: Option<f32>,
    /// Attention mask.
    pub mask: Mask,
    /// Norms of each query head and of each key head.
    pub head_norms: Option<[Norm<'a>; 2]>,
    /// Applied to queries and keys, after their norms.
    pub rotary: Option<&'a Rotary>,
    /// Added to the scaled scores.
    pub bias: Option<&'a RelativeBias>,
    /// How many of each sequence's first tokens are attended to, `[sequences]`; none if all are.
    /// Every token sees at least one of them.
    pub keys: Option<&'a [usize]>,
}

kernel_enum! {
    /// Kinds of norms.
    pub enum NormKind {
        /// LayerNorm (Ba et al. 2016): `(x − mean) / √(variance + eps) · weight + bias`
        Layer = 0,
        /// RMSNorm (Zhang & Sennrich 2019): `x / √(mean of x² + eps) · weight`
        Rms = 1,
        /// Gemma's RMSNorm, which multiplies by `1 + weight`.
        RmsPlusOne = 2,
    }
}

/// A norm over the last dimension.
#[derive(Clone, Copy)]
pub struct Norm<'a> {
    /// Its kind.
    pub kind: NormKind,
    /// Scale, `[width]`.
    pub weight: &'a [f32],
    /// Shift, `[width]`.
    pub bias: Option<&'a [f32]>,
    /// Added under the root.
    pub eps: f32,
}

/// A linear layer: a weight matrix and the bias that is added to its products.
pub struct Linear<'a, B: Compute + ?Sized> {
    /// `[out, in]`
    pub weight: &'a B::Matrix,
    /// `[out]`
    pub bias: Option<&'a [f32]>,
}

/// The weights of a layer of experts, which have no biases of their own.
pub struct Experts<'a, B: Compute + ?Sized> {
    /// `[experts, hidden]`
    pub router: &'a B::Matrix,
    /// `[intermediate, hidden]` and `[hidden, intermediate]` of each expert.
    pub matrices: Vec<[&'a B::Matrix; 2]>,
    /// Number of experts that a token takes.
    pub top: usize,
    /// Added to the sum of the experts, `[hidden]`.
    pub bias: &'a [f32],
}

/// A tensor to be read back to the host.
pub enum ReadBack<T> {
    /// All of its values, row by row.
    All(T),
    /// Only its values above 0, for sparse vectors.
    Positive(T),
}

/// The values of a [`ReadBack`].
pub enum Values {
    /// All values, row by row.
    All(Vec<f32>),
    /// Values above 0 and NaNs, each with its index in the tensor, in ascending order of index.
    Positive(Vec<(u32, f32)>),
}

/// Values on their way to the host, in the order of the request. In a browser a GPU's values arrive
/// from the event loop only; every other backend resolves when it is polled.
pub type Reading = Pin<Box<dyn Future<Output = Result<Vec<Values>>> + Send>>;

/// The operations of the forward pass. The caller guarantees matching shapes; it derives all of
/// them from one `Spec`. An operation may be recorded only, and run before the next reading
/// arrives.
pub trait Compute {
    /// Activations, `[rows, width]`.
    type Tensor;
    /// A weight matrix `[out, in]`, packed for products.
    type Matrix;

    /// Sum over `tables` of the rows with the given ids, times `scale`: `[tokens, width]`.
    fn embed(&self, tables: &[(&Self::Matrix, &[u32])], scale: f32) -> Result<Self::Tensor>;
    /// `norm(x + residual)`.
    fn norm(
        &self,
        x: &Self::Tensor,
        residual: Option<&Self::Tensor>,
        norm: Norm,
    ) -> Result<Self::Tensor>;
    /// `activation(x + scale · y)`
    fn add(
        &self,
        x: &Self::Tensor,
        y: &Self::Tensor,
        scale: f32,
        activation: Activation,
    ) -> Result<Self::Tensor>;
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
    /// A layer of experts: `Σ p(e) · down(e)(activation(up(e)(x))) + bias` over those `top` experts
    /// of each token whose probability p is largest. Probabilities are the softmax of `x · routerᵀ`
    /// over all experts, and are not scaled to a sum of 1 again. Of equal ones the first are taken.
    fn experts(
        &self,
        x: &Self::Tensor,
        experts: &Experts<Self>,
        activation: Activation,
    ) -> Result<Self::Tensor>;
    /// The gate of a gated feed-forward block (GLU variants, Shazeer 2020): `x` is
    /// `[rows, 2 · width]`, the result `activation(one half) · other half`, `[rows, width]`.
    fn gate(&self, x: &Self::Tensor, gate: Gate, activation: Activation) -> Result<Self::Tensor>;
    /// Self-attention of each sequence. `qkv` is `[tokens, (count + 2 · kv_count) · size]`:
    /// queries, keys and values side by side. The result is `[tokens, count · size]`.
    fn attention(
        &self,
        qkv: &Self::Tensor,
        offsets: &[usize],
        attention: Attention,
    ) -> Result<Self::Tensor>;
    /// As [`Compute::attention`], with scores to which `positions` add. These are queries, keys and
    /// values, too, of which the values have no use: `[rows, (count + 2 · kv_count) · size]`.
    fn disentangled(
        &self,
        qkv: &Self::Tensor,
        offsets: &[usize],
        attention: Attention,
        positions: (&Self::Tensor, &Distances),
    ) -> Result<Self::Tensor>;
    /// One vector for each sequence, `[sequences, width]`, from its tokens after the first
    /// `skip[sequence]`. A sequence with no token left gives zeros.
    fn pool(
        &self,
        x: &Self::Tensor,
        offsets: &[usize],
        skip: &[usize],
        pooling: Pooling,
    ) -> Result<Self::Tensor>;
    /// SPLADE weights `[sequences, out]` from the logits `x · weightᵀ + bias` of each sequence's
    /// tokens. The `[tokens, out]` logits are never stored.
    fn splade(
        &self,
        x: &Self::Tensor,
        offsets: &[usize],
        weight: &Self::Matrix,
        bias: Option<&[f32]>,
        splade: Splade,
    ) -> Result<Self::Tensor>;
    /// A tensor `[rows, values / rows]` of values from the host.
    fn upload(&self, values: Vec<f32>, rows: usize) -> Result<Self::Tensor>;
    /// Concatenates `parts` along the width.
    fn concatenate(&self, parts: &[&Self::Tensor]) -> Result<Self::Tensor>;
    /// Scales each row to length 1.
    fn normalize(&self, x: &Self::Tensor) -> Result<Self::Tensor>;
    /// Runs all recorded operations and reads tensors back to the host.
    fn read(&self, tensors: Vec<ReadBack<Self::Tensor>>) -> Result<Reading>;
}

/// Why a GPU cannot run a model with an operation that only the CPU has.
fn cpu_alone(what: &str) -> Error {
    Error::UnsupportedModel(format!(
        "{what} runs on the CPU alone; choose device \"cpu\", or \"auto\", which takes the CPU for it"
    ))
}

/// A [`Compute`] that stores a model's weights.
pub trait Backend: Compute {
    /// Maximum tokens of one pass: enough to keep the kernels busy, few enough to bound memory and
    /// the wait for a cancellation.
    fn pass_tokens(&self) -> usize;

    /// Has the CPU run all passes of a model with an operation that no GPU has, as `what` says.
    /// Errors if only a GPU would store the weights.
    fn need_cpu(&self, what: &str) -> Result<()>;
    /// Allocates a `[rows, columns]` matrix, to be filled by [`Backend::set_row`] or
    /// [`Backend::set_codes`].
    fn matrix(&self, rows: usize, columns: usize, dtype: WeightDtype) -> Result<Self::Matrix>;
    /// Packs one row, `[columns]`.
    fn set_row(&self, matrix: &mut Self::Matrix, row: usize, values: &[f32]);
    /// Packs one row of a new matrix that is quantised already: codes `[groups · GROUP]` and scales
    /// `[groups]`. Codes have the bits of the matrix's dtype; with 8 bits none is -128. The matrix
    /// has an integer dtype.
    fn set_codes(&self, matrix: &mut Self::Matrix, row: usize, codes: &[i8], scales: &[f32]);
    /// The matrix in host memory, where rows can be read. Errors if only a GPU stores it; then
    /// [`either::Either::fetch`] copies it.
    fn on_host<'a>(&self, matrix: &'a Self::Matrix) -> Result<&'a CpuMatrix>;
    /// Rows of a matrix.
    fn rows(&self, matrix: &Self::Matrix) -> usize;
    /// Columns of a matrix.
    fn columns(&self, matrix: &Self::Matrix) -> usize;
    /// Number format of a matrix.
    fn dtype(&self, matrix: &Self::Matrix) -> WeightDtype;
    /// Bytes that a matrix occupies.
    fn bytes(&self, matrix: &Self::Matrix) -> usize;
}
