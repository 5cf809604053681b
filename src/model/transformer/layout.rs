//! Where each tensor of a checkpoint goes: a list of slots, which `drawing` makes of a `Spec` and a family's
//! names.
//!
//! The forward pass refers to weights by index, so this is the only place that knows both names and shapes.
//! Queries, keys and values become one matrix, each a block of its rows; so do a gate and what it gates.

use crate::backend::{Activation, NormKind, WeightDtype};
use crate::model::load::onnx::Blueprint;
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
    /// Of the block's input.
    pub before: Option<Norm>,
    /// Of the block's output.
    pub branch: Option<Norm>,
    /// Of the sum with the residual.
    pub after: Option<Norm>,
}

/// One transformer layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Queries, keys and values in one product.
    pub qkv: Linear,
    /// Norms of each query head and of each key head.
    pub head_norms: Option<[Norm; 2]>,
    /// Projection of the attention's output.
    pub attention_output: Linear,
    /// Around attention.
    pub attention_norms: Norms,
    /// Feed-forward, first product; the gate and then the rest, where the block is gated.
    pub ffn_up: Linear,
    /// Feed-forward, second product.
    pub ffn_down: Linear,
    /// Around the feed-forward block.
    pub ffn_norms: Norms,
}

/// All weights of an encoder, by index.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// `[vocab, hidden]`
    pub word_embeddings: MatrixId,
    /// `[positions, hidden]`, where they are learned
    pub position_embeddings: Option<MatrixId>,
    /// `[types, hidden]`, where the family has it
    pub token_type_embeddings: Option<MatrixId>,
    /// `[buckets, heads]` of a learned relative bias
    pub relative_bias: Option<VectorId>,
    /// After the sum of the embeddings.
    pub embedding_norm: Option<Norm>,
    /// In order.
    pub layers: Vec<Layer>,
    /// After the last layer.
    pub final_norm: Option<Norm>,
}

/// A masked-language-modelling head.
#[derive(Clone, Copy, Debug)]
pub struct MlmHead {
    /// Dense layer, …
    pub transform: Linear,
    /// … activation, …
    pub activation: Activation,
    /// … and norm before the decoder.
    pub norm: Norm,
    /// Which norm.
    pub norm_kind: NormKind,
    /// Added under its root.
    pub norm_eps: f32,
    /// `[vocab, hidden]`
    pub decoder: Linear,
}

/// Where the values of one tensor of a file go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Rows of a matrix, from `first` on.
    Rows {
        /// Which matrix.
        matrix: MatrixId,
        /// The tensor's first row in it.
        first: usize,
    },
    /// A tensor that is kept as it is.
    Whole {
        /// Its place among those.
        index: usize,
    },
    /// Elements of a vector, from `first` on.
    Elements {
        /// Which vector.
        vector: VectorId,
        /// The tensor's first element in it.
        first: usize,
    },
}

/// A tensor that the model needs.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Index of the weight file that should hold it.
    pub file: usize,
    /// Which of its family's spellings this belongs to, where not all; a file is read in the one that fits it best.
    pub spelling: Option<usize>,
    /// Name, without prefix.
    pub name: String,
    /// Shape that it must have.
    pub shape: Vec<usize>,
    /// Where it goes.
    pub slot: Slot,
    /// A matrix that serves where the file lacks this one (tied weights).
    pub tied: Option<MatrixId>,
}

/// A file that tensors come from.
#[derive(Clone, Debug)]
pub struct WeightFile {
    /// Path in the model's folder.
    pub path: String,
    /// Prefixes that its tensor names may carry.
    pub prefixes: &'static [&'static str],
    /// What names of tensors that have no effect begin with, after the prefix.
    pub unused: &'static [&'static str],
    /// Starts of the names of layers, and how many layers there are: a file with more belongs to another config.
    pub layers: Option<(Vec<&'static str>, usize)>,
    /// Whether all of its tensors are kept as they are, for candle-transformers.
    pub collect: bool,
    /// Where it is cut into shards: each tensor, and the path of its shard. Else empty.
    pub shards: Vec<(String, String)>,
    /// What the config says of its quantised matrices.
    pub quantization: Quantization,
    /// What its graph must be, if it is an ONNX file.
    pub blueprint: Option<Box<Blueprint>>,
}

/// Rows of the largest table of embeddings that is held in f32: as a rule those of positions and token types, in which an
/// error is the same for every text.
const SMALL_TABLE: usize = 1024;

/// How few bits a matrix bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// f32 whatever the model's dtype: small, and what it decides is coarse; or in a file of its own, where Python reads nothing
    /// else.
    Full,
    /// 8 bits where the model has 4: embeddings and attention's projections. In all-MiniLM-L6-v2, 4 bits in these cost as
    /// much cosine as in the feed-forward blocks, which are twice as large.
    Sensitive,
    /// What the model has.
    Usual,
}

