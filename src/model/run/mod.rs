//! Embedding in bounded steps, so that a caller on an event loop can breathe, and stop, between them. No result depends
//! on how inputs fall into steps.

mod check;
pub mod options;
pub mod outputs;
pub(in crate::model) mod pass;
pub(in crate::model) mod queue;

use std::collections::VecDeque;

use crate::backend::{Backend, cpu};
use crate::error::{Error, Result};
use crate::model::embedder::Embedder;
use crate::model::run::options::{ScoreActivation, TokenHead};
use crate::model::run::outputs::{Output, OutputDtype, Quantized, SparseVector, TokenVectors};
use crate::model::run::pass::{Asked, Pass, Vectors};
use crate::model::run::queue::Queue;
use crate::model::transformer::route::Route;
use crate::text::{Chunking, Tokens};

/// Passes that a run has under way at most, where a GPU does them: while it does one, the next is made ready.
const UNDER_WAY: usize = 2;

/// Tokens of each vector.
fn counts(tokens: &Tokens) -> Vec<u32> {
    let count = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX);
    if tokens.spans.is_empty() {
        return vec![count(tokens.ids.len())];
    }
    tokens.spans.iter().map(|span| count(span.len())).collect()
}

/// What is asked of dense vectors.
pub(in crate::model) struct Dense {
    pub dimensions: usize,
    pub normalize: bool,
    pub output: OutputDtype,
}

/// What is asked of sparse vectors.
#[derive(Clone, Copy)]
pub(in crate::model) struct Sparse {
    pub top_k: Option<usize>,
    pub threshold: f32,
    pub labels: bool,
}

/// What is asked of the vectors of tokens.
#[derive(Clone, Copy)]
pub(in crate::model) struct PerToken {
    pub head: TokenHead,
    pub normalize: bool,
}

/// Embedding in steps.
pub struct Run {
    queue: Queue,
    /// Index of the embedder's route.
    route: usize,
    dense: Option<Dense>,
    sparse: Option<Sparse>,
    per_token: Option<PerToken>,
    /// Whether scores are asked for, and what makes them of logits.
    scores: Option<ScoreActivation>,
    /// Parts in passes, in the order of their inputs.
    parts: VecDeque<Part>,
    out: Output,
    /// What went wrong in a step of another run that took inputs of this one along.
    failure: Option<Error>,
}

impl Run {
    pub(in crate::model) fn new(
        queue: Queue,
        route: usize,
        dense: Option<Dense>,
        sparse: Option<Sparse>,
        per_token: Option<PerToken>,
    ) -> Self {
        let output = dense.as_ref().map(|dense| dense.output);
        let codes = output.filter(|output| *output != OutputDtype::Float);
        let out = Output {
            dense: output.is_some().then(Vec::new),
            quantized: codes.map(Quantized::new),
            dimensions: dense.as_ref().map_or(0, |dense| dense.dimensions),
            sparse: sparse.is_some().then(Vec::new),
            token_vectors: per_token.is_some().then(Vec::new),
            ..Output::default()
        };
        Self {
            queue,
            route,
            dense,
            sparse,
            per_token,
            scores: None,
            parts: VecDeque::new(),
            out,
            failure: None,
        }
    }

    /// Index of the embedder's route.
    pub(in crate::model) fn route(&self) -> usize {
        self.route
    }

    /// Has inputs cut before they are embedded.
    pub(in crate::model) fn cut(&mut self, chunking: Chunking) {
        self.queue.chunking = Some(chunking);
    }

    /// Has inputs scored.
    pub(in crate::model) fn score(&mut self, labels: usize, activation: ScoreActivation) {
        self.scores = Some(activation);
        self.out.scores = Some(Vec::new());
        self.out.dimensions = labels;
    }

    /// Errors count the inputs from `first`: these are a part of a longer list.
    pub fn count_from(&mut self, first: usize) {
        self.queue.number = first;
    }

    /// Does one step; true when all is done.
    pub fn step<B: Backend>(&mut self, embedder: &Embedder<B>) -> Result<bool> {
        self.step_with(embedder, &mut [])
    }

