//! A pool of GPU buffers for activations. Every layer of a pass, and the next pass, reuse the same
//! buffers.
//!
//! A buffer may be reused as soon as no operation that is still to be recorded needs its contents:
//! the GPU runs all operations in the order in which they were recorded.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::device::Device;
use crate::error::Result;

/// Bytes of free buffers that a pool keeps.
const KEPT: u64 = 256 << 20;

/// A pool of buffers.
#[derive(Clone)]
pub struct BufferPool(Arc<Mutex<Arc<Free>>>);

/// Free buffers of a pool. After a failed allocation the pool takes a new `Free`, and buffers in
/// use return to the old one, which is dropped with the last of them.
pub struct Free {
    buffers: Mutex<Vec<wgpu::Buffer>>,
    /// Set when the allocation of one of its buffers failed: the bytes of that buffer, and of all
    /// buffers before it.
    short: OnceLock<[u64; 2]>,
    /// Bytes of all buffers of the device.
    taken: Arc<AtomicU64>,
}

impl Free {
    /// The bytes of the failed allocation and of all buffers before it, if one failed.
    pub fn short(&self) -> Option<[u64; 2]> {
        self.short.get().copied()
    }

    pub fn buffers(&self) -> MutexGuard<'_, Vec<wgpu::Buffer>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_back(&self, buffer: wgpu::Buffer) {
        let mut buffers = self.buffers();
        let kept: u64 = buffers.iter().map(wgpu::Buffer::size).sum();
        if kept + buffer.size() <= KEPT {
            buffers.push(buffer);
        } else {
            self.taken.fetch_sub(buffer.size(), Ordering::Relaxed);
        }
    }
}

impl Drop for Free {
    fn drop(&mut self) {
        let kept: u64 = self.buffers().iter().map(wgpu::Buffer::size).sum();
        self.taken.fetch_sub(kept, Ordering::Relaxed);
    }
}

impl BufferPool {
    /// A pool of a device's buffers.
    pub fn new(device: &Device) -> Self {
        Self(Arc::new(Mutex::new(Self::free(&device.taken))))
    }

    fn free(taken: &Arc<AtomicU64>) -> Arc<Free> {
        Arc::new(Free {
            buffers: Mutex::default(),
            short: OnceLock::new(),
            taken: Arc::clone(taken),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Free>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The present free list, to which buffers taken now return.
    pub fn home(&self) -> Arc<Free> {
        Arc::clone(&self.lock())
    }

    /// Gives up all buffers of `home`, also those in use, after an allocation of `bytes` beside
    /// `taken` bytes failed.
    pub fn give_up(&self, home: &Arc<Free>, bytes: u64, taken: u64) {
        if home.short.set([bytes, taken]).is_ok() {
            *self.lock() = Self::free(&home.taken);
        }
    }

    /// A buffer of at least so many bytes, of unspecified content.
    pub fn take(&self, device: &Device, bytes: u64, usage: wgpu::BufferUsages) -> Result<Lease> {
        Ok(Lease {
            buffer: self.take_out(device, bytes, usage)?,
            home: self.home(),
        })
    }

    /// As [`BufferPool::take`], but the buffer returns by [`BufferPool::put_back`] only: a buffer
    /// that is being mapped must not return before.
    pub fn take_out(
        &self,
        device: &Device,
        bytes: u64,
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer> {
        let free = || {
            let home = self.home();
            let mut free = home.buffers();
            let fitting = free.iter().enumerate();
            // A buffer that is far too large is left for larger tensors.
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

    /// Returns a buffer to the pool.
    pub fn put_back(&self, buffer: wgpu::Buffer) {
        self.lock().put_back(buffer);
    }
}

/// Rounds up to a multiple of an eighth of a power of two, so that tensors of similar sizes can
/// share buffers.
fn rounded(bytes: u64) -> u64 {
    let step = (bytes.next_power_of_two() / 8).max(256);
    bytes.next_multiple_of(step)
}

/// A buffer that returns to its pool when it is dropped.
pub struct Lease {
    buffer: wgpu::Buffer,
    home: Arc<Free>,
}

impl std::ops::Deref for Lease {
    type Target = wgpu::Buffer;

    fn deref(&self) -> &wgpu::Buffer {
        &self.buffer
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.home.put_back(self.buffer.clone());
    }
}
