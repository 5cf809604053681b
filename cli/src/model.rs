//! The threads of a model. They share its weights, and each answers requests of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use anyhow::Result;
use gossamer::api::http::{Exchange, Incoming, Options, Request, Response};
use gossamer::{Either, Embedder, Run};
use tokio::sync::oneshot;

/// Answers requests step by step.
pub trait Service: Send + Sync + 'static {
    /// A request that is being answered.
    type Exchange;

    /// Starts to answer a request.
    fn start(&self, request: &Request, options: &Options) -> Self::Exchange;

    /// Does one step of a request, which may process inputs of others too.
    fn step(&self, leader: &mut Self::Exchange, others: &mut [&mut Self::Exchange]);

    /// Whether no step is left.
    fn is_done(&self, exchange: &Self::Exchange) -> bool;

    /// Returns the response.
    fn finish(&self, exchange: Self::Exchange) -> Response;
}

impl Service for Embedder<Either> {
    type Exchange = Exchange;

    fn start(&self, request: &Request, options: &Options) -> Exchange {
        Exchange::start(self, Incoming::from(request.clone()), options)
    }

    fn step(&self, leader: &mut Exchange, others: &mut [&mut Exchange]) {
        let others = others.iter_mut();
        let mut others: Vec<&mut Run> = others.filter_map(|one| one.run()).collect();
        leader.step_with(self, &mut others);
    }

    fn is_done(&self, exchange: &Exchange) -> bool {
        exchange.is_done()
    }

    fn finish(&self, mut exchange: Exchange) -> Response {
        // This takes up an error from a step of another request.
        exchange.step_with(self, &mut []);
        exchange.finish()
    }
}

/// A request on its way to a thread.
struct Job {
    request: Request,
    options: Options,
    /// Its share of the thread's load. Fields are dropped in order, so the share is given back
    /// before `reply` tells the client anything.
    share: Share,
    reply: oneshot::Sender<Response>,
}

/// A loaded model and its threads. The threads end when it is dropped.
pub struct Model<S = Embedder<Either>> {
    service: Arc<S>,
    threads: Vec<Thread>,
}

struct Thread {
    jobs: mpsc::Sender<Job>,
    /// The bytes of its requests, as an estimate of its work.
    load: Arc<AtomicUsize>,
}

impl<S: Service> Model<S> {
    /// Starts the threads.
    pub fn start(service: S, threads: usize) -> Result<Self> {
        let service = Arc::new(service);
        let start = |number: usize| {
            let (jobs, received) = mpsc::channel();
            let service = Arc::clone(&service);
            let thread = std::thread::Builder::new().name(format!("model {number}"));
            thread.spawn(move || work(&*service, &received))?;
            let load = Arc::default();
            Ok(Thread { jobs, load })
        };
        let threads = (0..threads.max(1)).map(start).collect::<Result<_>>()?;
        Ok(Self { service, threads })
    }

    /// Returns the service that the threads share.
    pub fn service(&self) -> &S {
        &self.service
    }

    /// Answers a request that takes no steps.
    pub fn answer_now(&self, request: &Request, options: &Options) -> Response {
        self.service.finish(self.service.start(request, options))
    }

    /// Answers a request; `None` if that panics. Dropping the future cancels the request.
    pub async fn answer(&self, request: Request, options: Options) -> Option<Response> {
        let least = self.threads.iter();
        let thread = least.min_by_key(|thread| thread.load.load(Ordering::Relaxed))?;
        let (reply, answer) = oneshot::channel();
        // An empty request counts too.
        let share = Share::of(&thread.load, request.body.len().max(1));
        let job = Job {
            request,
            options,
            share,
            reply,
        };
        thread.jobs.send(job).ok()?;
        answer.await.ok()
    }
}

/// A share of a count, which is given back when it is dropped.
pub struct Share {
    count: Arc<AtomicUsize>,
    size: usize,
    /// The count without this share, when it was taken.
    pub others: usize,
}

impl Share {
    /// Adds `size` to the count.
    pub fn of(count: &Arc<AtomicUsize>, size: usize) -> Self {
        let others = count.fetch_add(size, Ordering::Relaxed);
        let count = Arc::clone(count);
        Self {
            count,
            size,
            others,
        }
    }

