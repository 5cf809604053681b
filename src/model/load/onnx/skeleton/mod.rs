//! A graph with all taken away that has no weights: which weights a value has gone through, and
//! what happened to it in between.
//!
//! Each value is looked at once, in the file's order. What depends on no weight (shapes, masks,
//! angles) is a [`Side`] value. What does is a [`State`]: the last [`Step`] that it has come
//! through, and [`marks`](mark) for what was done since without a weight. Exporters and optimisers
//! write the same model in many ways; as steps they are one.

mod attention;
mod quantised;

use std::collections::HashMap;

use crate::weights::onnx::{Codes, Graph, Id, Node, Weight};

/// What was done to a value since its last step.
pub mod mark {
    /// Error function: part of GELU.
    pub const ERF: u16 = 1;
    /// Hyperbolic tangent: part of GELU's approximation.
    pub const TANH: u16 = 1 << 1;
    /// Logistic function: part of `SiLU`.
    pub const SIGMOID: u16 = 1 << 2;
    /// Negative values are 0.
    pub const RELU: u16 = 1 << 3;
    /// ONNX Runtime's `FastGelu`, which its optimiser puts in place of GELU.
    pub const FAST_GELU: u16 = 1 << 4;
    /// Softmax over the last dimension.
    pub const SOFTMAX: u16 = 1 << 5;
    /// Multiplied with sines and cosines.
    pub const TURNED: u16 = 1 << 6;
    /// A mean, or a sum.
    pub const MEAN: u16 = 1 << 7;
    /// Less something of its own.
    pub const DIFFERENCE: u16 = 1 << 8;
    /// Roots, powers, quotients.
    pub const ROOT: u16 = 1 << 9;
    /// Activations.
    pub const ACTIVATION: u16 = ERF | TANH | SIGMOID | RELU | FAST_GELU;
    /// What a norm does.
    pub const NORM: u16 = MEAN | DIFFERENCE | ROOT;
    /// All that changes a value, rather than its place.
    pub const ALL: u16 = ACTIVATION | SOFTMAX | TURNED | NORM;
}

/// A value that has come through weights.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// Its last step.
    pub step: usize,
    /// What was done since.
    pub marks: u16,
}

/// A weight as it is used.
#[derive(Clone, Debug)]
pub struct Used {
    /// The weight.
    pub weight: Weight,
    /// Whether the graph adds 1 to it.
    pub plus_one: bool,
}

/// What a weight, or a second state, does to a state.
#[derive(Clone, Debug)]
pub enum Step {
    /// Rows of a table, by what the graph's input of that name says, or by something that follows
    /// from it.
    Lookup(Used, Option<Id>),
    /// A product with a matrix.
    Linear(Used, State),
    /// A product with a number, or element by element with a vector.
    Scale(Used, State),
    /// A sum of the same; where a vector holds those of several products, the number of its own.
    Shift(Used, Option<usize>, State),
    /// A norm: of the root mean square or of LayerNorm, its weight, bias, epsilon.
    Norm {
        /// Without a mean.
        rms: bool,
        /// Factors.
        weight: Used,
        /// What is added after that.
        bias: Option<Used>,
        /// Added under the root.
        epsilon: f32,
        /// What is normed.
        of: State,
    },
    /// A sum of two.
    Sum(State, State),
    /// A product of two, element by element.
    Gate(State, State),
    /// A matrix product of two: scores of queries and keys, or their sums of values.
    Product(State, State),
}

/// A value that depends on no weight.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    /// The graph's input that it is.
    input: Option<Id>,
    /// Whether it has sines or cosines.
    turning: bool,
    /// Whether it is the scale of activations that are quantised on the way.
    dynamic: bool,
    /// A weight's scale that such a scale has been multiplied with.
    scale: Option<Id>,
    /// Its value, if that is one number.
    number: Option<f64>,
    /// The last two of its numbers, if it is a shape and these are known.
    last_two: Option<[i64; 2]>,
    /// Whether it is a constant that may be a weight.
    is_weight: bool,
}

#[derive(Clone, Debug)]
enum Meaning {
    Side(Side),
    Weight(Used),
    State(State),
    /// Something that this node does to a state and that is not known here.
    Strange(usize),
}

