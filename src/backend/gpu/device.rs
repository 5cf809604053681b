//! The adapter, its device, and their errors.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::error::{Error, Result};

/// An open device.
pub struct Device {
    pub gpu: wgpu::Device,
    pub queue: wgpu::Queue,
    /// The adapter's name.
    pub name: String,
    /// Whether shaders have `dot4I8Packed`.
    pub has_dot: bool,
    health: Arc<Health>,
    /// Bytes of all buffers.
    pub taken: Arc<AtomicU64>,
    /// Allocations that are not yet confirmed.
    allocations: Mutex<Vec<Allocation>>,
}

/// The outcome of an allocation, which the GPU reports later.
pub type Allocation = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// Errors that wgpu reports by callbacks only.
#[derive(Default)]
struct Health(Mutex<Option<Trouble>>);

enum Trouble {
    Lost(String),
    Failed(String),
}

impl Health {
    fn report(&self, trouble: Trouble) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The first error is kept, since later ones may be its consequence; a lost device replaces
        // it.
        if first.is_none() || matches!(trouble, Trouble::Lost(_)) {
            *first = Some(trouble);
        }
    }
}

impl Device {
    /// The device of the adapter that suits best.
    pub async fn open() -> Result<Self> {
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
        descriptor.backends = wgpu::Backends::PRIMARY;
        let instance = wgpu::Instance::new(descriptor);
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..wgpu::RequestAdapterOptions::default()
        };
        let adapter = instance.request_adapter(&options).await;
        let adapter = adapter.map_err(|error| Error::NoGpu(error.to_string()))?;
        let limits = adapter.limits();
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("gossamer"),
            // The adapter's own limits, which exceed WebGPU's defaults.
            required_limits: limits,
            memory_hints: wgpu::MemoryHints::Performance,
            ..wgpu::DeviceDescriptor::default()
        };
        let device = adapter.request_device(&descriptor).await;
        let (device, queue) = device.map_err(|error| Error::NoGpu(error.to_string()))?;
        let health = Arc::new(Health::default());
        let reports = Arc::clone(&health);
        device.on_uncaptured_error(Arc::new(move |error| {
            reports.report(Trouble::Failed(error.to_string()));
        }));
        let reports = Arc::clone(&health);
        device.set_device_lost_callback(move |reason, message| {
            reports.report(Trouble::Lost(format!("{reason:?}: {message}")));
        });
        let info = adapter.get_info();
        let language = instance.wgsl_language_features();
        Ok(Self {
            name: [info.name, info.driver_info].join(" ").trim().to_owned(),
            has_dot: language.contains(wgpu::WgslLanguageFeatures::Packed4x8IntegerDotProduct),
            gpu: device,
            queue,
            health,
            taken: Arc::default(),
            allocations: Mutex::default(),
        })
    }

    fn trouble(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.health.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Errors if the device is lost or a command failed.
    pub fn check(&self) -> Result<()> {
        self.check_not_lost()?;
        match &*self.trouble() {
            Some(Trouble::Failed(reason)) => {
                // A failed allocation makes commands fail; it is the better error.
                self.check_allocations()?;
                Err(refused(reason))
            }
            _ => Ok(()),
        }
    }

    /// Errors if the device is lost.
    pub fn check_not_lost(&self) -> Result<()> {
        // Natively the callback runs only when the device is polled.
        let _ = self.gpu.poll(wgpu::PollType::Poll);
        match &*self.trouble() {
            Some(Trouble::Lost(reason)) => Err(Error::GpuLost(reason.clone())),
            _ => Ok(()),
        }
    }

    pub fn allocations(&self) -> MutexGuard<'_, Vec<Allocation>> {
        let allocations = self.allocations.lock();
        allocations.unwrap_or_else(PoisonError::into_inner)
    }

    /// Errors if an allocation is known to have failed, and forgets those that are confirmed.
    pub fn check_allocations(&self) -> Result<()> {
        let mut context = Context::from_waker(Waker::noop());
        let mut outcome = Ok(());
        self.allocations()
            .retain_mut(|allocation| match allocation.as_mut().poll(&mut context) {
                Poll::Pending => true,
                Poll::Ready(own) => {
                    outcome = std::mem::replace(&mut outcome, Ok(())).and(own);
                    false
                }
            });
        outcome
    }

    /// Takes the list of allocations that are not yet confirmed.
    pub fn take_allocations(&self) -> Vec<Allocation> {
        std::mem::take(&mut *self.allocations())
    }

    /// Bytes of the largest buffer that a kernel can bind.
    pub fn largest(&self) -> u64 {
        let limits = self.gpu.limits();
        limits
            .max_buffer_size
            .min(limits.max_storage_buffer_binding_size)
    }

    /// Allocates a buffer of unspecified content. `bytes` is a multiple of four.
    pub fn buffer(&self, bytes: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
        if bytes > self.largest() {
            return Err(Error::GpuLimit {
                bytes,
                limit: self.largest(),
            });
        }
        let scope = self.gpu.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.gpu.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes.max(4),
            usage,
            mapped_at_creation: false,
        });
        let taken = self.taken.fetch_add(buffer.size(), Ordering::Relaxed);
        let verdict = scope.pop();
        self.allocations().push(Box::pin(async move {
            match verdict.await {
                Some(wgpu::Error::OutOfMemory { .. }) => Err(Error::GpuMemory { bytes, taken }),
                _ => Ok(()),
            }
        }));
        Ok(buffer)
    }
}

/// The error of a command that failed validation.
pub fn refused(reason: &str) -> Error {
    Error::Internal(format!("the GPU refused a command: {reason}"))
}