    /// Enlarges the share, and returns the whole count.
    pub fn grow(&mut self, by: usize) -> usize {
        self.size += by;
        self.count.fetch_add(by, Ordering::Relaxed) + by
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.count.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// A request that a thread is answering.
struct Open<E> {
    job: Job,
    exchange: E,
    /// Whether its steps process no inputs of others.
    alone: bool,
}

/// The loop of a thread: answers requests step by step. Requests that are open at the same time
/// share steps, which they lead in turn.
///
/// A panic ends only the request that caused it. The requests that shared the step start again,
/// each on its own.
fn work<S: Service>(service: &S, jobs: &mpsc::Receiver<Job>) {
    let mut open: Vec<Open<S::Exchange>> = Vec::new();
    loop {
        if open.is_empty() {
            match jobs.recv() {
                Ok(job) => open.extend(Open::start(service, job, false)),
                Err(mpsc::RecvError) => return,
            }
        }
        open.extend(
            jobs.try_iter()
                .filter_map(|job| Open::start(service, job, false)),
        );
        open.retain(|one| !one.job.reply.is_closed());
        let stepped = catch_unwind(AssertUnwindSafe(|| {
            if let Some((leader, others)) = open.split_first_mut() {
                let others = others
                    .iter_mut()
                    .filter(|other| !leader.alone && !other.alone);
                let mut others: Vec<_> = others.map(|other| &mut other.exchange).collect();
                service.step(&mut leader.exchange, &mut others);
            }
        }));
        if stepped.is_err() {
            // Dropping a request reports that it failed.
            let (failed, shared): (Vec<_>, Vec<_>) = std::mem::take(&mut open)
                .into_iter()
                .enumerate()
                .partition(|(place, one)| *place == 0 && one.alone);
            drop(failed);
            let again = |(_, one): (usize, Open<S::Exchange>)| {
                if one.alone {
                    return Some(one);
                }
                Open::start(service, one.job, true)
            };
            open = shared.into_iter().filter_map(again).collect();
        }
        for one in open.extract_if(.., |one| service.is_done(&one.exchange)) {
            one.finish(service);
        }
        if !open.is_empty() {
            open.rotate_left(1);
        }
    }
}

impl<E> Open<E> {
    /// Starts a request; `None` if that panics.
    fn start<S: Service<Exchange = E>>(service: &S, job: Job, alone: bool) -> Option<Self> {
        let start = || service.start(&job.request, &job.options);
        let exchange = catch_unwind(AssertUnwindSafe(start)).ok()?;
        Some(Self {
            job,
            exchange,
            alone,
        })
    }

    fn finish<S: Service<Exchange = E>>(self, service: &S) {
        let finish = || service.finish(self.exchange);
        let response = catch_unwind(AssertUnwindSafe(finish));
        let Job { reply, share, .. } = self.job;
        // A client that has its reply must find the count without its request.
        drop(share);
        if let Ok(response) = response {
            // An error means that the client has gone away.
            let _ = reply.send(response);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers with the body of the request, one step per letter. A step over an `x` panics.
    struct Letters;

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    impl Service for Letters {
        type Exchange = (String, usize);

        fn start(&self, request: &Request, _: &Options) -> Self::Exchange {
            assert!(request.body != b"!", "it is not started");
            (text(&request.body), 0)
        }

        fn step(&self, leader: &mut Self::Exchange, others: &mut [&mut Self::Exchange]) {
            for (text, done) in
                std::iter::once(leader).chain(others.iter_mut().map(|one| &mut **one))
            {
                assert!(text.as_bytes().get(*done) != Some(&b'x'), "an x");
                *done += 1;
            }
        }

        fn is_done(&self, (text, done): &Self::Exchange) -> bool {
            *done >= text.len()
        }

        fn finish(&self, (body, _): Self::Exchange) -> Response {
            assert!(!body.ends_with('!'), "it is not finished");
            Response {
                status: 200,
                headers: std::collections::BTreeMap::new(),
                body,
            }
        }
    }

    /// A panic of one request does not affect the others, nor the thread.
    #[tokio::test]
    async fn a_panic_ends_its_request_alone() {
        let model = Model::start(Letters, 1).expect("threads");
        let bodies = ["abc", "aax", "!", "abcdefgh", "x", "abc!", "xaaa", "ab"];
        for _ in 0..20 {
            let answers = bodies.map(|body| {
                let request = Request {
                    body: body.into(),
                    ..Request::default()
                };
                model.answer(request, Options::default())
            });
            let mut found = Vec::new();
            let mut answers = answers.map(Box::pin);
            // All requests are sent before the first response is awaited.
            std::future::poll_fn(|context| {
                found = answers
                    .iter_mut()
                    .map(|one| one.as_mut().poll(context))
                    .collect();
                std::task::Poll::Ready(())
            })
            .await;
            for ((body, answer), first) in bodies.iter().zip(answers).zip(found) {
                let answer = match first {
                    std::task::Poll::Ready(answer) => answer,
                    std::task::Poll::Pending => answer.await,
                };
                let right = !body.contains(['x', '!']);
                let text = answer.map(|answer| answer.body);
                assert_eq!(text.as_deref(), right.then_some(*body));
            }
        }
        for thread in &model.threads {
            assert_eq!(thread.load.load(Ordering::Relaxed), 0);
        }
    }
}
