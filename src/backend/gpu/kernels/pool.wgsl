// Pools the tokens of each sequence after its first few to one vector. A sequence with no token
// left gives zeros.

@group(0) @binding(0) var<uniform> width: u32;
@group(0) @binding(1) var<storage, read> x: array<f32>;
// Where each sequence begins
@group(0) @binding(2) var<storage, read> offsets: array<u32>;
// Tokens at the beginning of each sequence that are left out
@group(0) @binding(3) var<storage, read> skip: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

// A number of `Pooling`
override MODE: u32 = Pooling_Mean;

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
        if (MODE == Pooling_Cls) {
            value = x[first * width + column];
        } else if (MODE == Pooling_LastToken) {
            value = x[(end - 1u) * width + column];
        } else if (MODE == Pooling_Max) {
            value = x[first * width + column];
            for (var token = first + 1u; token < end; token++) { value = max(value, x[token * width + column]); }
        } else {
            var weights = 0.0;
            for (var token = first; token < end; token++) {
                let weight = select(1.0, f32(token - offsets[sequence] + 1u), MODE == Pooling_WeightedMean);
                weights += weight;
                value += x[token * width + column] * weight;
            }
            value /= select(weights, sqrt(count), MODE == Pooling_MeanSqrtLen);
        }
    }
    out[sequence * width + column] = value;
}
