//! What a pass does, noted down until its results are asked for: one upload, one submission.

use std::collections::HashMap;
use std::sync::Arc;

use super::buffers::{Lease, Pool};
use super::device::Device;
use super::pipelines::Pipeline;
use crate::error::Result;

/// Where uploads begin: what every device can bind at.
const ALIGNMENT: usize = 256;

/// Something that a kernel is given.
#[derive(Clone, Copy)]
pub enum Argument<'a> {
    Buffer(&'a wgpu::Buffer),
    /// Values of the host's, which go up with all others.
    Host(&'a [u8]),
}

/// Values of the host's.
pub fn host(values: &[impl bytemuck::NoUninit]) -> Argument<'_> {
    Argument::Host(bytemuck::cast_slice(values))
}

enum Bound {
    Buffer(wgpu::Buffer),
    /// A part of the upload: its place and size.
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

/// Commands that are not submitted yet.
#[derive(Default)]
pub struct Recorder {
    commands: Vec<Command>,
    /// What the host has to say, in one piece.
    upload: Vec<u8>,
    /// Places of host values by their address and size: a table that every layer uses goes up once.
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
            // The same address, but the same values?
            && self.upload[*place..][..bytes.len()] == *bytes
        {
            return Bound::Upload(*place, bytes.len());
        }
        let place = self.upload.len();
        self.upload.extend_from_slice(bytes);
        // No binding is empty.
        let end = self.upload.len().max(place + 4);
        self.upload.resize(end.next_multiple_of(ALIGNMENT), 0);
        self.places.insert(key, place);
        Bound::Upload(place, bytes.len().max(4))
    }

    /// Notes a kernel down, with its bindings from 0 on.
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

    /// Notes a copy down.
    pub fn copy(&mut self, from: Argument, to: (&wgpu::Buffer, u64), bytes: u64) {
        let from = self.bound(from);
        let to = (to.0.clone(), to.1);
        self.commands.push(Command::Copy { from, to, bytes });
    }

    /// Notes down that a buffer is filled with zeros.
    pub fn clear(&mut self, buffer: &wgpu::Buffer) {
        self.commands.push(Command::Clear(buffer.clone()));
    }

    /// Submits all that is noted down.
    pub fn submit(&mut self, device: &Device, pool: &Pool) -> Result<()> {
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
    fn arena(&self, device: &Device, pool: &Pool) -> Result<Lease> {
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
