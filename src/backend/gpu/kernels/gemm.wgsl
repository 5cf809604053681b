// x · weightᵀ in tiles of ROWS × 64. Operands pass through workgroup memory in steps of 16 words,
// as vectors of four rows or four columns. A thread computes eight rows and four columns of a tile.
//
// With 32-bit weights a word of x is one f32. With 16 bits it is two halves, which become f32 on
// their way to workgroup memory, so that a step takes two turns. With 8 or 4 bits it is four codes
// of 8 bits, and a step is a quantisation group, whose integer sums are exact and are then scaled
// to f32. An element is always one sequential sum over k.
//
// Sums are matrices and named vectors: an array that a loop indexes may end up in slow memory, as
// it does with NVIDIA's compiler wherever the loop is not unrolled.

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
// Halves: words of a step that one turn takes, which are STEP values of f32
const TURN = 8u;
// Pitch of a tile's words in workgroup memory, in vectors. It is odd, so that the words of a row
// are in different banks.
const PITCH = 17u;
const NOT_FINITE = 0x7f800000u;

// [word of the step][four rows]
var<workgroup> x_tile: array<vec4<u32>, STEP * PITCH>;
// [word of the step][four columns]
var<workgroup> weight_tile: array<vec4<u32>, STEP * PITCH>;
// Sums of a thread: a column of the matrix is a row of the tile, with four columns of the tile.
// `upper` has rows 4 · lane.y to 4 · lane.y + 3, `lower` those that follow ROWS / 2 later.
var<private> upper: mat4x4<f32>;
var<private> lower: mat4x4<f32>;

// Sums of codes of four rows, four columns each
struct Codes {
    a: vec4<i32>,
    b: vec4<i32>,
    c: vec4<i32>,
    d: vec4<i32>,
}

// Replaced by activation.wgsl
fn activate(x: f32) -> f32 { return x; }

// Replaced by dot.wgsl where the language lacks dot4I8Packed
fn dot_of(a: u32, b: u32) -> i32 { return dot4I8Packed(a, b); }

fn x_word(row: u32, end: u32, at: u32) -> u32 {
    if (row >= end || at >= shape.words) { return 0u; }
    return x[row * shape.words + at];
}

// A word of four rows of x.
fn x_words(row: u32, end: u32, at: u32) -> vec4<u32> {
    return vec4(
        x_word(row, end, at), x_word(row + 1u, end, at), x_word(row + 2u, end, at), x_word(row + 3u, end, at),
    );
}

fn weight_word(column: u32, at: u32, size: u32) -> u32 {
    if (column >= shape.columns) { return 0u; }
    return weight[column * shape.steps * size + at];
}

// A word of four columns of the weights, whose steps have `size` words.
fn weight_words(column: u32, at: u32, size: u32) -> vec4<u32> {
    return vec4(
        weight_word(column, at, size), weight_word(column + 1u, at, size),
        weight_word(column + 2u, at, size), weight_word(column + 3u, at, size),
    );
}

// Scales of four rows of x, or of four columns of the weights. Beyond the edges they are not used;
// the clamp keeps indices in range.
fn x_scales_of(row: u32, end: u32, step: u32) -> vec4<f32> {
    let at = min(vec4(row) + vec4(0u, 1u, 2u, 3u), vec4(end - 1u)) * shape.steps + step;
    return vec4(x_scales[at.x], x_scales[at.y], x_scales[at.z], x_scales[at.w]);
}

fn scales_of(column: u32, step: u32) -> vec4<f32> {
    let at = min(vec4(column) + vec4(0u, 1u, 2u, 3u), vec4(shape.columns - 1u)) * shape.steps + step;
    return vec4(scales[at.x], scales[at.y], scales[at.z], scales[at.w]);
}

// The first and the second halves of four words.
fn widened(words: vec4<u32>) -> array<vec4<f32>, 2> {
    let a = unpack2x16float(words.x);
    let b = unpack2x16float(words.y);
    let c = unpack2x16float(words.z);
    let d = unpack2x16float(words.w);
    return array(vec4(a.x, b.x, c.x, d.x), vec4(a.y, b.y, c.y, d.y));
}

