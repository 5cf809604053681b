//! The weights of a model by index, and where each tensor of a checkpoint is stored.
//!
//! The forward pass refers to weights by index. `load::layout_builder` builds a [`Layout`] from a
//! `Spec` and the names of a family; nothing else knows both names and shapes. Queries, keys and
//! values are one matrix, a block of rows each. So are the two up-projections of a gated
//! feed-forward block.

use crate::backend::{Activation, NormKind, WeightDtype};
use crate::full::Full;
use crate::model::load::onnx::Blueprint;
use crate::model::transformer::spec::Experts;
use crate::model::transformer::static_table::TableId;
use crate::weights::quantized::Quantization;

/// Index of a matrix in [`Layout::matrices`].
pub type MatrixId = usize;
/// Index of a vector in [`Layout::vectors`].
pub type VectorId = usize;

/// A product `x · weightᵀ + bias`.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    /// `[out, in]`
    pub weight: MatrixId,
    /// `[out]`
    pub bias: Option<VectorId>,
    /// What the adapters of a model for several tasks add.
    pub adapters: Option<Full<LowRank>>,
}

/// Two matrices for each task of a model, `[rank, in]` and `[out, rank]`, the tasks' one after the
/// other. What a task adds is the product of both. The first of an embedding table is a table, too:
/// `[rows, rank]`.
#[derive(Clone, Copy, Debug)]
pub struct LowRank {
    /// The first matrix of the first task.
    pub down: MatrixId,
    /// The second matrix of the first task.
    pub up: MatrixId,
}

/// A norm's parameters.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// `[width]`
    pub weight: VectorId,
    /// `[width]`
    pub bias: Option<VectorId>,
}

/// Norms around one block of a layer: x ← after(x + branch(block(before(x)))).
#[derive(Clone, Copy, Debug)]
pub struct Norms {
    /// Norm of the block's input.
    pub before: Option<Norm>,
    /// Norm of the block's output.
    pub branch: Option<Norm>,
    /// Whether that is of the sum with the residual, which is added again after it.
    pub branch_adds: bool,
    /// Norm of the sum with the residual.
    pub after: Option<Norm>,
}

/// Projections to queries, keys and values.
#[derive(Clone, Copy, Debug)]
pub enum Qkv {
    /// One product.
    One(Linear),
    /// A product for each, and norms of the queries and of the keys, all heads at once.
    Normed {
        /// To queries, keys and values.
        products: [Linear; 3],
        /// Of queries and keys.
        norms: [Norm; 2],
    },
}

/// A feed-forward block.
#[derive(Clone, Copy, Debug)]
pub enum FeedForward {
    /// For all tokens.
    Dense {
        /// First product. In a gated block the rows of the gate come first.
        up: Linear,
        /// Second product.
        down: Linear,
    },
    /// Experts, of which each token takes some.
    Experts(Full<ExpertLayer>),
}

/// The experts of a layer.
#[derive(Clone, Copy, Debug)]
pub struct ExpertLayer {
    /// How many there are, and how many of them a token takes.
    pub experts: Experts,
    /// `[experts, hidden]`
    pub router: MatrixId,
    /// The first product of the first expert, `[intermediate, hidden]`. The other experts' follow.
    pub up: MatrixId,
    /// The second product of the first expert, `[hidden, intermediate]`. The other experts' follow.
    pub down: MatrixId,
    /// `[hidden]`, added to the sum of the experts.
    pub bias: VectorId,
}

/// One transformer layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Queries, keys and values.
    pub qkv: Qkv,
    /// Norms of the query heads and of the key heads.
    pub head_norms: Option<[Norm; 2]>,
    /// Projection of the attention output.
    pub attention_output: Linear,
    /// Norms around attention.
    pub attention_norms: Norms,
    /// The feed-forward block.
    pub ffn: FeedForward,
    /// Norms around the feed-forward block.
    pub ffn_norms: Norms,
}

