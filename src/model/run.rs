//! Embedding in bounded steps, so that a caller on an event loop can breathe, and stop, between them. No result depends
//! on how inputs fall into steps.

use std::collections::VecDeque;

use super::embedder::Embedder;
use super::forward::Weights;
use super::head::{self, DenseHead};
use super::options::{TextOptions, TokenHead};
use super::output::{OutputDtype, Quantized};
use super::route::{Body, Route, Transformer};
use crate::backend::{Activation, Backend};
use crate::error::{Error, Result};
use crate::text::tokenizer::Rules;
use crate::text::{Batch, Chunk, Chunking, Direction, Input, Tokens};

/// Tokens of one step: enough to keep the kernels busy, few enough to bound memory and the wait for a cancellation.
/// A single longer input is one step of its own.
const STEP_TOKENS: usize = 512;

/// What is wrong with token ids that are to be cut.
pub(super) const NOT_TEXT: &str =
    "token ids cannot be cut in chunks: they have no sentences; pass texts";

/// Dense vectors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DenseBatch {
    /// All vectors, row by row, `[inputs, dimensions]`; nothing if they are quantised.
    pub data: Vec<f32>,
    /// All vectors in whole numbers, if these were asked for.
    pub quantized: Option<Quantized>,
    /// Width of a vector.
    pub dimensions: usize,
    /// Tokens that were read of each input.
    pub tokens: Vec<u32>,
    /// Whether something of the input was cut off.
    pub truncated: Vec<bool>,
}

/// One sparse vector: entries in ascending order of index.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseVector {
    /// Ids of vocabulary entries.
    pub indices: Vec<u32>,
    /// Their weights.
    pub values: Vec<f32>,
    /// Their tokens, if asked for.
    pub labels: Option<Vec<String>>,
}

/// Sparse vectors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseBatch {
    /// One for each input.
    pub vectors: Vec<SparseVector>,
    /// Tokens that were read of each input.
    pub tokens: Vec<u32>,
}

/// The vectors of one input's tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenVectors {
    /// Row by row, `[vectors, dimensions]`.
    pub data: Vec<f32>,
    /// Width of a vector.
    pub dimensions: usize,
}

/// What a run gives: the kinds of vectors that were asked for, each with one entry an input.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// Dense vectors, row by row.
    pub dense: Option<Vec<f32>>,
    /// Dense vectors in whole numbers, in place of the others.
    pub quantized: Option<Quantized>,
    /// Components of a dense vector.
    pub dimensions: usize,
    /// Sparse vectors.
    pub sparse: Option<Vec<SparseVector>>,
    /// Vectors of tokens.
    pub token_vectors: Option<Vec<TokenVectors>>,
    /// Tokens that were read of each input.
    pub tokens: Vec<u32>,
    /// Whether something of the input was cut off.
    pub truncated: Vec<bool>,
    /// The chunks of each input, if these are what was embedded: all else then has an entry for each of them.
    pub chunks: Vec<Vec<Chunk>>,
}

impl Output {
    /// The dense vectors, none if they were not asked for.
    pub fn into_dense(self) -> DenseBatch {
        DenseBatch {
            data: self.dense.unwrap_or_default(),
            quantized: self.quantized,
            dimensions: self.dimensions,
            tokens: self.tokens,
            truncated: self.truncated,
        }
    }

    /// The sparse vectors, none if they were not asked for.
    pub fn into_sparse(self) -> SparseBatch {
        SparseBatch {
            vectors: self.sparse.unwrap_or_default(),
            tokens: self.tokens,
        }
    }
}

/// Inputs that wait to be tokenised and packed.
pub(super) struct Queue {
    inputs: std::vec::IntoIter<Input>,
    /// Number of the next input, for errors.
    number: usize,
    /// Tokenised, but more than the last step could take.
    waiting: VecDeque<Tokens>,
    /// How inputs are cut, if they are.
    chunking: Option<Chunking>,
    /// The chunks of each input that was cut.
    chunks: Vec<Vec<Chunk>>,
    prompt: String,
    skip_prompt: bool,
    truncate: bool,
    direction: Direction,
}

impl Queue {
    pub(super) fn new(
        inputs: Vec<Input>,
        prompt: String,
        skip_prompt: bool,
        options: TextOptions,
    ) -> Result<Self> {
        if inputs.is_empty() {
            return Err(Error::EmptyInput(
                "there is nothing to embed: pass at least one text".to_owned(),
            ));
        }
        Ok(Self {
            inputs: inputs.into_iter(),
            number: 0,
            waiting: VecDeque::new(),
            chunking: None,
            chunks: Vec::new(),
            prompt,
            skip_prompt,
            truncate: options.truncate.unwrap_or(true),
            direction: options.direction,
        })
    }

    fn is_empty(&self) -> bool {
        self.inputs.as_slice().is_empty() && self.waiting.is_empty()
    }

    /// The next input, if it has at most `room` tokens.
    fn next(&mut self, route: &Route, room: usize) -> Result<Option<Tokens>> {
        while self.waiting.is_empty() {
            let Some(input) = self.inputs.next() else {
                return Ok(None);
            };
            self.tokenize(route, &input)?;
        }
        let fits = |tokens: &mut Tokens| tokens.ids.len() <= room;
        Ok(self.waiting.pop_front_if(fits))
    }

