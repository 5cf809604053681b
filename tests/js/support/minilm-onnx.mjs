/**
 * all-MiniLM-L6-v2 as ONNX files: the graphs that exporters wrote (tests/fixtures/minilm_onnx.py),
 * with the real weights.
 */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { tensors } from "./safetensors.mjs";

const FOLDER = fileURLToPath(new URL("../../fixtures/minilm-onnx/", import.meta.url));
const [FLOAT, UINT8, HALF] = [1, 2, 10];

/** An ONNX file of `kind`, `f32`, `f16` or `int8`, of the weights in `model.safetensors`. */
export function minilmOnnx(kind, safetensors) {
  const parts = JSON.parse(gunzipSync(readFileSync(`${FOLDER}${kind}.json.gz`)));
  // A Buffer would give views.
  const { buffer, byteOffset, byteLength } = safetensors;
  const weights = tensors(new Uint8Array(buffer, byteOffset, byteLength));
  const initializers = parts.initializers.map(([name, type, dims, source, role]) => {
    const tensor = weights[source.replace("ᵀ", "")];
    const values = source.endsWith("ᵀ") ? transpose(tensor) : tensor.data;
    const bytes = raw(type, role, values, source.endsWith("ᵀ") ? tensor.shape[0] : 1);
    const sizes = dims.flatMap((size) => [0x08, ...varint(size)]);
    const text = Buffer.from(name);
    const head = [...sizes, 0x10, type, 0x42, ...varint(text.length), ...text, 0x4a, ...varint(bytes.length)];
    return [Buffer.from([0x2a, ...varint(head.length + bytes.length), ...head]), bytes];
  });
  const graph = [Buffer.from(parts.graph, "base64"), ...initializers.flat()];
  const length = graph.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([
    Buffer.from(parts.model, "base64"),
    Buffer.from([0x3a, ...varint(length)]),
    ...graph,
  ]);
}

function varint(value) {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return [...bytes, value];
}

function transpose({ shape: [rows, columns], data }) {
  const out = new Float32Array(data.length);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) out[column * rows + row] = data[row * columns + column];
  return out;
}

/**
 * The bytes of an initializer. Codes of products are symmetric, with a scale for each of the
 * `columns`; those of tables begin at a zero point, and have one scale.
 */
function raw(type, role, values, columns) {
  if (role === "values" && type === FLOAT) return Buffer.from(values.buffer);
  if (role === "values" && type === HALF) return mapped(Uint16Array, values, toHalf);
  const { scales, zero } = columns === 1 ? ofTable(values) : ofProduct(values, columns);
  if (role === "scale") return Buffer.from(scales.buffer);
  if (role === "zero") return Buffer.alloc(columns, zero);
  const codes = type === UINT8 ? Uint8Array : Int8Array;
  return mapped(codes, values, (value, at) => Math.round(value / scales[at % columns]) + zero);
}

/** `Array.from` of so many numbers takes ten times as long. */
function mapped(Numbers, values, map) {
  const out = new Numbers(values.length);
  for (let at = 0; at < values.length; at++) out[at] = map(values[at], at);
  return Buffer.from(out.buffer);
}

function ofProduct(values, columns) {
  const scales = new Float32Array(columns);
  for (let at = 0; at < values.length; at++) {
    const column = at % columns;
    scales[column] = Math.max(scales[column], Math.abs(values[at]) / 127);
  }
  return { scales, zero: 0 };
}

function ofTable(values) {
  const [least, most] = values.reduce(([a, b], x) => [Math.min(a, x), Math.max(b, x)], [0, 0]);
  const scale = (most - least) / 255;
  return { scales: Float32Array.of(scale), zero: Math.round(-least / scale) };
}

const wide = new Float32Array(1);
const bits = new Uint32Array(wide.buffer);

/** The bits of the nearest f16, ties to even. */
function toHalf(value) {
  wide[0] = value;
  const [word] = bits;
  const sign = (word >>> 16) & 0x8000;
  const exponent = ((word >>> 23) & 255) - 127;
  if (exponent < -14) return sign | even(Math.abs(value) * 2 ** 24);
  const half = ((exponent + 15) << 10) | ((word & 0x7fffff) >>> 13);
  const rest = word & 0x1fff;
  return sign | (half + (rest > 0x1000 || (rest === 0x1000 && half % 2 === 1) ? 1 : 0));
}

function even(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}
