// Lists the values above 0 and NaNs of sparse vectors, each after its index, in any order. The
// count includes values that the list has no room for.

struct Shape {
    size: u32,
    room: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<u32>;
// The count, an unused word, then pairs of index and value
@group(0) @binding(2) var<storage, read_write> count: array<atomic<u32>>;

@compute @workgroup_size(256)
fn positive(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var at = id.x; at < shape.size; at += groups.x * 256u) {
        let bits = x[at];
        if (bits == 0u || (bits >= 0x80000000u && bits <= 0xff800000u)) { continue; }
        let place = atomicAdd(&count[0], 1u);
        if (place < shape.room) {
            atomicStore(&count[2u + 2u * place], at);
            atomicStore(&count[3u + 2u * place], bits);
        }
    }
}