fn load_words(row: u32, end: u32, column: u32, step: u32, thread: u32) {
    for (var at = thread; at < ROWS / 4u * STEP; at += ROWS * 2u) {
        let d = at % STEP;
        x_tile[d * PITCH + at / STEP] = x_words(row + at / STEP * 4u, end, step * STEP + d);
    }
    let size = select(STEP, STEP / 2u, BITS == 4u);
    for (var at = thread; at < COLUMNS / 4u * size; at += ROWS * 2u) {
        let d = at % size;
        let four = at / size;
        let words = weight_words(column + four * 4u, step * size + d, size);
        if (BITS == 4u) {
            weight_tile[2u * d * PITCH + four] = (words << vec4(4u)) & vec4(0xf0f0f0f0u);
            weight_tile[(2u * d + 1u) * PITCH + four] = words & vec4(0xf0f0f0f0u);
        } else {
            weight_tile[d * PITCH + four] = words;
        }
    }
}

// As `load_words` with halves, which become scaled f32. The scale is a power of two.
fn load_halves(row: u32, end: u32, column: u32, turn: u32, thread: u32) {
    for (var at = thread; at < ROWS / 4u * TURN; at += ROWS * 2u) {
        let d = at % TURN;
        let first = row + at / TURN * 4u;
        let two = widened(x_words(first, end, turn * TURN + d));
        let scale = x_scales_of(first, end, turn * TURN / STEP);
        x_tile[2u * d * PITCH + at / TURN] = bitcast<vec4<u32>>(two[0] * scale);
        x_tile[(2u * d + 1u) * PITCH + at / TURN] = bitcast<vec4<u32>>(two[1] * scale);
    }
    for (var at = thread; at < COLUMNS / 4u * TURN; at += ROWS * 2u) {
        let d = at % TURN;
        let two = widened(weight_words(column + at / TURN * 4u, turn * TURN + d, STEP));
        weight_tile[2u * d * PITCH + at / TURN] = bitcast<vec4<u32>>(two[0]);
        weight_tile[(2u * d + 1u) * PITCH + at / TURN] = bitcast<vec4<u32>>(two[1]);
    }
}

// Products of four rows and four columns.
fn outer(x: vec4<f32>, w: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(x.x * w, x.y * w, x.z * w, x.w * w);
}

fn add_floats(lane: vec2<u32>) {
    for (var d = 0u; d < STEP; d++) {
        let w = bitcast<vec4<f32>>(weight_tile[d * PITCH + lane.x]);
        upper += outer(bitcast<vec4<f32>>(x_tile[d * PITCH + lane.y]), w);
        lower += outer(bitcast<vec4<f32>>(x_tile[d * PITCH + lane.y + ROWS / 8u]), w);
    }
}

// Products of one row's word and four columns' words.
fn dots(x: u32, w: vec4<u32>) -> vec4<i32> {
    return vec4(dot_of(x, w.x), dot_of(x, w.y), dot_of(x, w.z), dot_of(x, w.w));
}

// Products of four rows' words and four columns' words.
fn block(x: vec4<u32>, w: vec4<u32>) -> Codes {
    return Codes(dots(x.x, w), dots(x.y, w), dots(x.z, w), dots(x.w, w));
}

fn total(a: Codes, b: Codes) -> Codes {
    return Codes(a.a + b.a, a.b + b.b, a.c + b.c, a.d + b.d);
}

// A step's sums of codes with the scales of their rows and columns.
fn scaled(sums: Codes, row: u32, end: u32, step: u32, scale: vec4<f32>) -> mat4x4<f32> {
    let both = outer(x_scales_of(row, end, step), scale);
    return mat4x4(
        vec4<f32>(sums.a) * both[0],
        vec4<f32>(sums.b) * both[1],
        vec4<f32>(sums.c) * both[2],
        vec4<f32>(sums.d) * both[3],
    );
}

fn add_codes(row: u32, end: u32, column: u32, step: u32, lane: vec2<u32>) {
    var above = Codes();
    var below = Codes();
    for (var d = 0u; d < STEP; d++) {
        let w = weight_tile[d * PITCH + lane.x];
        above = total(above, block(x_tile[d * PITCH + lane.y], w));
        below = total(below, block(x_tile[d * PITCH + lane.y + ROWS / 8u], w));
    }
    let scale = scales_of(column + lane.x * 4u, step);
    upper += scaled(above, row + lane.y * 4u, end, step, scale);
    lower += scaled(below, row + lane.y * 4u + ROWS / 2u, end, step, scale);
}

