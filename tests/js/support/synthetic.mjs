/**
 * Checkpoints that are only listed, as `[[name, shape, mean, spread], …]`:
 * `tests/fixtures/synthetic.py` says what their values are.
 */

/** Values that are made at a time. */
const CHUNK = 1 << 18;

const count = (shape) => shape.reduce((product, size) => product * size, 1);

/** The header, with its length before it. */
function header(rows) {
  const entries = {};
  let end = 0;
  for (const [name, shape] of rows) {
    const begin = end;
    end += 4 * count(shape);
    entries[name] = { dtype: "F32", shape, data_offsets: [begin, end] };
  }
  const json = new TextEncoder().encode(JSON.stringify(entries));
  const bytes = new Uint8Array(8 + json.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

/** Size of the safetensors file. */
export function size(rows) {
  return header(rows).length + rows.reduce((sum, [, shape]) => sum + 4 * count(shape), 0);
}

/** The safetensors file, in chunks. */
export function* chunks(rows) {
  yield header(rows);
  for (const [name, shape, mean, spread] of rows) {
    const total = count(shape);
    for (let start = 0; start < total; start += CHUNK) {
      const values = new Float32Array(Math.min(CHUNK, total - start));
      fill(values, name, start, mean, spread);
      yield new Uint8Array(values.buffer);
    }
  }
}

/** Elements `start`, `start + 1`, … of a tensor. */
function fill(values, name, start, mean, spread) {
  let seed = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) seed = Math.imul(seed ^ byte, 0x01000193);
  for (let i = 0; i < values.length; i++) {
    let x = (seed + Math.imul(start + i, 0x9e3779b9)) | 0;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    x ^= x >>> 16;
    values[i] = mean + spread * ((x >>> 8) / 8388608 - 1);
  }
}
