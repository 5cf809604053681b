/** Similarity of vectors, as a model's authors meant it. Larger is more alike, always. */

import { GossamerError } from "./errors.js";
import type {
  Encoded,
  EncodedMulti,
  EncodedWhole,
  Matrix,
  ModelInfo,
  SparseVector,
  TokenVectors,
} from "./types.js";

/** A dense vector. */
export type Vector = Float32Array | readonly number[];

/** Dense vectors, of `encode` with any `output`. */
export type Table = Encoded | EncodedWhole;

/** What can be compared with its like. */
export type Comparable = Vector | Table | SparseVector | readonly SparseVector[] | EncodedMulti;

/** A factor for each kind of vectors. */
export interface KindWeights {
  /** Of dense vectors. */
  dense?: number;
  /** Of sparse vectors. */
  sparse?: number;
  /** Of token vectors. */
  tokens?: number;
}

/** How much each kind of vectors counts. */
export interface SimilarityOptions {
  /** Factors of the kinds' similarities, which are added up; 1 by default. BGE-M3's authors take 0.4, 0.2 and 0.4. */
  weights?: KindWeights | undefined;
}

type Measure = ModelInfo["similarity"];

/** Two vectors → a number; two lists of vectors → the table of all pairs. */
export function similarity(
  measure: Measure,
  a: Comparable,
  b: Comparable,
  { weights = {} }: SimilarityOptions = {},
): number | Matrix {
  if (isVector(a) && isVector(b)) {
    checkDimensions(a.length, b.length);
    return dense(measure, a, b);
  }
  if (isTable(a) && isTable(b)) return tables(measure, a, b);
  if (isSparse(a) && isSparse(b)) return sparseDot(a, b);
  if (isList(a) && isList(b)) return pairs(a, b, sparseDot);
  if (isMulti(a) && isMulti(b)) return hybrid(measure, a, b, weights);
  throw invalid(
    "pass two vectors, two results of encode, of encodeSparse or of encodeMulti, or two sparse vectors",
  );
}

/** Late interaction: for each vector of the query the best dot product with one of the document's, on average. */
export function maxSim(query: TokenVectors, document: TokenVectors): number {
  if (!isTable(query) || !isTable(document)) throw invalid("pass two texts' results of encodeTokens");
  const products = tables("dot", query, document);
  const [n, m] = products.shape;
  let total = 0;
  for (let i = 0; i < n; i++) {
    const row = products.data.subarray(i * m, (i + 1) * m);
    total += row.reduce((best, product) => Math.max(best, product), Number.NEGATIVE_INFINITY);
  }
  // A text of no vectors is like nothing.
  return n === 0 || m === 0 ? 0 : total / n;
}

/** The weighted sum of the similarities of all kinds that both have. */
function hybrid(
  measure: Measure,
  a: EncodedMulti,
  b: EncodedMulti,
  weights: NonNullable<SimilarityOptions["weights"]>,
): Matrix {
  const kinds: [Matrix, number][] = [];
  if (a.dense && b.dense) kinds.push([tables(measure, a.dense, b.dense), weights.dense ?? 1]);
  if (a.sparse && b.sparse) kinds.push([pairs(a.sparse, b.sparse, sparseDot), weights.sparse ?? 1]);
  if (a.tokens && b.tokens) kinds.push([pairs(a.tokens, b.tokens, maxSim), weights.tokens ?? 1]);
  const [one] = kinds;
  if (!one) throw invalid("the two results have no kind of vectors in common");
  const sum = one[0].data.map((_, at) =>
    kinds.reduce((total, [{ data }, weight]) => total + weight * (data[at] as number), 0),
  );
  return { data: sum, shape: one[0].shape };
}

function pairs<T>(a: readonly T[], b: readonly T[], compare: (a: T, b: T) => number): Matrix {
  const data = Float32Array.from(a.flatMap((one) => b.map((other) => compare(one, other))));
  return { data, shape: [a.length, b.length] };
}

function tables(measure: Measure, a: Table | TokenVectors, b: Table | TokenVectors): Matrix {
  checkDimensions(dimensions(a), dimensions(b));
  const areBits = [a, b].map(isBits);
  if (areBits.every(Boolean)) return hamming(a as EncodedWhole, b as EncodedWhole);
  // Bits have lost what the other measures need.
  const kept = areBits.some(Boolean) ? "cosine" : measure;
  return pairs(components(a), components(b), (one, other) => dense(kept, one, other));
}

