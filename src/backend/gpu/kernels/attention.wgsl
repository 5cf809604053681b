// Self-attention of packed sequences with an online softmax (Dao et al. 2022). A workgroup computes
// 32 queries of one head. It goes through the keys that any of them sees, 32 at a time, and keeps
// scores in workgroup memory. A thread computes four queries: their scores against four keys, and
// every eighth element of their results.

struct Shape {
    // Widths of rows of `qk` and `v`, and the columns where keys begin in `qk` and values in `v`
    qk_stride: u32,
    v_stride: u32,
    keys: u32,
    values: u32,
    // Query heads, and the number of them that share a key head
    heads: u32,
    share: u32,
    scale: f32,
    // Maximum distance of a key before and after its query
    before: u32,
    after: u32,
    // Largest distance of the bias, and whether there is one
    reach: u32,
    biased: u32,
    // Bound of scaled scores, or 0
    cap: f32,
}

// A tile of queries: the first one, the end and start of their sequence, and the end of its keys
struct Tile {
    first: u32,
    end: u32,
    start: u32,
    keys: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> qk: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read> tiles: array<Tile>;
// [head][distance]
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

// Size of a head; this line is replaced
const SIZE = 64u;

const TILE = 32u;
const THREADS = 64u;
// Row pitch of tiles in workgroup memory. It is odd, so that the rows of a column are in different
// banks.
const PITCH = 33u;
// Elements of a result that a thread computes
const OWN = (SIZE + 7u) / 8u;
const UNSEEN = -3.0e38;

var<workgroup> left: array<f32, TILE * PITCH>;
var<workgroup> right: array<f32, TILE * PITCH>;
var<workgroup> scores: array<f32, TILE * PITCH>;
var<workgroup> top: array<f32, TILE>;
var<workgroup> sum: array<f32, TILE>;
var<workgroup> shrink: array<f32, TILE>;

fn sees(query: u32, key: u32) -> bool {
    return key + min(shape.before, query) >= query && key <= query + min(shape.after, 0x7fffffffu);
}

// A query: its tile, head and row of the tile, and the first key that it is compared with
struct Place {
    tile: Tile,
    head: u32,
    key: u32,
    row: u32,
}

// Stores the scores of a query and of every eighth key from `first` on.
fn put_scores(place: Place, first: u32, products: vec4<f32>) {
    let length = place.tile.end - place.tile.start;
    let keys = place.tile.keys - place.tile.start;
    let query = place.tile.first - place.tile.start + place.row;
    for (var j = 0u; j < 4u; j++) {
        let c = first + 8u * j;
        let key = place.key + c;
        var value = UNSEEN;
        if (key < keys && query < length && sees(query, key)) {
            value = products[j] * shape.scale;
            if (shape.cap != 0.0) {
                // cap · tanh(value / cap)
                value = shape.cap * (1.0 - 2.0 / (exp(2.0 * value / shape.cap) + 1.0));
            }
            if (shape.biased != 0u) {
                value += bias[place.head * (2u * shape.reach + 1u) + shape.reach + key - query];
            }
        }
        scores[place.row * PITCH + c] = value;
    }
}

@compute @workgroup_size(THREADS)
fn attention(@builtin(workgroup_id) place: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = tiles[place.x];
    let head = place.y;
    let y = lane / 8u;
    let x = lane % 8u;
    let length = tile.end - tile.start;
    let keys = tile.keys - tile.start;
    let query = tile.first - tile.start;
    let last = min(query + TILE, length) - 1u;
    let begin = (query - min(shape.before, query)) / TILE * TILE;
    let end = min(keys, last + min(shape.after, length) + 1u);
    let q_column = head * SIZE;
    let k_column = shape.keys + head / shape.share * SIZE;
    let v_column = shape.values + head / shape.share * SIZE;
    if (lane < TILE) {
        top[lane] = UNSEEN;
        sum[lane] = 0.0;
    }
    var result: array<vec4<f32>, OWN>;
    for (var key = begin; key < end; key += TILE) {
        // Named vectors and matrices stay in registers; see gemm.wgsl.
        var score = mat4x4<f32>();
        for (var d = 0u; d < SIZE; d += TILE) {
            for (var at = lane; at < TILE * TILE; at += THREADS) {
                let r = at / TILE;
                let c = d + at % TILE;
                var q = 0.0;
                var k = 0.0;
                if (c < SIZE) {
                    if (query + r < length) { q = qk[(tile.first + r) * shape.qk_stride + q_column + c]; }
                    if (key + r < keys) { k = qk[(tile.start + key + r) * shape.qk_stride + k_column + c]; }
                }
                left[r * PITCH + at % TILE] = q;
                right[r * PITCH + at % TILE] = k;
            }
            workgroupBarrier();
            for (var c = 0u; c < TILE; c++) {
                let at = x * PITCH + c;
                let k = vec4(right[at], right[at + 8u * PITCH], right[at + 16u * PITCH], right[at + 24u * PITCH]);
                score += mat4x4(
                    left[y * PITCH + c] * k,
                    left[(y + 8u) * PITCH + c] * k,
                    left[(y + 16u) * PITCH + c] * k,
                    left[(y + 24u) * PITCH + c] * k,
                );
            }
            workgroupBarrier();
        }
        // Columns of a matrix have constant indices, as in gemm.wgsl.
        put_scores(Place(tile, head, key, y), x, score[0]);
        put_scores(Place(tile, head, key, y + 8u), x, score[1]);
        put_scores(Place(tile, head, key, y + 16u), x, score[2]);
        put_scores(Place(tile, head, key, y + 24u), x, score[3]);
        workgroupBarrier();
        if (lane < TILE) {
            let row = lane * PITCH;
            let before = top[lane];
            var highest = before;
            for (var c = 0u; c < TILE; c++) { highest = max(highest, scores[row + c]); }
            var all = 0.0;
            for (var c = 0u; c < TILE; c++) {
                let value = scores[row + c];
                let weight = select(exp(value - highest), 0.0, value == UNSEEN);
                scores[row + c] = weight;
                all += weight;
            }
            let factor = exp(before - highest);
            top[lane] = highest;
            sum[lane] = sum[lane] * factor + all;
            shrink[lane] = factor;
        }
        workgroupBarrier();
        let factor = vec4(shrink[y], shrink[y + 8u], shrink[y + 16u], shrink[y + 24u]);
        for (var own = 0u; own < OWN; own++) { result[own] *= factor; }
        for (var d = 0u; d < SIZE; d += TILE) {
            for (var at = lane; at < TILE * TILE; at += THREADS) {
                let r = at / TILE;
                let c = d + at % TILE;
                var value = 0.0;
                if (c < SIZE && key + r < keys) { value = v[(tile.start + key + r) * shape.v_stride + v_column + c]; }
                right[r * PITCH + at % TILE] = value;
            }
            workgroupBarrier();
            // A column has one element of four queries.
            var part = mat4x4<f32>();
            for (var k = 0u; k < TILE; k++) {
                let weight = vec4(
                    scores[y * PITCH + k],
                    scores[(y + 8u) * PITCH + k],
                    scores[(y + 16u) * PITCH + k],
                    scores[(y + 24u) * PITCH + k],
                );
                let at = k * PITCH + x;
                part += mat4x4(
                    weight * right[at],
                    weight * right[at + 8u],
                    weight * right[at + 16u],
                    weight * right[at + 24u],
                );
            }
            let own = d / 8u;
            result[own] += part[0];
            if (own + 1u < OWN) { result[own + 1u] += part[1]; }
            if (own + 2u < OWN) { result[own + 2u] += part[2]; }
            if (own + 3u < OWN) { result[own + 3u] += part[3]; }
            workgroupBarrier();
        }
    }
    for (var i = 0u; i < 4u; i++) {
        let r = y + 8u * i;
        if (query + r >= length) { continue; }
        for (var own = 0u; own < OWN; own++) {
            let c = x + 8u * own;
            if (c < SIZE) { out[(tile.first + r) * shape.heads * SIZE + head * SIZE + c] = result[own][i] / sum[r]; }
        }
    }
}
