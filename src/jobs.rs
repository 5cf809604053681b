//! The jobs of a model that are under way at the same time. Each is done in steps, and a step of
//! one may take inputs of the others along.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// Jobs, by number.
pub struct Jobs<Job> {
    open: RefCell<BTreeMap<u32, Job>>,
    next: Cell<u32>,
}

impl<Job> Default for Jobs<Job> {
    fn default() -> Self {
        Self {
            open: RefCell::default(),
            next: Cell::default(),
        }
    }
}

impl<Job> Jobs<Job> {
    /// Adds a job. Returns its number.
    pub fn insert(&self, job: Job) -> u32 {
        let mut open = self.open.borrow_mut();
        let mut number = self.next.get();
        // Numbers start again after 2^32 jobs, of which an old one may still be open.
        while open.contains_key(&number) {
            number = number.wrapping_add(1);
        }
        self.next.set(number.wrapping_add(1));
        open.insert(number, job);
        number
    }

    /// Does something with a job. None if there is none of the number.
    pub fn with<T>(&self, number: u32, act: impl FnOnce(&mut Job) -> T) -> Option<T> {
        self.open.borrow_mut().get_mut(&number).map(act)
    }

    /// Does a step of a job, which also gets all others, the oldest number first. None if there is
    /// none of the number.
    pub fn step<T>(
        &self,
        number: u32,
        step: impl FnOnce(&mut Job, &mut dyn Iterator<Item = &mut Job>) -> T,
    ) -> Option<T> {
        let mut open = self.open.borrow_mut();
        let mut job = open.remove(&number)?;
        let result = step(&mut job, &mut open.values_mut());
        open.insert(number, job);
        Some(result)
    }

    /// Takes a job out. None if there is none of the number.
    pub fn remove(&self, number: u32) -> Option<Job> {
        self.open.borrow_mut().remove(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A job of so many units of work. A step does two of its own, and one of each other job.
    fn step(jobs: &Jobs<u32>, number: u32) -> Option<bool> {
        jobs.step(number, |job, others| {
            *job = job.saturating_sub(2);
            others.for_each(|other| *other = other.saturating_sub(1));
            *job == 0
        })
    }

    #[test]
    fn a_step_takes_the_other_jobs_along() {
        let jobs = Jobs::default();
        let [a, b, c] = [4, 2, 9].map(|work| jobs.insert(work));
        assert_eq!(step(&jobs, a), Some(false));
        assert_eq!(step(&jobs, a), Some(true));
        // The others have done it by then, without a step of their own.
        assert_eq!(jobs.with(b, |work| *work), Some(0));
        assert_eq!(jobs.remove(c), Some(7));
        assert_eq!(step(&jobs, c), None);
        assert_eq!(step(&jobs, b), Some(true));
    }

    #[test]
    fn numbers_of_open_jobs_are_not_given_twice() {
        let jobs = Jobs::default();
        let first = jobs.insert(1);
        jobs.next.set(u32::MAX);
        let last = jobs.insert(2);
        let next = jobs.insert(3);
        assert_eq!((first, last, next), (0, u32::MAX, 1));
        assert_eq!(jobs.with(first, |job| *job), Some(1));
    }
}