impl Precision {
    /// How a matrix is held in a model of `dtype`.
    pub fn dtype(self, dtype: WeightDtype) -> WeightDtype {
        match (self, dtype) {
            (Self::Full, _) => WeightDtype::F32,
            (Self::Sensitive, WeightDtype::Q4) => WeightDtype::Q8,
            _ => dtype,
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
    /// How few bits it bears.
    pub precision: Precision,
}

/// Everything to be loaded: files, sizes of all matrices and vectors, and the tensors that fill them.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Weight files, in the order in which they are to be streamed.
    pub files: Vec<WeightFile>,
    /// Matrices.
    pub matrices: Vec<MatrixShape>,
    /// Length of each vector.
    pub vectors: Vec<usize>,
    /// Tensors by name.
    pub wanted: Vec<Wanted>,
}

/// The modules that make up one linear product, one below the other: names and rows, in each spelling.
pub(in crate::model) type Stacked = Vec<Vec<(String, usize)>>;

impl Layout {
    /// A file that tensors come from.
    pub(in crate::model) fn file(&mut self, file: WeightFile) -> usize {
        self.files.push(file);
        self.files.len() - 1
    }

    /// A file with a head's few tensors.
    pub fn head_file(&mut self, path: String) -> usize {
        self.file(WeightFile {
            path,
            prefixes: &[""],
            unused: &[],
            layers: None,
            collect: false,
            shards: Vec::new(),
            quantization: Quantization::default(),
            blueprint: None,
        })
    }

    /// A file whose tensors are all kept as they are.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn collected_file(&mut self, path: String) -> usize {
        let file = self.head_file(path);
        self.files[file].collect = true;
        file
    }

    fn add_matrix(&mut self, [rows, columns]: [usize; 2], precision: Precision) -> MatrixId {
        self.matrices.push(MatrixShape {
            rows,
            columns,
            precision,
        });
        self.matrices.len() - 1
    }

    /// A vector that no file fills.
    pub fn add_vector(&mut self, len: usize) -> VectorId {
        self.vectors.push(len);
        self.vectors.len() - 1
    }

    /// A matrix of its own, under a name for each spelling.
    pub(in crate::model) fn matrix(
        &mut self,
        file: usize,
        names: &[&str],
        shape: [usize; 2],
    ) -> MatrixId {
        let precision = if shape[0] <= SMALL_TABLE {
            Precision::Full
        } else {
            Precision::Sensitive
        };
        let matrix = self.add_matrix(shape, precision);
        let slot = Slot::Rows { matrix, first: 0 };
        for (spelling, name) in names.iter().enumerate() {
            self.want(
                file,
                (spelling, names.len()),
                (*name).to_owned(),
                &shape,
                slot,
            );
        }
        matrix
    }

    /// A vector of its own, under a name for each spelling.
    pub fn vector(&mut self, file: usize, names: &[String], shape: &[usize]) -> VectorId {
        let vector = self.add_vector(shape.iter().product());
        let slot = Slot::Elements { vector, first: 0 };
        for (spelling, name) in names.iter().enumerate() {
            self.want(file, (spelling, names.len()), name.clone(), shape, slot);
        }
        vector
    }

    /// A linear module of one spelling: `{name}.weight` `[out, in]` and, if asked for, `{name}.bias`.
    pub fn linear(
        &mut self,
        file: usize,
        name: &str,
        [out, input]: [usize; 2],
        bias: bool,
        precision: Precision,
    ) -> Linear {
        let one = vec![vec![(name.to_owned(), out)]];
        self.stacked(file, &one, input, bias, precision)
    }

    /// Linear modules over the same input as one: their rows one below the other.
    pub(in crate::model) fn stacked(
        &mut self,
        file: usize,
        spellings: &Stacked,
        input: usize,
        bias: bool,
        precision: Precision,
    ) -> Linear {
        let rows = spellings
            .first()
            .map_or(0, |parts| parts.iter().map(|(_, rows)| rows).sum());
        let weight = self.add_matrix([rows, input], precision);
        let bias = bias.then(|| self.add_vector(rows));
        for (spelling, parts) in spellings.iter().enumerate() {
            let spelling = (spelling, spellings.len());
            let mut first = 0;
            for (name, rows) in parts {
                let dot = if name.is_empty() { "" } else { "." };
                let matrix = weight;
                let slot = Slot::Rows { matrix, first };
                let weight = format!("{name}{dot}weight");
                self.want(file, spelling, weight, &[*rows, input], slot);
                if let Some(vector) = bias {
                    let slot = Slot::Elements { vector, first };
                    self.want(file, spelling, format!("{name}{dot}bias"), &[*rows], slot);
                }
                first += rows;
            }
        }
        Linear { weight, bias }
    }

    /// A norm's parameters, under a name for each spelling.
    pub(in crate::model) fn norm(
        &mut self,
        file: usize,
        names: &[String],
        width: usize,
        bias: bool,
    ) -> Norm {
        let parameter = |kind: &str| -> Vec<String> {
            names.iter().map(|name| format!("{name}.{kind}")).collect()
        };
        let weight = self.vector(file, &parameter("weight"), &[width]);
        Norm {
            weight,
            bias: bias.then(|| self.vector(file, &parameter("bias"), &[width])),
        }
    }

    /// `spelling` is one of how many.
    fn want(
        &mut self,
        file: usize,
        (spelling, count): (usize, usize),
        name: String,
        shape: &[usize],
        slot: Slot,
    ) {
        self.wanted.push(Wanted {
            file,
            spelling: (count > 1).then_some(spelling),
            name,
            shape: shape.to_vec(),
            slot,
            tied: None,
        });
    }
}