    fn tokenize(&mut self, route: &Route, input: &Input) -> Result<()> {
        let rules = Rules {
            prompt: &self.prompt,
            skip_prompt: self.skip_prompt,
            limit: route.max_tokens,
            truncate: self.truncate,
            direction: self.direction,
        };
        let tokens = match (self.chunking, input) {
            (None, _) => vec![route.tokenizer.tokens(self.number, input, rules)?],
            (Some(chunking), Input::Text(text)) if chunking.late => {
                let (chunks, passes) = route.tokenizer.late_chunks(text, rules, chunking)?;
                self.chunks.push(chunks);
                passes
            }
            (Some(chunking), Input::Text(text)) => {
                let chunks = route.tokenizer.chunks(text, rules, chunking)?.into_iter();
                let (chunks, tokens) = chunks.unzip();
                self.chunks.push(chunks);
                tokens
            }
            (Some(_), Input::Ids(_)) => return Err(Error::input("texts", NOT_TEXT)),
        };
        self.number += 1;
        for tokens in &tokens {
            check_ids(&tokens.ids, route.vocab_size())?;
        }
        self.waiting.extend(tokens);
        Ok(())
    }
}

fn check_ids(ids: &[u32], size: usize) -> Result<()> {
    match ids.iter().find(|id| **id as usize >= size) {
        Some(id) => Err(Error::TokenOutOfRange {
            id: u64::from(*id),
            size,
        }),
        None => Ok(()),
    }
}

/// Tokens of each vector.
fn counts(tokens: &Tokens) -> Vec<u32> {
    let count = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX);
    if tokens.spans.is_empty() {
        return vec![count(tokens.ids.len())];
    }
    tokens.spans.iter().map(|span| count(span.len())).collect()
}

/// What is asked of dense vectors.
pub(super) struct Dense {
    pub dimensions: usize,
    pub normalize: bool,
    pub output: OutputDtype,
}

/// What is asked of sparse vectors.
#[derive(Clone, Copy)]
pub(super) struct Sparse {
    pub top_k: Option<usize>,
    pub threshold: f32,
    pub labels: bool,
}

/// What is asked of the vectors of tokens.
#[derive(Clone, Copy)]
pub(super) struct PerToken {
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
    out: Output,
    /// What went wrong in a step of another run that took inputs of this one along.
    failure: Option<Error>,
}

impl Run {
    pub(super) fn new(
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
            out,
            failure: None,
        }
    }

    /// Index of the embedder's route.
    pub(super) fn route(&self) -> usize {
        self.route
    }

    /// Has inputs cut before they are embedded.
    pub(super) fn cut(&mut self, chunking: Chunking) {
        self.queue.chunking = Some(chunking);
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
        if self.queue.is_empty() {
            return Ok(true);
        }
        let kind = self.kind();
        let others = others
            .iter_mut()
            .filter(|run| run.kind() == kind && run.failure.is_none());
        let mut runs = vec![&mut *self];
        runs.extend(others.map(|run| &mut **run));
        let route = &embedder.routes[runs[0].route];
        let taken = take_by_turns(&mut runs, route);
        let mut parts: Vec<Part> = runs.into_iter().zip(taken).collect();
        parts.retain(|(_, taken)| !taken.is_empty());
        if let Err(error) = embed(embedder, route, &mut parts) {
            match &mut parts[..] {
                [(run, _)] => run.failure = Some(error),
                // Whose inputs it was shows when each is alone.
                parts => parts.iter_mut().for_each(|part| {
                    part.0.failure = embed(embedder, route, std::slice::from_mut(part)).err();
                }),
            }
        }
        match self.failure.take() {
            Some(error) => Err(error),
            None => Ok(self.queue.is_empty()),
        }
    }

    /// Whether no input is left: the next step only tells how it ended.
    pub fn is_done(&self) -> bool {
        self.failure.is_some() || self.queue.is_empty()
    }

    /// What is asked of the model: runs of one kind can share a pass.
    fn kind(&self) -> (usize, bool, bool, bool, Option<TokenHead>) {
        let head = self.per_token.map(|per_token| per_token.head);
        (
            self.route,
            self.dense.is_some(),
            self.is_late(),
            self.sparse.is_some(),
            head,
        )
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

/// A run, and those of its inputs that a step is about.
type Part<'a> = (&'a mut Run, Vec<Tokens>);

