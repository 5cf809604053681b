// Norms and rotation of queries and keys. A workgroup computes one head of one token.

struct Shape {
    // Query heads, and query and key heads together
    queries: u32,
    heads: u32,
    // Width of a row of queries, keys and values
    stride: u32,
    eps: f32,
    // Whether the norms have biases
    biased: u32,
    // Number of angles, half the size of a head; 0 without rotation
    half: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
// Position of each token in its sequence
@group(0) @binding(2) var<storage, read> positions: array<u32>;
// Weight and bias of the query heads' norm, then of the key heads' norm
@group(0) @binding(3) var<storage, read> norms: array<f32>;
// [position][half]
@group(0) @binding(4) var<storage, read> cosines: array<f32>;
@group(0) @binding(5) var<storage, read> sines: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;

// Whether heads are normed
override NORMS: bool = false;
// A number of `NormKind`
override KIND: u32 = NormKind_Layer;
// Size of a head, at most 512
override SIZE: u32 = 64u;

const THREADS = 64u;

var<workgroup> row: array<f32, 512>;
var<workgroup> partial: array<f32, THREADS>;

fn total(value: f32, lane: u32) -> f32 {
    workgroupBarrier();
    partial[lane] = value;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) { partial[lane] += partial[lane + half]; }
    }
    workgroupBarrier();
    return partial[0];
}

@compute @workgroup_size(THREADS)
fn prepare(@builtin(workgroup_id) place: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = place.x;
    let token = place.y;
    let source = token * shape.stride + head * SIZE;
    for (var i = lane; i < SIZE; i += THREADS) { row[i] = qkv[source + i]; }
    if (NORMS) {
        var mean = 0.0;
        if (KIND == NormKind_Layer) {
            var sum = 0.0;
            for (var i = lane; i < SIZE; i += THREADS) { sum += row[i]; }
            mean = total(sum, lane) / f32(SIZE);
        }
        var squares = 0.0;
        for (var i = lane; i < SIZE; i += THREADS) { squares += (row[i] - mean) * (row[i] - mean); }
        let scale = 1.0 / sqrt(total(squares, lane) / f32(SIZE) + shape.eps);
        let first = select(0u, 2u * SIZE, head >= shape.queries);
        for (var i = lane; i < SIZE; i += THREADS) {
            let weight = norms[first + i] + select(0.0, 1.0, KIND == NormKind_RmsPlusOne);
            var value = (row[i] - mean) * scale * weight;
            if (shape.biased != 0u) { value += norms[first + SIZE + i]; }
            row[i] = value;
        }
    }
    workgroupBarrier();
    let first = (token * shape.heads + head) * SIZE;
    let angle = positions[token] * shape.half;
    for (var i = lane; i < SIZE; i += THREADS) {
        var value = row[i];
        if (i < shape.half) {
            value = value * cosines[angle + i] - row[i + shape.half] * sines[angle + i];
        } else if (i < 2u * shape.half) {
            let j = i - shape.half;
            value = value * cosines[angle + j] + row[j] * sines[angle + j];
        }
        out[first + i] = value;
    }
}