/// Vectors of distances, of which each layer makes queries and keys.
#[derive(Clone, Copy, Debug)]
pub struct RelativeTable {
    /// `[2 · span, hidden]`
    pub table: MatrixId,
    /// Norm of its rows.
    pub norm: Option<Norm>,
}

/// All weights of an encoder, by index.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// `[vocab, hidden]`
    pub word_embeddings: MatrixId,
    /// `[positions, hidden]`, for learned positions
    pub position_embeddings: Option<MatrixId>,
    /// `[types, hidden]`, in families with token types
    pub token_type_embeddings: Option<MatrixId>,
    /// `[buckets, heads]` of a learned relative position bias
    pub relative_bias: Option<VectorId>,
    /// Positions that attention compares with contents.
    pub relative: Option<Full<RelativeTable>>,
    /// Norm of the sum of the embeddings.
    pub embedding_norm: Option<Norm>,
    /// From the width of the embeddings to that of states, if they differ.
    pub embedding_projection: Option<Linear>,
    /// Layers, first to last.
    pub layers: Vec<Layer>,
    /// Norm of the last layer's output.
    pub final_norm: Option<Norm>,
    /// Projection of the states after it.
    pub projection: Option<Linear>,
    /// What adapters add to word embeddings and token types.
    pub embedding_adapters: Option<Full<[LowRank; 2]>>,
    /// Index of the task whose adapters are used.
    pub task: Option<usize>,
}

/// A head for masked language modelling.
#[derive(Clone, Copy, Debug)]
pub struct MlmHead {
    /// Dense layer.
    pub transform: Linear,
    /// Activation of the dense layer.
    pub activation: Activation,
    /// Norm between the activation and the decoder.
    pub norm: Norm,
    /// Kind of the norm.
    pub norm_kind: NormKind,
    /// Epsilon of the norm, added to the variance.
    pub norm_eps: f32,
    /// `[vocab, hidden]`
    pub decoder: Linear,
}

/// Several matrices that are one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackSlot {
    /// The first of them; the others follow.
    pub matrix: MatrixId,
    /// Number of the tensor's rows that belong to each.
    pub rows: usize,
    /// Whether the tensor's rows are the matrices' columns.
    pub transposed: bool,
}

/// Where the values of one tensor of a file are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Rows of a matrix, from `first` on.
    Rows {
        /// The matrix.
        matrix: MatrixId,
        /// The tensor's first row in it.
        first: usize,
    },
    /// All of several matrices that have the same shape, one after the other.
    Stack(Full<StackSlot>),
    /// A static table.
    Table {
        /// The table.
        table: TableId,
    },
    /// Elements of a vector, from `first` on.
    Elements {
        /// The vector.
        vector: VectorId,
        /// The tensor's first element in it.
        first: usize,
    },
}

/// A tensor that the model needs.
#[derive(Clone, Debug)]
pub struct WantedTensor {
    /// Index of the weight file that should hold it.
    pub file: usize,
    /// The spelling of the family that the name belongs to; `None` if it belongs to all. A file is
    /// read in the spelling that fits it best.
    pub spelling: Option<usize>,
    /// Name without prefix.
    pub name: String,
    /// The shape that it must have.
    pub shape: Vec<usize>,
    /// Where its values are stored.
    pub slot: Slot,
    /// The matrix to use if the file lacks this tensor (tied weights).
    pub tied: Option<MatrixId>,
    /// The name that a saved model has for it, if that is another one. For a [`Slot::Stack`] it is
    /// what its matrices' names begin with.
    pub saved: Option<String>,
}

impl WantedTensor {
    /// The name that a saved model has for it.
    pub fn saved_name(&self) -> &str {
        self.saved.as_ref().unwrap_or(&self.name)
    }

    /// The name that a saved model has for matrix number `index` of a [`Slot::Stack`].
    pub fn part(&self, index: usize) -> String {
        format!("{}.{index}.weight", self.saved_name())
    }
}

