// Collects values above 0, and whatever is not a number, each after its place: a few of the many of a sparse vector. They come
// in any order. If there are more than there is room for, the count tells.

struct Shape {
    size: u32,
    room: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<u32>;
// The count, a word that is not used, then pairs
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
