//! Values on their way back.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use super::device::Device;

/// Set by a callback of wgpu's.
#[derive(Default)]
pub struct Signal {
    result: Option<Result<(), wgpu::BufferAsyncError>>,
    wakers: Vec<Waker>,
}

/// A buffer that is being mapped.
pub struct Mapping {
    device: Arc<Device>,
    signal: Arc<Mutex<Signal>>,
}

impl Mapping {
    /// Starts it.
    pub fn new(device: Arc<Device>, buffer: &wgpu::Buffer, bytes: u64) -> Self {
        let signal = Arc::new(Mutex::new(Signal::default()));
        let set = Arc::clone(&signal);
        buffer.map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
            let mut signal = set.lock().unwrap_or_else(PoisonError::into_inner);
            signal.result = Some(result);
            signal.wakers.drain(..).for_each(Waker::wake);
        });
        Self { device, signal }
    }
}

impl Future for Mapping {
    type Output = Result<(), wgpu::BufferAsyncError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context) -> Poll<Self::Output> {
        let lock = || self.signal.lock().unwrap_or_else(PoisonError::into_inner);
        // Natively this waits for the GPU; in a browser it does nothing.
        if lock().result.is_none() {
            let _ = self.device.gpu.poll(wgpu::PollType::wait_indefinitely());
        }
        let mut signal = lock();
        if let Some(result) = signal.result.take() {
            return Poll::Ready(result);
        }
        let waker = context.waker();
        if !signal.wakers.iter().any(|known| known.will_wake(waker)) {
            signal.wakers.push(waker.clone());
        }
        Poll::Pending
    }
}
