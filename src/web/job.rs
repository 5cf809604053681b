//! A call at work, done in steps so that the event loop can run between them.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{Array, Promise};
use wasm_bindgen::prelude::*;

use super::convert::{Thrown, chunks, to_js};
use crate::api::{Pending, http};
use crate::jobs::Jobs;
use crate::text::STEP;
use crate::{Chunk, ChunkRun, Either, Embedder, Output, Run, TextStep, TokenRun};

/// A model, and its jobs that are under way.
pub struct Shared {
    pub embedder: Embedder<Either>,
    pub jobs: Jobs<Work>,
}

/// A call that is under way.
#[wasm_bindgen]
pub struct Job {
    shared: Rc<Shared>,
    number: u32,
}

/// What is done in steps.
pub enum Work {
    /// Vectors, and how their output becomes a JavaScript value.
    Native(Box<Run>, fn(Output) -> Thrown<JsValue>),
    /// A body of a wire format.
    Api(Box<Pending<Thrown<JsValue>>>),
    /// A HTTP request.
    Fetch(http::Exchange),
    /// A result that needed no steps.
    Done(JsValue),
    /// A promise, and where its result will be.
    Promised(Promise, Rc<RefCell<Option<Thrown<JsValue>>>>),
    /// Tokens of texts.
    Tokenize(TokenRun, Listed<Array>),
    /// Places of chunks of texts.
    Chunk(ChunkRun, Listed<Vec<Chunk>>),
}

/// A list of the texts that are done, and what there is of the current one.
#[derive(Default)]
pub struct Listed<T> {
    texts: Array,
    current: T,
}

impl Work {
    fn run(&mut self) -> Option<&mut Run> {
        match self {
            Self::Native(run, _) => Some(run),
            Self::Api(pending) => Some(&mut pending.run),
            Self::Fetch(exchange) => exchange.run(),
            _ => None,
        }
    }

    fn count_from(&mut self, first: usize) {
        match self {
            // A request is never split.
            Self::Chunk(run, _) => run.count_from(first),
            other => other
                .run()
                .into_iter()
                .for_each(|run| run.count_from(first)),
        }
    }

    /// Resolves when a step can do something again, if that is not now.
    fn wait(&mut self) -> Option<Promise> {
        if let Self::Promised(promise, _) = self {
            return Some(promise.clone());
        }
        let waits_for = self.run()?.waits_for()?;
        Some(wasm_bindgen_futures::future_to_promise(async {
            waits_for.await;
            Ok(JsValue::UNDEFINED)
        }))
    }

    /// Does one step, in which runs of `others` may take part. Returns whether all is done.
    fn step(&mut self, embedder: &Embedder<Either>, others: &mut [&mut Run]) -> Thrown<bool> {
        let mut budget = STEP;
        let done = match self {
            Self::Native(run, _) => run.step_with(embedder, others),
            Self::Api(pending) => pending.run.step_with(embedder, others),
            Self::Fetch(exchange) => Ok(exchange.step_with(embedder, others)),
            Self::Done(_) => Ok(true),
            Self::Promised(_, out) => Ok(out.borrow().is_some()),
            Self::Tokenize(run, listed) => {
                while budget > 0 {
                    let TextStep::Items(tokens, is_end) = run.step(embedder, &mut budget)? else {
                        return Ok(true);
                    };
                    for token in &tokens {
                        listed.current.push(&to_js(token)?);
                    }
                    if is_end {
                        let tokens: Array = std::mem::take(&mut listed.current);
                        listed.texts.push(&tokens);
                    }
                }
                Ok(false)
            }
            Self::Chunk(run, listed) => {
                while budget > 0 {
                    let TextStep::Items(items, is_end) = run.step(embedder, &mut budget)? else {
                        return Ok(true);
                    };
                    listed.current.extend(items);
                    if is_end {
                        listed.texts.push(&chunks(&listed.current));
                        listed.current.clear();
                    }
                }
                Ok(false)
            }
        };
        Ok(done?)
    }

    /// The result, once all is done.
    fn finish(self) -> Thrown<JsValue> {
        match self {
            Self::Native(run, finish) => finish(run.finish()),
            Self::Api(pending) => pending.finish(),
            Self::Fetch(exchange) => to_js(&exchange.finish()),
            Self::Done(value) => Ok(value),
            Self::Promised(_, out) => out.take().unwrap_or(Ok(JsValue::UNDEFINED)),
            Self::Tokenize(_, Listed { texts, .. }) | Self::Chunk(_, Listed { texts, .. }) => {
                Ok(texts.into())
            }
        }
    }
}

impl Job {
    /// Puts the work among the model's jobs.
    pub(super) fn new(shared: &Rc<Shared>, work: Work) -> Self {
        Self {
            shared: Rc::clone(shared),
            number: shared.jobs.insert(work),
        }
    }
}

#[wasm_bindgen]
impl Job {
    /// Errors number the inputs from `first`: they are a part of a longer list.
    #[wasm_bindgen(js_name = countFrom)]
    pub fn count_from(&mut self, first: usize) {
        let Shared { jobs, .. } = &*self.shared;
        jobs.with(self.number, |work| work.count_from(first));
    }

    /// Does one step. Returns whether all is done.
    pub fn step(&mut self) -> Thrown<bool> {
        let Shared { embedder, jobs } = &*self.shared;
        let step = jobs.step(self.number, |work, others| {
            let mut others: Vec<&mut Run> = others.filter_map(Work::run).collect();
            work.step(embedder, &mut others)
        });
        step.unwrap_or(Ok(true))
    }

    /// Resolves when a step can do something again, if a GPU has to answer first.
    pub fn wait(&self) -> Option<Promise> {
        self.shared.jobs.with(self.number, Work::wait)?
    }

    /// The result, once all is done.
    pub fn finish(self) -> Thrown<JsValue> {
        let work = self.shared.jobs.remove(self.number);
        work.map_or(Ok(JsValue::UNDEFINED), Work::finish)
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.shared.jobs.remove(self.number);
    }
}
