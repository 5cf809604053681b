//! Memory for activations that is taken once and used again: by every layer of a pass, and by the next pass.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Result, zeroed};

/// Bytes that a pool keeps for later; what a single long text has taken beyond it is given back.
const KEPT: usize = 16 << 20;

/// Buffers that are not in use.
#[derive(Clone, Default)]
pub struct Pool(Arc<Mutex<Vec<Vec<f32>>>>);

impl Pool {
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
                // Never shortened, so that no element is zeroed twice.
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

    /// Takes a vector over.
    pub fn adopt(&self, values: Vec<f32>) -> Buffer {
        Buffer {
            len: values.len(),
            values,
            pool: self.clone(),
        }
    }
}

/// Values whose memory goes back to its pool.
pub struct Buffer {
    values: Vec<f32>,
    len: usize,
    pool: Pool,
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
        let pool = Pool::default();
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
