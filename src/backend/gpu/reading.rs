//! Reading values and weights back to the host.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use super::buffers::{BufferPool, Lease};
use super::device::{self, Device};
use super::matrix::Row;
use super::pipelines::Kernel;
use super::recorder::{Argument, Recorder};
use super::{ACTIVATIONS, Gpu, GpuMatrix, GpuTensor, number, spread};
use crate::backend::cpu::{Cpu, CpuMatrix};
use crate::backend::{Backend, ReadBack, Reading, Values};
use crate::error::{Error, Result};

/// Average number of entries of a sparse vector that the first read-back has room for. The vectors
/// of a batch share the room.
pub const ENTRIES: usize = 512;

const READ_BACK: wgpu::BufferUsages =
    wgpu::BufferUsages::MAP_READ.union(wgpu::BufferUsages::COPY_DST);

/// The outcome of a mapping, set by wgpu's callback.
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
    /// Starts to map a buffer.
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

/// A buffer to be read.
struct Source {
    buffer: Lease,
    bytes: u64,
    /// If it is a list of positive values, the tensor that they are from.
    list_of: Option<GpuTensor>,
}

impl Gpu {
    /// [`Compute::read`](crate::backend::Compute::read).
    pub(super) fn read_back(&self, tensors: Vec<ReadBack<GpuTensor>>) -> Result<Reading> {
        self.check()?;
        let mut sources = Vec::new();
        for tensor in tensors {
            sources.push(match tensor {
                ReadBack::All(x) => Source {
                    bytes: x.bytes(),
                    buffer: x.buffer,
                    list_of: None,
                },
                ReadBack::Positive(x) => self.list(x)?,
            });
        }
        let device = Arc::clone(&self.device);
        let bytes: u64 = sources.iter().map(|source| source.bytes).sum();
        let back = self.pool.take_out(&device, bytes, READ_BACK)?;
        let pool = self.pool.clone();
        let words = {
            let mut recorder = self.recorder();
            let mut offset = 0;
            for Source { buffer, bytes, .. } in &sources {
                recorder.copy(Argument::Buffer(buffer), (&back, offset), *bytes);
                offset += bytes;
            }
            words_of(&mut recorder, &device, &pool, back, bytes)?
        };
        Ok(Box::pin(async move {
            let words = words.await?;
            let mut left = words.as_slice();
            let mut values = Vec::new();
            for source in sources {
                let (own, rest) = left.split_at(usize::try_from(source.bytes / 4).unwrap_or(0));
                left = rest;
                values.push(match source.list_of {
                    None => Values::All(own.iter().copied().map(f32::from_bits).collect()),
                    Some(all) => Values::Positive(entries(&device, &pool, own, &all).await?),
                });
            }
            Ok(values)
        }))
    }

    /// Copies a matrix to host memory, packed for the CPU.
    pub async fn fetch(&self, matrix: &GpuMatrix, cpu: &Cpu) -> Result<CpuMatrix> {
        let mut own = cpu.matrix(matrix.rows, matrix.columns, matrix.dtype)?;
        for part in &matrix.parts {
            let words = self.words(&part.words).await?;
            let scales = self.words(&part.scales).await?;
            part.unpack(
                matrix,
                &words,
                bytemuck::cast_slice(&scales),
                |row, values| match values {
                    Row::Values(values) => cpu.set_row(&mut own, row, values),
                    Row::Codes(codes, scales) => cpu.set_codes(&mut own, row, codes, scales),
                },
            );
        }
        Ok(own)
    }

    /// The contents of a buffer.
    async fn words(&self, buffer: &wgpu::Buffer) -> Result<Vec<u32>> {
        let bytes = buffer.size();
        let back = self.pool.take_out(&self.device, bytes, READ_BACK)?;
        let words = {
            let mut recorder = self.recorder();
            recorder.copy(Argument::Buffer(buffer), (&back, 0), bytes);
            words_of(&mut recorder, &self.device, &self.pool, back, bytes)?
        };
        words.await
    }

