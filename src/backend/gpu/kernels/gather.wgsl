// Writes rows of an embedding table, or adds them to the result. A workgroup computes 64 columns of
// one token.

struct Shape {
    width: u32,
    // Words of a row of f32 or f16, or groups of a row of integers
    stride: u32,
    // First row and number of rows of the part of the table that is bound
    first: u32,
    rows: u32,
    scale: f32,
    // Whether to add to the result
    adds: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<u32>;
@group(0) @binding(3) var<storage, read> scales: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

// Bits of an element of the table: 32, 16, 8 or 4
override BITS: u32 = 32u;

var<workgroup> values: array<f32, 64>;

// An element of a row of integers, times its scale. It is still rotated.
fn code_at(row: u32, group: u32, lane: u32) -> f32 {
    let cell = row * shape.stride + group;
    var word = 0u;
    var upper = 0u;
    if (BITS == 8u) {
        word = table[cell * 16u + lane / 4u];
    } else {
        word = table[cell * 8u + lane / 8u];
        // As in gemm.wgsl: 4-bit codes are the upper halves of bytes, and scales are for codes
        // times 16.
        word = select(word << 4u, word, (lane / 4u) % 2u == 1u) & 0xf0f0f0f0u;
    }
    let code = extractBits(bitcast<i32>(word), 8u * (lane % 4u), 8u);
    return f32(code) * scales[cell];
}

@compute @workgroup_size(64)
fn gather(@builtin(workgroup_id) place: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let token = place.y;
    let column = place.x * 64u + lane;
    // The row is the same for the whole workgroup. Rows of other parts are left to their
    // dispatches.
    let row = ids[token] - shape.first;
    let here = row < shape.rows;
    var value = 0.0;
    if (BITS >= 16u) {
        if (here && column < shape.width) {
            if (BITS == 32u) {
                value = bitcast<f32>(table[row * shape.stride + column]);
            } else {
                value = unpack2x16float(table[row * shape.stride + column / 2u])[column % 2u];
            }
        }
    } else {
        if (here) { value = code_at(row, place.x, lane); }
        values[lane] = value;
        for (var distance = 1u; distance < 64u; distance *= 2u) {
            workgroupBarrier();
            let other = values[lane ^ distance];
            value = select(value + other, other - value, (lane & distance) != 0u);
            workgroupBarrier();
            values[lane] = value;
        }
        value *= 0.125;
    }
    if (!here || column >= shape.width) { return; }
    let at = token * shape.width + column;
    value *= shape.scale;
    if (shape.adds != 0u) { value += out[at]; }
    out[at] = value;
}