// Computes `upper` and `lower` for rows from `row` to `end` and columns from `column` on.
fn product(row: u32, end: u32, column: u32, lane: vec2<u32>) {
    let thread = lane.y * 16u + lane.x;
    upper = mat4x4<f32>();
    lower = mat4x4<f32>();
    for (var turn = 0u; turn < shape.steps * select(1u, STEP / TURN, BITS == 16u); turn++) {
        if (BITS == 16u) {
            load_halves(row, end, column, turn, thread);
        } else {
            load_words(row, end, column, turn, thread);
        }
        workgroupBarrier();
        if (BITS >= 16u) {
            add_floats(lane);
        } else {
            add_codes(row, end, column, turn, lane);
        }
        workgroupBarrier();
    }
}

fn shift(column: u32) -> f32 {
    if (shape.biased == 0u) { return 0.0; }
    return bias[shape.first + column];
}

// The results of four columns of a row.
fn put(row: u32, column: u32, sums: vec4<f32>) {
    if (row >= shape.rows) { return; }
    let at = row * shape.width + shape.first + column;
    for (var j = 0u; j < min(4u, shape.columns - min(column, shape.columns)); j++) {
        out[at + j] = activate(sums[j] + shift(column + j));
    }
}

// The results of four rows. Columns of a matrix have constant indices here, or the sums would be in
// memory all along.
fn put_rows(row: u32, column: u32, sums: mat4x4<f32>) {
    put(row, column, sums[0]);
    put(row + 1u, column, sums[1]);
    put(row + 2u, column, sums[2]);
    put(row + 3u, column, sums[3]);
}

// activation(x · weightᵀ + bias)
@compute @workgroup_size(16, ROWS / 8u)
fn linear(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let row = tile.y * ROWS;
    let column = tile.x * COLUMNS;
    product(row, shape.rows, column, lane.xy);
    put_rows(row + lane.y * 4u, column + lane.x * 4u, upper);
    put_rows(row + lane.y * 4u + ROWS / 2u, column + lane.x * 4u, lower);
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

// `best` and the logits of a row, where it is one of the sequence.
fn joined_row(best: vec4<f32>, row: u32, end: u32, column: u32, sums: vec4<f32>) -> vec4<f32> {
    if (row >= end) { return best; }
    var all = best;
    for (var j = 0u; j < 4u; j++) {
        let logit = sums[j] + shift(min(column + j, shape.columns - 1u));
        all[j] = joined(all[j], select(logit, splade_weight(logit), SUM && is_finite(logit)));
    }
    return all;
}

fn joined_rows(best: vec4<f32>, row: u32, end: u32, column: u32, sums: mat4x4<f32>) -> vec4<f32> {
    let a = joined_row(best, row, end, column, sums[0]);
    let b = joined_row(a, row + 1u, end, column, sums[1]);
    let c = joined_row(b, row + 2u, end, column, sums[2]);
    return joined_row(c, row + 3u, end, column, sums[3]);
}

// SPLADE: for each sequence and column, the weight of the largest logit or the sum of all weights.
@compute @workgroup_size(16, ROWS / 8u)
fn splade(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let column = tile.x * COLUMNS + lane.x * 4u;
    let end = offsets[tile.y + 1u];
    var best = vec4(0.0);
    for (var first = offsets[tile.y]; first < end; first += ROWS) {
        product(first, end, tile.x * COLUMNS, lane.xy);
        let row = first + lane.y * 4u;
        best = joined_rows(best, row, end, column, upper);
        best = joined_rows(best, row + ROWS / 2u, end, column, lower);
    }
    x_tile[lane.y * PITCH + lane.x] = bitcast<vec4<u32>>(best);
    workgroupBarrier();
    if (lane.y > 0u) { return; }
    for (var j = 0u; j < 4u; j++) {
        if (column + j >= shape.columns) { continue; }
        var all = 0.0;
        for (var i = 0u; i < ROWS / 8u; i++) { all = joined(all, bitcast<f32>(x_tile[i * PITCH + lane.x][j])); }
        // The weight is monotonic in the logit, so it is applied to the maximum only.
        if (!SUM && is_finite(all)) { all = splade_weight(all); }
        out[tile.y * shape.width + shape.first + column + j] = all;
    }
}