    /// Records a kernel that lists the positive values of a tensor; the list of a sparse tensor is
    /// much shorter.
    fn list(&self, x: GpuTensor) -> Result<Source> {
        // A short tensor gets room for all of its values.
        let room = (x.rows * ENTRIES).min(x.len());
        let bytes = ((2 + 2 * room) * 4) as u64;
        let buffer = self.pool.take(&self.device, bytes, ACTIVATIONS)?;
        self.recorder().clear(&buffer);
        let shape = [x.len(), room].map(number);
        let arguments = [x.argument(), Argument::Buffer(&buffer)];
        let groups = spread(x.len());
        self.run(Kernel::Positive, Vec::new(), &shape, &arguments, groups)?;
        Ok(Source {
            buffer,
            bytes,
            list_of: Some(x),
        })
    }
}

/// Submits all recorded commands, and resolves to the contents of `back`.
fn words_of(
    recorder: &mut Recorder,
    device: &Arc<Device>,
    pool: &BufferPool,
    back: wgpu::Buffer,
    bytes: u64,
) -> Result<impl Future<Output = Result<Vec<u32>>> + Send + use<>> {
    let (device, pool, home) = (Arc::clone(device), pool.clone(), pool.home());
    let scope = device.gpu.push_error_scope(wgpu::ErrorFilter::Validation);
    recorder.submit(&device, &pool)?;
    let mapping = Mapping::new(Arc::clone(&device), &back, bytes);
    let verdict = scope.pop();
    let allocations = device.take_allocations();
    Ok(async move {
        let mapped = mapping.await;
        let mut allocated = Ok(());
        for allocation in allocations {
            allocated = allocated.and(allocation.await);
        }
        let verdict = verdict.await;
        device.check_not_lost()?;
        if let Err(Error::GpuMemory { bytes, taken }) = allocated {
            pool.give_up(&home, bytes, taken);
        }
        allocated?;
        device.check()?;
        if let Some(error) = verdict {
            // A buffer of an earlier pass, whose allocation failed, makes commands invalid, too.
            return Err(match home.short() {
                Some([bytes, taken]) => Error::GpuMemory { bytes, taken },
                None => device::refused(&error.to_string()),
            });
        }
        let lost = |error: &dyn std::fmt::Display| Error::GpuLost(error.to_string());
        mapped.map_err(|error| lost(&error))?;
        let view = back.get_mapped_range(0..bytes);
        let view = view.map_err(|error| lost(&error))?;
        let words = bytemuck::pod_collect_to_vec(&view);
        drop(view);
        back.unmap();
        pool.put_back(back);
        Ok(words)
    })
}

/// The entries of a list. If they exceed its room, all of `x` is read instead.
async fn entries(
    device: &Arc<Device>,
    pool: &BufferPool,
    list: &[u32],
    x: &GpuTensor,
) -> Result<Vec<(u32, f32)>> {
    let count = list[0] as usize;
    let (pairs, _) = list[2..].as_chunks::<2>();
    if count <= pairs.len() {
        let pairs = pairs[..count].iter();
        let mut entries: Vec<_> = pairs
            .map(|[at, bits]| (*at, f32::from_bits(*bits)))
            .collect();
        entries.sort_unstable_by_key(|(at, _)| *at);
        return Ok(entries);
    }
    let back = pool.take_out(device, x.bytes(), READ_BACK)?;
    let mut recorder = Recorder::default();
    recorder.copy(x.argument(), (&back, 0), x.bytes());
    let words = words_of(&mut recorder, device, pool, back, x.bytes())?.await?;
    let all = (0u32..).zip(words.into_iter().map(f32::from_bits));
    Ok(all
        .filter(|(_, value)| *value > 0.0 || value.is_nan())
        .collect())
}
