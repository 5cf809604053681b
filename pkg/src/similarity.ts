/**
 * Similarity of vectors, by the measure that a model was trained for. Larger always means more
 * similar.
 */

import { GossamerError } from "./errors.js";
import { checkOptions } from "./options.js";
import { withList } from "./rows.js";
import type { Matrix, ModelInfo } from "./types.js";

/** A dense vector. */
export type Vector = Float32Array | Float64Array | readonly number[];

/** A list of numbers, or the object with numeric keys that JSON makes of a typed array. */
export type Numbers = ArrayLike<number> | Readonly<Record<string, number>>;

/**
 * Dense vectors in row-major order: a result of `encode` with any `output`, also after a round trip
 * through JSON.
 */
export interface Rows {
  /** All vectors end to end. */
  readonly data: Numbers;
  /** [number of vectors, number of entries of each]. */
  readonly shape: readonly number[];
  /** Number format of the entries; floating-point numbers by default. */
  readonly output?: string | undefined;
  /** Number of components of a vector, if its entries are bits. */
  readonly dimensions?: number | undefined;
  /** Factor of each vector's components, if they are integers. */
  readonly scales?: Numbers | undefined;
}

/** Dense vectors: a result of `encode`, or a list of vectors. */
export type Table = Rows | readonly Vector[];

/** A sparse vector, also after a round trip through JSON. */
export interface SparseLike {
  /** Token ids of the vocabulary, in ascending order. */
  readonly indices: Numbers;
  /** The weight of each index. */
  readonly values: Numbers;
}

/** Several kinds of vectors, as `encodeMulti` returns them. */
export interface MultiLike {
  /** Dense vectors, one row for each text. */
  readonly dense?: Table | undefined;
  /** One sparse vector for each text. */
  readonly sparse?: readonly SparseLike[] | undefined;
  /** The token vectors of each text. */
  readonly tokens?: readonly Table[] | undefined;
}

/** Everything that `similarity` compares with another value of the same type. */
export type Comparable = Vector | Table | SparseLike | readonly SparseLike[] | MultiLike;

/** A weight for each kind of vectors. */
export interface KindWeights {
  /** Weight of dense vectors. */
  dense?: number;
  /** Weight of sparse vectors. */
  sparse?: number;
  /** Weight of token vectors. */
  tokens?: number;
}

/** Options of `similarity`. */
export interface SimilarityOptions {
  /**
   * Weights of the kinds in the sum of their similarities; 1 by default. The authors of BGE-M3 use
   * 0.4, 0.2 and 0.4.
   */
  weights?: KindWeights | undefined;
}

type Measure = ModelInfo["similarity"];

/** Two vectors → a number; two lists of vectors → a table of all pairs. */
export function similarity(
  measure: Measure,
  a: Comparable,
  b: Comparable,
  options: SimilarityOptions = {},
): number | Matrix {
  checkOptions("similarity", options, ["weights"]);
  const { weights = {} } = options;
  if (isVector(a) && isVector(b)) {
    checkDimensions(a.length, b.length);
    return dense(measure, numbers(a), numbers(b));
  }
  if (has(a, ...SPARSE) && has(b, ...SPARSE)) return sparseDot(sparse(a), sparse(b));
  if (isSparseList(a) && isSparseList(b)) return matrix(sparseComparison(a, b));
  // A single vector counts as a table with one row.
  const [one, other] = [a, b].map((side) => (isVector(side) ? [side] : side));
  if (isTable(one) && isTable(other)) return tables(measure, one, other);
  if (isMulti(a) && isMulti(b)) return hybrid(measure, a, b, weights);
  throw invalid(
    "pass two vectors, two results of encode, of encodeSparse or of encodeMulti, or two sparse vectors",
  );
}

/**
 * Late interaction: the sum over the query's vectors of the best dot product with a vector of the
 * document; their mean unless the measure is `maxsim`.
 */
export function maxSim(measure: Measure, query: Table, document: Table): number {
  if (!isTable(query) || !isTable(document)) {
    throw invalid(
      "pass the token vectors of two texts: entries of a result of encodeTokens, or lists of vectors",
    );
  }
  const products = tables("dot", query, document);
  const [n, m] = products.shape;
  let total = 0;
  for (let i = 0; i < n; i++) {
    const row = products.data.subarray(i * m, (i + 1) * m);
    total += row.reduce((best, product) => Math.max(best, product), Number.NEGATIVE_INFINITY);
  }
  // The score of a text without vectors is 0.
  if (n === 0 || m === 0) return 0;
  return measure === "maxsim" ? total : total / n;
}

