//! The adapter, its device, and what goes wrong with them.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::error::{Error, Result};

/// A device that is in use.
pub struct Device {
    pub gpu: wgpu::Device,
    pub queue: wgpu::Queue,
    /// Which adapter it is.
    pub name: String,
    /// Whether shaders have `dot4I8Packed`.
    pub has_dot: bool,
    /// Whether they have `f16`.
    pub has_f16: bool,
    health: Arc<Health>,
    /// Bytes of all buffers.
    pub taken: Arc<AtomicU64>,
    /// Of buffers of which is not known whether they are there.
    ordered: Mutex<Vec<Order>>,
}

/// Tells, once the GPU knows, whether a buffer was to be had.
pub type Order = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// What went wrong, of which wgpu tells by callbacks alone.
#[derive(Default)]
struct Health(Mutex<Option<Trouble>>);

enum Trouble {
    Lost(String),
    Failed(String),
}

impl Health {
    fn note(&self, trouble: Trouble) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What follows a lost device is its consequence; nothing else is worse than the first trouble.
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
        let features = adapter.features() & wgpu::Features::SHADER_F16;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("gossamer"),
            required_features: features,
            // As large as it has them.
            required_limits: limits,
            memory_hints: wgpu::MemoryHints::Performance,
            ..wgpu::DeviceDescriptor::default()
        };
        let device = adapter.request_device(&descriptor).await;
        let (device, queue) = device.map_err(|error| Error::NoGpu(error.to_string()))?;
        let health = Arc::new(Health::default());
        let noted = Arc::clone(&health);
        device.on_uncaptured_error(Arc::new(move |error| {
            noted.note(Trouble::Failed(error.to_string()));
        }));
        let noted = Arc::clone(&health);
        device.set_device_lost_callback(move |reason, message| {
            noted.note(Trouble::Lost(format!("{reason:?}: {message}")));
        });
        let info = adapter.get_info();
        let language = instance.wgsl_language_features();
        Ok(Self {
            name: [info.name, info.driver_info].join(" ").trim().to_owned(),
            has_dot: language.contains(wgpu::WgslLanguageFeatures::Packed4x8IntegerDotProduct),
            has_f16: !features.is_empty(),
            gpu: device,
            queue,
            health,
            taken: Arc::default(),
            ordered: Mutex::default(),
        })
    }

    fn trouble(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.health.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first thing that went wrong.
    pub fn check(&self) -> Result<()> {
        self.check_there()?;
        match &*self.trouble() {
            Some(Trouble::Failed(reason)) => {
                // Perhaps for want of memory.
                self.check_orders()?;
                Err(refused(reason))
            }
            _ => Ok(()),
        }
    }

    /// Whether the device is not lost.
    pub fn check_there(&self) -> Result<()> {
        // Natively it says so only when it is asked, and refuses commands before.
        let _ = self.gpu.poll(wgpu::PollType::Poll);
        match &*self.trouble() {
            Some(Trouble::Lost(reason)) => Err(Error::GpuLost(reason.clone())),
            _ => Ok(()),
        }
    }

    pub fn ordered(&self) -> MutexGuard<'_, Vec<Order>> {
        self.ordered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the buffers are there of which that is known by now.
    pub fn check_orders(&self) -> Result<()> {
        let mut context = Context::from_waker(Waker::noop());
        let mut outcome = Ok(());
        self.ordered()
            .retain_mut(|order| match order.as_mut().poll(&mut context) {
                Poll::Pending => true,
                Poll::Ready(filled) => {
                    outcome = std::mem::replace(&mut outcome, Ok(())).and(filled);
                    false
                }
            });
        outcome
    }

    /// Takes the list of all others.
    pub fn orders(&self) -> Vec<Order> {
        std::mem::take(&mut *self.ordered())
    }

    /// The largest buffer that a kernel can be given.
    pub fn largest(&self) -> u64 {
        let limits = self.gpu.limits();
        limits
            .max_buffer_size
            .min(limits.max_storage_buffer_binding_size)
    }

    /// A buffer of unspecified content, of the bytes that are left of a multiple of four.
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
        self.ordered().push(Box::pin(async move {
            match verdict.await {
                Some(wgpu::Error::OutOfMemory { .. }) => Err(Error::GpuMemory { bytes, taken }),
                _ => Ok(()),
            }
        }));
        Ok(buffer)
    }
}

/// A command was none that the GPU takes.
pub fn refused(reason: &str) -> Error {
    Error::Internal(format!("the GPU refused a command: {reason}"))
}
