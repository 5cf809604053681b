// activation(x + scale · y)

struct Shape {
    // Number of values
    size: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

// Replaced by activation.wgsl
fn activate(x: f32) -> f32 { return x; }

@compute @workgroup_size(256)
fn add(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var at = id.x; at < shape.size; at += groups.x * 256u) {
        out[at] = activate(x[at] + shape.scale * y[at]);
    }
}
