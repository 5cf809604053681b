//! One pass over a batch of inputs, from tokens to vectors. Several runs may have inputs in it: the
//! first run that looks after the values have arrived makes vectors of them, and each run takes its
//! own.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use crate::backend::{Backend, Compute, ReadBack, Reading, Values};
use crate::error::{Error, Result, zeroed};
use crate::model::loaded::Model;
use crate::model::run::outputs::TokenVectors;
use crate::model::transformer::forward::Weights;
use crate::model::transformer::heads::{self, TokenHead};
use crate::model::transformer::route::StaticEmbedding;
use crate::model::transformer::route::{Body, Route, Transformer};
use crate::text::{Batch, Tokens};

/// The kind of a pass: runs with equal keys can share one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PassKey {
    /// Index of the model's route.
    pub route: usize,
    /// What a dense vector stands for, if there are any.
    pub dense: Option<DenseOf>,
    /// Whether there are sparse vectors.
    pub sparse: bool,
    /// The head of tokens' vectors, if there are any.
    pub tokens: Option<TokenHead>,
    /// Whether there are scores.
    pub scores: bool,
}

/// What a dense vector stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum DenseOf {
    /// A whole input.
    Input,
    /// One of the input's spans (late chunking).
    Span,
}

/// The vectors of a pass. Each kind is empty, or has an entry for each input.
#[derive(Default)]
pub struct Vectors {
    /// Row by row; one for each span of inputs that have spans.
    pub dense: Vec<f32>,
    /// Width of a dense vector.
    pub dimensions: usize,
    /// Entries above 0.
    pub sparse: Vec<Vec<(u32, f32)>>,
    /// Vectors of tokens.
    pub tokens: Vec<TokenVectors>,
    /// Logits of each input's labels.
    pub logits: Vec<Vec<f32>>,
}

/// A pass that is under way or done. Clones are handles of the same pass.
#[derive(Clone)]
pub struct Pass(Arc<Shared>);

struct Shared {
    key: PassKey,
    batch: Batch,
    state: Mutex<State>,
}

enum State {
    UnderWay(Reading),
    Arrived(Vec<Values>),
    Done(Vectors),
    Failed(Error),
}

impl State {
    /// Polls what is read from the backend; ready with the next state.
    fn arrive(reading: &mut Reading, context: &mut Context) -> Poll<Self> {
        let values = ready!(reading.as_mut().poll(context));
        Poll::Ready(values.map_or_else(Self::Failed, Self::Arrived))
    }
}

