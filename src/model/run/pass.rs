//! One pass over a batch of inputs that several runs may have a part in, from the tokens to vectors. Whoever looks first after
//! the values have arrived makes vectors of them, and each run takes its own.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::backend::{Activation, Backend, Reading, Values, Wanted};
use crate::error::{Error, Result, zeroed};
use crate::model::embedder::Embedder;
use crate::model::run::options::TokenHead;
use crate::model::run::outputs::TokenVectors;
use crate::model::transformer::heads;
use crate::model::transformer::route::{Body, Route, Transformer};
use crate::model::transformer::static_table::StaticEmbedding;
use crate::text::{Batch, Tokens};

/// What is asked of a model: runs that ask the same can share a pass.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Index of the embedder's route.
    pub route: usize,
    /// Dense vectors.
    pub dense: bool,
    /// One for each of the inputs' spans.
    pub late: bool,
    /// Sparse vectors.
    pub sparse: bool,
    /// Vectors of tokens, of this head.
    pub per_token: Option<TokenHead>,
}

/// What a pass gives, each kind empty or with an entry for each input.
#[derive(Default)]
pub struct Vectors {
    /// Row by row.
    pub dense: Vec<f32>,
    /// Width of a dense vector.
    pub dimensions: usize,
    /// Entries above 0.
    pub sparse: Vec<Vec<(u32, f32)>>,
    /// Vectors of tokens.
    pub per_token: Vec<TokenVectors>,
}

/// A pass that is under way, or done.
#[derive(Clone)]
pub struct Pass(Arc<Mutex<State>>);

enum State {
    UnderWay(Reading, Batch, Asked),
    Arrived(Result<Vec<Values>>, Batch, Asked),
    Done(Vectors),
    /// The error is gone to whoever looked first.
    Failed,
}

impl Pass {
    /// Starts one.
    pub fn start<B: Backend>(
        embedder: &Embedder<B>,
        asked: Asked,
        inputs: &[&Tokens],
    ) -> Result<Self> {
        let state = match &embedder.routes[asked.route].body {
            Body::Table { weights, .. } => {
                let table = embedder.weights.vector(*weights);
                let entries = inputs
                    .iter()
                    .map(|tokens| heads::look_up(table, &tokens.ids));
                State::Done(Vectors {
                    sparse: entries.collect(),
                    ..Vectors::default()
                })
            }
            Body::Static(embedding) => average(embedder, asked, embedding, inputs)?,
            Body::Transformer(transformer) => {
                let batch = Batch::pack(inputs.iter().copied());
                let reading = transform(embedder, asked, transformer, &batch, inputs)?;
                State::UnderWay(reading, batch, asked)
            }
        };
        Ok(Self(Arc::new(Mutex::new(state))))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the values have arrived; if not, `context` is told when they do.
    fn poll(&self, context: &mut Context) -> Poll<()> {
        let mut state = self.lock();
        if let State::UnderWay(reading, batch, asked) = &mut *state {
            let Poll::Ready(values) = reading.as_mut().poll(context) else {
                return Poll::Pending;
            };
            let none = Batch::pack([]);
            *state = State::Arrived(values, std::mem::replace(batch, none), *asked);
        }
        Poll::Ready(())
    }

    /// Hands the vectors to `take`, if they are there; an error goes to the first that looks.
    pub fn vectors(&self, routes: &[Route], take: impl FnOnce(&mut Vectors)) -> Option<Result<()>> {
        if self
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
        {
            return None;
        }
        let mut state = self.lock();
        if let State::Arrived(..) = *state
            && let State::Arrived(values, batch, asked) =
                std::mem::replace(&mut *state, State::Failed)
        {
            let route = &routes[asked.route];
            match values.and_then(|values| vectors(route, asked, &batch, values)) {
                Ok(vectors) => *state = State::Done(vectors),
                Err(error) => return Some(Err(error)),
            }
        }
        Some(match &mut *state {
            State::Done(vectors) => {
                take(vectors);
                Ok(())
            }
            _ => Err(Error::Internal("a pass failed".to_owned())),
        })
    }
}

/// Resolves when the values have arrived.
impl Future for Pass {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context) -> Poll<()> {
        Pass::poll(&self, context)
    }
}

