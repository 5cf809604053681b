//! The work of a call, in bounded steps: between steps a caller can return to its event loop, or
//! give the call up. Results do not depend on how inputs are distributed over steps.
//!
//! `start` checks a call's options and makes a [`Run`]. Its `queue` tokenises inputs, a
//! `pass` computes vectors for a batch of them, and `requested` makes the vectors of the
//! [`outputs`] that the [`options`] ask for. [`text`] has the calls that need no pass.

mod check;
mod merge;
pub mod options;
pub mod outputs;
mod pass;
mod queue;
mod requested;
pub(in crate::model) mod start;
pub mod text;

use std::collections::VecDeque;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::loaded::Model;
use crate::model::run::outputs::{Output, TokenVectors};
use crate::model::run::pass::{DenseOf, Pass, PassKey, Vectors};
use crate::model::run::queue::Queue;
use crate::model::run::requested::Requested;
use crate::model::transformer::route::Route;
use crate::text::{STEP, Tokens};

/// The most passes of a run that are under way at once. While a GPU computes one, the CPU prepares
/// the next.
const CONCURRENT_PASSES: usize = 2;

/// A call's work, done in steps.
pub struct Run {
    queue: Queue,
    /// Index of the model's route.
    route: usize,
    requested: Requested,
    /// The token vectors of the query that documents are ranked for.
    query: Option<TokenVectors>,
    /// Parts of passes that are under way, in the order of their inputs.
    parts: VecDeque<PassPart>,
    out: Output,
    /// An error that the next step returns. A step of another run that included this run's inputs
    /// may have met it.
    failure: Option<Error>,
}

/// A run's share of a pass.
struct PassPart {
    pass: Pass,
    inputs: Vec<Tokens>,
    /// How many inputs of other runs precede in the pass, and how many dense vectors they have.
    first: usize,
    first_vector: usize,
    /// Whether the pass has inputs of this run only.
    alone: bool,
}

impl Run {
    fn new(queue: Queue, route: usize, requested: Requested) -> Self {
        Self {
            queue,
            route,
            out: requested.empty_output(),
            requested,
            query: None,
            parts: VecDeque::new(),
            failure: None,
        }
    }

    /// Errors number the inputs from `first`: the inputs are a part of a longer list.
    pub fn count_from(&mut self, first: usize) {
        self.queue.number = first;
    }

    /// Does one step. Returns true when the run is done.
    pub fn step<B: Backend>(&mut self, model: &impl AsRef<Model<B>>) -> Result<bool> {
        self.step_with(model, &mut [])
    }

    /// Does one step, in which inputs of `others` take part if there is room and their passes are
    /// of the same kind: one pass over many short texts is faster than one for each. The runs take
    /// turns, so that none waits for all inputs of another. An error about an input of another run
    /// is returned by that run's next step.
    pub fn step_with<B: Backend>(
        &mut self,
        model: &impl AsRef<Model<B>>,
        others: &mut [&mut Self],
    ) -> Result<bool> {
        let model = model.as_ref();
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        if self.parts.len() < CONCURRENT_PASSES && !self.queue.is_empty() {
            let key = self.pass_key();
            let others = others
                .iter_mut()
                .filter(|run| run.pass_key() == key && run.failure.is_none());
            let mut runs = vec![&mut *self];
            runs.extend(others.map(|run| &mut **run));
            start_pass(model, key, &mut runs);
        }
        self.collect(model);
        match self.failure.take() {
            Some(error) => Err(error),
            None => Ok(self.queue.is_empty() && self.parts.is_empty()),
        }
    }

    /// Does all steps at once.
    pub(in crate::model) fn complete<B: Backend>(mut self, model: &Model<B>) -> Result<Output> {
        while !self.step(model)? {}
        Ok(self.finish())
    }

    /// Whether no work is left. The next step returns how the run ended.
    pub fn is_done(&self) -> bool {
        self.failure.is_some() || (self.queue.is_empty() && self.parts.is_empty())
    }

    /// A future to wait for before the next step; none if a step can do something now.
    pub fn waits_for(&self) -> Option<impl Future<Output = ()> + use<>> {
        let full = self.queue.is_empty() || self.parts.len() == CONCURRENT_PASSES;
        let first = self
            .parts
            .front()
            .filter(|_| full && self.failure.is_none());
        first.map(|part| part.pass.clone())
    }

    /// The vectors, in the order of the inputs.
    pub fn finish(mut self) -> Output {
        self.out.chunks = self.queue.chunks;
        self.out
    }

    /// The kind of passes that this run needs.
    fn pass_key(&self) -> PassKey {
        let late = self.queue.chunking.is_some_and(|chunking| chunking.late);
        let dense_of = if late { DenseOf::Span } else { DenseOf::Input };
        PassKey {
            route: self.route,
            dense: self.requested.dense.as_ref().map(|_| dense_of),
            sparse: self.requested.sparse.is_some(),
            tokens: self.requested.tokens.map(|tokens| tokens.head),
            scores: self.requested.scores.is_some(),
        }
    }

    /// Starts a pass over inputs whose pass with other runs' inputs failed.
    fn start_alone<B: Backend>(
        &mut self,
        model: &Model<B>,
        inputs: Vec<Tokens>,
    ) -> Option<PassPart> {
        let all: Vec<&Tokens> = inputs.iter().collect();
        let pass = Pass::start(model, self.pass_key(), &all);
        let pass = pass.map_err(|error| self.failure = Some(error)).ok()?;
        Some(PassPart {
            pass,
            inputs,
            first: 0,
            first_vector: 0,
            alone: true,
        })
    }

