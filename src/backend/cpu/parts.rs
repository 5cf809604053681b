//! The parts of an operation, and who works on which.

use core::marker::PhantomData;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

/// The numbers of the parts that a thread has claimed.
pub struct Claims<'a> {
    next: &'a AtomicUsize,
    parts: usize,
}

impl<'a> Claims<'a> {
    /// Claims of the parts from `next` on.
    pub fn new(next: &'a AtomicUsize, parts: usize) -> Self {
        Self { next, parts }
    }
}

impl Iterator for Claims<'_> {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let part = self.next.fetch_add(1, Ordering::Relaxed);
        (part < self.parts).then_some(part)
    }
}

/// A slice of which several threads write different parts.
pub struct Disjoint<'a, T> {
    values: *mut T,
    len: usize,
    lent: PhantomData<&'a mut [T]>,
}

// SAFETY: It is an exclusive borrow of the slice. Whoever takes a part promises that no other
// thread has it, so elements are only ever sent to another thread.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    /// Borrows the slice.
    #[inline(always)]
    pub fn new(values: &'a mut [T]) -> Self {
        Self {
            values: values.as_mut_ptr(),
            len: values.len(),
            lent: PhantomData,
        }
    }

    /// A part of the slice. Panics if it ends beyond the slice.
    ///
    /// # Safety
    ///
    /// While the part is in use, no other part may have any of its elements.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "see Safety")]
    pub unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: The range is within the slice, which is borrowed for as long as `self` is, and
        // the caller has no other reference to its elements.
        unsafe { core::slice::from_raw_parts_mut(self.values.add(range.start), range.len()) }
    }
}
