//! The adapter, its device, and what goes wrong with them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
}

/// What went wrong, of which wgpu tells by callbacks alone.
#[derive(Default)]
struct Health {
    trouble: Mutex<Option<Trouble>>,
    /// Bytes of all buffers.
    allocated: AtomicU64,
}

enum Trouble {
    Lost(String),
    OutOfMemory,
    Failed(String),
}

impl Health {
    fn note(&self, trouble: Trouble) {
        let mut first = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
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
            noted.note(match error {
                wgpu::Error::OutOfMemory { .. } => Trouble::OutOfMemory,
                error => Trouble::Failed(error.to_string()),
            });
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
        })
    }

    /// The first thing that went wrong.
    pub fn check(&self) -> Result<()> {
        let trouble = || {
            let trouble = self.health.trouble.lock();
            trouble.unwrap_or_else(PoisonError::into_inner)
        };
        if trouble().is_some() {
            // A lost device refuses commands before it says that it is lost.
            let _ = self.gpu.poll(wgpu::PollType::Poll);
        }
        match &*trouble() {
            None => Ok(()),
            Some(Trouble::Lost(reason)) => Err(Error::GpuLost(reason.clone())),
            Some(Trouble::OutOfMemory) => Err(Error::GpuMemory {
                bytes: self.health.allocated.load(Ordering::Relaxed),
            }),
            Some(Trouble::Failed(reason)) => {
                let reason = format!("the GPU refused a command: {reason}");
                Err(Error::Internal(reason))
            }
        }
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
        self.health.allocated.fetch_add(bytes, Ordering::Relaxed);
        Ok(self.gpu.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes.max(4),
            usage,
            mapped_at_creation: false,
        }))
    }
}
