// Quantises activations to 8 bits, as on the CPU: groups of 64 along a row are rotated by H₆₄ / 8
// and scaled to [-127, 127].
//
// A workgroup quantises one group, a thread one element.

struct Shape {
    width: u32,
    groups: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<f32>;
// [row][group][16]: four codes to a word
@group(0) @binding(2) var<storage, read_write> codes: array<u32>;
// [row][group]
@group(0) @binding(3) var<storage, read_write> scales: array<f32>;

var<workgroup> values: array<f32, 64>;
var<workgroup> sizes: array<f32, 64>;

@compute @workgroup_size(64)
fn quantize(@builtin(workgroup_id) place: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = place.y;
    let column = place.x * 64u + lane;
    var value = 0.0;
    if (column < shape.width) { value = x[row * shape.width + column]; }
    values[lane] = value;
    for (var distance = 1u; distance < 64u; distance *= 2u) {
        workgroupBarrier();
        let other = values[lane ^ distance];
        value = select(value + other, other - value, (lane & distance) != 0u);
        workgroupBarrier();
        values[lane] = value;
    }
    sizes[lane] = abs(value);
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) { sizes[lane] = max(sizes[lane], sizes[lane + half]); }
    }
    workgroupBarrier();
    let largest = sizes[0];
    let inverse = select(0.0, 127.0 / largest, largest > 0.0);
    let cell = row * shape.groups + place.x;
    if (lane < 16u) {
        let at = 4u * lane;
        let four = vec4(values[at], values[at + 1u], values[at + 2u], values[at + 3u]);
        let bytes = vec4<u32>(vec4<i32>(round(four * inverse))) & vec4(255u);
        codes[cell * 16u + lane] = bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
    }
    // The butterflies give 8 times the rotation. They spread a NaN to every element; the scale is
    // then NaN, too.
    let broken = (bitcast<u32>(value) & 0x7f800000u) == 0x7f800000u;
    if (lane == 0u) { scales[cell] = select(largest / 127.0 * 0.125, value, broken); }
}
