// LayerNorm, RMSNorm or scaling to length 1 of each row of x, or of x + residual. A workgroup
// computes one row.

struct Shape {
    width: u32,
    eps: f32,
    // Whether the residual and the bias are added
    residual: u32,
    biased: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> residual: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

// A number of `NormKind`
override KIND: u32 = NormKind_Layer;
// Whether to scale to length 1 instead, without weight
override UNIT: bool = false;

const THREADS = 64u;

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

fn value_at(row: u32, column: u32) -> f32 {
    let at = row * shape.width + column;
    if (shape.residual == 0u) { return x[at]; }
    return x[at] + residual[at];
}

@compute @workgroup_size(THREADS)
fn norm(@builtin(workgroup_id) place: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = place.x;
    let count = f32(shape.width);
    var mean = 0.0;
    if (KIND == NormKind_Layer && !UNIT) {
        var sum = 0.0;
        for (var column = lane; column < shape.width; column += THREADS) { sum += value_at(row, column); }
        mean = total(sum, lane) / count;
    }
    // The mean comes first: in one pass the variance of values with a large mean cancels.
    var squares = 0.0;
    for (var column = lane; column < shape.width; column += THREADS) {
        let distance = value_at(row, column) - mean;
        squares += distance * distance;
    }
    let square = total(squares, lane);
    var scale = 1.0 / sqrt(square / count + shape.eps);
    if (UNIT) { scale = 1.0 / max(sqrt(square), 1e-12); }
    for (var column = lane; column < shape.width; column += THREADS) {
        var value = (value_at(row, column) - mean) * scale;
        if (!UNIT) { value *= select(weight[column], 1.0 + weight[column], KIND == NormKind_RmsPlusOne); }
        if (shape.biased != 0u) { value += bias[column]; }
        out[row * shape.width + column] = value;
    }
}
