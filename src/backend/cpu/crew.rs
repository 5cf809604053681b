//! A fork-join: the helpers of a thread, which work off the parts of an operation with it.
//!
//! The calling thread opens a job, claims parts itself until none is left, closes the job, and
//! waits for the helpers that are still inside. A helper that wakes up late does not join any more,
//! so nobody waits for it. Operations follow each other within microseconds. So a helper spins for
//! a while before it sleeps.

use core::any::Any;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::parts::Claims;

/// How often a helper looks for a job before it sleeps: some tens of microseconds.
const SPINS: usize = 2000;
/// A helper that is inside a job, in [`Shared::state`].
const INSIDE: u64 = 1;
/// All helpers that are inside.
const INSIDES: u64 = PLACE - INSIDE;
/// A free place in a job.
const PLACE: u64 = 1 << 16;
/// All places.
const PLACES: u64 = 0xffff * PLACE;
/// The number of a job.
const JOB: u64 = 1 << 32;

/// Helpers, which end when it is dropped.
#[derive(Debug)]
pub struct Crew {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
}

/// What the caller and its helpers share.
#[derive(Debug, Default)]
struct Shared {
    /// The number of the job, its free places, and the helpers inside. A job with a free place is
    /// open.
    state: AtomicU64,
    /// The job. It is valid while the job is open or a helper is inside.
    job: AtomicPtr<Job<'static>>,
    /// Whether a caller has the helpers.
    taken: AtomicBool,
    /// The number of callers.
    callers: AtomicUsize,
    /// Whether helpers are to end.
    stopped: AtomicBool,
    /// The number of sleeping helpers. It changes under `sleep` only.
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
}