/// Steps of a graph.
pub struct Skeleton<'a> {
    graph: &'a Graph,
    steps: Vec<Step>,
    /// The node that each step is at.
    nodes: Vec<usize>,
    meanings: HashMap<Id, Meaning>,
    /// Weights that have to be one number each.
    pub numbers: Vec<Id>,
    /// Heads, and their size, that a product is cut into, by its step; 0 or less where the graph
    /// does not say it.
    heads: HashMap<usize, [i64; 2]>,
    node: usize,
}

/// A scale that is not known yet.
pub const UNKNOWN: Id = Id::MAX;

impl<'a> Skeleton<'a> {
    /// Reads a graph.
    pub fn new(graph: &'a Graph) -> Self {
        let mut skeleton = Self {
            graph,
            steps: Vec::new(),
            nodes: Vec::new(),
            meanings: HashMap::new(),
            numbers: Vec::new(),
            heads: HashMap::new(),
            node: 0,
        };
        for (at, node) in graph.nodes.iter().enumerate() {
            skeleton.node = at;
            skeleton.read(node);
        }
        skeleton
    }

    /// A step.
    pub fn step(&self, at: usize) -> &Step {
        &self.steps[at]
    }

    /// Heads, and their size, that the value of a step is cut into, as far as the graph says it.
    pub fn heads_of(&self, step: usize) -> Option<[i64; 2]> {
        self.heads.get(&step).copied()
    }

    /// A name for the place of a step in the graph.
    pub fn place(&self, at: usize) -> String {
        self.node_name(self.nodes[at])
    }

    fn node_name(&self, node: usize) -> String {
        let node = &self.graph.nodes[node];
        format!("{} ({})", node.name, node.op)
    }

    /// The state that a value is; an error is the node that makes another of it, if there is one.
    pub fn state(&self, id: Id) -> Result<State, Option<String>> {
        match self.meanings.get(&id) {
            Some(Meaning::State(state)) => Ok(*state),
            Some(Meaning::Strange(node)) => Err(Some(self.node_name(*node))),
            _ => Err(None),
        }
    }

    fn meaning(&self, id: Option<Id>) -> Meaning {
        let Some(id) = id else {
            return Meaning::Side(Side::default());
        };
        if let Some(meaning) = self.meanings.get(&id) {
            return meaning.clone();
        }
        // No node gives it, so it is an input or an initializer, of which only names are known yet.
        let name = self.graph.name(id);
        if [
            "input_ids",
            "attention_mask",
            "token_type_ids",
            "position_ids",
        ]
        .contains(&name)
            || name.starts_with("past_key_values")
        {
            return Meaning::Side(Side {
                input: Some(id),
                ..Side::default()
            });
        }
        Meaning::Weight(Used {
            weight: Weight {
                id,
                transposed: false,
                codes: Codes::Plain,
            },
            plus_one: false,
        })
    }

    fn add(&mut self, step: Step) -> Meaning {
        self.steps.push(step);
        self.nodes.push(self.node);
        Meaning::State(State {
            step: self.steps.len() - 1,
            marks: 0,
        })
    }

    fn strange(&self) -> Meaning {
        Meaning::Strange(self.node)
    }

    fn read(&mut self, node: &Node) {
        let inputs: Vec<Meaning> = node.inputs.iter().map(|id| self.meaning(*id)).collect();
        let meaning = self.understand(node, &inputs);
        let outputs = node.outputs.iter().enumerate();
        for (at, id) in outputs.filter_map(|(at, id)| Some((at, (*id)?))) {
            let meaning = match (node.op.as_str(), at) {
                ("DynamicQuantizeLinear", 1) => Meaning::Side(Side {
                    dynamic: true,
                    ..Side::default()
                }),
                // The sums that are normed, which optimised graphs take from the norm.
                (
                    "com.microsoft.SkipLayerNormalization"
                    | "com.microsoft.SkipSimplifiedLayerNormalization",
                    3,
                )
                | ("com.microsoft.EmbedLayerNormalization", 2) => match &meaning {
                    Meaning::State(state) => match self.step(state.step) {
                        Step::Norm { of, .. } => Meaning::State(*of),
                        _ => self.strange(),
                    },
                    _ => self.strange(),
                },
                (op, 1..) if op != "Split" && op != "Dropout" => Meaning::Side(Side::default()),
                _ => meaning.clone(),
            };
            self.meanings.insert(id, meaning);
        }
    }

