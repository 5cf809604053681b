// x · weightᵀ in tiles of ROWS × 64. Operands pass through workgroup memory in steps of 16 words. A
// thread computes four rows and four columns of a tile.
//
// With 32-bit weights a word of x is one f32. With 16 bits it is two halves, whose products are
// added up in f32. With 8 or 4 bits it is four codes of 8 bits, and a step is a quantisation group,
// whose integer sums are exact. With less than 32 bits the sums of a step are scaled to f32. An
// element is always one sequential sum over k.

struct Shape {
    // Rows of x, and of the part of the weights that is bound
    rows: u32,
    columns: u32,
    // Words of a row of x, and steps of a row of weights, which is padded with zeros
    words: u32,
    steps: u32,
    // Width of the result, and the column where the part begins in it
    width: u32,
    first: u32,
    // Whether there is a bias
    biased: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<u32>;
// [row][step]
@group(0) @binding(2) var<storage, read> x_scales: array<f32>;
// [column][step][16, or 8 with 4 bits]. With 4 bits the lower halves of a word's bytes are the
// codes of one word, and the upper halves those of the next.
@group(0) @binding(3) var<storage, read> weight: array<u32>;
// [column][step]; with 4 bits for codes times 16
@group(0) @binding(4) var<storage, read> scales: array<f32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
// Where each sequence begins
@group(0) @binding(7) var<storage, read> offsets: array<u32>;

// Rows of a tile: 16, 32 or 64
override ROWS: u32 = 64u;
// Bits of a weight: 32, 16, 8 or 4
override BITS: u32 = 32u;
// SPLADE: whether tokens are summed (else the maximum is taken), and how often log(1 + relu(x)) is
// applied
override SUM: bool = false;
override LOGS: u32 = 1u;

const COLUMNS = 64u;
const STEP = 16u;
// Pitch of a tile's words in workgroup memory. It is odd, so that the words of a row are in
// different banks.
const PITCH = 65u;
const NOT_FINITE = 0x7f800000u;

var<workgroup> x_tile: array<u32, STEP * PITCH>;
var<workgroup> weight_tile: array<u32, STEP * PITCH>;
// Sums of a thread's four rows, four columns each
var<private> sums: array<vec4<f32>, 4>;

// Replaced by activation.wgsl
fn activate(x: f32) -> f32 { return x; }

// Replaced by dot.wgsl where the language lacks dot4I8Packed
fn dot_of(a: u32, b: u32) -> i32 { return dot4I8Packed(a, b); }

fn load_x(row: u32, end: u32, step: u32, thread: u32) {
    for (var at = thread; at < ROWS * STEP; at += ROWS * 4u) {
        let r = row + at / STEP;
        let d = step * STEP + at % STEP;
        var word = 0u;
        if (r < end && d < shape.words) { word = x[r * shape.words + d]; }
        x_tile[at % STEP * PITCH + at / STEP] = word;
    }
}

fn load_weight(column: u32, step: u32, thread: u32) {
    let size = select(STEP, STEP / 2u, BITS == 4u);
    for (var at = thread; at < COLUMNS * size; at += ROWS * 4u) {
        let c = at / size;
        let d = at % size;
        var word = 0u;
        if (column + c < shape.columns) { word = weight[((column + c) * shape.steps + step) * size + d]; }
        if (BITS == 4u) {
            weight_tile[2u * d * PITCH + c] = (word << 4u) & 0xf0f0f0f0u;
            weight_tile[(2u * d + 1u) * PITCH + c] = word & 0xf0f0f0f0u;
        } else {
            weight_tile[d * PITCH + c] = word;
        }
    }
}

// Four columns of one row of a tile.
fn weights_at(d: u32, lane: vec2<u32>) -> vec4<u32> {
    let at = d * PITCH + lane.x;
    return vec4(weight_tile[at], weight_tile[at + 16u], weight_tile[at + 32u], weight_tile[at + 48u]);
}

fn add_floats(lane: vec2<u32>) {
    for (var d = 0u; d < STEP; d++) {
        let w = bitcast<vec4<f32>>(weights_at(d, lane));
        for (var i = 0u; i < 4u; i++) {
            sums[i] += bitcast<f32>(x_tile[d * PITCH + lane.y + ROWS / 4u * i]) * w;
        }
    }
}

// Replaced by f16 where the hardware has it
alias Half = f32;

fn halves(word: u32) -> vec2<Half> { return vec2<Half>(unpack2x16float(word)); }

fn add_halves(row: u32, end: u32, step: u32, lane: vec2<u32>) {
    var part: array<vec4<f32>, 4>;
    // SwiftShader does not reset a variable that is declared in a loop, so this does it explicitly.
    for (var i = 0u; i < 4u; i++) { part[i] = vec4(0.0); }
    for (var d = 0u; d < STEP; d++) {
        let words = weights_at(d, lane);
        let w = array(halves(words.x), halves(words.y), halves(words.z), halves(words.w));
        for (var i = 0u; i < 4u; i++) {
            let two = halves(x_tile[d * PITCH + lane.y + ROWS / 4u * i]);
            part[i] += vec4<f32>(vec4(dot(two, w[0]), dot(two, w[1]), dot(two, w[2]), dot(two, w[3])));
        }
    }
    for (var i = 0u; i < 4u; i++) {
        let r = min(row + lane.y + ROWS / 4u * i, end - 1u);
        sums[i] += part[i] * x_scales[r * shape.steps + step];
    }
}

fn add_codes(row: u32, end: u32, column: u32, step: u32, lane: vec2<u32>) {
    var exact: array<vec4<i32>, 4>;
    for (var i = 0u; i < 4u; i++) { exact[i] = vec4(0); }
    for (var d = 0u; d < STEP; d++) {
        let w = weights_at(d, lane);
        for (var i = 0u; i < 4u; i++) {
            let word = x_tile[d * PITCH + lane.y + ROWS / 4u * i];
            exact[i] += vec4(dot_of(word, w.x), dot_of(word, w.y), dot_of(word, w.z), dot_of(word, w.w));
        }
    }
    // Sums beyond the edges are not used; the clamp keeps indices in range.
    let c = min(vec4(column + lane.x) + vec4(0u, 16u, 32u, 48u), vec4(shape.columns - 1u)) * shape.steps + step;
    let scale = vec4(scales[c.x], scales[c.y], scales[c.z], scales[c.w]);
    for (var i = 0u; i < 4u; i++) {
        let r = min(row + lane.y + ROWS / 4u * i, end - 1u);
        sums[i] += vec4<f32>(exact[i]) * (x_scales[r * shape.steps + step] * scale);
    }
}

// Computes `sums` for rows from `row` to `end` and columns from `column` on.
fn product(row: u32, end: u32, column: u32, lane: vec2<u32>) {
    let thread = lane.y * 16u + lane.x;
    for (var i = 0u; i < 4u; i++) { sums[i] = vec4(0.0); }
    for (var step = 0u; step < shape.steps; step++) {
        load_x(row, end, step, thread);
        load_weight(column, step, thread);
        workgroupBarrier();
        if (BITS == 32u) {
            add_floats(lane);
        } else if (BITS == 16u) {
            add_halves(row, end, step, lane);
        } else {
            add_codes(row, end, column, step, lane);
        }
        workgroupBarrier();
    }
}

fn shift(column: u32) -> f32 {
    if (shape.biased == 0u) { return 0.0; }
    return bias[shape.first + column];
}

// activation(x · weightᵀ + bias)
@compute @workgroup_size(16, ROWS / 4u)
fn linear(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let row = tile.y * ROWS;
    let column = tile.x * COLUMNS;
    product(row, shape.rows, column, lane.xy);
    for (var j = 0u; j < 4u; j++) {
        let c = column + lane.x + 16u * j;
        if (c >= shape.columns) { continue; }
        for (var i = 0u; i < 4u; i++) {
            let r = row + lane.y + ROWS / 4u * i;
            if (r < shape.rows) {
                out[r * shape.width + shape.first + c] = activate(sums[i][j] + shift(c));
            }
        }
    }
}

fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & NOT_FINITE) != NOT_FINITE;
}

