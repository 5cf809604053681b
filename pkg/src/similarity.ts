/** Similarity of vectors, as a model's authors meant it. Larger is more alike, always. */

import { GossamerError } from "./errors.js";
import type { Encoded, Matrix, ModelInfo, SparseVector, TokenVectors } from "./types.js";

/** A dense vector. */
export type Vector = Float32Array | readonly number[];
type Measure = ModelInfo["similarity"];

/** Two vectors → a number; two tables of vectors → the table of all pairs. */
export function similarity(
  measure: Measure,
  a: Vector | Encoded | SparseVector,
  b: Vector | Encoded | SparseVector,
): number | Matrix {
  if (isVector(a) && isVector(b)) {
    if (a.length !== b.length) {
      throw invalid(
        `the vectors have ${a.length} and ${b.length} dimensions; only vectors of one model, with the same \`dimensions\`, can be compared`,
      );
    }
    return dense(measure, a, b);
  }
  if (isTable(a) && isTable(b)) return table(measure, a, b);
  if (isSparse(a) && isSparse(b)) return sparseDot(a, b);
  throw invalid("pass two vectors, two results of encode, or two sparse vectors");
}

/** Late interaction: for each vector of the query the best dot product with one of the document's, on average. */
export function maxSim(query: TokenVectors, document: TokenVectors): number {
  if (!isTable(query) || !isTable(document)) throw invalid("pass two texts' results of encodeTokens");
  const products = table("dot", query, document);
  const [n, m] = products.shape;
  let total = 0;
  for (let i = 0; i < n; i++) {
    const row = products.data.subarray(i * m, (i + 1) * m);
    total += row.reduce((best, product) => Math.max(best, product), Number.NEGATIVE_INFINITY);
  }
  // A text of no vectors is like nothing.
  return n === 0 || m === 0 ? 0 : total / n;
}

function table(measure: Measure, a: TokenVectors, b: TokenVectors): Matrix {
  const [n, width] = a.shape;
  const [m, other] = b.shape;
  if (width !== other) {
    throw invalid(
      `the vectors have ${width} and ${other} dimensions; only vectors of one model, with the same \`dimensions\`, can be compared`,
    );
  }
  const data = new Float32Array(n * m);
  for (let i = 0; i < n; i++) {
    const row = a.data.subarray(i * width, (i + 1) * width);
    for (let j = 0; j < m; j++) {
      data[i * m + j] = dense(measure, row, b.data.subarray(j * width, (j + 1) * width));
    }
  }
  return { data, shape: [n, m] };
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

function isVector(value: unknown): value is Vector {
  return Array.isArray(value) || Object.prototype.toString.call(value) === "[object Float32Array]";
}

function isTable(value: unknown): value is TokenVectors {
  return typeof value === "object" && value !== null && "data" in value && "shape" in value;
}

function isSparse(value: unknown): value is SparseVector {
  return typeof value === "object" && value !== null && "indices" in value && "values" in value;
}

function invalid(why: string): GossamerError {
  return new GossamerError("invalid_input", `These cannot be compared: ${why}.`, { status: 400 });
}