/** The cosine of vectors of 1 and -1: 1 where all bits are the same, -1 where none is. */
function hamming(a: EncodedWhole, b: EncodedWhole): Matrix {
  const [one, other] = [bytes(a), bytes(b)];
  const compare = (x: Uint8Array, y: Uint8Array) => {
    let different = 0;
    for (let i = 0; i < x.length; i++) different += ONES[(x[i] as number) ^ (y[i] as number)] as number;
    return 1 - (2 * different) / a.dimensions;
  };
  return pairs(one, other, compare);
}

/** How many bits of a byte are 1. */
const ONES = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll("0", "").length);

/** Rows as numpy packs bits. */
function bytes({ data, shape, output }: EncodedWhole): Uint8Array[] {
  const flip = output === "binary" ? 0x80 : 0;
  const all = Uint8Array.from(data, (byte) => byte ^ flip);
  return rows(all, shape);
}

/** Rows as numbers that compare as the original vectors do. */
function components(table: Table | TokenVectors): Float32Array[] {
  if (!("output" in table)) return rows(table.data, table.shape);
  const { data, shape, output, dimensions, scales } = table;
  if (isBits(table)) {
    const component = (row: Uint8Array) => (_: unknown, at: number) =>
      ((row[at >> 3] as number) >> (7 - (at & 7))) & 1 ? 1 : -1;
    return bytes(table).map((row) => Float32Array.from({ length: dimensions }, component(row)));
  }
  const zero = output === "uint8" ? 128 : 0;
  const scale = (code: number, row: number) => (code - zero) * (scales?.[row] ?? 1);
  return rows(data, shape).map((codes, row) => Float32Array.from(codes, (code) => scale(code, row)));
}

function rows<Data extends Float32Array | Int8Array | Uint8Array>(
  data: Data,
  [n, width]: [number, number],
): Data[] {
  return Array.from({ length: n }, (_, i) => data.subarray(i * width, (i + 1) * width) as Data);
}

function dense(measure: Measure, a: Vector, b: Vector): number {
  switch (measure) {
    case "dot":
      return sum(a, b, (x, y) => x * y);
    case "euclidean":
      return -Math.sqrt(sum(a, b, (x, y) => (x - y) ** 2));
    case "manhattan":
      return -sum(a, b, (x, y) => Math.abs(x - y));
    default: {
      const lengths = Math.sqrt(sum(a, a, (x, y) => x * y) * sum(b, b, (x, y) => x * y));
      return lengths === 0 ? 0 : sum(a, b, (x, y) => x * y) / lengths;
    }
  }
}

function sum(a: Vector, b: Vector, term: (x: number, y: number) => number): number {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += term(a[i] as number, b[i] as number);
  return total;
}

/** Both lists of indices ascend, so one walk finds what they share. */
function sparseDot(a: SparseVector, b: SparseVector): number {
  let total = 0;
  for (let i = 0, j = 0; i < a.indices.length && j < b.indices.length; ) {
    const difference = (a.indices[i] as number) - (b.indices[j] as number);
    if (difference === 0) total += (a.values[i] as number) * (b.values[j] as number);
    if (difference <= 0) i++;
    if (difference >= 0) j++;
  }
  return total;
}

function dimensions(table: Table | TokenVectors): number {
  return "output" in table ? table.dimensions : table.shape[1];
}

function checkDimensions(a: number, b: number): void {
  if (a === b) return;
  throw invalid(
    `the vectors have ${a} and ${b} dimensions; only vectors of one model, with the same \`dimensions\`, can be compared`,
  );
}

function isBits(table: Table | TokenVectors): table is EncodedWhole {
  return "output" in table && table.output.endsWith("binary");
}

function isVector(value: unknown): value is Vector {
  const isNumbers = Array.isArray(value) && (value.length === 0 || typeof value[0] === "number");
  return isNumbers || Object.prototype.toString.call(value) === "[object Float32Array]";
}

function isTable(value: unknown): value is Table {
  return typeof value === "object" && value !== null && "data" in value && "shape" in value;
}

function isSparse(value: unknown): value is SparseVector {
  return typeof value === "object" && value !== null && "indices" in value && "values" in value;
}

function isList(value: unknown): value is readonly SparseVector[] {
  return Array.isArray(value) && value.every(isSparse);
}

function isMulti(value: unknown): value is EncodedMulti {
  return (
    typeof value === "object" && value !== null && ["dense", "sparse", "tokens"].some((kind) => kind in value)
  );
}

function invalid(why: string): GossamerError {
  return new GossamerError("invalid_input", `These cannot be compared: ${why}.`, { status: 400 });
}
