//! Which initializer of an ONNX graph is which tensor of torch's.
//!
//! Names say too little: exporters drop those of matrices, and optimisers those of nodes. So the
//! graph is reduced to what weights do in it (`skeleton`) and followed from its output back to
//! its tables, a block of a layer at a time, as the model's `Spec` says that it must be. What is
//! found where the `Spec` has something else is an error that names the node: a graph of another
//! architecture is not read.

mod attention;
mod skeleton;

use self::skeleton::{Skeleton, State, Step, UNKNOWN, Used, mark};
use crate::backend::{Activation, Gate, NormKind, Pooling};
use crate::error::{Error, Result};
use crate::model::families::{ClassifierNames, Family, Names, NormNames};
use crate::model::transformer::spec::Spec;
use crate::weights::onnx::{Codes, Graph, Id, Placement, Plan};

/// What the graph of a weight file must be.
#[derive(Clone)]
pub struct Blueprint {
    /// The encoder.
    pub spec: Spec,
    /// Its names.
    pub family: &'static Family,
    /// Its head.
    pub head: Head,
}

/// A head whose weights are in the encoder's file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// No head.
    None,
    /// Masked language modelling.
    Mlm {
        /// Whether the decoder may be the table of words.
        tied: bool,
    },
    /// Sequence classification, which gives rerankers their scores.
    Classifier {
        /// Number of labels.
        labels: usize,
        /// What makes one state of those of all tokens: that of the first, or the mean.
        pooling: Pooling,
    },
    /// The logit of a decoder's next token.
    NextToken,
    /// A projection of token states for late interaction.
    Late,
}

/// Families whose ONNX files are tested. Graphs of other families are refused.
const TESTED: [&str; 8] = [
    "bert",
    "distilbert",
    "gemma3",
    "modernbert",
    "mpnet",
    "nomic_bert",
    "qwen3",
    "roberta",
];

impl core::fmt::Debug for Blueprint {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.family.name)
    }
}

/// Names of outputs that are states of tokens, or made of them; the first that a graph has is
/// taken.
const STATES: [&str; 3] = [
    "last_hidden_state",
    "token_embeddings",
    "sentence_embedding",
];
/// The output of a head for masked-language modelling, or for sequence classification.
const LOGITS: &str = "logits";

