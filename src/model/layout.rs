//! Where each tensor of a checkpoint goes: from a `Spec` and a family's names to a list of slots.
//!
//! The forward pass refers to weights by index, so this is the only place that knows both names and shapes.
//! Queries, keys and values become one matrix, each a block of its rows; so do a gate and what it gates.

use super::families::{Family, MlmNames, Names, NormNames};
use super::spec::{Relative, Spec};
use crate::backend::{Activation, NormKind};

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
    /// Starts of the names of layers, and how many layers there are: a file with more belongs to another config.
    pub layers: Option<(Vec<&'static str>, usize)>,
    /// Whether all of its tensors are kept as they are, for candle-transformers.
    pub collect: bool,
}

/// A matrix to be loaded.
#[derive(Clone, Copy, Debug)]
pub struct MatrixShape {
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub columns: usize,
    /// Held in f32 whatever the model's dtype: small, and what it decides is coarse.
    pub exact: bool,
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
type Stacked = Vec<Vec<(String, usize)>>;

impl Layout {
    /// A file with a head's few tensors.
    pub fn head_file(&mut self, path: String) -> usize {
        self.files.push(WeightFile {
            path,
            prefixes: &[""],
            layers: None,
            collect: false,
        });
        self.files.len() - 1
    }

    /// A file whose tensors are all kept as they are.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn collected_file(&mut self, path: String) -> usize {
        let file = self.head_file(path);
        self.files[file].collect = true;
        file
    }

    fn add_matrix(&mut self, [rows, columns]: [usize; 2], exact: bool) -> MatrixId {
        self.matrices.push(MatrixShape {
            rows,
            columns,
            exact,
        });
        self.matrices.len() - 1
    }

    /// A vector that no file fills.
    pub fn add_vector(&mut self, len: usize) -> VectorId {
        self.vectors.push(len);
        self.vectors.len() - 1
    }

    /// A matrix of its own, under a name for each spelling.
    fn matrix(&mut self, file: usize, names: &[&str], shape: [usize; 2]) -> MatrixId {
        let matrix = self.add_matrix(shape, false);
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
    ) -> Linear {
        self.stacked(
            file,
            &vec![vec![(name.to_owned(), out)]],
            input,
            bias,
            false,
        )
    }

    /// A linear module `weight` and `bias` that makes up a whole file, held in f32.
    pub fn exact_linear(&mut self, file: usize, [out, input]: [usize; 2]) -> Linear {
        self.stacked(file, &vec![vec![(String::new(), out)]], input, true, true)
    }

