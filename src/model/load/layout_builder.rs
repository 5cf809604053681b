//! Builds a [`Layout`]: registers weight files, matrices and vectors, and the tensors that fill
//! them.

use crate::backend::{Activation, Pooling};
use crate::full::Full;
use crate::model::families::{ClassifierNames, Family, MlmNames, Names, NormNames};
use crate::model::load::onnx::{Blueprint, Head};
use crate::model::transformer::heads::Step;
use crate::model::transformer::layout::{
    Encoder, ExpertLayer, FeedForward, Layer, Layout, Linear, LowRank, MatrixId, MatrixShape,
    MlmHead, Norm, Norms, Pick, Precision, Qkv, RelativeTable, Slot, StackSlot, VectorId,
    WantedTensor, WeightFile,
};
use crate::model::transformer::spec::{Adapters, Disentangled, Experts, Relative, Spec};
use crate::model::transformer::static_table::TableId;
use crate::weights::quantized::Quantization;

/// The largest embedding table, in rows, that is held in f32. These are tables of positions and
/// token types as a rule, in which an error affects every text in the same way.
const SMALL_TABLE: usize = 1024;

/// What follows the name of a module that has adapters, as torch's parametrisations name it.
const ADAPTED: &str = ".parametrizations.weight.";

/// A layout that is being built.
#[derive(Default)]
pub struct LayoutBuilder(Layout);

/// Modules whose weights are one matrix, stacked by rows: name and number of rows of each, in every
/// spelling.
type StackedModules = Vec<Vec<(String, usize)>>;

/// One of a family's spellings, and how many it has.
#[derive(Clone, Copy)]
struct Spelling {
    index: usize,
    count: usize,
}

impl LayoutBuilder {
    /// The finished layout.
    pub fn finish(self) -> Layout {
        self.0
    }

    fn file(&mut self, file: WeightFile) -> usize {
        self.0.files.push(file);
        self.0.files.len() - 1
    }

    /// A file with the few tensors of a head. Returns its index.
    pub fn head_file(&mut self, path: String) -> usize {
        self.file(WeightFile {
            path,
            prefixes: &[""],
            unused: &[],
            ignored: None,
            layers: None,
            table: None,
            is_small: false,
            shards: Vec::new(),
            quantization: Quantization::default(),
            blueprint: None,
        })
    }

    /// As [`Self::head_file`], for a file that is one of the small files.
    pub fn small_head_file(&mut self, path: String) -> usize {
        let file = self.head_file(path);
        self.0.files[file].is_small = true;
        file
    }

    /// A file with a static table that has a vector for each of `tokens` ids.
    pub fn table_file(&mut self, path: String, tokens: usize) -> TableId {
        let file = self.head_file(path);
        let table = self.0.tables.len();
        self.0.tables.push(tokens);
        self.0.files[file].table = Some(table);
        table
    }

    /// Has a file of an encoder taken for that of a late-interaction model.
    pub fn late(&mut self, file: usize) {
        self.set_head(file, Head::Late);
    }

    /// Has the tensor `name` of a file ignored.
    pub fn ignore(&mut self, file: usize, name: &'static str) {
        self.0.files[file].ignored = Some(name);
    }

    /// Records what the config says about quantised matrices of a file.
    pub fn set_quantization(&mut self, file: usize, quantization: Quantization) {
        self.0.files[file].quantization = quantization;
    }

    /// An encoder in a weight file of its own at `path`. Returns the file's index, too.
    pub fn encoder(
        &mut self,
        path: String,
        spec: &Spec,
        family: &'static Family,
    ) -> (usize, Encoder) {
        let spellings = family.spellings;
        let starts = spellings
            .iter()
            .filter_map(|names| names.layer.split("{}").next());
        let layers = Some((starts.collect(), spec.layers.len()));
        let file = self.file(WeightFile {
            path,
            prefixes: family.prefixes,
            unused: family.unused,
            ignored: None,
            layers,
            table: None,
            is_small: false,
            shards: Vec::new(),
            quantization: Quantization::default(),
            blueprint: Some(Box::new(Blueprint {
                spec: spec.clone(),
                family,
                head: Head::None,
            })),
        });
        let encoder = EncoderBuilder {
            layout: self,
            file,
            spec,
            spellings,
        };
        (file, encoder.build())
    }