    /// Takes the vectors of passes that are done, in the order of the inputs.
    fn collect<B: Backend>(&mut self, model: &Model<B>) {
        while self.failure.is_none()
            && let Some(part) = self.parts.pop_front()
        {
            let route = &model.routes[self.route];
            let mut take = |vectors: &mut Vectors| self.take(route, &part, vectors);
            match part.pass.vectors(route, &mut take) {
                None => {
                    self.parts.push_front(part);
                    return;
                }
                Some(Ok(())) => {}
                Some(Err(error)) if part.alone => self.failure = Some(error),
                Some(Err(_)) => {
                    if let Some(part) = self.start_alone(model, part.inputs) {
                        self.parts.push_front(part);
                    }
                }
            }
        }
    }

    /// Takes the vectors of this run's inputs from those of a pass.
    fn take(&mut self, route: &Route, part: &PassPart, vectors: &mut Vectors) {
        let own = part.first..part.first + part.inputs.len();
        let (requested, out) = (&self.requested, &mut self.out);
        if vectors.dimensions > 0 {
            let rows = vectors.dense.chunks_exact(vectors.dimensions);
            rows.skip(part.first_vector)
                .take(vector_count(&part.inputs))
                .for_each(|vector| requested.push_dense(out, vector));
        }
        for entries in vectors.sparse.get_mut(own.clone()).into_iter().flatten() {
            let label = |id| route.tokenizer.entry(id).unwrap_or_default();
            requested.push_sparse(out, std::mem::take(entries), label);
        }
        for logits in vectors.logits.get_mut(own.clone()).into_iter().flatten() {
            requested.push_scores(out, std::mem::take(logits));
        }
        let ranking = requested.ranking;
        let skipped = usize::from(ranking.is_some() && self.query.is_none());
        for vectors in vectors.tokens.get_mut(own).into_iter().flatten() {
            let pushed = requested
                .tokens(std::mem::take(vectors))
                .and_then(|vectors| {
                    match (ranking, &self.query) {
                        (None, _) => out.token_vectors.get_or_insert_default().push(vectors),
                        (Some(_), None) => self.query = Some(vectors),
                        (Some(measure), Some(query)) => {
                            let score = measure.score(query, &vectors)?;
                            out.scores.get_or_insert_default().push(score);
                        }
                    }
                    Ok(())
                });
            if let Err(error) = pushed {
                self.failure.get_or_insert(error);
            }
        }
        for tokens in &part.inputs[skipped.min(part.inputs.len())..] {
            let counts = token_counts(tokens);
            let truncated = std::iter::repeat_n(tokens.truncated, counts.len());
            out.truncated.extend(truncated);
            out.tokens.extend(counts);
        }
    }
}

/// The number of tokens of each vector that an input has: one vector, or one for each span.
fn token_counts(tokens: &Tokens) -> Vec<u32> {
    let count = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX);
    if tokens.spans.is_empty() {
        return vec![count(tokens.ids.len())];
    }
    tokens.spans.iter().map(|span| count(span.len())).collect()
}

/// The number of dense vectors of some inputs.
fn vector_count(inputs: &[Tokens]) -> usize {
    inputs.iter().map(|tokens| tokens.spans.len().max(1)).sum()
}

/// The next inputs of each run, one at a time by turns, with at most `most` tokens in total. There
/// may be none yet if long texts are being split into chunks.
fn take_by_turns(runs: &mut [&mut Run], route: &Route, most: usize) -> Vec<Vec<Tokens>> {
    let mut taken: Vec<Vec<Tokens>> = runs.iter().map(|_| Vec::new()).collect();
    let mut open: Vec<usize> = (0..runs.len()).collect();
    // The first run's first input is taken whatever its length.
    let (mut room, mut budget) = (usize::MAX, STEP);
    while !open.is_empty() && room > 0 {
        open.retain(
            |&index| match runs[index].queue.next(route, room, &mut budget) {
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
            },
        );
    }
    taken
}

/// Starts a pass over the next inputs of runs whose passes are of the same kind.
fn start_pass<B: Backend>(model: &Model<B>, key: PassKey, runs: &mut [&mut Run]) {
    let most = model.backend.pass_tokens();
    let taken = take_by_turns(runs, &model.routes[key.route], most);
    let all: Vec<&Tokens> = taken.iter().flatten().collect();
    if all.is_empty() {
        return;
    }
    let pass = Pass::start(model, key, &all);
    let mut parts: Vec<_> = runs.iter_mut().zip(taken).collect();
    parts.retain(|(_, inputs)| !inputs.is_empty());
    let alone = parts.len() == 1;
    match pass {
        Ok(pass) => {
            let (mut first, mut first_vector) = (0, 0);
            for (run, inputs) in parts {
                let (count, vectors) = (inputs.len(), vector_count(&inputs));
                let pass = pass.clone();
                run.parts.push_back(PassPart {
                    pass,
                    inputs,
                    first,
                    first_vector,
                    alone,
                });
                first += count;
                first_vector += vectors;
                run.collect(model);
            }
        }
        Err(error) if alone => parts[0].0.failure = Some(error),
        // Each run tries its own inputs, so that the error goes to the run that caused it.
        Err(_) => parts.into_iter().for_each(|(run, inputs)| {
            if let Some(part) = run.start_alone(model, inputs) {
                run.parts.push_back(part);
                run.collect(model);
            }
        }),
    }
}