    /// Linear modules over the same input as one: their rows one below the other.
    fn stacked(
        &mut self,
        file: usize,
        spellings: &Stacked,
        input: usize,
        bias: bool,
        exact: bool,
    ) -> Linear {
        let rows = spellings
            .first()
            .map_or(0, |parts| parts.iter().map(|(_, rows)| rows).sum());
        let weight = self.add_matrix([rows, input], exact);
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

    fn norm(&mut self, file: usize, names: &[String], width: usize, bias: bool) -> Norm {
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

    /// The encoder, from a weight file of its own at `path`.
    pub fn encoder(&mut self, path: String, spec: &Spec, family: &Family) -> (usize, Encoder) {
        let spellings = family.spellings;
        self.files.push(WeightFile {
            path,
            prefixes: family.prefixes,
            layers: Some((
                spellings
                    .iter()
                    .filter_map(|names| names.layer.split("{}").next())
                    .collect(),
                spec.layers.len(),
            )),
            collect: false,
        });
        let file = self.files.len() - 1;
        let hidden = spec.hidden_size;
        let each = |name: fn(&Names) -> &'static str| -> Vec<&'static str> {
            spellings.iter().map(name).collect()
        };
        let word_embeddings = self.matrix(
            file,
            &each(|names| names.word_embeddings),
            [spec.vocab_size, hidden],
        );
        let position_embeddings = spec.positions.rows().map(|rows| {
            self.matrix(
                file,
                &each(|names| names.position_embeddings),
                [rows, hidden],
            )
        });
        let token_type_embeddings = spec.token_types.map(|types| {
            self.matrix(
                file,
                &each(|names| names.token_type_embeddings),
                [types, hidden],
            )
        });
        let relative_bias = match spec.relative {
            Some(Relative::Buckets { buckets, .. }) => {
                let names: Vec<String> = each(|names| names.relative_bias)
                    .into_iter()
                    .map(str::to_owned)
                    .collect();
                Some(self.vector(file, &names, &[buckets, spec.heads.count]))
            }
            Some(Relative::Alibi) | None => None,
        };
        let embedding_norm =
            self.optional_norm(file, spec, spellings, "", |names| names.embedding_norm);
        let layers = (0..spec.layers.len())
            .map(|index| self.layer(file, spec, spellings, index))
            .collect();
        let final_norm = self.optional_norm(file, spec, spellings, "", |names| names.final_norm);
        let encoder = Encoder {
            word_embeddings,
            position_embeddings,
            token_type_embeddings,
            relative_bias,
            embedding_norm,
            layers,
            final_norm,
        };
        (file, encoder)
    }

    fn layer(&mut self, file: usize, spec: &Spec, spellings: &[Names], index: usize) -> Layer {
        let number = index.to_string();
        let prefix = |names: &Names| names.layer.replace("{}", &number);
        let heads = spec.heads;
        let (hidden, queries, keys) = (spec.hidden_size, heads.query_width(), heads.kv_width());
        let stacked = |modules: fn(&Names) -> &'static [&'static str], rows: &[usize]| -> Stacked {
            let parts = |names: &Names| match modules(names) {
                [one] => vec![(prefix(names) + one, rows.iter().sum())],
                several => several
                    .iter()
                    .zip(rows)
                    .map(|(name, rows)| (prefix(names) + name, *rows))
                    .collect(),
            };
            spellings.iter().map(parts).collect()
        };
        let single = |module: fn(&Names) -> &'static str, rows: usize| -> Stacked {
            let part = |names: &Names| vec![(prefix(names) + module(names), rows)];
            spellings.iter().map(part).collect()
        };
        let biases = spec.biases;
        let qkv = self.stacked(
            file,
            &stacked(|names| names.qkv, &[queries, keys, keys]),
            hidden,
            biases.qkv,
            false,
        );
        let with_head_norms = spellings.iter().all(|names| names.head_norms.is_some());
        let head_norms = with_head_norms.then(|| {
            [0, 1].map(|which| {
                let names: Vec<String> = spellings
                    .iter()
                    .filter_map(|names| Some(prefix(names) + names.head_norms?[which]))
                    .collect();
                self.norm(file, &names, heads.size, biases.norm)
            })
        });
        let attention_output = self.stacked(
            file,
            &single(|names| names.attention_output, hidden),
            queries,
            biases.attention_output,
            false,
        );
        let ffn_up = if spec.gated {
            stacked(|names| names.ffn_gated, &[spec.intermediate_size; 2])
        } else {
            single(|names| names.ffn_up, spec.intermediate_size)
        };
        let ffn_up = self.stacked(file, &ffn_up, hidden, biases.ffn_up, false);
        let ffn_down = self.stacked(
            file,
            &single(|names| names.ffn_down, hidden),
            spec.intermediate_size,
            biases.ffn_down,
            false,
        );
        Layer {
            qkv,
            head_norms,
            attention_output,
            attention_norms: self
                .norms(file, spec, spellings, index, |names| names.attention_norms),
            ffn_up,
            ffn_down,
            ffn_norms: self.norms(file, spec, spellings, index, |names| names.ffn_norms),
        }
    }

    fn norms(
        &mut self,
        file: usize,
        spec: &Spec,
        spellings: &[Names],
        index: usize,
        around: fn(&Names) -> NormNames,
    ) -> Norms {
        let number = index.to_string();
        let mut norm = |name: fn(NormNames) -> Option<&'static str>| {
            let names: Option<Vec<String>> = spellings
                .iter()
                .map(|names| Some(names.layer.replace("{}", &number) + name(around(names))?))
                .collect();
            names.map(|names| self.norm(file, &names, spec.hidden_size, spec.biases.norm))
        };
        let skipped = index == 0
            && spellings
                .iter()
                .any(|names| around(names).before_skips_first);
        Norms {
            before: if skipped {
                None
            } else {
                norm(|names| names.before)
            },
            branch: norm(|names| names.branch),
            after: norm(|names| names.after),
        }
    }

    fn optional_norm(
        &mut self,
        file: usize,
        spec: &Spec,
        spellings: &[Names],
        prefix: &str,
        name: fn(&Names) -> Option<&'static str>,
    ) -> Option<Norm> {
        let names: Option<Vec<String>> = spellings
            .iter()
            .map(|names| Some(format!("{prefix}{}", name(names)?)))
            .collect();
        names.map(|names| self.norm(file, &names, spec.hidden_size, spec.biases.norm))
    }

    /// The masked-language-modelling head, in the encoder's weight file; its decoder may be tied to the word embeddings.
    pub fn mlm_head(
        &mut self,
        file: usize,
        spec: &Spec,
        names: &MlmNames,
        encoder: &Encoder,
    ) -> MlmHead {
        let transform = self.linear(
            file,
            names.transform,
            [spec.hidden_size; 2],
            names.transform_bias,
        );
        let norm = self.norm(
            file,
            &[names.norm.to_owned()],
            spec.hidden_size,
            spec.biases.norm,
        );
        let weight = self.matrix(file, &[names.decoder], [spec.vocab_size, spec.hidden_size]);
        if let Some(decoder) = self.wanted.last_mut() {
            decoder.tied = Some(encoder.word_embeddings);
        }
        let bias = self.vector(file, &[names.bias.to_owned()], &[spec.vocab_size]);
        MlmHead {
            transform,
            activation: names.activation.unwrap_or(spec.activation),
            norm,
            norm_kind: spec.norm,
            norm_eps: spec.norm_eps,
            decoder: Linear {
                weight,
                bias: Some(bias),
            },
        }
    }
}