/// Work that is divided into parts.
struct Job<'a> {
    work: &'a (dyn Fn(&mut Claims) + Sync),
    /// The first part that nobody has claimed.
    next: AtomicUsize,
    parts: usize,
    /// What a helper panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Crew {
    /// Starts helpers: with the caller they are `count` threads.
    pub fn start(count: usize) -> std::io::Result<Self> {
        let mut crew = Self {
            shared: Arc::default(),
            helpers: Vec::new(),
        };
        for number in 1..count {
            let shared = Arc::clone(&crew.shared);
            let thread = std::thread::Builder::new().name(format!("helper {number}"));
            // If it cannot be started, `crew` is dropped, which ends the others.
            crew.helpers.push(thread.spawn(move || shared.help())?);
        }
        Ok(crew)
    }

    /// The number of threads, the caller's included.
    pub fn count(&self) -> usize {
        self.helpers.len() + 1
    }

    /// See [`Threads::run`](super::Threads::run).
    pub fn run(&self, parts: usize, work: &(dyn Fn(&mut Claims) + Sync)) {
        let shared = &*self.shared;
        // Other callers are threads too.
        let callers = shared.callers.fetch_add(1, Ordering::Relaxed) + 1;
        let _caller = OnDrop(|| {
            shared.callers.fetch_sub(1, Ordering::Relaxed);
        });
        let places = self.count().saturating_sub(callers).min(parts - 1);
        if places == 0 || shared.taken.swap(true, Ordering::Acquire) {
            return work(&mut Claims::new(&AtomicUsize::new(0), parts));
        }
        let _taken = OnDrop(|| shared.taken.store(false, Ordering::Release));
        let job = Job {
            work,
            next: AtomicUsize::new(0),
            parts,
            panic: Mutex::new(None),
        };
        let closed = OnDrop(|| shared.close());
        shared.open(&job, places as u64);
        work(&mut Claims::new(&job.next, parts));
        drop(closed);
        let panic = job.panic.into_inner();
        if let Some(panic) = panic.unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(panic);
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        drop(self.shared.lock());
        self.shared.wake.notify_all();
        for helper in self.helpers.drain(..) {
            // A helper catches panics.
            let _ = helper.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.sleep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets helpers join a job. Only the caller that has taken the helpers calls it, when no job is
    /// open and no helper inside. [`Shared::close`] must follow before the job ends.
    fn open(&self, job: &Job, places: u64) {
        let number = (self.state.load(Ordering::Relaxed) / JOB).wrapping_add(1);
        let pointer = core::ptr::from_ref(job).cast_mut().cast();
        self.job.store(pointer, Ordering::Relaxed);
        // A helper counts itself as a sleeper and then looks at the state; here it is the other way
        // round. So one of the two sees the other.
        let state = number.wrapping_mul(JOB) + places * PLACE;
        self.state.store(state, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(self.lock());
            for _ in 0..places {
                self.wake.notify_one();
            }
        }
    }

    /// Lets no more helpers join, and waits for those inside.
    fn close(&self) {
        let mut state = self.state.fetch_and(!PLACES, Ordering::AcqRel);
        let mut spins = 0;
        while state & INSIDES > 0 {
            spins += 1;
            if spins < SPINS {
                spin_loop();
            } else {
                // A helper's thread may lack a core.
                std::thread::yield_now();
            }
            state = self.state.load(Ordering::Acquire);
        }
    }

    /// The loop of a helper.
    fn help(&self) {
        let mut last = 0;
        while let Some(job) = self.join(&mut last) {
            // SAFETY: This helper is inside. The caller keeps the job until it has left.
            unsafe { &*job }.help();
            self.state.fetch_sub(INSIDE, Ordering::Release);
        }
    }

    /// Waits for a job other than the last one, and joins it. `None` means that the helper is to
    /// end.
    fn join(&self, last: &mut u64) -> Option<*const Job<'static>> {
        let mut spins = 0;
        loop {
            if self.stopped.load(Ordering::Relaxed) {
                return None;
            }
            let state = self.state.load(Ordering::Relaxed);
            if is_open(state, *last) {
                let joined = state - PLACE + INSIDE;
                let ordering = (Ordering::Acquire, Ordering::Relaxed);
                let result = self
                    .state
                    .compare_exchange_weak(state, joined, ordering.0, ordering.1);
                if result.is_ok() {
                    *last = state / JOB;
                    return Some(self.job.load(Ordering::Relaxed));
                }
            } else if spins < SPINS {
                spins += 1;
                spin_loop();
            } else {
                self.sleep(*last);
                spins = 0;
            }
        }
    }

    /// Sleeps until a job other than the last one is open, or the helper is to end.
    fn sleep(&self, last: u64) {
        let mut lock = self.lock();
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while !is_open(self.state.load(Ordering::SeqCst), last)
            && !self.stopped.load(Ordering::SeqCst)
        {
            lock = self.wake.wait(lock).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether a helper can join the job.
fn is_open(state: u64, last: u64) -> bool {
    state & PLACES > 0 && state / JOB != last
}

impl Job<'_> {
    /// Claims parts until none is left.
    fn help(&self) {
        let work = || (self.work)(&mut Claims::new(&self.next, self.parts));
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(panic);
        }
    }
}

/// Calls a function when it is dropped, also by a panic.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backend::cpu::parts::Disjoint;

    /// Calls `work` with each of so many parts.
    fn each(crew: &Crew, parts: usize, work: impl Fn(usize) + Sync) {
        crew.run(parts, &|claims| claims.for_each(&work));
    }

    fn crew(count: usize) -> Crew {
        Crew::start(count).expect("threads")
    }

    const ROUNDS: usize = if cfg!(miri) { 20 } else { 20_000 };

    #[test]
    fn every_part_is_done_once_before_run_returns() {
        for count in [2, 3, 7] {
            let crew = crew(count);
            for round in 0..ROUNDS / 4 {
                let parts = round % 9 + 1;
                let mut done = vec![0; parts];
                let out = Disjoint::new(&mut done);
                each(&crew, parts, |part| {
                    // SAFETY: Each part is claimed once.
                    let own = unsafe { out.part(part..part + 1) };
                    own[0] += round + 1;
                });
                assert_eq!(done, vec![round + 1; parts]);
                if round % (ROUNDS / 16) == 0 {
                    // The helpers fall asleep.
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
    }

    #[test]
    fn helpers_take_parts() {
        let crew = crew(2);
        let (own, both) = (std::thread::current().id(), std::sync::Barrier::new(2));
        let seen = Mutex::new(Vec::new());
        each(&crew, 2, |_| {
            // It passes only if both threads have a part at the same time.
            both.wait();
            seen.lock().unwrap().push(std::thread::current().id());
        });
        let seen = seen.into_inner().unwrap();
        assert_ne!(seen[0], seen[1]);
        assert!(seen.contains(&own));
    }

    #[test]
    fn callers_share_the_helpers() {
        let crew = crew(3);
        let total = AtomicUsize::new(0);
        let most = AtomicUsize::new(0);
        let working = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..ROUNDS / 8 {
                        each(&crew, 5, |part| {
                            let now = working.fetch_add(1, Ordering::SeqCst) + 1;
                            most.fetch_max(now, Ordering::SeqCst);
                            total.fetch_add(part, Ordering::Relaxed);
                            working.fetch_sub(1, Ordering::SeqCst);
                        });
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 3 * (ROUNDS / 8) * 10);
        // Three callers, and two helpers that joined before the others came.
        assert!(most.into_inner() <= 5);
    }

    #[test]
    fn work_within_work_stays_in_its_thread() {
        let crew = crew(3);
        let total = AtomicUsize::new(0);
        each(&crew, 4, |_| {
            each(&crew, 4, |part| {
                total.fetch_add(part, Ordering::Relaxed);
            });
        });
        assert_eq!(total.into_inner(), 24);
    }

    #[test]
    fn a_panic_of_any_thread_is_the_callers_and_the_helpers_go_on() {
        let crew = crew(3);
        for bad in 0..6 {
            let run = || each(&crew, 6, |part| assert!(part != bad, "part {part}"));
            let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("a panic");
            let message = panic.downcast_ref::<String>().expect("its message");
            assert_eq!(*message, format!("part {bad}"));
        }
        let total = AtomicUsize::new(0);
        each(&crew, 6, |part| {
            total.fetch_add(part, Ordering::Relaxed);
        });
        assert_eq!(total.into_inner(), 15);
    }

    #[test]
    fn crews_that_end_leave_no_thread() {
        for round in 0..ROUNDS / 20 {
            let crew = crew(3);
            if round % 2 == 0 {
                each(&crew, 3, |_| ());
            }
            let shared = Arc::downgrade(&crew.shared);
            drop(crew);
            // The threads had the other references.
            assert_eq!(shared.strong_count(), 0);
        }
    }
}