impl Pass {
    /// Starts a pass.
    pub fn start<B: Backend>(model: &Model<B>, key: PassKey, inputs: &[&Tokens]) -> Result<Self> {
        let batch = Batch::pack(inputs.iter().copied());
        let state = match &model.routes[key.route].body {
            Body::Table { weights, .. } => {
                let table = model.weights.vector(*weights);
                let entries = inputs
                    .iter()
                    .map(|tokens| heads::look_up(table, &tokens.ids));
                State::Done(Vectors {
                    sparse: entries.collect(),
                    ..Vectors::default()
                })
            }
            Body::Static(embedding) => average(model, key, embedding, inputs)?,
            Body::Transformer(transformer) => {
                let (backend, weights) = (&model.backend, &model.weights);
                let reading = transform(backend, weights, key, transformer, &batch, inputs)?;
                State::UnderWay(reading)
            }
        };
        Ok(Self(Arc::new(Shared {
            key,
            batch,
            state: Mutex::new(state),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the vectors to `take`, and returns whether the pass failed; none while it is under
    /// way.
    pub fn vectors(&self, route: &Route, take: &mut dyn FnMut(&mut Vectors)) -> Option<Result<()>> {
        let Shared { key, batch, .. } = &*self.0;
        let mut state = self.lock();
        loop {
            *state = match &mut *state {
                State::UnderWay(reading) => {
                    match State::arrive(reading, &mut Context::from_waker(Waker::noop())) {
                        Poll::Ready(next) => next,
                        Poll::Pending => return None,
                    }
                }
                State::Arrived(values) => {
                    let vectors = vectors(route, *key, batch, std::mem::take(values));
                    vectors.map_or_else(State::Failed, State::Done)
                }
                State::Done(vectors) => {
                    take(vectors);
                    return Some(Ok(()));
                }
                State::Failed(error) => return Some(Err(error.clone())),
            }
        }
    }
}

/// Resolves when the values have arrived.
impl Future for Pass {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context) -> Poll<()> {
        let mut state = self.lock();
        if let State::UnderWay(reading) = &mut *state {
            *state = ready!(State::arrive(reading, context));
        }
        Poll::Ready(())
    }
}

/// Computes means of rows of a static table, and starts the steps after them.
fn average<B: Backend>(
    model: &Model<B>,
    key: PassKey,
    embedding: &StaticEmbedding,
    inputs: &[&Tokens],
) -> Result<State> {
    let StaticEmbedding { head, dropped, .. } = embedding;
    let table = &model.weights.tables[embedding.table];
    let [_, columns] = table.shape();
    let mut lists: Vec<&[u32]> = Vec::new();
    for tokens in inputs {
        match key.dense {
            Some(DenseOf::Span) => {
                let spans = tokens.spans.iter();
                lists.extend(spans.map(|span| &tokens.ids[span.clone()]));
            }
            _ => lists.push(&tokens.ids),
        }
    }
    let mut means = zeroed(lists.len() * columns)?;
    for (ids, mean) in lists.iter().zip(means.chunks_exact_mut(columns)) {
        table.mean(ids, *dropped, mean);
    }
    if head.steps.is_empty() {
        return Ok(State::Done(Vectors {
            dense: means,
            dimensions: columns,
            ..Vectors::default()
        }));
    }
    let backend = &model.backend;
    let x = backend.upload(means, lists.len())?;
    let x = head.after_pooling(backend, &model.weights, x)?;
    Ok(State::UnderWay(backend.read(vec![ReadBack::All(x)])?))
}

/// Computes the forward pass and the heads of the key, and starts to read their values.
fn transform<B: Compute>(
    backend: &B,
    weights: &Weights<B>,
    key: PassKey,
    transformer: &Transformer,
    batch: &Batch,
    inputs: &[&Tokens],
) -> Result<Reading> {
    let states = transformer.states(backend, weights, batch)?;
    let mut wanted = Vec::new();
    if let (true, Some(head)) = (key.sparse, &transformer.sparse) {
        wanted.push(head.run(backend, weights, &states, batch)?);
    }
    if let (true, Some(head)) = (key.scores, &transformer.classifier) {
        let logits = head.head.run(backend, weights, &states, batch)?;
        wanted.push(ReadBack::All(logits));
    }
    // There is one for each span, so these come last.
    let mut last = Vec::new();
    if let (Some(of), Some(head)) = (key.dense, &transformer.dense) {
        let whole = |batch: &Batch| Ok(ReadBack::All(head.run(backend, weights, &states, batch)?));
        match of {
            DenseOf::Input => last.push(whole(batch)?),
            DenseOf::Span => {
                let spans = spans(batch, inputs);
                last.extend(spans.map(|span| whole(&span)).collect::<Result<Vec<_>>>()?);
            }
        }
    }
    if let Some(head) = key.tokens {
        wanted.push(ReadBack::All(match (head, &transformer.colbert) {
            (TokenHead::Colbert, Some(projection)) => projection.run(backend, weights, states)?,
            _ => states,
        }));
    }
    wanted.extend(last);
    backend.read(wanted)
}

/// The vectors of one batch of inputs, computed by `backend`, whose readings need no event loop.
pub fn vectors_of<B: Compute>(
    backend: &B,
    weights: &Weights<B>,
    route: &Route,
    key: PassKey,
    inputs: &[&Tokens],
) -> Result<Vectors> {
    let Body::Transformer(transformer) = &route.body else {
        return Ok(Vectors::default());
    };
    let batch = Batch::pack(inputs.iter().copied());
    let mut reading = transform(backend, weights, key, transformer, &batch, inputs)?;
    match reading
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(values) => vectors(route, key, &batch, values?),
        Poll::Pending => Err(Error::Internal("a reading needs the event loop".to_owned())),
    }
}

/// Each span of each input as a batch of its own, since spans overlap.
fn spans<'a>(batch: &'a Batch, inputs: &'a [&Tokens]) -> impl Iterator<Item = Batch> + 'a {
    let all = inputs.iter().zip(&batch.offsets);
    all.flat_map(|(tokens, at)| {
        tokens.spans.iter().map(move |span| Batch {
            ids: Vec::new(),
            types: Vec::new(),
            offsets: vec![at + span.start, at + span.end],
            skip: vec![0],
            keys: vec![span.len()],
            dropped: Vec::new(),
        })
    })
}

/// Values → vectors, in the order in which [`transform`] asks for them.
fn vectors(route: &Route, key: PassKey, batch: &Batch, values: Vec<Values>) -> Result<Vectors> {
    let mut vectors = Vectors::default();
    let transformer = match &route.body {
        Body::Transformer(transformer) => transformer,
        Body::Static(embedding) => {
            vectors.dimensions = embedding.head.dimensions;
            for values in values {
                vectors.dense.extend(heads::all(values)?);
            }
            return Ok(vectors);
        }
        Body::Table { .. } => return Ok(vectors),
    };
    let mut values = values.into_iter();
    let mut next = || {
        let next = values.next();
        next.ok_or_else(|| Error::Internal("a pass gave too few values".to_owned()))
    };
    if let (true, Some(head)) = (key.sparse, &transformer.sparse) {
        vectors.sparse = head.entries(next()?, transformer.vocab_size, batch)?;
    }
    if let (true, Some(head)) = (key.scores, &transformer.classifier) {
        let values = heads::all(next()?)?;
        let rows = values.chunks_exact(head.labels.len());
        vectors.logits = rows.map(<[f32]>::to_vec).collect();
    }
    if let Some(head) = key.tokens {
        let values = heads::all(next()?)?;
        let width = values.len() / batch.ids.len().max(1);
        let projection = transformer.colbert.as_ref();
        let projection = projection.filter(|_| head == TokenHead::Colbert);
        // BGE-M3's head has no vector for the first token, whose state is the dense vector.
        let skip = usize::from(projection.is_some_and(|projection| projection.late.is_none()));
        let dropped = projection.map_or(&[][..], |_| &batch.dropped);
        let mut dropped = dropped.iter().peekable();
        let sequences = batch.offsets.windows(2).map(|pair| {
            let mut data = Vec::new();
            let mut first = (pair[0] + skip).min(pair[1]);
            while let Some(row) = dropped.next_if(|row| **row < pair[1]) {
                data.extend_from_slice(&values[first * width..row * width]);
                first = row + 1;
            }
            data.extend_from_slice(&values[first * width..pair[1] * width]);
            TokenVectors {
                data,
                quantized: None,
                dimensions: width,
            }
        });
        vectors.tokens = sequences.collect();
    }
    if let (Some(_), Some(head)) = (key.dense, &transformer.dense) {
        vectors.dimensions = head.dimensions;
        for values in values {
            vectors.dense.extend(heads::all(values)?);
        }
    }
    Ok(vectors)
}