    /// A head for masked language modelling in the encoder's file. If it is `tied`, a file without
    /// a decoder uses the word embeddings.
    pub fn mlm_head(
        &mut self,
        file: usize,
        spec: &Spec,
        names: &MlmNames,
        encoder: &Encoder,
        tied: bool,
    ) -> MlmHead {
        self.set_head(file, Head::Mlm { tied });
        let hidden = spec.hidden_size;
        let transform = self.linear(
            file,
            names.transform,
            [hidden; 2],
            names.transform_bias,
            Precision::Usual,
        );
        let norm = self.norm(file, &[names.norm.to_owned()], hidden, spec.biases.norm);
        let weight = self.table(file, &[names.decoder], [spec.vocab_size, hidden]);
        if let Some(decoder) = self.0.wanted.last_mut().filter(|_| tied) {
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
                adapters: None,
            },
        }
    }

    fn set_head(&mut self, file: usize, head: Head) {
        if let Some(blueprint) = &mut self.0.files[file].blueprint {
            blueprint.head = head;
        }
    }

    fn matrix(&mut self, [rows, columns]: [usize; 2], precision: Precision) -> MatrixId {
        self.0.matrices.push(MatrixShape {
            rows,
            columns,
            precision,
        });
        self.0.matrices.len() - 1
    }

    /// A vector that no file fills.
    pub fn unfilled_vector(&mut self, len: usize) -> VectorId {
        self.0.vectors.push(len);
        self.0.vectors.len() - 1
    }

    /// An embedding table, under a name for each spelling.
    fn table(&mut self, file: usize, names: &[&str], shape: [usize; 2]) -> MatrixId {
        let precision = if shape[0] <= SMALL_TABLE {
            Precision::Full
        } else {
            Precision::Table
        };
        let matrix = self.matrix(shape, precision);
        let slot = Slot::Rows { matrix, first: 0 };
        for (spelling, name) in spellings(names) {
            self.want(file, spelling, (*name).to_owned(), &shape, slot);
        }
        matrix
    }

    /// A vector that is a tensor of its own, under a name for each spelling.
    pub fn vector(&mut self, file: usize, names: &[String], shape: &[usize]) -> VectorId {
        let vector = self.unfilled_vector(shape.iter().product());
        let slot = Slot::Elements { vector, first: 0 };
        for (spelling, name) in spellings(names) {
            self.want(file, spelling, name.clone(), shape, slot);
        }
        vector
    }

    /// A linear module: `{name}.weight` `[out, in]` and, if `bias`, `{name}.bias` `[out]`.
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

    /// Adds a head for sequence classification in the encoder's file: its dense layer, its norm,
    /// and its output, for states that `pooling` makes. All are f32 whatever the model's dtype:
    /// they are small, and scores come straight from them.
    pub fn classifier(
        &mut self,
        file: usize,
        spec: &Spec,
        names: &ClassifierNames,
        (labels, pooling): (usize, Pooling),
    ) -> Vec<Step> {
        self.set_head(file, Head::Classifier { labels, pooling });
        let hidden = spec.hidden_size;
        let mut steps = Vec::new();
        if let Some(dense) = names.dense {
            let bias = names.norm.is_none();
            let dense = self.linear(file, dense, [hidden; 2], bias, Precision::Full);
            steps.push(Step::Linear(dense, names.activation));
        }
        if let Some(norm) = names.norm {
            let norm = self.norm(file, &[norm.to_owned()], hidden, spec.biases.norm);
            steps.push(Step::Norm(norm, spec.norm, spec.norm_eps));
        }
        let bias = names.dense.is_some();
        let output = self.linear(file, names.output, [labels, hidden], bias, Precision::Full);
        steps.push(Step::Linear(output, Activation::Identity));
        steps
    }

    /// The table of a decoder's next token: the `words` if these are it, or else a tensor of the
    /// encoder's file, under the name that all families give it.
    pub fn next_token(&mut self, file: usize, spec: &Spec, words: Option<MatrixId>) -> MatrixId {
        self.set_head(file, Head::NextToken);
        if let Some(words) = words {
            return words;
        }
        self.table(
            file,
            &["lm_head.weight"],
            [spec.vocab_size, spec.hidden_size],
        )
    }

    /// A product with a sum of `rows` of a matrix, each with a factor.
    pub fn picked(&mut self, from: MatrixId, rows: Vec<(usize, f32)>) -> Linear {
        let columns = self.0.matrices[from].columns;
        let into = self.matrix([1, columns], Precision::Full);
        self.0.picks.push(Pick { from, rows, into });
        Linear {
            weight: into,
            bias: None,
            adapters: None,
        }
    }

    /// The encoder of a sparse autoencoder. Its decoder is the same matrix, and files have one of
    /// the two names.
    pub fn autoencoder(&mut self, file: usize, [latents, input]: [usize; 2]) -> Linear {
        let names = ["encoder", "decoder.linear"];
        let names = names.map(|name| vec![(name.to_owned(), latents)]);
        let encoder = self.stacked(file, &names.to_vec(), input, false, Precision::Full);
        let bias = self.vector(file, &["latent_bias".to_owned()], &[latents]);
        Linear {
            bias: Some(bias),
            ..encoder
        }
    }

    /// The parameters of a norm in a file of its own.
    pub fn head_norm(&mut self, file: usize, name: &str, width: usize) -> Norm {
        self.norm(file, &[name.to_owned()], width, true)
    }

    /// Ignores tensors of a file whose names begin like this.
    pub fn set_unused(&mut self, file: usize, unused: &'static [&'static str]) {
        self.0.files[file].unused = unused;
    }

    /// Linear modules over the same input as one product.
    fn stacked(
        &mut self,
        file: usize,
        modules: &StackedModules,
        input: usize,
        bias: bool,
        precision: Precision,
    ) -> Linear {
        let rows = modules
            .first()
            .map_or(0, |parts| parts.iter().map(|(_, rows)| rows).sum());
        let matrix = self.matrix([rows, input], precision);
        let bias = bias.then(|| self.unfilled_vector(rows));
        for (spelling, parts) in spellings(modules) {
            let mut first = 0;
            for (name, rows) in parts {
                let dot = if name.is_empty() { "" } else { "." };
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
        Linear {
            weight: matrix,
            bias,
            adapters: None,
        }
    }

    /// `count` matrices of the same shape, kept in `precision`, which are one tensor in published
    /// files: returns the first of them. Its name there and what their names in saved models begin
    /// with are `names`; `spellings` says which spellings are those of saved models.
    fn stack(
        &mut self,
        file: usize,
        spellings: &[bool],
        names: [String; 2],
        stack: &Stack,
    ) -> MatrixId {
        let [rows, columns] = stack.shape;
        let matrices = 0..stack.count;
        let ids: Vec<MatrixId> = matrices
            .map(|_| self.matrix([rows, columns], stack.precision))
            .collect();
        let [published, saved] = names;
        for (spelling, is_saved) in self::spellings(spellings) {
            if *is_saved {
                for (index, matrix) in ids.iter().enumerate() {
                    let slot = Slot::Rows {
                        matrix: *matrix,
                        first: 0,
                    };
                    let name = format!("{saved}.{index}.weight");
                    self.want(file, spelling, name, &[rows, columns], slot);
                }
                continue;
            }
            let each = if stack.transposed {
                [columns, rows]
            } else {
                [rows, columns]
            };
            let shape = if stack.is_flat {
                vec![stack.count * each[0], each[1]]
            } else {
                vec![stack.count, each[0], each[1]]
            };
            let slot = StackSlot {
                matrix: ids[0],
                rows: each[0],
                transposed: stack.transposed,
            };
            // It is reached by what only the full build has.
            let Ok(slot) = Full::new("matrices that are one tensor", || slot) else {
                continue;
            };
            let slot = Slot::Stack(slot);
            self.want(file, spelling, published.clone(), &shape, slot);
            self.0.wanted.last_mut().expect("just pushed").saved = Some(saved.clone());
        }
        ids[0]
    }

    /// The parameters of a norm, under a name for each spelling.
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

    fn want(&mut self, file: usize, spelling: Spelling, name: String, shape: &[usize], slot: Slot) {
        self.0.wanted.push(WantedTensor {
            file,
            spelling: (spelling.count > 1).then_some(spelling.index),
            name,
            shape: shape.to_vec(),
            slot,
            tied: None,
            saved: None,
        });
    }
}

/// Matrices that are one tensor.
struct Stack {
    count: usize,
    /// Of each matrix.
    shape: [usize; 2],
    /// Whether the tensor has the transposed matrices.
    transposed: bool,
    /// Whether the tensor's first two dimensions are one.
    is_flat: bool,
    precision: Precision,
}

/// Items of which there is one for each spelling.
fn spellings<T>(items: &[T]) -> impl Iterator<Item = (Spelling, &T)> {
    let count = items.len();
    let items = items.iter().enumerate();
    items.map(move |(index, item)| (Spelling { index, count }, item))
}

/// Adds an encoder to a layout, under names in each of its family's spellings.
struct EncoderBuilder<'a> {
    layout: &'a mut LayoutBuilder,
    file: usize,
    spec: &'a Spec,
    spellings: &'static [Names],
}

