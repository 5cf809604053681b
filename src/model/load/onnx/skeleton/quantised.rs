//! Operators whose weights are stored in few bits.

use super::{Meaning, Side, Skeleton, Step, index};
use crate::weights::onnx::{Codes, Id, Node};

/// Elements of a block of codes.
const BLOCKS: core::ops::RangeInclusive<usize> = 16..=1 << 16;

impl Skeleton<'_> {
    /// A weight with scales, and zero points if it has any.
    pub(super) fn scaled(
        &self,
        codes: Meaning,
        scale: Id,
        zero: Meaning,
        axis: usize,
        block: usize,
    ) -> Meaning {
        match codes {
            Meaning::Weight(mut used) if matches!(used.weight.codes, Codes::Plain) => {
                let zero = match zero {
                    Meaning::Weight(zero) => Some(zero.weight.id),
                    _ => None,
                };
                used.weight.codes = Codes::Scaled {
                    scale,
                    zero,
                    axis,
                    block,
                };
                Meaning::Weight(used)
            }
            // Both are states: scores, whose scales are no weights.
            state @ Meaning::State(_) => state,
            _ => self.strange(),
        }
    }

    /// A product with a matrix of codes: the places of these, of scales, zero points and bias among
    /// the inputs.
    pub(super) fn scaled_product(&mut self, places: [usize; 4], inputs: &[Meaning]) -> Meaning {
        let nothing = Meaning::Side(Side::default());
        let [codes, scale, zero, bias] =
            places.map(|at| inputs.get(at).unwrap_or(&nothing).clone());
        let (Some(state), Meaning::Weight(scale)) = (inputs.first(), scale) else {
            return self.strange();
        };
        let weight = self.scaled(codes, scale.weight.id, zero, 1, 1);
        let product = self.matmul(state.clone(), weight, false);
        self.shifted(product, bias, 0)
    }

    pub(super) fn packed_product(&mut self, node: &Node, inputs: &[Meaning]) -> Meaning {
        let used = |at: usize| match inputs.get(at) {
            Some(Meaning::Weight(used)) => Some(used.clone()),
            _ => None,
        };
        let (Some(Meaning::State(state)), Some(mut weight), Some(scale)) =
            (inputs.first(), used(1), used(2))
        else {
            return match inputs.first() {
                Some(strange @ Meaning::Strange(_)) => strange.clone(),
                _ => self.strange(),
            };
        };
        let number = |name: &str| node.int(name).and_then(|value| usize::try_from(value).ok());
        let scale = scale.weight.id;
        let block =
            number("block_size").filter(|block| BLOCKS.contains(block) && block.is_power_of_two());
        weight.weight.codes = match (node.op.ends_with("Bnb4"), block, number("bits")) {
            (true, Some(block), _) => Codes::Table {
                scale,
                block,
                normal: node.int("quant_type").unwrap_or(1) == 1,
            },
            // An order of columns (input 4) is what GPTQ's activation order needs.
            (false, Some(block), bits) if used(4).is_none() => match bits.unwrap_or(4) {
                bits @ (2 | 4 | 8) => Codes::Blocks {
                    scale,
                    zero: used(3).map(|zero| zero.weight.id),
                    bits,
                    block,
                    padded: true,
                },
                _ => return self.strange(),
            },
            _ => return self.strange(),
        };
        let product = self.add(Step::Linear(weight, *state));
        match inputs.get(5) {
            Some(bias) if !node.op.ends_with("Bnb4") => self.shifted(product, bias.clone(), 0),
            _ => product,
        }
    }

    pub(super) fn gather_blocks(&mut self, node: &Node, inputs: &[Meaning]) -> Meaning {
        let used = |at: usize| match inputs.get(at) {
            Some(Meaning::Weight(used)) => Some(used.clone()),
            _ => None,
        };
        let number = |name: &str| node.int(name).and_then(|value| usize::try_from(value).ok());
        let block = number("block_size").unwrap_or(128);
        let bits = number("bits").unwrap_or(4);
        let is_usual = node.int("gather_axis").unwrap_or(0) == 0
            && node.int("quantize_axis").unwrap_or(1) == 1
            && block.is_power_of_two()
            && BLOCKS.contains(&block)
            && matches!(bits, 4 | 8);
        match (used(0), used(2)) {
            (Some(mut table), Some(scale)) if is_usual => {
                table.weight.codes = Codes::Blocks {
                    scale: scale.weight.id,
                    zero: used(3).map(|zero| zero.weight.id),
                    bits,
                    block,
                    padded: false,
                };
                let index = inputs.get(1).and_then(index);
                self.add(Step::Lookup(table, index))
            }
            _ => self.strange(),
        }
    }

    pub(super) fn dequantized(&mut self, node: &Node, inputs: &[Meaning]) -> Meaning {
        let nothing = Meaning::Side(Side::default());
        let (Some(codes), scale) = (inputs.first(), inputs.get(1).unwrap_or(&nothing)) else {
            return self.strange();
        };
        let zero = inputs.get(2).unwrap_or(&nothing).clone();
        match (codes, scale) {
            (Meaning::Weight(used), Meaning::Weight(scale)) => {
                let axis = match node.int("axis").unwrap_or(1) {
                    0 | -2 => 0,
                    1 | -1 => 1,
                    _ => return self.strange(),
                };
                let block = node.int("block_size").unwrap_or(0);
                let Ok(block) = usize::try_from(block) else {
                    return self.strange();
                };
                // Of the codes as they are stored.
                let axis = if used.weight.transposed {
                    1 - axis
                } else {
                    axis
                };
                let codes = Meaning::Weight(used.clone());
                self.scaled(codes, scale.weight.id, zero, axis, block.max(1))
            }
            // Rows of a table of codes.
            (Meaning::State(state), Meaning::Weight(scale)) => {
                let zero = match zero {
                    Meaning::Weight(zero) => Some(zero.weight.id),
                    _ => None,
                };
                if let Step::Lookup(table, _) = &mut self.steps[state.step]
                    && state.marks == 0
                    && matches!(table.weight.codes, Codes::Plain)
                {
                    table.weight.codes = Codes::Scaled {
                        scale: scale.weight.id,
                        zero,
                        axis: 0,
                        block: usize::MAX,
                    };
                }
                Meaning::State(*state)
            }
            (other, _) => other.clone(),
        }
    }
}
