//! Operators that are all of attention.

use super::{Meaning, Side, Skeleton, State, Step, mark};
use crate::weights::onnx::Node;

impl Skeleton<'_> {
    /// Attention of the operators: ONNX Runtime's has the product with queries', keys' and values'
    /// weights in it, ONNX' has not.
    pub(super) fn attention(&mut self, node: &Node, inputs: &[Meaning]) -> Meaning {
        if node.op == "Attention" {
            let empty = Meaning::Side(Side::default());
            let at = |at: usize| inputs.get(at).unwrap_or(&empty).clone();
            return self.heads(&[at(0), at(1), at(2), empty.clone(), empty.clone(), at(3)]);
        }
        let (Some(Meaning::State(_)), Some(Meaning::Weight(weight))) =
            (inputs.first(), inputs.get(1))
        else {
            return match inputs.first() {
                Some(strange @ Meaning::Strange(_)) => strange.clone(),
                _ => self.strange(),
            };
        };
        let product = self.matmul(inputs[0].clone(), Meaning::Weight(weight.clone()), false);
        let bias = inputs.get(2).cloned();
        let bias = bias.unwrap_or(Meaning::Side(Side::default()));
        let marks = if node.int("do_rotary").unwrap_or(0) == 1 {
            mark::TURNED
        } else {
            0
        };
        let (turned, plain) = (
            self.shifted(product.clone(), bias.clone(), 0),
            inputs.get(5).cloned(),
        );
        let Meaning::State(value) = turned else {
            return self.strange();
        };
        let query = State {
            marks: value.marks | marks,
            ..value
        };
        self.attend(query, query, value, plain)
    }

    /// Queries, keys and values; the bias of all three, a mask that is passed over, and what is
    /// added to scores.
    pub(super) fn heads(&mut self, inputs: &[Meaning]) -> Meaning {
        let mut parts = Vec::new();
        for at in 0..3 {
            let Some(Meaning::State(mut state)) = inputs.get(at).cloned() else {
                return match inputs.get(at) {
                    Some(strange @ Meaning::Strange(_)) => strange.clone(),
                    _ => self.strange(),
                };
            };
            if let Some(Meaning::Weight(bias)) = inputs.get(3) {
                let Meaning::State(shifted) = self.add(Step::Shift(bias.clone(), Some(at), state))
                else {
                    return self.strange();
                };
                state = shifted;
            }
            parts.push(state);
        }
        self.attend(parts[0], parts[1], parts[2], inputs.get(5).cloned())
    }

    fn attend(&mut self, query: State, key: State, value: State, bias: Option<Meaning>) -> Meaning {
        let node = &self.graph.nodes[self.node];
        let count = ["num_heads", "q_num_heads"]
            .iter()
            .find_map(|name| node.int(name));
        if let Some(count) = count {
            self.heads.insert(query.step, [count, 0]);
        }
        let mut scores = self.add(Step::Product(query, key));
        if let Some(bias @ Meaning::State(_)) = bias {
            scores = self.sum(scores, bias);
        }
        let Meaning::State(scores) = scores else {
            return self.strange();
        };
        let weights = State {
            marks: scores.marks | mark::SOFTMAX,
            ..scores
        };
        self.add(Step::Product(weights, value))
    }
}