    /// Does one step, and takes inputs of `others` along where there is room and they want the same of the model: one
    /// pass over many short texts costs less than one each. Inputs are taken by turns, so none waits for all of
    /// another's. What goes wrong with others' inputs is theirs to tell when it is their turn.
    pub fn step_with<B: Backend>(
        &mut self,
        embedder: &Embedder<B>,
        others: &mut [&mut Self],
    ) -> Result<bool> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        if self.parts.len() < UNDER_WAY && !self.queue.is_empty() {
            let asked = self.asked();
            let others = others
                .iter_mut()
                .filter(|run| run.asked() == asked && run.failure.is_none());
            let mut runs = vec![&mut *self];
            runs.extend(others.map(|run| &mut **run));
            start(embedder, asked, &mut runs);
        }
        self.collect(embedder);
        match self.failure.take() {
            Some(error) => Err(error),
            None => Ok(self.queue.is_empty() && self.parts.is_empty()),
        }
    }

    /// Whether nothing is left to do: the next step only tells how it ended.
    pub fn is_done(&self) -> bool {
        self.failure.is_some() || (self.queue.is_empty() && self.parts.is_empty())
    }

    /// What is to be waited for, if a step can do nothing before it.
    pub fn waits_for(&self) -> Option<impl Future<Output = ()> + use<>> {
        let full = self.queue.is_empty() || self.parts.len() == UNDER_WAY;
        let first = self
            .parts
            .front()
            .filter(|_| full && self.failure.is_none());
        first.map(|part| part.pass.clone())
    }

    /// What is asked of the model.
    fn asked(&self) -> Asked {
        Asked {
            route: self.route,
            dense: self.dense.is_some(),
            late: self.is_late(),
            sparse: self.sparse.is_some(),
            per_token: self.per_token.map(|per_token| per_token.head),
            scores: self.scores.is_some(),
        }
    }

    /// Whether inputs have a vector for each of some spans.
    fn is_late(&self) -> bool {
        self.queue.chunking.is_some_and(|chunking| chunking.late)
    }

    /// The vectors, in the order of the inputs.
    pub fn finish(mut self) -> Output {
        self.out.chunks = self.queue.chunks;
        self.out
    }
}

/// A run's part in a pass.
struct Part {
    pass: Pass,
    inputs: Vec<Tokens>,
    /// Inputs of others that come before, and their dense vectors.
    first: usize,
    first_vector: usize,
    /// Whether no other run has a part.
    alone: bool,
}

/// The next inputs of each run, up to `most` tokens of all, one at a time by turns.
fn take_by_turns(runs: &mut [&mut Run], route: &Route, most: usize) -> Vec<Vec<Tokens>> {
    let mut taken: Vec<Vec<Tokens>> = runs.iter().map(|_| Vec::new()).collect();
    let mut open: Vec<usize> = (0..runs.len()).collect();
    // The first one's first input is taken however long it is.
    let mut room = usize::MAX;
    while !open.is_empty() && room > 0 {
        open.retain(|&index| match runs[index].queue.next(route, room) {
            Ok(Some(tokens)) => {
                room = room.min(most).saturating_sub(tokens.ids.len());
                taken[index].push(tokens);
                true
            }
            Ok(None) => false,
            Err(error) => {
                runs[index].failure = Some(error);
                taken[index].clear();
                false
            }
        });
    }
    taken
}

/// Dense vectors of some inputs.
fn vectors(inputs: &[Tokens]) -> usize {
    inputs.iter().map(|tokens| counts(tokens).len()).sum()
}

/// Starts a pass over the next inputs of runs that ask the same.
fn start<B: Backend>(embedder: &Embedder<B>, asked: Asked, runs: &mut [&mut Run]) {
    let most = embedder.backend().pass_tokens();
    let taken = take_by_turns(runs, &embedder.routes[asked.route], most);
    let all: Vec<&Tokens> = taken.iter().flatten().collect();
    if all.is_empty() {
        return;
    }
    let pass = Pass::start(embedder, asked, &all);
    let mut parts: Vec<_> = runs.iter_mut().zip(taken).collect();
    parts.retain(|(_, inputs)| !inputs.is_empty());
    let alone = parts.len() == 1;
    match pass {
        Ok(pass) => {
            let (mut first, mut first_vector) = (0, 0);
            for (run, inputs) in parts {
                let (count, vectors) = (inputs.len(), vectors(&inputs));
                let pass = pass.clone();
                run.parts.push_back(Part {
                    pass,
                    inputs,
                    first,
                    first_vector,
                    alone,
                });
                first += count;
                first_vector += vectors;
                run.collect(embedder);
            }
        }
        Err(error) if alone => parts[0].0.failure = Some(error),
        // Whose inputs it was shows when each is alone.
        Err(_) => parts.into_iter().for_each(|(run, inputs)| {
            if let Some(part) = run.start_alone(embedder, inputs) {
                run.parts.push_back(part);
                run.collect(embedder);
            }
        }),
    }
}

impl Run {
    /// Starts a pass over inputs of this run that failed among others'.
    fn start_alone<B: Backend>(
        &mut self,
        embedder: &Embedder<B>,
        inputs: Vec<Tokens>,
    ) -> Option<Part> {
        let all: Vec<&Tokens> = inputs.iter().collect();
        let pass = Pass::start(embedder, self.asked(), &all);
        let pass = pass.map_err(|error| self.failure = Some(error)).ok()?;
        Some(Part {
            pass,
            inputs,
            first: 0,
            first_vector: 0,
            alone: true,
        })
    }

