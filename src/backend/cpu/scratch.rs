//! A pool of memory for activations. Every layer of a pass, and the next pass, reuse the same
//! buffers.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Result, zeroed};

/// Bytes of free buffers that a pool keeps. What a single long text took beyond that is freed.
const KEPT: usize = 16 << 20;

/// Free buffers.
#[derive(Clone, Default)]
pub struct ScratchPool(Arc<Mutex<Vec<Vec<f32>>>>);

impl ScratchPool {
    /// A buffer of unspecified content.
    pub fn take(&self, len: usize) -> Result<Buffer> {
        let values = {
            let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let fitting = free
                .iter()
                .enumerate()
                .filter(|(_, values)| values.capacity() >= len);
            let best = fitting.min_by_key(|(_, values)| values.capacity());
            best.map(|(index, _)| index)
                .map(|index| free.swap_remove(index))
        };
        let values = match values {
            Some(mut values) => {
                // Vectors are never shortened, so no element is zeroed twice.
                if values.len() < len {
                    values.resize(len, 0.0);
                }
                values
            }
            None => zeroed(len)?,
        };
        let pool = self.clone();
        Ok(Buffer { values, len, pool })
    }

    /// A buffer of zeros.
    pub fn zeroed(&self, len: usize) -> Result<Buffer> {
        let mut buffer = self.take(len)?;
        buffer.fill(0.0);
        Ok(buffer)
    }

    /// A buffer of these values, whose memory joins the pool later.
    pub fn adopt(&self, values: Vec<f32>) -> Buffer {
        Buffer {
            len: values.len(),
            values,
            pool: self.clone(),
        }
    }
}

/// Values whose memory returns to its pool when they are dropped.
pub struct Buffer {
    values: Vec<f32>,
    len: usize,
    pool: ScratchPool,
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        let mut free = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: usize = free.iter().map(Vec::capacity).sum();
        if (kept + values.capacity()) * size_of::<f32>() <= KEPT {
            free.push(values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_and_does_not_pile_up() {
        let pool = ScratchPool::default();
        let buffer = pool.take(1000).unwrap();
        let place = buffer.as_ptr();
        drop(buffer);
        let buffer = pool.take(900).unwrap();
        assert_eq!((buffer.as_ptr(), buffer.len()), (place, 900));
        drop(buffer);
        let large: Vec<_> = (0..5).map(|_| pool.take(1 << 20).unwrap()).collect();
        drop(large);
        let kept: usize = pool.0.lock().unwrap().iter().map(Vec::capacity).sum();
        assert!(kept * size_of::<f32>() <= KEPT, "{kept}");
    }
}
