//! A model at work: threads that share its weights, each with requests of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use anyhow::Result;
use gossamer::api::http::{Exchange, Incoming, Options, Response};
use gossamer::{Either, Embedder, Run};
use tokio::sync::oneshot;

/// A request on its way to a thread.
struct Job {
    incoming: Incoming,
    options: Options,
    reply: oneshot::Sender<Response>,
    /// Of the thread's load.
    share: Share,
}

/// A loaded model and its threads, which end when it is dropped.
pub struct Model {
    threads: Vec<Thread>,
}

struct Thread {
    jobs: mpsc::Sender<Job>,
    /// Bytes of the requests that it has: how much work it is, about.
    load: Arc<AtomicUsize>,
}

impl Model {
    /// Starts the threads.
    pub fn start(embedder: Embedder<Either>, threads: usize) -> Result<Self> {
        let embedder = Arc::new(embedder);
        let start = |number: usize| {
            let (jobs, received) = mpsc::channel();
            let embedder = Arc::clone(&embedder);
            let thread = std::thread::Builder::new().name(format!("model {number}"));
            thread.spawn(move || work(&embedder, &received))?;
            let load = Arc::default();
            Ok(Thread { jobs, load })
        };
        let threads = (0..threads.max(1)).map(start).collect::<Result<_>>()?;
        Ok(Self { threads })
    }

    /// Answers a request; `None` if its thread is gone. To drop the future is to give the request up.
    pub async fn answer(
        &self,
        incoming: Incoming,
        options: Options,
        size: usize,
    ) -> Option<Response> {
        let least = self.threads.iter();
        let thread = least.min_by_key(|thread| thread.load.load(Ordering::Relaxed))?;
        let (reply, answer) = oneshot::channel();
        let job = Job {
            incoming,
            options,
            reply,
            // Even the smallest request is one.
            share: Share::of(&thread.load, size.max(1)),
        };
        thread.jobs.send(job).ok()?;
        answer.await.ok()
    }
}

/// A share of a count, for as long as it lives.
pub struct Share {
    count: Arc<AtomicUsize>,
    size: usize,
    /// What others have had of it.
    pub others: usize,
}

impl Share {
    pub fn of(count: &Arc<AtomicUsize>, size: usize) -> Self {
        let others = count.fetch_add(size, Ordering::Relaxed);
        let count = Arc::clone(count);
        Self {
            count,
            size,
            others,
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.count.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// A request that is being answered.
struct Open {
    exchange: Exchange,
    reply: oneshot::Sender<Response>,
    #[expect(dead_code, reason = "it counts while it lives")]
    share: Share,
}

/// Answers requests step by step. Those that are there together share steps, and each leads one by turns.
fn work(embedder: &Embedder<Either>, jobs: &mpsc::Receiver<Job>) {
    let mut open: Vec<Open> = Vec::new();
    loop {
        if open.is_empty() {
            match jobs.recv() {
                Ok(job) => open.push(Open::start(embedder, job)),
                Err(mpsc::RecvError) => return,
            }
        }
        open.extend(jobs.try_iter().map(|job| Open::start(embedder, job)));
        open.retain(|one| !one.reply.is_closed());
        if let Some((leader, others)) = open.split_first_mut() {
            let others = others.iter_mut();
            let mut others: Vec<&mut Run> = others.filter_map(|one| one.exchange.run()).collect();
            leader.exchange.step_with(embedder, &mut others);
        }
        for one in open.extract_if(.., |one| one.exchange.is_done()) {
            one.finish(embedder);
        }
        if !open.is_empty() {
            open.rotate_left(1);
        }
    }
}

impl Open {
    fn start(embedder: &Embedder<Either>, job: Job) -> Self {
        Self {
            exchange: Exchange::start(embedder, job.incoming, &job.options),
            reply: job.reply,
            share: job.share,
        }
    }

    fn finish(mut self, embedder: &Embedder<Either>) {
        // An error of a step that it was taken along in.
        self.exchange.step_with(embedder, &mut []);
        // Whoever asked may have gone away.
        let _ = self.reply.send(self.exchange.finish());
    }
}