/// Finds the tensors of a model in the graph of `file`. Models without a blueprint are refused.
pub fn find(file: &str, graph: &Graph, blueprint: Option<&Blueprint>) -> Result<Plan> {
    let refuse = |what: &str| {
        Err(Error::UnsupportedModel(format!(
            "{file} is an ONNX file, and ONNX files of {what} are not supported; take the model's safetensors"
        )))
    };
    let Some(blueprint) = blueprint else {
        return refuse("static embeddings and modules");
    };
    let (spec, family) = (&blueprint.spec, blueprint.family);
    let head = blueprint.head;
    let is_decoder = |names: &ClassifierNames| names.dense.is_none();
    match head {
        Head::NextToken => return refuse("rerankers that are decoders"),
        Head::Classifier { .. } if family.classifier.as_ref().is_none_or(is_decoder) => {
            return refuse("rerankers that are decoders");
        }
        Head::Late => return refuse("late-interaction models"),
        Head::None | Head::Mlm { .. } | Head::Classifier { .. } => {}
    }
    let is_covered = !spec.shared_layers && spec.embedding_size == spec.hidden_size;
    if !is_covered || !TESTED.contains(&family.name) {
        return refuse(&format!("the family {}", family.name));
    }
    let mut first = None;
    for names in family.spellings {
        let mut finder = Finder {
            file,
            graph,
            skeleton: Skeleton::new(graph),
            spec,
            family,
            names,
            placements: Vec::new(),
            zeros: Vec::new(),
        };
        match finder.model(head) {
            Ok(output) => {
                return Ok(Plan {
                    output: output.to_owned(),
                    placements: finder.placements,
                    numbers: finder.skeleton.numbers,
                    zeros: finder.zeros,
                });
            }
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    Err(first.unwrap_or(Error::Internal("a family has no names".to_owned())))
}

/// A product with a matrix, and its bias.
struct Linear {
    step: usize,
    weight: Used,
    bias: Option<(Used, Option<usize>)>,
    /// What is multiplied.
    of: State,
    /// What is done to the product.
    marks: u16,
}

struct Finder<'a> {
    file: &'a str,
    graph: &'a Graph,
    skeleton: Skeleton<'a>,
    spec: &'a Spec,
    family: &'static Family,
    names: &'static Names,
    placements: Vec<Placement>,
    /// Initializers that must be 0.
    zeros: Vec<Id>,
}

impl Finder<'_> {
    fn refuse(&self, what: &str) -> Error {
        Error::UnsupportedModel(format!(
            "the graph of {} is not that of the {} model that config.json describes: {what}; take the model's safetensors, or an export of this model as it is",
            self.file, self.family.name
        ))
    }

    /// An error about a value that is not `wanted`.
    fn odd(&self, state: State, wanted: &str) -> Error {
        let what = match self.skeleton.step(state.step) {
            Step::Lookup(..) => "a lookup in a table",
            Step::Linear(..) => "a product with a matrix",
            Step::Scale(..) => "a product with a vector",
            Step::Shift(..) => "a sum with a vector",
            Step::Norm { .. } => "a norm",
            Step::Sum(..) => "a sum of two",
            Step::Gate(..) => "a product of two, element by element",
            Step::Product(..) => "a matrix product of two",
        };
        let place = self.skeleton.place(state.step);
        self.refuse(&format!("node {place} is {what} where {wanted} should be"))
    }

    /// Follows the model from its output on. Gives the output.
    fn model(&mut self, own: Head) -> Result<&'static str> {
        let graph = self.graph;
        let states = STATES.iter().filter(|_| own == Head::None);
        let known = states
            .chain([&LOGITS])
            .find_map(|name| Some((*name, graph.known(name)?)));
        let Some((output, id)) = known else {
            let names = if own == Head::None {
                "last_hidden_state, token_embeddings, sentence_embedding, logits"
            } else {
                LOGITS
            };
            return Err(self.refuse(&format!("it has none of the outputs {names}")));
        };
        let mut state = self.skeleton.state(id).map_err(|node| {
            self.refuse(&node.map_or_else(
                || format!("{output} depends on no weight"),
                |node| format!("node {node} is not known here"),
            ))
        })?;
        let mut head = Vec::new();
        if let Head::Classifier { labels, pooling } = own {
            state = self.classifier(state, labels, pooling)?;
            head = std::mem::take(&mut self.placements);
        } else if output == LOGITS {
            state = self.mlm_head(state)?;
            if own == Head::None {
                self.placements.clear();
            }
            head = std::mem::take(&mut self.placements);
        } else if output == "sentence_embedding" {
            // Pooling, and a length of 1, add no weight.
            state.marks = 0;
        } else {
            self.plain(state)?;
        }
        self.encoder(state)?;
        if let (Head::Mlm { tied: true }, Some(decoder)) = (own, self.family.mlm.as_ref()) {
            // As in other files, a tied decoder is left out.
            let words = self.placements.last().map(|words| words.weight.id);
            let same =
                |one: &Placement| one.name == decoder.decoder && Some(one.weight.id) == words;
            head.retain(|one| !same(one));
        }
        self.placements.append(&mut head);
        Ok(output)
    }

    /// Checks that nothing is done to a value between two steps.
    fn plain(&self, state: State) -> Result<()> {
        if state.marks & mark::ALL == 0 {
            Ok(())
        } else {
            Err(self.odd(state, "nothing between it and what takes it"))
        }
    }

    /// The value before products with, and sums of, single numbers.
    fn bare(&mut self, mut state: State) -> State {
        while let Step::Scale(used, of) = self.skeleton.step(state.step) {
            let (number, of) = (used.weight.id, *of);
            self.skeleton.numbers.push(number);
            state = State {
                step: of.step,
                marks: state.marks | of.marks,
            };
        }
        state
    }

    fn linear(&mut self, state: State) -> Result<Linear> {
        let mut state = self.bare(state);
        let mut bias = None;
        if let Step::Shift(used, part, of) = self.skeleton.step(state.step) {
            bias = Some((used.clone(), *part));
            let of = *of;
            self.plain(of)?;
            state = State {
                step: of.step,
                marks: state.marks,
            };
            state = self.bare(state);
        }
        match self.skeleton.step(state.step) {
            Step::Linear(weight, of) => Ok(Linear {
                step: state.step,
                weight: weight.clone(),
                bias,
                of: *of,
                marks: state.marks,
            }),
            _ => Err(self.odd(state, "a product with a matrix")),
        }
    }

    /// Whether a value is a product with a matrix, but for a bias and a norm.
    fn is_branch(&self, mut state: State) -> bool {
        loop {
            match self.skeleton.step(state.step) {
                Step::Scale(_, of) | Step::Shift(_, _, of) | Step::Norm { of, .. } => state = *of,
                Step::Linear(..) => return true,
                _ => return false,
            }
        }
    }

    /// Notes where a tensor is: some of `of` rows, or elements of a vector.
    fn place(
        &mut self,
        name: String,
        used: &Used,
        shape: &[usize],
        first: usize,
        of: usize,
    ) -> Result<()> {
        if let Codes::Scaled { scale: UNKNOWN, .. } = used.weight.codes {
            return Err(self.refuse(&format!("{name} has codes without scales")));
        }
        let is_matrix = shape.len() == 2;
        if used.plus_one && is_matrix {
            return Err(self.refuse(&format!("1 is added to {name}")));
        }
        self.placements.push(Placement {
            name,
            shape: shape.to_vec(),
            first,
            of,
            weight: used.weight.clone(),
            plus_one: false,
        });
        Ok(())
    }

    /// Notes the places of a product's weight and bias: `rows` of `of`, from `first` on.
    fn place_linear(
        &mut self,
        module: &str,
        linear: &Linear,
        [rows, columns]: [usize; 2],
        (first, of): (usize, usize),
        bias: bool,
    ) -> Result<()> {
        if linear.bias.is_some() != bias {
            let what = if bias { "no bias" } else { "a bias" };
            let place = self.skeleton.place(linear.step);
            return Err(self.refuse(&format!("{module} at node {place} has {what}")));
        }
        self.place(
            format!("{module}.weight"),
            &linear.weight,
            &[rows, columns],
            first,
            of,
        )?;
        if let Some((used, part)) = &linear.bias {
            // A vector of queries', keys' and values' biases belongs to three products.
            let (first, of) = match part {
                Some(part) => {
                    let heads = self.spec.heads;
                    let widths = [heads.query_width(), heads.kv_width(), heads.kv_width()];
                    (widths[..*part].iter().sum(), widths.iter().sum())
                }
                None => (first, of),
            };
            self.place(format!("{module}.bias"), used, &[rows], first, of)?;
        }
        Ok(())
    }

    /// A norm of `width`, and what is normed.
    fn norm(&mut self, module: &str, state: State, width: usize) -> Result<State> {
        let wanted = format!("the norm {module}");
        let is_rms = self.spec.norm != NormKind::Layer;
        let (weight, bias, of) = match self.skeleton.step(state.step) {
            Step::Norm {
                rms,
                weight,
                bias,
                epsilon,
                of,
            } if *rms == is_rms => {
                let off = (epsilon - self.spec.norm_eps).abs();
                if off > self.spec.norm_eps * 1e-3 {
                    return Err(self.refuse(&format!(
                        "the norm {module} has an epsilon of {epsilon}, config.json one of {}",
                        self.spec.norm_eps
                    )));
                }
                (weight.clone(), bias.clone(), *of)
            }
            Step::Shift(bias, None, scaled) => match self.skeleton.step(scaled.step) {
                Step::Scale(weight, of) if scaled.marks & mark::ALL == 0 => (
                    weight.clone(),
                    Some(bias.clone()),
                    self.normed(*of, false, &wanted)?,
                ),
                _ => return Err(self.odd(state, &wanted)),
            },
            Step::Scale(weight, of) => (weight.clone(), None, self.normed(*of, is_rms, &wanted)?),
            _ => return Err(self.odd(state, &wanted)),
        };
        // Exporters write one of zeros, since the operator of old opsets has to have one.
        if let Some(bias) = bias.as_ref().filter(|_| !self.spec.biases.norm) {
            self.zeros.push(bias.weight.id);
        }
        self.place(format!("{module}.weight"), &weight, &[width], 0, width)?;
        let is_plus_one = self.spec.norm == NormKind::RmsPlusOne;
        if weight.plus_one && !is_plus_one {
            return Err(self.refuse(&format!("1 is added to the norm {module}")));
        }
        if let Some(last) = self.placements.last_mut() {
            last.plus_one = is_plus_one && !weight.plus_one;
        }
        if self.spec.biases.norm && !is_rms {
            let Some(bias) = bias else {
                return Err(self.refuse(&format!("the norm {module} has no bias")));
            };
            self.place(format!("{module}.bias"), &bias, &[width], 0, width)?;
        }
        Ok(of)
    }

    /// What is normed, where a norm is written out.
    fn normed(&self, state: State, rms: bool, wanted: &str) -> Result<State> {
        let has = |mark| state.marks & mark != 0;
        if has(mark::MEAN) && has(mark::ROOT) && has(mark::DIFFERENCE) != rms {
            Ok(State {
                step: state.step,
                marks: state.marks & !mark::NORM,
            })
        } else {
            Err(self.odd(state, wanted))
        }
    }

    /// Undoes a block and its residual: x ← after(x + branch(block(before(x)))). Gives x before it,
    /// the last product of the block, and the name of the norm before it.
    fn block(
        &mut self,
        layer: usize,
        mut state: State,
        around: NormNames,
    ) -> Result<(State, Linear)> {
        let hidden = self.spec.hidden_size;
        let name = |finder: &Self, module: &str| finder.in_layer(layer, module);
        if let Some(after) = around.after {
            state = self.norm(&name(self, after), state, hidden)?;
        }
        self.plain(state)?;
        let mut bias = None;
        if let Step::Shift(used, part, of) = self.skeleton.step(state.step)
            && let Step::Sum(..) = self.skeleton.step(of.step)
        {
            (bias, state) = (Some((used.clone(), *part)), *of);
            self.plain(state)?;
        }
        let Step::Sum(first, second) = *self.skeleton.step(state.step) else {
            return Err(self.odd(state, "the sum of a block and what it began with"));
        };
        let (mut branch, rest) = match (self.is_branch(first), self.is_branch(second)) {
            (true, false) => (first, second),
            (false, true) => (second, first),
            _ => return Err(self.odd(state, "the sum of a block and what it began with")),
        };
        self.plain(rest)?;
        if let Some(module) = around.branch {
            branch = self.norm(&name(self, module), branch, hidden)?;
        }
        let mut linear = self.linear(branch)?;
        if linear.marks & mark::ALL != 0 || (bias.is_some() && linear.bias.is_some()) {
            return Err(self.odd(branch, "the last product of a block"));
        }
        linear.bias = linear.bias.or(bias);
        Ok((rest, linear))
    }

    /// Checks that a block begins with x, or its norm.
    fn begins(&mut self, layer: usize, block: State, rest: State, around: NormNames) -> Result<()> {
        let mut begin = block;
        let skipped = layer == 0 && around.before_skips_first;
        if let Some(module) = around.before.filter(|_| !skipped) {
            let module = self.in_layer(layer, module);
            begin = self.norm(&module, begin, self.spec.hidden_size)?;
        }
        self.plain(begin)?;
        if begin.step == rest.step {
            Ok(())
        } else {
            Err(self.odd(begin, "what is added to the block"))
        }
    }

    fn in_layer(&self, layer: usize, module: &str) -> String {
        let prefix = self.family.prefixes.first().copied().unwrap_or_default();
        format!(
            "{prefix}{}{module}",
            self.names.layer.replace("{}", &layer.to_string())
        )
    }

    fn encoder(&mut self, mut state: State) -> Result<()> {
        let hidden = self.spec.hidden_size;
        let prefix = self.family.prefixes.first().copied().unwrap_or_default();
        if let Some(module) = self.names.final_norm {
            state = self.norm(&format!("{prefix}{module}"), state, hidden)?;
        }
        for layer in (0..self.spec.layers.len()).rev() {
            state = self.layer(layer, state)?;
        }
        if let Some(module) = self.names.embedding_norm {
            state = self.norm(&format!("{prefix}{module}"), state, hidden)?;
        }
        self.tables(prefix, state)
    }

    fn layer(&mut self, layer: usize, state: State) -> Result<State> {
        let (names, spec) = (self.names, self.spec);
        let (hidden, ffn) = (spec.hidden_size, spec.intermediate_size);
        let (rest, down) = self.block(layer, state, names.ffn_norms)?;
        let module = self.in_layer(layer, names.ffn_down);
        self.place_linear(
            &module,
            &down,
            [hidden, ffn],
            (0, hidden),
            spec.biases.ffn_down,
        )?;
        let inside = if let Some(gate) = spec.gate {
            self.gated(layer, gate, down.of)?
        } else {
            let up = self.linear(down.of)?;
            self.activated(spec.activation, up.marks, up.step)?;
            let module = self.in_layer(layer, names.ffn_up);
            self.place_linear(&module, &up, [ffn, hidden], (0, ffn), spec.biases.ffn_up)?;
            up.of
        };
        self.begins(layer, inside, rest, names.ffn_norms)?;

        let (before, output) = self.block(layer, rest, names.attention_norms)?;
        let module = self.in_layer(layer, names.attention_output);
        let queries = spec.heads.query_width();
        self.place_linear(
            &module,
            &output,
            [hidden, queries],
            (0, hidden),
            spec.biases.attention_output,
        )?;
        let inside = self.attention(layer, output.of)?;
        self.begins(layer, inside, before, names.attention_norms)?;
        Ok(before)
    }

    /// Checks that a value has been through an activation, and nothing else.
    fn activated(&self, activation: Activation, marks: u16, step: usize) -> Result<()> {
        let found = marks & mark::ACTIVATION;
        // GELU's approximations are an optimiser's; powers and quotients are parts of some.
        let fits = match activation {
            Activation::Gelu => matches!(found, mark::ERF | mark::FAST_GELU),
            Activation::GeluTanh => matches!(found, mark::TANH | mark::FAST_GELU),
            Activation::Silu => found == mark::SIGMOID,
            Activation::Relu => found == mark::RELU,
            // Nothing but that: approximations of GELU have one, too.
            Activation::Tanh => marks & mark::ALL == mark::TANH,
            _ => false,
        };
        if fits && marks & (mark::SOFTMAX | mark::TURNED | mark::MEAN | mark::DIFFERENCE) == 0 {
            return Ok(());
        }
        let place = self.skeleton.place(step);
        Err(self.refuse(&format!(
            "another activation than {activation:?} follows on node {place}"
        )))
    }

    fn gated(&mut self, layer: usize, which: Gate, state: State) -> Result<State> {
        let (names, spec) = (self.names, self.spec);
        let (hidden, ffn) = (spec.hidden_size, spec.intermediate_size);
        let state = self.bare(state);
        let bias = spec.biases.ffn_up;
        let place = |finder: &Self, at: usize| finder.in_layer(layer, names.ffn_gated[at]);
        if let Step::Gate(first, second) = *self.skeleton.step(state.step) {
            self.plain(state)?;
            let (first, second) = (self.linear(first)?, self.linear(second)?);
            let (gate, up) = if first.marks & mark::ACTIVATION != 0 {
                (first, second)
            } else {
                (second, first)
            };
            self.activated(spec.activation, gate.marks, gate.step)?;
            if up.marks & mark::ALL != 0 || gate.of.step != up.of.step || names.ffn_gated.len() != 2
            {
                return Err(self.odd(state, "a gate and what it gates"));
            }
            self.plain(gate.of)?;
            let (gate_at, up_at) = match which {
                Gate::First => (0, 1),
                Gate::Last => (1, 0),
            };
            let (gate_name, up_name) = (place(self, gate_at), place(self, up_at));
            self.place_linear(&gate_name, &gate, [ffn, hidden], (0, ffn), bias)?;
            self.place_linear(&up_name, &up, [ffn, hidden], (0, ffn), bias)?;
            return Ok(up.of);
        }
        let both = self.linear(state)?;
        self.activated(spec.activation, both.marks, both.step)?;
        if names.ffn_gated.len() == 1 {
            let name = place(self, 0);
            self.place_linear(&name, &both, [2 * ffn, hidden], (0, 2 * ffn), bias)?;
        } else {
            return Err(self.odd(state, "a gate and what it gates"));
        }
        Ok(both.of)
    }

    /// The tables, whose sum is the embeddings.
    fn tables(&mut self, prefix: &str, state: State) -> Result<()> {
        let (names, spec) = (self.names, self.spec);
        let mut left = vec![state];
        let mut found: Vec<(Used, Option<Id>)> = Vec::new();
        while let Some(state) = left.pop() {
            let state = self.bare(state);
            self.plain(state)?;
            match self.skeleton.step(state.step) {
                Step::Sum(first, second) if found.len() + left.len() < 3 => {
                    left.extend([*first, *second]);
                }
                Step::Lookup(table, index) => found.push((table.clone(), *index)),
                _ => return Err(self.odd(state, "a lookup in a table of embeddings")),
            }
        }
        let tables = [
            (
                names.word_embeddings,
                Some(spec.vocab_size),
                Some("input_ids"),
            ),
            (
                names.token_type_embeddings,
                spec.token_types,
                Some("token_type_ids"),
            ),
            (names.position_embeddings, spec.positions.rows(), None),
        ];
        let tables: Vec<_> = tables
            .into_iter()
            .filter_map(|(name, rows, input)| Some((name, rows?, input)))
            .collect();
        if found.len() != tables.len() {
            return Err(self.refuse(&format!(
                "its embeddings are the sum of {} tables, those of the model of {}",
                found.len(),
                tables.len()
            )));
        }
        // Last comes the table of words.
        for (name, rows, input) in tables.into_iter().rev() {
            // By its name, which exporters keep, or else by the input that chooses rows of it.
            let module = name.trim_end_matches(".weight");
            let own = |used: &Used| self.graph.name(used.weight.id).contains(module);
            let chosen = |index: &Option<Id>| index.map(|id| self.graph.name(id));
            let at = found
                .iter()
                .position(|(used, _)| own(used))
                .or_else(|| found.iter().position(|(_, index)| chosen(index) == input));
            let Some((table, _)) = at.map(|at| found.remove(at)) else {
                return Err(self.refuse(&format!("it has no table that is {name}")));
            };
            let shape = [rows, spec.hidden_size];
            self.place(format!("{prefix}{name}"), &table, &shape, 0, rows)?;
        }
        Ok(())
    }

    /// The head for sequence classification; gives the states of tokens that it is on.
    fn classifier(&mut self, state: State, labels: usize, pooling: Pooling) -> Result<State> {
        let Some(names) = self.family.classifier.as_ref() else {
            return Err(self.refuse("its output is logits"));
        };
        let hidden = self.spec.hidden_size;
        self.plain(state)?;
        let output = self.linear(state)?;
        let shape = [labels, hidden];
        self.place_linear(names.output, &output, shape, (0, labels), true)?;
        let mut state = output.of;
        if let Some(module) = names.norm {
            self.plain(state)?;
            state = self.norm(module, state, hidden)?;
        }
        if let Some(module) = names.dense {
            let dense = self.linear(state)?;
            self.activated(names.activation, dense.marks, dense.step)?;
            let bias = names.norm.is_none();
            self.place_linear(module, &dense, [hidden; 2], (0, hidden), bias)?;
            state = dense.of;
        }
        // Taking the first token's state leaves no mark, and a mean leaves one.
        let usual = if pooling == Pooling::Mean {
            mark::MEAN
        } else {
            0
        };
        if state.marks & mark::ALL != usual {
            return Err(self.refuse("its head does not pool as that model's does"));
        }
        Ok(State { marks: 0, ..state })
    }

    /// The head for masked-language modelling; gives the states that it is on.
    fn mlm_head(&mut self, state: State) -> Result<State> {
        let Some(names) = self.family.mlm.as_ref() else {
            return Err(self.refuse("its output is logits"));
        };
        let (spec, hidden) = (self.spec, self.spec.hidden_size);
        self.plain(state)?;
        let decoder = self.linear(state)?;
        let module = names.decoder.trim_end_matches(".weight");
        self.place_linear(
            module,
            &decoder,
            [spec.vocab_size, hidden],
            (0, spec.vocab_size),
            true,
        )?;
        if let Some(bias) = self.placements.last_mut() {
            names.bias.clone_into(&mut bias.name);
        }
        self.plain(decoder.of)?;
        let state = self.norm(names.norm, decoder.of, hidden)?;
        let transform = self.linear(state)?;
        let activation = names.activation.unwrap_or(spec.activation);
        self.activated(activation, transform.marks, transform.step)?;
        self.place_linear(
            names.transform,
            &transform,
            [hidden; 2],
            (0, hidden),
            names.transform_bias,
        )?;
        self.plain(transform.of)?;
        Ok(transform.of)
    }
}