fn ln_1p(x: f32) -> f32 {
    let y = 1.0 + x;
    // The second term corrects the rounding of 1 + x.
    return log(y) - ((y - 1.0) - x) / y;
}

fn splade_weight(logit: f32) -> f32 {
    var weight = max(logit, 0.0);
    for (var i = 0u; i < LOGS; i++) { weight = ln_1p(weight); }
    return weight;
}

// The sum or maximum of two weights. Values that are not finite win, which `max` does not
// guarantee.
fn joined(a: f32, b: f32) -> f32 {
    if (!is_finite(a)) { return a; }
    if (!is_finite(b) || SUM) { return a + b; }
    return max(a, b);
}

// SPLADE: for each sequence and column, the weight of the largest logit or the sum of all weights.
@compute @workgroup_size(16, ROWS / 4u)
fn splade(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let column = tile.x * COLUMNS;
    let end = offsets[tile.y + 1u];
    var best = vec4(0.0);
    for (var row = offsets[tile.y]; row < end; row += ROWS) {
        product(row, end, column, lane.xy);
        for (var i = 0u; i < 4u; i++) {
            if (row + lane.y + ROWS / 4u * i >= end) { continue; }
            for (var j = 0u; j < 4u; j++) {
                let c = min(column + lane.x + 16u * j, shape.columns - 1u);
                let logit = sums[i][j] + shift(c);
                best[j] = joined(best[j], select(logit, splade_weight(logit), SUM && is_finite(logit)));
            }
        }
    }
    for (var j = 0u; j < 4u; j++) { x_tile[lane.y * COLUMNS + lane.x + 16u * j] = bitcast<u32>(best[j]); }
    workgroupBarrier();
    if (lane.y > 0u) { return; }
    for (var j = 0u; j < 4u; j++) {
        let c = lane.x + 16u * j;
        if (column + c >= shape.columns) { continue; }
        var all = 0.0;
        for (var i = 0u; i < ROWS / 4u; i++) { all = joined(all, bitcast<f32>(x_tile[i * COLUMNS + c])); }
        // The weight is monotonic in the logit, so it is applied to the maximum only.
        if (!SUM && is_finite(all)) { all = splade_weight(all); }
        out[tile.y * shape.width + shape.first + column + c] = all;
    }
}
