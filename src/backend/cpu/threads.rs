//! Threads that share the parts of an operation. Each part is computed by one thread, as it would
//! be by a single one, so results have the same bits for any number of threads.

use core::sync::atomic::AtomicUsize;
#[cfg(any(not(target_arch = "wasm32"), target_feature = "atomics"))]
use std::sync::Arc;

#[cfg(any(not(target_arch = "wasm32"), target_feature = "atomics"))]
use super::crew::Crew;
use super::parts::{Claims, Disjoint};

/// Steps of work (multiplications, or elements of a cheap operation times [`ELEMENT`]) below which
/// an operation stays in its thread: to share them would take longer. Tests share everything.
const LEAST: usize = if cfg!(test) { 1 } else { 1 << 17 };
/// Steps of work that an element of an operation without products is taken for.
pub const ELEMENT: usize = 16;
/// Parts for each thread. With several, a thread that is late holds up the others for less.
pub const PARTS: usize = 4;
/// The most threads.
#[cfg(not(target_arch = "wasm32"))]
const MOST: usize = 256;

/// The threads of one or several [`Cpu`](super::Cpu)s. Clones are the same threads, which end with
/// the last clone.
///
/// An operation uses all threads where nothing else runs. Operations that run at the same time
/// share them, so that no more threads work than there are.
#[derive(Clone, Debug, Default)]
pub struct Threads {
    /// None for a single thread.
    #[cfg(any(not(target_arch = "wasm32"), target_feature = "atomics"))]
    crew: Option<Arc<Crew>>,
}

impl Threads {
    /// So many threads, of which the caller is one.
    ///
    /// Errors unless there are 1 to 256, and if the system starts no more.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn new(count: usize) -> std::io::Result<Self> {
        if !(1..=MOST).contains(&count) {
            let message = format!("{count} threads were asked for: ask for 1 to {MOST}");
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                message,
            ));
        }
        let crew = (count > 1).then(|| Crew::start(count)).transpose()?;
        Ok(Self {
            crew: crew.map(Arc::new),
        })
    }

    /// The number of threads, the caller's included.
    #[cfg(any(not(target_arch = "wasm32"), target_feature = "atomics"))]
    pub fn count(&self) -> usize {
        self.crew.as_ref().map_or(1, |crew| crew.count())
    }

    /// The number of threads: this build has one.
    #[cfg(all(target_arch = "wasm32", not(target_feature = "atomics")))]
    #[inline(always)]
    pub fn count(&self) -> usize {
        1
    }

    /// How many threads share so many steps of work.
    #[inline(always)]
    pub(super) fn for_work(&self, steps: usize) -> usize {
        if steps < LEAST { 1 } else { self.count() }
    }

    /// Runs `work` in this thread, and in the others if it is for more than one and has several
    /// parts. Each claims parts until none is left. Returns when all parts are done.
    #[inline(always)]
    #[cfg_attr(
        all(target_arch = "wasm32", not(target_feature = "atomics")),
        expect(
            unused_variables,
            clippy::unused_self,
            reason = "this build has one thread"
        )
    )]
    pub(super) fn run(&self, threads: usize, parts: usize, work: impl Fn(&mut Claims) + Sync) {
        #[cfg(any(not(target_arch = "wasm32"), target_feature = "atomics"))]
        if let Some(crew) = &self.crew
            && threads > 1
            && parts > 1
        {
            return crew.run(parts, &work);
        }
        work(&mut Claims::new(&AtomicUsize::new(0), parts));
    }

    /// Calls `work` with strips of the rows of `values`, each `width` wide, and the number of a
    /// strip's first row.
    #[inline(always)]
    pub(super) fn rows<T: Send>(
        &self,
        values: &mut [T],
        width: usize,
        work: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let threads = self.for_work(values.len().saturating_mul(ELEMENT));
        if threads == 1 {
            return work(0, values);
        }
        let rows = values.len().checked_div(width).unwrap_or(0);
        let strip = rows.div_ceil(threads * PARTS).max(1);
        let all = Disjoint::new(values);
        self.run(threads, rows.div_ceil(strip), |claims| {
            for part in claims {
                let rows = part * strip..rows.min((part + 1) * strip);
                // SAFETY: Each part is claimed once, and parts are other rows.
                let values = unsafe { all.part(rows.start * width..rows.end * width) };
                work(rows.start, values);
            }
        });
    }
}

/// How many of `units` consecutive units a part has, if there are so many groups of them.
#[inline(always)]
pub fn units_of_part(units: usize, groups: usize, threads: usize) -> usize {
    if threads == 1 {
        units.max(1)
    } else {
        (units * groups / (threads * PARTS)).clamp(1, units.max(1))
    }
}