/// Names of the modules whose weights are stacked into one product.
type Modules = fn(&Names) -> Vec<&'static str>;

impl EncoderBuilder<'_> {
    fn build(mut self) -> Encoder {
        let spec = self.spec;
        let word_embeddings = self.table(|names| names.word_embeddings, spec.vocab_size);
        let position_embeddings = spec
            .positions
            .rows()
            .map(|rows| self.table(|names| names.position_embeddings, rows));
        let token_type_embeddings = spec
            .token_types
            .map(|types| self.table(|names| names.token_type_embeddings, types));
        let relative_bias = match spec.relative {
            Some(Relative::Buckets { buckets, .. }) => {
                let names: Vec<String> = self
                    .spellings
                    .iter()
                    .map(|names| names.relative_bias.to_owned())
                    .collect();
                let shape = [buckets, spec.heads.count];
                Some(self.layout.vector(self.file, &names, &shape))
            }
            Some(Relative::Alibi | Relative::Disentangled(_)) | None => None,
        };
        let relative = match spec.relative {
            Some(Relative::Disentangled(own)) => Some(own.map(|own| self.relative(own))),
            _ => None,
        };
        Encoder {
            word_embeddings,
            position_embeddings,
            token_type_embeddings,
            relative_bias,
            relative,
            embedding_norm: self.norm_of(spec.embedding_size, |names| {
                names.embedding_norm.map(str::to_owned)
            }),
            embedding_projection: self.embedding_projection(),
            embedding_adapters: self.embedding_adapters(),
            task: None,
            layers: if spec.shared_layers {
                vec![self.layer(0); spec.layers.len()]
            } else {
                let layers = 0..spec.layers.len();
                layers.map(|index| self.layer(index)).collect()
            },
            final_norm: self.norm(|names| names.final_norm.map(str::to_owned)),
            projection: self.projection(),
        }
    }

    fn relative(&mut self, own: Disentangled) -> RelativeTable {
        let table = |names: &Names| names.relative.map_or("", |names| names.table);
        let norm = |names: &Names| names.relative.map(|names| names.norm.to_owned());
        RelativeTable {
            table: self.table(table, 2 * own.span),
            norm: own.norm.then(|| self.norm(norm)).flatten(),
        }
    }

    fn embedding_projection(&mut self) -> Option<Linear> {
        let spec = self.spec;
        if spec.embedding_size == spec.hidden_size && !spec.shared_layers {
            return None;
        }
        let one = |names: &Names| vec![(names.embedding_projection.to_owned(), spec.hidden_size)];
        let stacked: StackedModules = self.spellings.iter().map(one).collect();
        let precision = Precision::Sensitive;
        let input = spec.embedding_size;
        Some(
            self.layout
                .stacked(self.file, &stacked, input, true, precision),
        )
    }

    fn projection(&mut self) -> Option<Linear> {
        let width = self.spec.projection?;
        let one = |names: &Names| vec![(names.projection.to_owned(), width)];
        let stacked: StackedModules = self.spellings.iter().map(one).collect();
        let (input, precision) = (self.spec.hidden_size, Precision::Sensitive);
        Some(
            self.layout
                .stacked(self.file, &stacked, input, false, precision),
        )
    }

    fn layer(&mut self, index: usize) -> Layer {
        let spec = self.spec;
        let (heads, biases) = (spec.heads, spec.biases);
        let hidden = spec.hidden_size;
        let (queries, keys) = (heads.query_width(), heads.kv_width());
        Layer {
            qkv: self.qkv(index, [queries, keys, keys]),
            head_norms: self.head_norms(index),
            attention_output: self.linear(
                index,
                |names| vec![names.attention_output],
                &[hidden],
                queries,
                biases.attention_output,
                Precision::Sensitive,
            ),
            attention_norms: self.norms(index, |names| names.attention_norms),
            ffn: match spec.experts.filter(|_| spec.layers[index].experts) {
                Some(experts) => {
                    FeedForward::Experts(experts.map(|experts| self.experts(index, experts)))
                }
                None => self.feed_forward(index),
            },
            ffn_norms: self.norms(index, |names| names.ffn_norms),
        }
    }

    fn qkv(&mut self, index: usize, rows: [usize; 3]) -> Qkv {
        let (hidden, bias) = (self.spec.hidden_size, self.spec.biases.qkv);
        let precision = Precision::Sensitive;
        let Some(norms) = self.wide_norms(index, [rows[0], rows[1]]) else {
            let all: Modules = |names| names.qkv.to_vec();
            return Qkv::One(self.linear(index, all, &rows, hidden, bias, precision));
        };
        let each: [Modules; 3] = [
            |names| vec![names.qkv[0]],
            |names| vec![names.qkv[1]],
            |names| vec![names.qkv[2]],
        ];
        let mut at = 0;
        let products = each.map(|module| {
            at += 1;
            self.linear(index, module, &[rows[at - 1]], hidden, bias, precision)
        });
        Qkv::Normed { products, norms }
    }

    fn feed_forward(&mut self, index: usize) -> FeedForward {
        let spec = self.spec;
        let (hidden, ffn, biases) = (spec.hidden_size, spec.intermediate_size, spec.biases);
        let (ups, rows): (Modules, &[usize]) = if spec.gate.is_some() {
            (|names| names.ffn_gated.to_vec(), &[ffn, ffn])
        } else {
            (|names| vec![names.ffn_up], &[ffn])
        };
        let (up, down) = (Precision::Usual, Precision::Narrow);
        let downs: Modules = |names| vec![names.ffn_down];
        FeedForward::Dense {
            up: self.linear(index, ups, rows, hidden, biases.ffn_up, up),
            down: self.linear(index, downs, &[hidden], ffn, biases.ffn_down, down),
        }
    }

    /// Which spellings are those of saved models.
    fn saved_spellings(&self) -> Vec<bool> {
        self.spellings.iter().map(|names| names.is_saved).collect()
    }

    fn experts(&mut self, index: usize, experts: Experts) -> ExpertLayer {
        let spec = self.spec;
        let names = &self.spellings[0];
        let Some(own) = names.experts else {
            unreachable!("a family whose layers have experts names them")
        };
        let (hidden, ffn) = (spec.hidden_size, spec.intermediate_size);
        let router = in_layer(names, index, own.router);
        let bias = in_layer(names, index, own.bias);
        let spellings = self.saved_spellings();
        let mut stack = |name: &str, shape: [usize; 2], transposed: bool| {
            let name = in_layer(names, index, name);
            let stack = Stack {
                count: experts.count,
                shape,
                transposed,
                is_flat: true,
                precision: if transposed {
                    Precision::Narrow
                } else {
                    Precision::Usual
                },
            };
            let names = [name.clone(), name];
            self.layout.stack(self.file, &spellings, names, &stack)
        };
        let up = stack(own.up, [ffn, hidden], false);
        let down = stack(own.down, [hidden, ffn], true);
        // A slightly other logit may choose another expert.
        let shape = [experts.count, hidden];
        let router = self
            .layout
            .linear(self.file, &router, shape, false, Precision::Full);
        ExpertLayer {
            experts,
            router: router.weight,
            up,
            down,
            bias: self.layout.vector(self.file, &[bias], &[hidden]),
        }
    }

    /// The adapters of a module, if the model has some: of a linear one, `[out, in]`, or of a
    /// table, `[rows, width]`.
    fn adapters(
        &mut self,
        module: &str,
        shape: [usize; 2],
        is_table: bool,
    ) -> Option<Full<LowRank>> {
        let adapters = self.spec.adapters.clone()?;
        Some(adapters.map(|adapters| self.low_rank(&adapters, module, shape, is_table)))
    }

    fn low_rank(
        &mut self,
        adapters: &Adapters,
        module: &str,
        shape: [usize; 2],
        is_table: bool,
    ) -> LowRank {
        let (count, rank) = (adapters.tasks.len(), adapters.rank);
        let spellings = self.saved_spellings();
        let mut stack = |part: &str, shape: [usize; 2], transposed: bool| {
            let stack = Stack {
                count,
                shape,
                transposed,
                is_flat: false,
                precision: Precision::Full,
            };
            let names = [
                format!("{module}{ADAPTED}0.lora_{part}"),
                format!("{module}.lora_{part}"),
            ];
            self.layout.stack(self.file, &spellings, names, &stack)
        };
        if is_table {
            // A row of the table is a row of the first matrix times the second.
            let [rows, width] = shape;
            LowRank {
                down: stack("A", [rows, rank], false),
                up: stack("B", [width, rank], true),
            }
        } else {
            let [out, input] = shape;
            LowRank {
                down: stack("A", [rank, input], false),
                up: stack("B", [out, rank], false),
            }
        }
    }

    fn embedding_adapters(&mut self) -> Option<Full<[LowRank; 2]>> {
        let spec = self.spec;
        let names = &self.spellings[0];
        let (adapters, types) = (spec.adapters.clone()?, spec.token_types?);
        Some(adapters.map(|adapters| {
            let tables = [
                (names.word_embeddings, spec.vocab_size),
                (names.token_type_embeddings, types),
            ];
            tables.map(|(name, rows)| {
                let module = name.strip_suffix(".weight").unwrap_or(name);
                self.low_rank(&adapters, module, [rows, spec.embedding_size], true)
            })
        }))
    }

    /// An embedding table.
    fn table(&mut self, name: fn(&Names) -> &'static str, rows: usize) -> MatrixId {
        let names: Vec<&str> = self.spellings.iter().map(name).collect();
        let first = self.layout.0.wanted.len();
        let shape = [rows, self.spec.embedding_size];
        let table = self.layout.table(self.file, &names, shape);
        self.rename_adapted(first);
        table
    }

    /// Modules of a layer as one product. There is a module for each of `rows`, or a single one for
    /// all rows.
    fn linear(
        &mut self,
        index: usize,
        modules: Modules,
        rows: &[usize],
        input: usize,
        bias: bool,
        precision: Precision,
    ) -> Linear {
        let parts = |names: &Names| match modules(names).as_slice() {
            [one] => vec![(in_layer(names, index, one), rows.iter().sum())],
            several => several
                .iter()
                .zip(rows)
                .map(|(module, rows)| (in_layer(names, index, module), *rows))
                .collect(),
        };
        let stacked: StackedModules = self.spellings.iter().map(parts).collect();
        let first = self.layout.0.wanted.len();
        let mut linear = self
            .layout
            .stacked(self.file, &stacked, input, bias, precision);
        // Modules with adapters are not stacked.
        if let [(module, out)] = stacked[0].as_slice() {
            self.rename_adapted(first);
            linear.adapters = self.adapters(module, [*out, input], false);
        }
        linear
    }

    /// The names of weights that have adapters, from number `first` on.
    fn rename_adapted(&mut self, first: usize) {
        if self.spec.adapters.is_none() {
            return;
        }
        let spellings = self.spellings;
        for wanted in &mut self.layout.0.wanted[first..] {
            let is_saved = wanted.spelling.is_some_and(|at| spellings[at].is_saved);
            if let Some(module) = wanted.name.strip_suffix(".weight").filter(|_| !is_saved) {
                let name = format!("{module}{ADAPTED}original");
                wanted.saved = Some(std::mem::replace(&mut wanted.name, name));
            }
        }
    }

    fn head_norms(&mut self, index: usize) -> Option<[Norm; 2]> {
        let size = self.spec.heads.size;
        self.two_norms(index, [size; 2], |names| names.head_norms)
    }

    fn wide_norms(&mut self, index: usize, widths: [usize; 2]) -> Option<[Norm; 2]> {
        self.two_norms(index, widths, |names| names.wide_norms)
    }

    fn two_norms(
        &mut self,
        index: usize,
        widths: [usize; 2],
        of: fn(&Names) -> Option<[&'static str; 2]>,
    ) -> Option<[Norm; 2]> {
        let mut norm = |which: usize| {
            let name = |names: &Names| Some(in_layer(names, index, of(names)?[which]));
            self.norm_of(widths[which], name)
        };
        Some([norm(0)?, norm(1)?])
    }

    fn norms(&mut self, index: usize, around: fn(&Names) -> NormNames) -> Norms {
        let skips_first = self
            .spellings
            .iter()
            .any(|names| around(names).before_skips_first);
        let branch_adds = around(&self.spellings[0]).branch_adds;
        let mut norm = |name: fn(NormNames) -> Option<&'static str>| {
            self.norm(|names| Some(in_layer(names, index, name(around(names))?)))
        };
        Norms {
            before: if index == 0 && skips_first {
                None
            } else {
                norm(|names| names.before)
            },
            branch: norm(|names| names.branch),
            branch_adds,
            after: norm(|names| names.after),
        }
    }

    /// A norm of the hidden size, if the family has it.
    fn norm(&mut self, name: impl Fn(&Names) -> Option<String>) -> Option<Norm> {
        self.norm_of(self.spec.hidden_size, name)
    }

    fn norm_of(&mut self, width: usize, name: impl Fn(&Names) -> Option<String>) -> Option<Norm> {
        let names: Option<Vec<String>> = self.spellings.iter().map(name).collect();
        let bias = self.spec.biases.norm;
        names.map(|names| self.layout.norm(self.file, &names, width, bias))
    }
}

/// The full name of a layer's module.
fn in_layer(names: &Names, index: usize, module: &str) -> String {
    names.layer.replace("{}", &index.to_string()) + module
}
