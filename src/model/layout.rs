//! Where each tensor of a checkpoint goes: from a `Spec` and a family's names to a list of slots.
//!
//! The forward pass refers to weights by index, so this is the only place that knows both names and shapes.
//! Queries, keys and values become one matrix, each a block of its rows.

use super::families::{Family, Names};
use super::spec::Spec;
use crate::backend::Activation;

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

/// An affine norm.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// `[width]`
    pub weight: VectorId,
    /// `[width]`
    pub bias: VectorId,
}

/// One transformer layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Queries, keys and values in one product.
    pub qkv: Linear,
    /// Projection of the attention's output.
    pub attention_output: Linear,
    /// After attention and its residual.
    pub attention_norm: Norm,
    /// Feed-forward, first product.
    pub ffn_up: Linear,
    /// Feed-forward, second product.
    pub ffn_down: Linear,
    /// After the feed-forward block and its residual.
    pub ffn_norm: Norm,
}

/// All weights of an encoder, by index.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// `[vocab, hidden]`
    pub word_embeddings: MatrixId,
    /// `[positions, hidden]`
    pub position_embeddings: MatrixId,
    /// `[types, hidden]`, where the family has it
    pub token_type_embeddings: Option<MatrixId>,
    /// After the sum of the embeddings.
    pub embedding_norm: Norm,
    /// In order.
    pub layers: Vec<Layer>,
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
    /// Name, without prefix.
    pub name: String,
    /// Shape that it must have.
    pub shape: Vec<usize>,
    /// Where it goes.
    pub slot: Slot,
    /// A matrix that serves where the file lacks this one (tied weights).
    pub tied: Option<MatrixId>,
}

/// Everything to be loaded: sizes of all matrices and vectors, and the tensors that fill them.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// `[rows, columns]` of each matrix.
    pub matrices: Vec<[usize; 2]>,
    /// Length of each vector.
    pub vectors: Vec<usize>,
    /// Tensors by name.
    pub wanted: Vec<Wanted>,
}

impl Layout {
    /// A matrix of its own for tensor `name`.
    pub fn matrix(&mut self, file: usize, name: &str, shape: [usize; 2]) -> MatrixId {
        self.matrices.push(shape);
        let matrix = self.matrices.len() - 1;
        self.want(
            file,
            name.to_owned(),
            shape.to_vec(),
            Slot::Rows { matrix, first: 0 },
        );
        matrix
    }

    /// A vector of its own for tensor `name`.
    pub fn vector(&mut self, file: usize, name: &str, len: usize) -> VectorId {
        self.vectors.push(len);
        let vector = self.vectors.len() - 1;
        self.want(
            file,
            name.to_owned(),
            vec![len],
            Slot::Elements { vector, first: 0 },
        );
        vector
    }

    /// A linear module: `{name}.weight` `[out, in]` and, if asked for, `{name}.bias`.
    pub fn linear(
        &mut self,
        file: usize,
        name: &str,
        [out, input]: [usize; 2],
        bias: bool,
    ) -> Linear {
        let weight = self.matrix(file, &format!("{name}.weight"), [out, input]);
        Linear {
            weight,
            bias: bias.then(|| self.vector(file, &format!("{name}.bias"), out)),
        }
    }

    fn norm(&mut self, name: &str, width: usize) -> Norm {
        let weight = self.vector(0, &format!("{name}.weight"), width);
        Norm {
            weight,
            bias: self.vector(0, &format!("{name}.bias"), width),
        }
    }

    /// Several linear modules over the same input as one: their rows one below the other.
    fn stacked(&mut self, names: &[String], [out, input]: [usize; 2]) -> Linear {
        let weight = self.matrices.len();
        self.matrices.push([out * names.len(), input]);
        let bias = self.vectors.len();
        self.vectors.push(out * names.len());
        for (i, name) in names.iter().enumerate() {
            let first = i * out;
            self.want(
                0,
                format!("{name}.weight"),
                vec![out, input],
                Slot::Rows {
                    matrix: weight,
                    first,
                },
            );
            self.want(
                0,
                format!("{name}.bias"),
                vec![out],
                Slot::Elements {
                    vector: bias,
                    first,
                },
            );
        }
        Linear {
            weight,
            bias: Some(bias),
        }
    }

    fn want(&mut self, file: usize, name: String, shape: Vec<usize>, slot: Slot) {
        self.wanted.push(Wanted {
            file,
            name,
            shape,
            slot,
            tied: None,
        });
    }

    /// The encoder, in weight file 0.
    pub fn encoder(&mut self, spec: &Spec, names: &Names) -> Encoder {
        let hidden = spec.hidden_size;
        let word_embeddings = self.matrix(0, names.word_embeddings, [spec.vocab_size, hidden]);
        let position_embeddings =
            self.matrix(0, names.position_embeddings, [spec.position_rows, hidden]);
        let token_type_embeddings = spec
            .token_types
            .map(|types| self.matrix(0, names.token_type_embeddings, [types, hidden]));
        let embedding_norm = self.norm(names.embedding_norm, hidden);
        let layers = (0..spec.layers)
            .map(|index| {
                let prefix = names.layer.replace("{}", &index.to_string());
                let name = |name: &str| format!("{prefix}{name}");
                let attention = spec.heads.count * spec.heads.size;
                Layer {
                    qkv: self.stacked(&names.qkv.map(name), [attention, hidden]),
                    attention_output: self.linear(
                        0,
                        &name(names.attention_output),
                        [hidden, attention],
                        true,
                    ),
                    attention_norm: self.norm(&name(names.attention_norm), hidden),
                    ffn_up: self.linear(
                        0,
                        &name(names.ffn_up),
                        [spec.intermediate_size, hidden],
                        true,
                    ),
                    ffn_down: self.linear(
                        0,
                        &name(names.ffn_down),
                        [hidden, spec.intermediate_size],
                        true,
                    ),
                    ffn_norm: self.norm(&name(names.ffn_norm), hidden),
                }
            })
            .collect();
        Encoder {
            word_embeddings,
            position_embeddings,
            token_type_embeddings,
            embedding_norm,
            layers,
        }
    }

    /// The masked-language-modelling head, in weight file 0; its decoder may be tied to the word embeddings.
    pub fn mlm_head(&mut self, spec: &Spec, family: &Family, encoder: &Encoder) -> MlmHead {
        let names = &family.names.mlm;
        let transform = self.linear(0, names.transform, [spec.hidden_size; 2], true);
        let norm = self.norm(names.norm, spec.hidden_size);
        let weight = self.matrix(0, names.decoder, [spec.vocab_size, spec.hidden_size]);
        if let Some(decoder) = self.wanted.last_mut() {
            decoder.tied = Some(encoder.word_embeddings);
        }
        let bias = self.vector(0, names.bias, spec.vocab_size);
        MlmHead {
            transform,
            activation: names.activation.unwrap_or(spec.activation),
            norm,
            decoder: Linear {
                weight,
                bias: Some(bias),
            },
        }
    }
}