    #[expect(clippy::too_many_lines, reason = "a table of operators")]
    fn understand(&mut self, node: &Node, inputs: &[Meaning]) -> Meaning {
        let nothing = Meaning::Side(Side::default());
        let input = |at: usize| inputs.get(at).unwrap_or(&nothing).clone();
        let op = node.op.strip_prefix("com.microsoft.").unwrap_or(&node.op);
        let marked = |mark| match input(0) {
            Meaning::State(state) => Meaning::State(State {
                marks: state.marks | mark,
                ..state
            }),
            Meaning::Weight(_) => Meaning::Side(Side::default()),
            other => other,
        };
        match op {
            "Constant" => {
                let constant = node.constant();
                Meaning::Side(Side {
                    number: constant.scalar,
                    last_two: constant.last_two,
                    is_weight: constant.is_weight,
                    ..Side::default()
                })
            }
            // Where a value is, not what it is.
            "Identity"
            | "Cast"
            | "CastLike"
            | "Dropout"
            | "Squeeze"
            | "Unsqueeze"
            | "Flatten"
            | "QuantizeLinear"
            | "DynamicQuantizeLinear"
            | "Neg" => input(0),
            "Reshape" => {
                if let (Meaning::State(state), Meaning::Side(shape)) = (input(0), input(1))
                    && let Some(heads) = shape.last_two
                {
                    self.heads.entry(state.step).or_insert(heads);
                }
                input(0)
            }
            "Expand" | "Tile" | "Slice" | "Split" => match input(0) {
                Meaning::Weight(_) => nothing,
                Meaning::Side(side) => Meaning::Side(Side {
                    is_weight: false,
                    ..side
                }),
                other => other,
            },
            "Transpose" => match input(0) {
                Meaning::Weight(mut used) => {
                    used.weight.transposed ^= true;
                    Meaning::Weight(used)
                }
                other => other,
            },
            "Shape" | "Size" | "IsNaN" | "IsInf" | "Not" | "Equal" | "Greater"
            | "GreaterOrEqual" | "Less" | "LessOrEqual" | "ConstantOfShape" | "Range" => nothing,
            "Erf" => marked(mark::ERF),
            "Tanh" => marked(mark::TANH),
            "Sigmoid" => marked(mark::SIGMOID),
            "Relu" => marked(mark::RELU),
            "ReduceMean" | "ReduceSum" | "ReduceL2" | "GlobalAveragePool" => marked(mark::MEAN),
            "Sqrt" | "Reciprocal" | "Pow" => marked(mark::ROOT),
            "Cos" | "Sin" => match input(0) {
                Meaning::Side(_) => Meaning::Side(Side {
                    turning: true,
                    ..Side::default()
                }),
                _ => self.strange(),
            },
            "Softmax" if node.int("axis").is_none_or(|axis| axis == -1 || axis == 3) => {
                marked(mark::SOFTMAX)
            }
            "Gelu" => match node.text("approximate") {
                Some("tanh") => marked(mark::TANH),
                _ => marked(mark::ERF),
            },
            "BiasGelu" => self.shifted(input(0), input(1), mark::ERF),
            "FastGelu" => self.shifted(input(0), input(1), mark::FAST_GELU),
            "Swish"
                if node
                    .float("alpha")
                    .is_none_or(|alpha| (alpha - 1.0).abs() < 1e-6) =>
            {
                marked(mark::SIGMOID)
            }
            "RotaryEmbedding" if node.int("interleaved").unwrap_or(0) == 0 => marked(mark::TURNED),
            "Gather" => match input(0) {
                Meaning::Weight(table) => self.add(Step::Lookup(table, index(&input(1)))),
                other => other,
            },
            "GatherBlockQuantized" => self.gather_blocks(node, inputs),
            "Add" => self.sum(input(0), input(1)),
            "Sub" => self.difference(input(0), input(1)),
            "Mul" => self.product(input(0), input(1)),
            "Div" => self.quotient(input(0), input(1)),
            "MatMul" => self.matmul(input(0), input(1), false),
            "FusedMatMul" if node.int("transA").unwrap_or(0) == 0 => {
                self.matmul(input(0), input(1), node.int("transB") == Some(1))
            }
            "Gemm" => {
                let is_one = |name| {
                    node.float(name)
                        .is_none_or(|value| (value - 1.0).abs() < 1e-6)
                };
                if node.int("transA").unwrap_or(0) != 0 || !is_one("alpha") || !is_one("beta") {
                    return self.strange();
                }
                let product = self.matmul(input(0), input(1), node.int("transB") == Some(1));
                self.shifted(product, input(2), 0)
            }
            "MatMulInteger" => {
                let weight = self.scaled(input(1), UNKNOWN, input(3), 1, 1);
                self.matmul(input(0), weight, false)
            }
            "MatMulIntegerToFloat" => self.scaled_product([1, 3, 5, 6], inputs),
            "DynamicQuantizeMatMul" => self.scaled_product([1, 2, 3, 4], inputs),
            "MatMulNBits" | "MatMulBnb4" => self.packed_product(node, inputs),
            "DequantizeLinear" => self.dequantized(node, inputs),
            "LayerNormalization" | "SimplifiedLayerNormalization" | "RMSNormalization" => {
                // Of the last dimension, whether it is counted from the end or not.
                if node
                    .int("axis")
                    .is_some_and(|axis| !matches!(axis, -1 | 2 | 3))
                {
                    return self.strange();
                }
                self.norm(node, input(0), op != "LayerNormalization", inputs, [1, 2])
            }
            "SkipLayerNormalization" => {
                let sum = self.sum(input(0), input(1));
                let sum = self.shifted(sum, input(4), 0);
                self.norm(node, sum, false, inputs, [2, 3])
            }
            "SkipSimplifiedLayerNormalization" => {
                let sum = self.sum(input(0), input(1));
                let sum = self.shifted(sum, input(3), 0);
                self.norm(node, sum, true, inputs, [2, usize::MAX])
            }
            "EmbedLayerNormalization" => {
                let mut sum = None;
                // Tables of words, positions and types, and what says which rows: words and types
                // come first.
                for (table, ids) in [(2, Some(0)), (3, None), (4, Some(1))] {
                    let Meaning::Weight(table) = input(table) else {
                        continue;
                    };
                    let ids = ids.and_then(|at| index(&input(at)));
                    let rows = self.add(Step::Lookup(table, ids));
                    sum = Some(match sum {
                        None => rows,
                        Some(sum) => self.sum(sum, rows),
                    });
                }
                let sum = sum.unwrap_or_else(|| self.strange());
                self.norm(node, sum, false, inputs, [5, 6])
            }
            "Attention" => self.attention(node, inputs),
            "MultiHeadAttention" => self.heads(inputs),
            "Where" => self.chosen(&input(1), &input(2)),
            "Concat" => {
                let number = |at: usize| match inputs.get(inputs.len().checked_sub(at)?) {
                    Some(Meaning::Side(side)) => side.number,
                    _ => None,
                };
                #[expect(clippy::cast_possible_truncation, reason = "sizes are whole numbers")]
                let last_two = number(2).zip(number(1)).map(|(a, b)| [a as i64, b as i64]);
                match self.joined(inputs) {
                    Meaning::Side(side) => Meaning::Side(Side { last_two, ..side }),
                    other => other,
                }
            }
            _ => {
                let mut turning = false;
                for input in inputs {
                    match input {
                        Meaning::Strange(_) => return input.clone(),
                        Meaning::State(_) => return self.strange(),
                        Meaning::Side(side) => turning |= side.turning,
                        Meaning::Weight(_) => {}
                    }
                }
                Meaning::Side(Side {
                    turning,
                    ..Side::default()
                })
            }
        }
    }

