// Copies rows to a range of columns of wider rows.

struct Shape {
    // Number of values that are copied, and width of their rows
    size: u32,
    width: u32,
    // Width of the result's rows, and the column where the copy begins
    total: u32,
    first: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn concatenate(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var at = id.x; at < shape.size; at += groups.x * 256u) {
        out[at / shape.width * shape.total + shape.first + at % shape.width] = x[at];
    }
}
