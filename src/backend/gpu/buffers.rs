//! GPU memory for activations that is taken once and used again: by every layer of a pass, and by the next pass.
//!
//! A buffer may be taken again as soon as no operation to come needs what is in it: the GPU does everything in the order
//! in which it was noted down.

use std::sync::{Arc, Mutex, PoisonError};

use super::device::Device;
use crate::error::Result;

/// Bytes that a pool keeps for later.
const KEPT: u64 = 256 << 20;

/// Buffers that are not in use.
#[derive(Clone, Default)]
pub struct Pool(Arc<Mutex<Vec<wgpu::Buffer>>>);

impl Pool {
    /// A buffer of at least so many bytes, of unspecified content.
    pub fn take(&self, device: &Device, bytes: u64, usage: wgpu::BufferUsages) -> Result<Lease> {
        Ok(Lease {
            buffer: self.take_out(device, bytes, usage)?,
            pool: self.clone(),
        })
    }

    /// As [`Pool::take`]; it comes back by [`Pool::put_back`] alone. One that is being mapped must not before that is done.
    pub fn take_out(
        &self,
        device: &Device,
        bytes: u64,
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer> {
        let free = || {
            let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let fitting = free.iter().enumerate();
            // One that is far too large is wanted elsewhere.
            let fitting = fitting.filter(|(_, buffer)| {
                buffer.usage() == usage && (bytes..=4 * bytes.max(4096)).contains(&buffer.size())
            });
            let best = fitting.min_by_key(|(_, buffer)| buffer.size());
            best.map(|(index, _)| index)
                .map(|index| free.swap_remove(index))
        };
        match free() {
            Some(buffer) => Ok(buffer),
            None => device.buffer(rounded(bytes).min(device.largest()).max(bytes), usage),
        }
    }

    /// Takes a buffer back.
    pub fn put_back(&self, buffer: wgpu::Buffer) {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: u64 = free.iter().map(wgpu::Buffer::size).sum();
        if kept + buffer.size() <= KEPT {
            free.push(buffer);
        }
    }
}

/// To an eighth of a power of two, so that buffers of about one size serve for each other.
fn rounded(bytes: u64) -> u64 {
    let step = (bytes.next_power_of_two() / 8).max(256);
    bytes.next_multiple_of(step)
}

/// A buffer that goes back to its pool.
pub struct Lease {
    buffer: wgpu::Buffer,
    pool: Pool,
}

impl std::ops::Deref for Lease {
    type Target = wgpu::Buffer;

    fn deref(&self) -> &wgpu::Buffer {
        &self.buffer
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.put_back(self.buffer.clone());
    }
}