/// The next inputs of each run, up to [`STEP_TOKENS`] of all, one at a time by turns.
fn take_by_turns(runs: &mut [&mut Run], route: &Route) -> Vec<Vec<Tokens>> {
    let mut taken: Vec<Vec<Tokens>> = runs.iter().map(|_| Vec::new()).collect();
    let mut open: Vec<usize> = (0..runs.len()).collect();
    // The first one's first input is taken however long it is.
    let mut room = usize::MAX;
    while !open.is_empty() && room > 0 {
        open.retain(|&index| match runs[index].queue.next(route, room) {
            Ok(Some(tokens)) => {
                room = room.min(STEP_TOKENS).saturating_sub(tokens.ids.len());
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

/// One forward pass over the inputs of runs of one kind, and all that they ask for.
fn embed<B: Backend>(embedder: &Embedder<B>, route: &Route, parts: &mut [Part]) -> Result<()> {
    let all: Vec<&Tokens> = parts.iter().flat_map(|(_, taken)| taken).collect();
    let Some((first, _)) = parts.first() else {
        return Ok(());
    };
    let vectors = match &route.body {
        Body::Table { weights, .. } => {
            let table = embedder.weights.vector(*weights);
            let entries = all.iter().map(|tokens| head::look_up(table, &tokens.ids));
            Vectors {
                sparse: entries.collect(),
                ..Vectors::default()
            }
        }
        Body::Transformer(transformer) => transform(embedder, first, transformer, &all)?,
    };
    let Vectors {
        dense,
        dimensions,
        sparse,
        per_token,
    } = vectors;
    let mut dense = dense.chunks_exact(dimensions.max(1));
    let (mut sparse, mut per_token) = (sparse.into_iter(), per_token.into_iter());
    for (run, taken) in parts {
        let inputs = taken.len();
        let tokens: Vec<Vec<u32>> = taken.iter().map(counts).collect();
        for vector in dense.by_ref().take(tokens.iter().map(Vec::len).sum()) {
            run.keep_dense(vector);
        }
        for entries in sparse.by_ref().take(inputs) {
            run.keep_sparse(route, entries);
        }
        for vectors in per_token.by_ref().take(inputs) {
            run.keep_tokens(vectors);
        }
        for (tokens, counts) in taken.iter().zip(tokens) {
            let truncated = std::iter::repeat_n(tokens.truncated, counts.len());
            run.out.truncated.extend(truncated);
            run.out.tokens.extend(counts);
        }
    }
    Ok(())
}

/// What a pass gives, each kind empty or with an entry for each input.
#[derive(Default)]
struct Vectors {
    dense: Vec<f32>,
    /// Width of a dense vector.
    dimensions: usize,
    sparse: Vec<Vec<(u32, f32)>>,
    per_token: Vec<TokenVectors>,
}

/// One forward pass, and the heads that `run`'s kind asks for.
fn transform<B: Backend>(
    embedder: &Embedder<B>,
    run: &Run,
    transformer: &Transformer,
    inputs: &[&Tokens],
) -> Result<Vectors> {
    let batch = &Batch::pack(inputs.iter().copied());
    let (backend, weights) = (embedder.backend(), &embedder.weights);
    let states = transformer.states(backend, weights, batch)?;
    let mut vectors = Vectors::default();
    if let (Some(_), Some(head)) = (&run.dense, &transformer.dense) {
        vectors.dense = if run.is_late() {
            pool_spans(backend, weights, head, &states, batch, inputs)?
        } else {
            head.run(backend, weights, &states, batch)?
        };
        vectors.dimensions = head.dimensions;
    }
    if let (Some(_), Some(head)) = (&run.sparse, &transformer.sparse) {
        vectors.sparse = head.run(backend, transformer.vocab_size, weights, &states, batch)?;
    }
    if let Some(per_token) = run.per_token {
        let (rows, skip) = match (per_token.head, transformer.colbert) {
            // The first token's vector is the dense one.
            (TokenHead::Colbert, Some(linear)) => (
                weights.linear(backend, &states, linear, Activation::Identity)?,
                1,
            ),
            _ => (states, 0),
        };
        let values = head::finite(backend.read(&rows)?)?;
        let width = values.len() / batch.ids.len().max(1);
        let sequences = batch.offsets.windows(2).map(|pair| TokenVectors {
            data: values[(pair[0] + skip).min(pair[1]) * width..pair[1] * width].to_vec(),
            dimensions: width,
        });
        vectors.per_token = sequences.collect();
    }
    Ok(vectors)
}

/// A vector for each span of each input, of the states that one pass over the input gave.
fn pool_spans<B: Backend>(
    backend: &B,
    weights: &Weights<B>,
    head: &DenseHead,
    states: &B::Tensor,
    batch: &Batch,
    inputs: &[&Tokens],
) -> Result<Vec<f32>> {
    let mut vectors = Vec::new();
    for (tokens, at) in inputs.iter().zip(&batch.offsets) {
        for span in &tokens.spans {
            // Spans overlap: each is a batch of its own.
            let one = Batch {
                ids: Vec::new(),
                offsets: vec![at + span.start, at + span.end],
                skip: vec![0],
            };
            vectors.extend(head.run(backend, weights, states, &one)?);
        }
    }
    Ok(vectors)
}

impl Run {
    fn keep_dense(&mut self, vector: &[f32]) {
        let Some(dense) = &self.dense else { return };
        let out = self.out.dense.get_or_insert_default();
        let start = out.len();
        out.extend_from_slice(&vector[..dense.dimensions]);
        if dense.normalize {
            head::l2_normalize(&mut out[start..]);
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
            rows.for_each(head::l2_normalize);
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