    /// One state of which both are made without a weight but numbers, if there is one.
    fn merge(&mut self, first: State, second: State) -> Option<State> {
        let chain = |state: State| {
            let (mut all, mut at) = (vec![(state, None)], state);
            // The longest is that of a norm or an activation, with its numbers as initializers.
            while let Step::Scale(used, of) | Step::Shift(used, _, of) = self.step(at.step)
                && all.len() < 16
            {
                at = State {
                    marks: at.marks | of.marks,
                    ..*of
                };
                all.push((at, Some(used.weight.id)));
            }
            all
        };
        let (first, second) = (chain(first), chain(second));
        let (mine, other) = first.iter().enumerate().find_map(|(mine, (state, _))| {
            let same = |(other, _): &(State, Option<Id>)| other.step == state.step;
            Some((mine, second.iter().position(same)?))
        })?;
        let numbers = first[..=mine].iter().chain(&second[..=other]);
        let numbers: Vec<Id> = numbers.filter_map(|(_, number)| *number).collect();
        self.numbers.extend(numbers);
        Some(State {
            step: first[mine].0.step,
            marks: first[mine].0.marks | second[other].0.marks,
        })
    }

    fn sum(&mut self, first: Meaning, second: Meaning) -> Meaning {
        match (first, second) {
            (strange @ Meaning::Strange(_), _) | (_, strange @ Meaning::Strange(_)) => strange,
            (Meaning::State(first), Meaning::State(second)) => match self.merge(first, second) {
                Some(state) => Meaning::State(state),
                None => self.add(Step::Sum(first, second)),
            },
            (Meaning::State(state), Meaning::Side(side))
            | (Meaning::Side(side), Meaning::State(state)) => {
                // A weight that is a constant cannot be taken.
                if side.is_weight {
                    return self.strange();
                }
                Meaning::State(state)
            }
            (Meaning::State(state), Meaning::Weight(used))
            | (Meaning::Weight(used), Meaning::State(state)) => {
                self.add(Step::Shift(used, None, state))
            }
            (Meaning::Weight(used), Meaning::Side(side))
            | (Meaning::Side(side), Meaning::Weight(used))
                if side.number == Some(1.0) && !used.plus_one =>
            {
                Meaning::Weight(Used {
                    plus_one: true,
                    ..used
                })
            }
            (first, second) => beside(&first, &second),
        }
    }