/// A file with tensors that the model needs.
#[derive(Clone, Debug)]
pub struct WeightFile {
    /// Path in the model's folder.
    pub path: String,
    /// Prefixes that tensor names may have.
    pub prefixes: &'static [&'static str],
    /// Tensors whose names begin like this, after the prefix, have no effect on vectors.
    pub unused: &'static [&'static str],
    /// The name of a tensor that is left out.
    pub ignored: Option<&'static str>,
    /// How names of layers begin, and the number of layers. A file with more layers belongs to
    /// another config.
    pub layers: Option<(Vec<&'static str>, usize)>,
    /// The static table that the file holds, if it holds one. Then it holds nothing else.
    pub table: Option<TableId>,
    /// Whether the file is one of the small files, and not streamed.
    pub is_small: bool,
    /// Name of each tensor and path of its shard, if the file is split into shards. Empty
    /// otherwise.
    pub shards: Vec<(String, String)>,
    /// What the config says about quantised matrices.
    pub quantization: Quantization,
    /// What its graph must be if it is an ONNX file. Files of heads alone have no graph that is
    /// supported.
    pub blueprint: Option<Box<Blueprint>>,
}

/// How far a matrix may be quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// f32 in every dtype. For small matrices whose errors would affect every text, and for files
    /// of their own, which Python reads in f32 only.
    Full,
    /// 8 bits at least: embeddings and the projections of attention. In all-MiniLM-L6-v2 4 bits in
    /// these matrices cost as much cosine as 4 bits in the feed-forward blocks, which have twice as
    /// many weights.
    Sensitive,
    /// As `Sensitive`, for a table of embeddings. A file in q6 has fewer bits of it, since errors
    /// of a row are of one token alone and do not add up over layers.
    Table,
    /// The dtype of the model.
    Usual,
    /// As `Usual`, for the second product of a feed-forward block.
    Narrow,
}

impl Precision {
    /// The dtype of a matrix in a model of `dtype`.
    pub fn dtype(self, dtype: WeightDtype) -> WeightDtype {
        match (self, dtype) {
            (Self::Full, _) => WeightDtype::F32,
            (Self::Sensitive | Self::Table, WeightDtype::Q4) | (_, WeightDtype::Q6) => {
                WeightDtype::Q8
            }
            _ => dtype,
        }
    }

    /// Bits of a weight in a file in q6, if they are codes. Measured with all-MiniLM-L6-v2 as 1 −
    /// cosine to f32, when one kind of matrix alone has so many bits: 0.0004 for 5 bits in the
    /// table; for 6 bits 0.0006 in the second products, 0.0012 in the first ones, and 0.0015 in
    /// attention, which has a third of the weights.
    pub fn bits(self) -> Option<usize> {
        match self {
            Self::Full => None,
            Self::Table => Some(5),
            Self::Narrow => Some(6),
            Self::Sensitive | Self::Usual => Some(7),
        }
    }
}

/// A matrix to be loaded.
#[derive(Clone, Copy, Debug)]
pub struct MatrixShape {
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub columns: usize,
    /// How far it may be quantised.
    pub precision: Precision,
}

/// A matrix of one row that is a sum of rows of another matrix, as this holds them.
#[derive(Clone, Debug)]
pub struct Pick {
    /// The other matrix.
    pub from: MatrixId,
    /// Its rows, each with its factor.
    pub rows: Vec<(usize, f32)>,
    /// The matrix.
    pub into: MatrixId,
}

/// Everything to load: files, sizes of all matrices and vectors, and the tensors that fill them.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Weight files, in the order in which they are streamed.
    pub files: Vec<WeightFile>,
    /// Matrices.
    pub matrices: Vec<MatrixShape>,
    /// Length of each vector.
    pub vectors: Vec<usize>,
    /// Number of token ids that must have a vector, of each static table. Its shape is known once
    /// the header of its file is.
    pub tables: Vec<usize>,
    /// The tensors that fill them, by name.
    pub wanted: Vec<WantedTensor>,
    /// Matrices that no tensor fills.
    pub picks: Vec<Pick>,
}