    /// Takes the vectors that are there, in the order of the inputs.
    fn collect<B: Backend>(&mut self, embedder: &Embedder<B>) {
        while self.failure.is_none()
            && let Some(part) = self.parts.pop_front()
        {
            let pass = part.pass.clone();
            let route = &embedder.routes[self.route];
            match pass.vectors(&embedder.routes, |vectors| self.keep(route, &part, vectors)) {
                None => {
                    self.parts.push_front(part);
                    return;
                }
                Some(Ok(())) => {}
                Some(Err(error)) if part.alone => self.failure = Some(error),
                Some(Err(_)) => {
                    if let Some(part) = self.start_alone(embedder, part.inputs) {
                        self.parts.push_front(part);
                    }
                }
            }
        }
    }

    /// Keeps what a pass gave for this run's inputs.
    fn keep(&mut self, route: &Route, part: &Part, vectors: &mut Vectors) {
        let own = part.first..part.first + part.inputs.len();
        let counts: Vec<Vec<u32>> = part.inputs.iter().map(counts).collect();
        if vectors.dimensions > 0 {
            let rows = vectors.dense.chunks_exact(vectors.dimensions);
            let count = counts.iter().map(Vec::len).sum();
            rows.skip(part.first_vector)
                .take(count)
                .for_each(|vector| self.keep_dense(vector));
        }
        if let Some(all) = vectors.sparse.get_mut(own.clone()) {
            all.iter_mut()
                .for_each(|entries| self.keep_sparse(route, std::mem::take(entries)));
        }
        if let (Some(activation), Some(all)) = (self.scores, vectors.logits.get_mut(own.clone())) {
            let scores = self.out.scores.get_or_insert_default();
            for logits in all {
                activation.apply(logits);
                scores.append(logits);
            }
        }
        if let Some(all) = vectors.per_token.get_mut(own) {
            all.iter_mut()
                .for_each(|vectors| self.keep_tokens(std::mem::take(vectors)));
        }
        for (tokens, counts) in part.inputs.iter().zip(counts) {
            let truncated = std::iter::repeat_n(tokens.truncated, counts.len());
            self.out.truncated.extend(truncated);
            self.out.tokens.extend(counts);
        }
    }

    fn keep_dense(&mut self, vector: &[f32]) {
        let Some(dense) = &self.dense else { return };
        let out = self.out.dense.get_or_insert_default();
        let start = out.len();
        out.extend_from_slice(&vector[..dense.dimensions]);
        if dense.normalize {
            cpu::l2_normalize(&mut out[start..]);
        }
        if let Some(quantized) = &mut self.out.quantized {
            let scale = dense.output.push(&out[start..], &mut quantized.codes);
            quantized.scales.push(scale);
            out.truncate(start);
        }
    }

    /// Adds a sparse vector of what the options keep.
    fn keep_sparse(&mut self, route: &Route, entries: Vec<(u32, f32)>) {
        let Some(sparse) = self.sparse else { return };
        let label = |id| route.tokenizer.entry(id).unwrap_or_default();
        let vector = select(entries, sparse, label);
        self.out.sparse.get_or_insert_default().push(vector);
    }

    fn keep_tokens(&mut self, mut vectors: TokenVectors) {
        if self.per_token.is_some_and(|asked| asked.normalize) {
            let rows = vectors.data.chunks_exact_mut(vectors.dimensions.max(1));
            rows.for_each(cpu::l2_normalize);
        }
        self.out.token_vectors.get_or_insert_default().push(vectors);
    }
}

/// The entries that the options keep, in ascending order of index.
fn select(
    mut entries: Vec<(u32, f32)>,
    sparse: Sparse,
    label: impl Fn(u32) -> String,
) -> SparseVector {
    entries.retain(|(_, weight)| *weight > sparse.threshold);
    if let Some(most) = sparse.top_k.filter(|most| *most < entries.len()) {
        // Of equal weights the lower index stays.
        entries.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        entries.truncate(most);
        entries.sort_unstable_by_key(|(index, _)| *index);
    }
    let labels = sparse
        .labels
        .then(|| entries.iter().map(|(index, _)| label(*index)).collect());
    let (indices, values) = entries.into_iter().unzip();
    SparseVector {
        indices,
        values,
        labels,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selection_keeps_the_largest_in_order_of_index() {
        let entries = vec![(1, 3.0), (2, 1.0), (3, 2.0), (4, 3.0)];
        let all = Sparse {
            top_k: None,
            threshold: 0.0,
            labels: false,
        };
        let kept = |sparse| select(entries.clone(), sparse, |id| format!("t{id}"));
        assert_eq!(kept(all).indices, [1, 2, 3, 4]);
        let threshold = 1.5;
        assert_eq!(kept(Sparse { threshold, ..all }).indices, [1, 3, 4]);
        let top = kept(Sparse {
            top_k: Some(3),
            labels: true,
            ..all
        });
        assert_eq!(
            (top.indices, top.values),
            (vec![1, 3, 4], vec![3.0, 2.0, 3.0])
        );
        assert_eq!(top.labels.unwrap(), ["t1", "t3", "t4"]);
    }
}
