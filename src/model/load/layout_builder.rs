//! A `Spec` and a family's names → the layout of an encoder, and of a head for masked-language modelling.

use crate::model::families::{Family, MlmNames, Names, NormNames};
use crate::model::load::onnx::Blueprint;
use crate::model::transformer::layout::{
    Encoder, Layer, Layout, Linear, MatrixId, MlmHead, Norm, Norms, Precision, Stacked, WeightFile,
};
use crate::model::transformer::spec::{Relative, Spec};
use crate::weights::quantized::Quantization;

/// Lays out an encoder that comes from a weight file of its own at `path`; gives the file's index, too.
pub fn encoder(
    layout: &mut Layout,
    path: String,
    spec: &Spec,
    family: &'static Family,
) -> (usize, Encoder) {
    let spellings = family.spellings;
    let starts = spellings
        .iter()
        .filter_map(|names| names.layer.split("{}").next());
    let file = layout.file(WeightFile {
        path,
        prefixes: family.prefixes,
        unused: family.unused,
        layers: Some((starts.collect(), spec.layers.len())),
        collect: false,
        shards: Vec::new(),
        quantization: Quantization::default(),
        blueprint: Some(Box::new(Blueprint {
            spec: spec.clone(),
            family,
            mlm: None,
        })),
    });
    let drawing = Drawing {
        layout,
        file,
        spec,
        spellings,
    };
    (file, drawing.encoder())
}

/// Lays out a head for masked-language modelling in the encoder's file; its decoder may be tied to the word embeddings.
pub fn mlm_head(
    layout: &mut Layout,
    file: usize,
    spec: &Spec,
    names: &MlmNames,
    encoder: &Encoder,
    tied: bool,
) -> MlmHead {
    if let Some(blueprint) = &mut layout.files[file].blueprint {
        blueprint.mlm = Some(tied);
    }
    let hidden = spec.hidden_size;
    let transform = layout.linear(
        file,
        names.transform,
        [hidden; 2],
        names.transform_bias,
        Precision::Usual,
    );
    let norm = layout.norm(file, &[names.norm.to_owned()], hidden, spec.biases.norm);
    let weight = layout.matrix(file, &[names.decoder], [spec.vocab_size, hidden]);
    if let Some(decoder) = layout.wanted.last_mut().filter(|_| tied) {
        decoder.tied = Some(encoder.word_embeddings);
    }
    let bias = layout.vector(file, &[names.bias.to_owned()], &[spec.vocab_size]);
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

/// An encoder in the making. Every name is given in each of the family's spellings.
struct Drawing<'a> {
    layout: &'a mut Layout,
    file: usize,
    spec: &'a Spec,
    spellings: &'static [Names],
}

/// Names of the modules whose weights are stacked into one product.
type Modules = fn(&Names) -> Vec<&'static str>;

impl Drawing<'_> {
    fn encoder(mut self) -> Encoder {
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
            Some(Relative::Alibi) | None => None,
        };
        Encoder {
            word_embeddings,
            position_embeddings,
            token_type_embeddings,
            relative_bias,
            embedding_norm: self.norm(|names| names.embedding_norm.map(str::to_owned)),
            layers: (0..spec.layers.len())
                .map(|index| self.layer(index))
                .collect(),
            final_norm: self.norm(|names| names.final_norm.map(str::to_owned)),
        }
    }

    fn layer(&mut self, index: usize) -> Layer {
        let spec = self.spec;
        let (heads, biases) = (spec.heads, spec.biases);
        let (hidden, ffn) = (spec.hidden_size, spec.intermediate_size);
        let (queries, keys) = (heads.query_width(), heads.kv_width());
        let (ups, up_rows): (Modules, &[usize]) = if spec.gated {
            (|names| names.ffn_gated.to_vec(), &[ffn, ffn])
        } else {
            (|names| vec![names.ffn_up], &[ffn])
        };
        Layer {
            qkv: self.linear(
                index,
                |names| names.qkv.to_vec(),
                &[queries, keys, keys],
                hidden,
                biases.qkv,
                Precision::Sensitive,
            ),
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
            ffn_up: self.linear(index, ups, up_rows, hidden, biases.ffn_up, Precision::Usual),
            ffn_down: self.linear(
                index,
                |names| vec![names.ffn_down],
                &[hidden],
                ffn,
                biases.ffn_down,
                Precision::Usual,
            ),
            ffn_norms: self.norms(index, |names| names.ffn_norms),
        }
    }

    /// An embedding table.
    fn table(&mut self, name: fn(&Names) -> &'static str, rows: usize) -> MatrixId {
        let names: Vec<&str> = self.spellings.iter().map(name).collect();
        self.layout
            .matrix(self.file, &names, [rows, self.spec.hidden_size])
    }

    /// Modules of a layer as one product: one for each of `rows`, or a single one for all.
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
        let stacked: Stacked = self.spellings.iter().map(parts).collect();
        self.layout
            .stacked(self.file, &stacked, input, bias, precision)
    }

    fn head_norms(&mut self, index: usize) -> Option<[Norm; 2]> {
        let mut norm = |which: usize| {
            let name = |names: &Names| Some(in_layer(names, index, names.head_norms?[which]));
            self.norm_of(self.spec.heads.size, name)
        };
        Some([norm(0)?, norm(1)?])
    }

    fn norms(&mut self, index: usize, around: fn(&Names) -> NormNames) -> Norms {
        let skips_first = self
            .spellings
            .iter()
            .any(|names| around(names).before_skips_first);
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
            after: norm(|names| names.after),
        }
    }

    /// A norm of the hidden size, where the family has it.
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
