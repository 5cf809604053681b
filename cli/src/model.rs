//! A model at work: threads that share its weights, each with requests of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use anyhow::Result;
use gossamer::api::http::{Exchange, Incoming, Options, Response};
use gossamer::{Cpu, Embedder, Run};
use tokio::sync::oneshot;

/// A request on its way to a thread.
struct Job {
    incoming: Incoming,
    options: Options,
    reply: oneshot::Sender<Response>,
    /// Bytes of the body: how much work it is, about.
    size: usize,
}

/// A loaded model and its threads. They end when it is dropped, after what they have been given.
pub struct Model {
    threads: Vec<Thread>,
}

struct Thread {
    jobs: Option<mpsc::Sender<Job>>,
    /// Bytes of the requests that it has.
    load: Arc<AtomicUsize>,
    handle: Option<JoinHandle<()>>,
}

impl Model {
    /// Starts the threads.
    pub fn start(embedder: Embedder<Cpu>, threads: usize) -> Result<Self> {
        let embedder = Arc::new(embedder);
        let start = |number: usize| {
            let (jobs, received) = mpsc::channel();
            let (embedder, load) = (Arc::clone(&embedder), Arc::new(AtomicUsize::new(0)));
            let own = Arc::clone(&load);
            let thread = std::thread::Builder::new().name(format!("model {number}"));
            let handle = thread.spawn(move || work(&embedder, &received, &own))?;
            Ok(Thread {
                jobs: Some(jobs),
                load,
                handle: Some(handle),
            })
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
        // Even the smallest request is one.
        let size = size.max(1);
        thread.load.fetch_add(size, Ordering::Relaxed);
        let job = Job {
            incoming,
            options,
            reply,
            size,
        };
        thread.jobs.as_ref()?.send(job).ok()?;
        answer.await.ok()
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        for thread in &mut self.threads {
            thread.jobs = None;
        }
        for thread in &mut self.threads {
            // A thread that panicked has said so already.
            let _ = thread.handle.take().map(JoinHandle::join);
        }
    }
}

/// A request that is being answered.
struct Open {
    exchange: Exchange,
    reply: oneshot::Sender<Response>,
    size: usize,
}

/// Answers requests step by step. Those that are there together share steps, and each leads one by turns.
fn work(embedder: &Embedder<Cpu>, jobs: &mpsc::Receiver<Job>, load: &AtomicUsize) {
    let mut open: Vec<Open> = Vec::new();
    loop {
        if open.is_empty() {
            match jobs.recv() {
                Ok(job) => open.push(Open::start(embedder, job)),
                Err(mpsc::RecvError) => return,
            }
        }
        open.extend(jobs.try_iter().map(|job| Open::start(embedder, job)));
        open.retain(|one| {
            let wanted = !one.reply.is_closed();
            if !wanted {
                load.fetch_sub(one.size, Ordering::Relaxed);
            }
            wanted
        });
        if let Some((leader, others)) = open.split_first_mut() {
            let others = others.iter_mut();
            let mut others: Vec<&mut Run> = others.filter_map(|one| one.exchange.run()).collect();
            leader.exchange.step_with(embedder, &mut others);
        }
        for one in open.extract_if(.., |one| one.exchange.is_done()) {
            one.finish(embedder, load);
        }
        if !open.is_empty() {
            open.rotate_left(1);
        }
    }
}

impl Open {
    fn start(embedder: &Embedder<Cpu>, job: Job) -> Self {
        Self {
            exchange: Exchange::start(embedder, job.incoming, &job.options),
            reply: job.reply,
            size: job.size,
        }
    }

    fn finish(mut self, embedder: &Embedder<Cpu>, load: &AtomicUsize) {
        // An error of a step that it was taken along in.
        self.exchange.step_with(embedder, &mut []);
        load.fetch_sub(self.size, Ordering::Relaxed);
        // Whoever asked may have gone away.
        let _ = self.reply.send(self.exchange.finish());
    }
}