    fn difference(&mut self, first: Meaning, second: Meaning) -> Meaning {
        match (first, second) {
            (Meaning::State(first), Meaning::State(second)) => match self.merge(first, second) {
                Some(state) => Meaning::State(State {
                    marks: state.marks | mark::DIFFERENCE,
                    ..state
                }),
                None => self.strange(),
            },
            (first, second) => self.sum(first, second),
        }
    }

    fn product(&mut self, first: Meaning, second: Meaning) -> Meaning {
        match (first, second) {
            (strange @ Meaning::Strange(_), _) | (_, strange @ Meaning::Strange(_)) => strange,
            (Meaning::State(first), Meaning::State(second)) => match self.merge(first, second) {
                Some(state) => Meaning::State(state),
                None => self.add(Step::Gate(first, second)),
            },
            (Meaning::State(state), Meaning::Side(side))
            | (Meaning::Side(side), Meaning::State(state)) => self.times(state, side),
            (Meaning::State(state), Meaning::Weight(used))
            | (Meaning::Weight(used), Meaning::State(state)) => self.add(Step::Scale(used, state)),
            (Meaning::Side(side), Meaning::Weight(used))
            | (Meaning::Weight(used), Meaning::Side(side))
                if side.dynamic && side.scale.is_none() =>
            {
                Meaning::Side(Side {
                    scale: Some(used.weight.id),
                    ..side
                })
            }
            (first, second) => beside(&first, &second),
        }
    }

    /// A state times what depends on no weight: angles, the scale of an integer product, or
    /// numbers.
    fn times(&mut self, state: State, side: Side) -> Meaning {
        if side.is_weight {
            return self.strange();
        }
        if let (Some(id), Step::Linear(used, _)) = (side.scale, &mut self.steps[state.step]) {
            match &mut used.weight.codes {
                Codes::Scaled { scale, .. } if *scale == UNKNOWN => *scale = id,
                _ => return self.strange(),
            }
        }
        let marks = if side.turning { mark::TURNED } else { 0 };
        Meaning::State(State {
            marks: state.marks | marks,
            ..state
        })
    }

    fn quotient(&mut self, first: Meaning, second: Meaning) -> Meaning {
        match (first, second) {
            (Meaning::State(first), Meaning::State(second)) => match self.merge(first, second) {
                Some(state) => Meaning::State(State {
                    marks: state.marks | mark::ROOT,
                    ..state
                }),
                None => self.strange(),
            },
            (Meaning::State(state), Meaning::Side(side)) => self.times(state, side),
            (Meaning::Side(_) | Meaning::Weight(_), Meaning::State(state)) => {
                Meaning::State(State {
                    marks: state.marks | mark::ROOT,
                    ..state
                })
            }
            (first, second) => self.product(first, second),
        }
    }