/// Means of rows of a static table, and the steps after them.
fn average<B: Backend>(
    embedder: &Embedder<B>,
    asked: Asked,
    embedding: &StaticEmbedding,
    inputs: &[&Tokens],
) -> Result<State> {
    let StaticEmbedding { head, dropped, .. } = embedding;
    let table = &embedder.weights.tables[embedding.table];
    let [_, columns] = table.shape();
    let mut lists: Vec<&[u32]> = Vec::new();
    for tokens in inputs {
        if asked.late {
            let spans = tokens.spans.iter();
            lists.extend(spans.map(|span| &tokens.ids[span.clone()]));
        } else {
            lists.push(&tokens.ids);
        }
    }
    let mut values = zeroed(lists.len() * columns)?;
    for (ids, out) in lists.iter().zip(values.chunks_exact_mut(columns)) {
        table.mean(ids, *dropped, out);
    }
    if head.steps.is_empty() {
        return Ok(State::Done(Vectors {
            dense: values,
            dimensions: columns,
            ..Vectors::default()
        }));
    }
    let backend = embedder.backend();
    let x = backend.upload(values, lists.len())?;
    let x = head.after_pooling(backend, &embedder.weights, x)?;
    let reading = backend.read(vec![Wanted::All(x)])?;
    Ok(State::UnderWay(reading, Batch::pack([]), asked))
}

/// The forward pass, and the heads that are asked for.
fn transform<B: Backend>(
    embedder: &Embedder<B>,
    asked: Asked,
    transformer: &Transformer,
    batch: &Batch,
    inputs: &[&Tokens],
) -> Result<Reading> {
    let (backend, weights) = (embedder.backend(), &embedder.weights);
    let states = transformer.states(backend, weights, batch)?;
    let mut wanted = Vec::new();
    if let (true, Some(head)) = (asked.sparse, &transformer.sparse) {
        wanted.push(head.run(backend, weights, &states, batch)?);
    }
    // As many as there are spans, so they come last.
    let mut last = Vec::new();
    if let (true, Some(head)) = (asked.dense, &transformer.dense) {
        let whole = |batch: &Batch| Ok(Wanted::All(head.run(backend, weights, &states, batch)?));
        if asked.late {
            let spans = spans(batch, inputs);
            last.extend(spans.map(|span| whole(&span)).collect::<Result<Vec<_>>>()?);
        } else {
            last.push(whole(batch)?);
        }
    }
    if let Some(head) = asked.per_token {
        wanted.push(Wanted::All(match (head, transformer.colbert) {
            (TokenHead::Colbert, Some(linear)) => {
                weights.linear(backend, &states, linear, Activation::Identity)?
            }
            _ => states,
        }));
    }
    wanted.extend(last);
    backend.read(wanted)
}

/// Each span of each input as a batch of its own, since spans overlap.
fn spans<'a>(batch: &'a Batch, inputs: &'a [&Tokens]) -> impl Iterator<Item = Batch> + 'a {
    let all = inputs.iter().zip(&batch.offsets);
    all.flat_map(|(tokens, at)| {
        tokens.spans.iter().map(move |span| Batch {
            ids: Vec::new(),
            offsets: vec![at + span.start, at + span.end],
            skip: vec![0],
        })
    })
}

/// Values → vectors, in the order in which [`transform`] asks for them.
fn vectors(route: &Route, asked: Asked, batch: &Batch, values: Vec<Values>) -> Result<Vectors> {
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
    if let (true, Some(head)) = (asked.sparse, &transformer.sparse) {
        vectors.sparse = head.entries(next()?, transformer.vocab_size, batch)?;
    }
    if let Some(head) = asked.per_token {
        let values = heads::all(next()?)?;
        let width = values.len() / batch.ids.len().max(1);
        // The first token's vector for late interaction is the dense one.
        let skip = usize::from(head == TokenHead::Colbert && transformer.colbert.is_some());
        let sequences = batch.offsets.windows(2).map(|pair| TokenVectors {
            data: values[(pair[0] + skip).min(pair[1]) * width..pair[1] * width].to_vec(),
            dimensions: width,
        });
        vectors.per_token = sequences.collect();
    }
    if let (true, Some(head)) = (asked.dense, &transformer.dense) {
        vectors.dimensions = head.dimensions;
        for values in values {
            vectors.dense.extend(heads::all(values)?);
        }
    }
    Ok(vectors)
}
