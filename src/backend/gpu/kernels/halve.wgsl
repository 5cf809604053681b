// Converts activations to f16. Each step of 32 along a row is scaled by a power of two, so that
// neither the activations nor their products with weights leave f16's range.
//
// A workgroup converts one step, a thread one element.

struct Shape {
    width: u32,
    steps: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<f32>;
// [row][step][16]: two elements to a word
@group(0) @binding(2) var<storage, read_write> words: array<u32>;
// [row][step]
@group(0) @binding(3) var<storage, read_write> scales: array<f32>;

var<workgroup> values: array<f32, 32>;
// Bits of absolute values. They are ordered as the values are, and a NaN is the largest.
var<workgroup> sizes: array<u32, 32>;

@compute @workgroup_size(32)
fn halve(@builtin(workgroup_id) place: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = place.y;
    let column = place.x * 32u + lane;
    var value = 0.0;
    if (column < shape.width) { value = x[row * shape.width + column]; }
    values[lane] = value;
    sizes[lane] = bitcast<u32>(value) & 0x7fffffffu;
    for (var half = 16u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) { sizes[lane] = max(sizes[lane], sizes[lane + half]); }
    }
    workgroupBarrier();
    let largest = sizes[0];
    // The scale brings the largest value to [8, 16).
    let exponent = clamp(largest >> 23u, 4u, 253u);
    let inverse = bitcast<f32>((257u - exponent) << 23u);
    let cell = row * shape.steps + place.x;
    if (lane < 16u) {
        words[cell * 16u + lane] = pack2x16float(vec2(values[2u * lane], values[2u * lane + 1u]) * inverse);
    }
    // With a largest value that is not finite the scale is that value, so that the product is not
    // finite.
    let scale = select((exponent - 3u) << 23u, largest, largest >= 0x7f800000u);
    if (lane == 0u) { scales[cell] = bitcast<f32>(scale); }
}