    fn matmul(&mut self, first: Meaning, second: Meaning, transposed: bool) -> Meaning {
        match (first, second) {
            (strange @ Meaning::Strange(_), _) | (_, strange @ Meaning::Strange(_)) => strange,
            (Meaning::State(state), Meaning::Weight(mut used)) => {
                used.weight.transposed ^= !transposed;
                self.add(Step::Linear(used, state))
            }
            (Meaning::State(first), Meaning::State(second)) => {
                self.add(Step::Product(first, second))
            }
            (Meaning::State(_), _) | (_, Meaning::State(_)) => self.strange(),
            (first, second) => beside(&first, &second),
        }
    }

    /// A sum with a bias that may be left out.
    fn shifted(&mut self, state: Meaning, bias: Meaning, marks: u16) -> Meaning {
        let sum = match bias {
            Meaning::Side(_) => state,
            bias => self.sum(state, bias),
        };
        match sum {
            Meaning::State(state) => Meaning::State(State {
                marks: state.marks | marks,
                ..state
            }),
            _ => self.strange(),
        }
    }

    fn norm(
        &mut self,
        node: &Node,
        of: Meaning,
        rms: bool,
        inputs: &[Meaning],
        [weight, bias]: [usize; 2],
    ) -> Meaning {
        let used = |at: usize| match inputs.get(at) {
            Some(Meaning::Weight(used)) => Some(used.clone()),
            _ => None,
        };
        let is_known = !matches!(inputs.get(bias), Some(Meaning::Side(side)) if side.is_weight);
        match (of, used(weight)) {
            (Meaning::State(of), Some(weight)) if is_known => {
                let usual = if node.op.contains(".Skip") || node.op.contains(".Embed") {
                    1e-12
                } else {
                    1e-5
                };
                let epsilon = node.float("epsilon").unwrap_or(usual);
                self.add(Step::Norm {
                    rms,
                    weight,
                    bias: used(bias),
                    epsilon,
                    of,
                })
            }
            (strange @ Meaning::Strange(_), _) => strange,
            _ => self.strange(),
        }
    }

    /// One of two values, by a condition that is no weight: a state, or a number in its place where
    /// it is masked.
    fn chosen(&mut self, first: &Meaning, second: &Meaning) -> Meaning {
        match (first, second) {
            (Meaning::Strange(_), _) => first.clone(),
            (_, Meaning::Strange(_)) => second.clone(),
            (Meaning::State(first), Meaning::State(second)) => match self.merge(*first, *second) {
                Some(state) => Meaning::State(state),
                None => self.strange(),
            },
            (Meaning::State(state), other) | (other, Meaning::State(state)) => {
                if let Meaning::Weight(used) = other {
                    self.numbers.push(used.weight.id);
                }
                Meaning::State(*state)
            }
            (first, second) => beside(first, second),
        }
    }

    /// Parts of one state.
    fn joined(&mut self, inputs: &[Meaning]) -> Meaning {
        let mut all: Option<Meaning> = None;
        for input in inputs {
            all = Some(match (all, input) {
                (_, Meaning::Strange(_)) => return input.clone(),
                (None, Meaning::Weight(_)) => Meaning::Side(Side::default()),
                (None, input) => input.clone(),
                (Some(Meaning::State(first)), Meaning::State(second)) => {
                    match self.merge(first, *second) {
                        Some(state) => Meaning::State(state),
                        None => return self.strange(),
                    }
                }
                (Some(Meaning::State(_)), _) | (Some(_), Meaning::State(_)) => {
                    return self.strange();
                }
                (Some(first), second) => beside(&first, second),
            });
        }
        all.unwrap_or(Meaning::Side(Side::default()))
    }
}

/// What is made of values that are no states.
fn beside(first: &Meaning, second: &Meaning) -> Meaning {
    let (mut turning, mut dynamic) = (false, false);
    for meaning in [first, second] {
        match meaning {
            Meaning::Strange(_) => return meaning.clone(),
            Meaning::Side(side) => {
                turning |= side.turning;
                dynamic |= side.dynamic;
            }
            Meaning::State(_) | Meaning::Weight(_) => {}
        }
    }
    Meaning::Side(Side {
        turning,
        dynamic,
        ..Side::default()
    })
}

/// The graph's input that chooses rows of a table.
fn index(meaning: &Meaning) -> Option<Id> {
    match meaning {
        Meaning::Side(side) => side.input,
        _ => None,
    }
}
