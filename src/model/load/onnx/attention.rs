//! Attention: from its output back to the states that it is made of.

use super::{Finder, State, Step, mark};
use crate::error::Result;
use crate::model::transformer::spec::Relative;

impl Finder<'_> {
    /// Queries, keys and values; gives what they are made of.
    pub(super) fn attention(&mut self, layer: usize, state: State) -> Result<State> {
        let (names, spec) = (self.names, self.spec);
        let wanted = "sums of values";
        self.plain(state)?;
        let Step::Product(weights, value) = *self.skeleton.step(state.step) else {
            return Err(self.odd(state, wanted));
        };
        if weights.marks & mark::ALL != mark::SOFTMAX {
            return Err(self.odd(state, wanted));
        }
        let mut scores = self.bare(weights);
        if let Some(Relative::Buckets { buckets, .. }) = spec.relative {
            scores = self.without_distances(layer, scores, buckets)?;
        }
        let Step::Product(query, key) = *self.skeleton.step(scores.step) else {
            return Err(self.odd(scores, "scores of queries and keys"));
        };
        let rope = spec
            .layers
            .get(layer)
            .is_some_and(|layer| layer.rope.is_some());
        let turned = if rope { mark::TURNED } else { 0 };
        let mut parts = [query, key, value];
        let heads = names
            .head_norms
            .map(|names| names.map(|name| self.in_layer(layer, name)));
        for (at, part) in parts.iter_mut().enumerate() {
            let expected = if at < 2 { turned } else { 0 };
            // A factor of the scores may be in both, before or after the angles.
            if at < 2 && heads.is_none() {
                *part = self.bare(*part);
            }
            if let (Some(names), true) = (&heads, at < 2) {
                *part = self.headed(*part, expected, &names[at])?;
            } else if part.marks & mark::ALL == expected {
                part.marks = 0;
            } else {
                return Err(self.odd(
                    *part,
                    if rope {
                        "a product with angles"
                    } else {
                        "none"
                    },
                ));
            }
        }
        self.check_heads(parts)?;
        let [query, key, value] = parts;
        let (query, key, value) = (self.linear(query)?, self.linear(key)?, self.linear(value)?);
        let is_one = query.step == key.step && key.step == value.step;
        let widths = [
            spec.heads.query_width(),
            spec.heads.kv_width(),
            spec.heads.kv_width(),
        ];
        let all: usize = widths.iter().sum();
        let (hidden, bias) = (spec.hidden_size, spec.biases.qkv);
        let of = query.of;
        self.plain(of)?;
        if key.of.step != of.step || value.of.step != of.step {
            return Err(self.odd(scores, "queries and keys of the same states"));
        }
        match names.qkv {
            [one] if is_one => {
                let module = self.in_layer(layer, one);
                self.place_linear(&module, &query, [all, hidden], (0, all), bias)?;
            }
            [_, _, _] => {
                let mut first = 0;
                for ((linear, module), rows) in
                    [query, key, value].iter().zip(names.qkv).zip(widths)
                {
                    let module = self.in_layer(layer, module);
                    let place = if is_one { (first, all) } else { (0, rows) };
                    self.place_linear(&module, linear, [rows, hidden], place, bias)?;
                    first += rows;
                }
            }
            _ => return Err(self.odd(scores, "one product for queries, keys and values")),
        }
        Ok(of)
    }

    /// Checks that queries, keys and values are cut into the heads that they have, where the graph
    /// says into which.
    fn check_heads(&self, parts: [State; 3]) -> Result<()> {
        let heads = self.spec.heads;
        for (part, count) in parts
            .into_iter()
            .zip([heads.count, heads.kv_count, heads.kv_count])
        {
            let Some([stated, size]) = self.skeleton.heads_of(part.step) else {
                continue;
            };
            let fits = |stated: i64, own: usize| stated <= 0 || usize::try_from(stated) == Ok(own);
            if !(fits(stated, count) && fits(size, heads.size)) {
                let place = self.skeleton.place(part.step);
                return Err(self.refuse(&format!(
                    "node {place} is cut into {stated} heads of {size}, and config.json has {count} of {}",
                    heads.size
                )));
            }
        }
        Ok(())
    }

    /// Scores without what the distances of tokens add to them.
    fn without_distances(&mut self, layer: usize, scores: State, buckets: usize) -> Result<State> {
        let (names, spec) = (self.names, self.spec);
        let Step::Sum(first, second) = *self.skeleton.step(scores.step) else {
            return Err(self.odd(scores, "the sum of scores and distances"));
        };
        let (first, second) = (self.bare(first), self.bare(second));
        let (sum, table) = match self.skeleton.step(first.step) {
            Step::Lookup(table, _) => (second, table.clone()),
            _ => match self.skeleton.step(second.step) {
                Step::Lookup(table, _) => (first, table.clone()),
                _ => return Err(self.odd(scores, "the sum of scores and distances")),
            },
        };
        let prefix = self.family.prefixes.first().copied().unwrap_or_default();
        let name = format!("{prefix}{}", names.relative_bias);
        if layer + 1 == spec.layers.len() {
            let shape = [buckets, spec.heads.count];
            self.place(name, &table, &shape, 0, buckets)?;
        } else if !self
            .placements
            .iter()
            .any(|one| one.weight.id == table.weight.id)
        {
            return Err(self.odd(scores, "the distances of the other layers"));
        }
        Ok(sum)
    }

    /// A norm of each head, before the angles.
    fn headed(&mut self, mut state: State, expected: u16, module: &str) -> Result<State> {
        let size = self.spec.heads.size;
        loop {
            if state.marks & mark::ALL & !expected != 0 {
                return Err(self.odd(state, "a norm of each head"));
            }
            // A factor of the scores is a number, and the norm's weights are a vector behind a
            // mean.
            if let Step::Scale(used, of) = self.skeleton.step(state.step)
                && of.marks & mark::MEAN == 0
            {
                let (number, of) = (used.weight.id, *of);
                self.skeleton.numbers.push(number);
                state = State {
                    step: of.step,
                    marks: state.marks | of.marks,
                };
                continue;
            }
            break;
        }
        if state.marks & mark::ALL != expected {
            return Err(self.odd(state, "a product with angles"));
        }
        state.marks = 0;
        let of = self.norm(module, state, size)?;
        self.plain(of)?;
        Ok(of)
    }
}