/** The weighted sum of the similarities of all kinds of vectors that both have. */
function hybrid(measure: Measure, a: MultiLike, b: MultiLike, weights: KindWeights): Matrix {
  const kinds: [Matrix, number][] = [];
  if (isTable(a.dense) && isTable(b.dense)) {
    kinds.push([tables(measure, a.dense, b.dense), weights.dense ?? 1]);
  }
  if (isSparseList(a.sparse) && isSparseList(b.sparse)) {
    kinds.push([matrix(sparseComparison(a.sparse, b.sparse)), weights.sparse ?? 1]);
  }
  if (Array.isArray(a.tokens) && Array.isArray(b.tokens)) {
    const score = (x: Table, y: Table) => maxSim(measure, x, y);
    kinds.push([matrix(compare(a.tokens, b.tokens, score)), weights.tokens ?? 1]);
  }
  const [one] = kinds;
  if (!one) throw invalid("the two results have no kind of vectors in common");
  const sum = one[0].data.map((_, at) =>
    kinds.reduce((total, [{ data }, weight]) => total + weight * (data[at] as number), 0),
  );
  return withList<Matrix>({ data: sum, shape: one[0].shape });
}

export type Typed = Float64Array | Float32Array | Int8Array | Uint8Array;

/** One side of a comparison, checked. */
export interface Side {
  rows: Typed[];
  output: string | undefined;
  dimensions: number;
  scales: Typed | undefined;
  isBits: boolean;
}

function tables(measure: Measure, a: Table, b: Table): Matrix {
  return matrix(comparison(measure, a, b));
}

/** How to compare each row of one table with each row of another. */
export interface Comparison {
  /** [number of rows, number of rows of the other table]. */
  shape: [number, number];
  /** The similarity of row `i` to row `j` of the other table. */
  score(i: number, j: number): number;
}

/** Compares the rows of two tables by a measure. */
export function comparison(measure: Measure, a: Table, b: Table): Comparison {
  const sides = [side(a), side(b)] as const;
  const [one, other] = sides;
  if (one.rows.length > 0 && other.rows.length > 0) checkDimensions(one.dimensions, other.dimensions);
  if (sides.every(({ isBits }) => isBits)) {
    return compare(bytes(one), bytes(other), (x, y) => hamming(x, y, one.dimensions));
  }
  // Bits keep only the signs of the components, so only the cosine makes sense.
  const kept = sides.some(({ isBits }) => isBits) ? "cosine" : measure;
  const [xs, ys] = [components(one), components(other)];
  if (kept !== "cosine") return compare(xs, ys, (x, y) => dense(kept, x, y));
  const [p, q] = [xs.map(square), ys.map(square)];
  const score = (i: number, j: number) =>
    cosine(xs[i] as Typed, ys[j] as Typed, (p[i] as number) * (q[j] as number));
  return { shape: [xs.length, ys.length], score };
}

/** Compares sparse vectors by their dot products. */
export function sparseComparison(a: readonly SparseLike[], b: readonly SparseLike[]): Comparison {
  return compare(a.map(sparse), b.map(sparse), sparseDot);
}

function compare<T>(a: readonly T[], b: readonly T[], score: (a: T, b: T) => number): Comparison {
  return { shape: [a.length, b.length], score: (i, j) => score(a[i] as T, b[j] as T) };
}

/** The similarities of all pairs. */
function matrix({ shape, score }: Comparison): Matrix {
  const [n, m] = shape;
  const data = new Float32Array(n * m);
  for (let i = 0; i < n; i++) for (let j = 0; j < m; j++) data[i * m + j] = score(i, j);
  return withList<Matrix>({ data, shape });
}

/** Checks a table. */
export function side(table: Table): Side {
  if (isRowList(table)) {
    const rows = table.map(numbers);
    const dimensions = rows[0]?.length ?? 0;
    for (const row of rows) checkDimensions(dimensions, row.length);
    return { rows, dimensions, output: undefined, scales: undefined, isBits: false };
  }
  const { shape, output, scales } = table as Rows;
  const data = numbers((table as Rows).data);
  const [n, width] = Array.isArray(shape) ? (shape as [number, number]) : [-1, 0];
  const isBits = String(output).endsWith("binary");
  const dimensions = isBits ? ((table as Rows).dimensions as number) : width;
  const isWhole = data.BYTES_PER_ELEMENT === 1;
  const fits = Number.isInteger(n) && n >= 0 && n * width === data.length;
  if (!fits || (isBits && Math.ceil(dimensions / 8) !== width) || (isWhole && output === undefined)) {
    throw invalid("`data`, `shape` and `output` are not those of one result");
  }
  const rows = Array.from({ length: n }, (_, i) => data.subarray(i * width, (i + 1) * width));
  return { rows, output, dimensions, scales: scales && numbers(scales), isBits };
}

/** Converts numbers to a typed array. */
function numbers(value: unknown): Typed {
  if (ArrayBuffer.isView(value) && typeof (value as Typed)[0] === "number") return value as Typed;
  const list: unknown[] = Array.isArray(value) ? value : Object.values((value ?? {}) as object);
  if (list.every((entry) => typeof entry === "number")) return Float64Array.from(list as number[]);
  throw invalid("an entry of a vector is not a number");
}

