//! GPU memory for activations that is taken once and used again: by every layer of a pass, and by the next pass.
//!
//! A buffer may be taken again as soon as no operation to come needs what is in it: the GPU does everything in the order
//! in which it was noted down.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::device::Device;
use crate::error::Result;

/// Bytes that a pool keeps for later.
const KEPT: u64 = 256 << 20;

/// A pool of buffers.
#[derive(Clone)]
pub struct Pool(Arc<Mutex<Arc<Free>>>);

/// Buffers that are not in use.
pub struct Free {
    buffers: Mutex<Vec<wgpu::Buffer>>,
    /// Set when one of them was not to be had: its bytes, and those of all before.
    short: OnceLock<[u64; 2]>,
    /// Bytes of all buffers of the device.
    taken: Arc<AtomicU64>,
}

impl Free {
    /// What was not to be had, and what was taken before.
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

impl Pool {
    /// One for a device's buffers.
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

    /// What there is now.
    pub fn home(&self) -> Arc<Free> {
        Arc::clone(&self.lock())
    }

    /// Gives all of `home` up, with those in use, since one was not to be had: of so many bytes, beside so many.
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

    /// As [`Pool::take`]; it comes back by [`Pool::put_back`] alone. One that is being mapped must not before that is done.
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
        self.lock().put_back(buffer);
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
