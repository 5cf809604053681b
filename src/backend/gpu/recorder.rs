//! Records the commands of passes until results are read. Then there is one upload and one
//! submission.

use std::collections::HashMap;
use std::sync::Arc;

use super::buffers::{BufferPool, Lease};
use super::device::Device;
use super::pipelines::Pipeline;
use crate::error::Result;

/// Alignment of values in the upload. WebGPU guarantees that buffers can be bound at multiples of
/// 256.
const ALIGNMENT: usize = 256;

/// An argument of a kernel.
#[derive(Clone, Copy)]
pub enum Argument<'a> {
    /// A buffer on the GPU.
    Buffer(&'a wgpu::Buffer),
    /// Values of the host, which become part of the upload.
    Host(&'a [u8]),
}

/// Values of the host as an argument.
pub fn host(values: &[impl bytemuck::NoUninit]) -> Argument<'_> {
    Argument::Host(bytemuck::cast_slice(values))
}

enum Bound {
    Buffer(wgpu::Buffer),
    /// A part of the upload: its offset and size in bytes.
    Upload(usize, usize),
}

enum Command {
    Dispatch {
        pipeline: Arc<Pipeline>,
        bound: Vec<Bound>,
        groups: [u32; 2],
    },
    Copy {
        from: Bound,
        to: (wgpu::Buffer, u64),
        bytes: u64,
    },
    Clear(wgpu::Buffer),
}

/// Commands that are not yet submitted.
#[derive(Default)]
pub struct Recorder {
    commands: Vec<Command>,
    /// All values of the host, each at a multiple of `ALIGNMENT`.
    upload: Vec<u8>,
    /// Offsets of values in the upload by their host address and size, so that a table that every
    /// layer uses is uploaded once.
    places: HashMap<(usize, usize), usize>,
}

impl Recorder {
    fn bound(&mut self, argument: Argument) -> Bound {
        let bytes = match argument {
            Argument::Buffer(buffer) => return Bound::Buffer(buffer.clone()),
            Argument::Host(bytes) => bytes,
        };
        let key = (bytes.as_ptr().addr(), bytes.len());
        if let Some(place) = self.places.get(&key)
            // Memory at the same address may have been freed and reused since.
            && self.upload[*place..][..bytes.len()] == *bytes
        {
            return Bound::Upload(*place, bytes.len());
        }
        let place = self.upload.len();
        self.upload.extend_from_slice(bytes);
        // An empty binding is invalid.
        let end = self.upload.len().max(place + 4);
        self.upload.resize(end.next_multiple_of(ALIGNMENT), 0);
        self.places.insert(key, place);
        Bound::Upload(place, bytes.len().max(4))
    }

    /// Records a kernel, with its bindings from 0 on.
    pub fn dispatch(&mut self, pipeline: Arc<Pipeline>, arguments: &[Argument], groups: [u32; 2]) {
        if groups.contains(&0) {
            return;
        }
        let bound = arguments.iter().map(|argument| self.bound(*argument));
        let bound = bound.collect();
        self.commands.push(Command::Dispatch {
            pipeline,
            bound,
            groups,
        });
    }

    /// Records a copy.
    pub fn copy(&mut self, from: Argument, to: (&wgpu::Buffer, u64), bytes: u64) {
        let from = self.bound(from);
        let to = (to.0.clone(), to.1);
        self.commands.push(Command::Copy { from, to, bytes });
    }

    /// Records that a buffer is filled with zeros.
    pub fn clear(&mut self, buffer: &wgpu::Buffer) {
        self.commands.push(Command::Clear(buffer.clone()));
    }

    /// Submits all recorded commands.
    pub fn submit(&mut self, device: &Device, pool: &BufferPool) -> Result<()> {
        let arena = self.arena(device, pool)?;
        device.queue.write_buffer(&arena, 0, &self.upload);
        let descriptor = wgpu::CommandEncoderDescriptor::default();
        let mut encoder = device.gpu.create_command_encoder(&descriptor);
        let mut commands = self.commands.drain(..).peekable();
        while let Some(command) = commands.next() {
            match command {
                Command::Copy { from, to, bytes } => {
                    let (from, offset) = match &from {
                        Bound::Buffer(buffer) => (buffer, 0),
                        Bound::Upload(place, _) => (&*arena, *place as u64),
                    };
                    encoder.copy_buffer_to_buffer(from, offset, &to.0, to.1, bytes);
                }
                Command::Clear(buffer) => encoder.clear_buffer(&buffer, 0, None),
                first @ Command::Dispatch { .. } => {
                    let mut pass =
                        encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                    let mut next = Some(first);
                    while let Some(Command::Dispatch {
                        pipeline,
                        bound,
                        groups,
                    }) = next
                    {
                        let group = bind(device, &pipeline, &bound, &arena);
                        pass.set_pipeline(&pipeline.pipeline);
                        pass.set_bind_group(0, &group, &[]);
                        pass.dispatch_workgroups(groups[0], groups[1], 1);
                        next = commands.next_if(|next| matches!(next, Command::Dispatch { .. }));
                    }
                }
            }
        }
        drop(commands);
        device.queue.submit([encoder.finish()]);
        self.upload.clear();
        self.places.clear();
        Ok(())
    }

    /// A buffer that the upload fits in.
    fn arena(&self, device: &Device, pool: &BufferPool) -> Result<Lease> {
        let bytes = self.upload.len().next_power_of_two().max(ALIGNMENT) as u64;
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::UNIFORM
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        pool.take(device, bytes, usage)
    }
}

fn bind(
    device: &Device,
    pipeline: &Pipeline,
    bound: &[Bound],
    arena: &wgpu::Buffer,
) -> wgpu::BindGroup {
    let entries = (0..)
        .zip(bound)
        .map(|(binding, bound)| wgpu::BindGroupEntry {
            binding,
            resource: match bound {
                Bound::Buffer(buffer) => buffer.as_entire_binding(),
                Bound::Upload(place, bytes) => wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: arena,
                    offset: *place as u64,
                    size: std::num::NonZeroU64::new(*bytes as u64),
                }),
            },
        });
    device.gpu.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.layout,
        entries: &entries.collect::<Vec<_>>(),
    })
}