/** The cosine of two vectors of ±1: 1 if all bits are equal, -1 if none is. */
function hamming(x: Uint8Array, y: Uint8Array, dimensions: number): number {
  let different = 0;
  for (let i = 0; i < x.length; i++) different += ONES[(x[i] as number) ^ (y[i] as number)] as number;
  return 1 - (2 * different) / dimensions;
}

/** Number of ones in each byte. */
const ONES = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll("0", "").length);

/** Rows of bits in the order of `numpy.packbits`. */
function bytes({ rows, output }: Side): Uint8Array[] {
  const flip = output === "binary" ? 0x80 : 0;
  return rows.map((row) => Uint8Array.from(row, (byte) => byte ^ flip));
}

/** Rows as numbers in the scale of the original vectors. */
export function components(table: Side): Typed[] {
  const { rows, output, dimensions, scales, isBits } = table;
  if (isBits) {
    const component = (row: Uint8Array) => (_: unknown, at: number) =>
      ((row[at >> 3] as number) >> (7 - (at & 7))) & 1 ? 1 : -1;
    return bytes(table).map((row) => Float32Array.from({ length: dimensions }, component(row)));
  }
  if (output === undefined) return rows;
  const zero = output === "uint8" ? 128 : 0;
  const scale = (code: number, row: number) => (code - zero) * (scales?.[row] ?? 1);
  return rows.map((codes, row) => Float32Array.from(codes, (code) => scale(code, row)));
}

function dense(measure: Measure, a: Typed, b: Typed): number {
  switch (measure) {
    case "dot":
      return dot(a, b);
    case "euclidean":
      return -Math.sqrt(sum(a, b, (x, y) => (x - y) ** 2));
    case "manhattan":
      return -sum(a, b, (x, y) => Math.abs(x - y));
    default:
      return cosine(a, b, square(a) * square(b));
  }
}

/** The cosine of two vectors. `squares` is the product of their squared lengths. */
function cosine(a: Typed, b: Typed, squares: number): number {
  return squares === 0 ? 0 : dot(a, b) / Math.sqrt(squares);
}

function square(a: Typed): number {
  return dot(a, a);
}

/** A loop of its own: engines do not inline a callback that differs from call to call. */
function dot(a: Typed, b: Typed): number {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += (a[i] as number) * (b[i] as number);
  return total;
}

function sum(a: Typed, b: Typed, term: (x: number, y: number) => number): number {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += term(a[i] as number, b[i] as number);
  return total;
}

interface Sparse {
  indices: Typed;
  values: Typed;
}

function sparse(vector: SparseLike): Sparse {
  const [indices, values] = [numbers(vector.indices), numbers(vector.values)];
  const ascend = indices.every((index, at) => at === 0 || index > (indices[at - 1] as number));
  if (ascend && indices.length === values.length) return { indices, values };
  throw invalid("a sparse vector has a value for each index, and its indices ascend");
}

/** The dot product. Both lists of indices ascend, so one pass finds their common indices. */
function sparseDot(a: Sparse, b: Sparse): number {
  let total = 0;
  for (let i = 0, j = 0; i < a.indices.length && j < b.indices.length; ) {
    const difference = (a.indices[i] as number) - (b.indices[j] as number);
    if (difference === 0) total += (a.values[i] as number) * (b.values[j] as number);
    if (difference <= 0) i++;
    if (difference >= 0) j++;
  }
  return total;
}

export function checkDimensions(a: number, b: number): void {
  if (a === b) return;
  throw invalid(
    `the vectors have ${a} and ${b} dimensions; only vectors of one model, with the same \`dimensions\`, can be compared`,
  );
}

const ROWS = ["data", "shape"];
const SPARSE = ["indices", "values"];

/** Whether a value is an object with these members. */
function has(value: unknown, ...names: string[]): value is Rows & SparseLike {
  return typeof value === "object" && value !== null && names.every((name) => name in value);
}

/**
 * Whether a value is a vector of floats. A typed array of integers is not: it may hold bits, and
 * only its result says so.
 */
export function isVector(value: unknown): value is Vector {
  if (Array.isArray(value)) return value.length === 0 || typeof value[0] === "number";
  return /Float(32|64)Array\]$/.test(Object.prototype.toString.call(value));
}

function isRowList(value: unknown): value is readonly Vector[] {
  return Array.isArray(value) && value.every(isVector);
}

export function isTable(value: unknown): value is Table {
  return isRowList(value) || has(value, ...ROWS);
}

export function isSparseList(value: unknown): value is readonly SparseLike[] {
  return Array.isArray(value) && value.every((item) => has(item, ...SPARSE));
}

function isMulti(value: unknown): value is MultiLike {
  return ["dense", "sparse", "tokens"].some((kind) => has(value, kind));
}

function invalid(why: string): GossamerError {
  return new GossamerError("invalid_input", `These cannot be compared: ${why}.`, { status: 400 });
}
