// One vector a sequence, of its tokens after the first few. A sequence with none left gives zeros.

@group(0) @binding(0) var<uniform> width: u32;
@group(0) @binding(1) var<storage, read> x: array<f32>;
// Where each sequence begins
@group(0) @binding(2) var<storage, read> offsets: array<u32>;
// Tokens of each that are left out
@group(0) @binding(3) var<storage, read> skip: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

// 0 the first token, 1 maximum, 2 mean, 3 sum over the root of the count, 4 mean weighted by position, 5 the last token
override MODE: u32 = 2u;

@compute @workgroup_size(64)
fn pool(@builtin(global_invocation_id) id: vec3<u32>, @builtin(workgroup_id) place: vec3<u32>) {
    let column = id.x;
    let sequence = place.y;
    if (column >= width) { return; }
    let end = offsets[sequence + 1u];
    let first = min(offsets[sequence] + skip[sequence], end);
    let count = f32(end - first);
    var value = 0.0;
    if (first < end) {
        if (MODE == 0u) {
            value = x[first * width + column];
        } else if (MODE == 5u) {
            value = x[(end - 1u) * width + column];
        } else if (MODE == 1u) {
            value = x[first * width + column];
            for (var token = first + 1u; token < end; token++) { value = max(value, x[token * width + column]); }
        } else {
            var weights = 0.0;
            for (var token = first; token < end; token++) {
                let weight = select(1.0, f32(token - offsets[sequence] + 1u), MODE == 4u);
                weights += weight;
                value += x[token * width + column] * weight;
            }
            value /= select(weights, sqrt(count), MODE == 3u);
        }
    }
    out[sequence * width + column] = value;
}
