/** Exact nearest-neighbour search over vectors in memory. */

import { GossamerError } from "./errors.js";
import { checkOptions } from "./options.js";
import {
  type Comparison,
  comparison,
  isSparseList,
  isTable,
  isVector,
  type SparseLike,
  sparseComparison,
  type Table,
  type Vector,
} from "./similarity.js";
import type { ModelInfo } from "./types.js";

/** Options of {@link topK}. */
export interface TopKOptions {
  /**
   * The measure for dense vectors; `"cosine"` by default. Pass `info.similarity` of the embedder
   * for the measure that its model was trained for. Sparse vectors are always compared by the dot
   * product.
   */
  similarity?: Exclude<ModelInfo["similarity"], "maxsim" | "meanmaxsim"> | undefined;
}

/** A vector that {@link topK} found. */
export interface Hit {
  /** Index of the vector in the list. */
  index: number;
  /** Its similarity to the query. Larger means more similar. */
  score: number;
}

const MEASURES: readonly string[] = ["cosine", "dot", "euclidean", "manhattan"];
/** Hits that are collected beyond `2 * k` before they are sorted. */
const SLACK = 1024;

/**
 * The `k` vectors that are most similar to a query, the most similar first. Vectors with equal
 * scores are in the order of their indices. If there are fewer than `k` vectors, all are returned.
 * The search is exact: it compares the query with every vector.
 *
 * `query` is one vector, or a result of `encode` or `encodeSparse` for one text. `vectors` is a
 * result for many texts with any `output`, or a list of vectors.
 *
 * ```ts
 * const documents = await embedder.encode(passages);
 * const best = topK(await embedder.encode("boats at night"), documents, 3);
 * for (const { index, score } of best) console.log(score, passages[index]);
 * ```
 *
 * Throws a `GossamerError` with code `invalid_input` if `k` is not a whole number of 1 or more, if
 * the dimensions differ, if `query` is not exactly one vector, or if a component is not a number.
 */
export function topK(query: Vector | Table, vectors: Table, k: number, options?: TopKOptions): Hit[];
/** The `k` sparse vectors with the largest dot products with a sparse query, the largest first. */
export function topK(
  query: SparseLike | readonly SparseLike[],
  vectors: readonly SparseLike[],
  k: number,
  options?: TopKOptions,
): Hit[];
export function topK(
  query: Vector | Table | SparseLike | readonly SparseLike[],
  vectors: Table | readonly SparseLike[],
  k: number,
  options: TopKOptions = {},
): Hit[] {
  checkOptions("topK", options, ["similarity"]);
  const { similarity = "cosine" } = options;
  if (!MEASURES.includes(similarity)) {
    throw invalid(`similarity is ${JSON.stringify(similarity)}; it must be one of ${MEASURES.join(", ")}`);
  }
  checkCount("topK", k);
  const { shape, score } = compared(query, vectors, similarity);
  const [queries, count] = shape;
  if (queries !== 1)
    throw invalid(`there are ${queries} queries; pass one vector, or the result for one text`);
  let hits: Hit[] = [];
  // No later vector with this score or a lower one is among the best.
  let least = Number.NEGATIVE_INFINITY;
  const trim = () => {
    hits = hits.sort((a, b) => b.score - a.score || a.index - b.index).slice(0, k);
    least = hits[k - 1]?.score ?? least;
  };
  for (let index = 0; index < count; index++) {
    const found = score(0, index);
    if (Number.isNaN(found)) {
      throw invalid(`the similarity to vector ${index} is not a number: a component is NaN or infinite`);
    }
    if (found <= least && hits.length >= k) continue;
    hits.push({ index, score: found });
    if (hits.length >= 2 * k + SLACK) trim();
  }
  trim();
  return hits;
}

function compared(query: unknown, vectors: unknown, measure: ModelInfo["similarity"]): Comparison {
  // A single vector counts as a table with one row, and a single sparse vector as a list.
  const dense = isVector(query) ? [query] : query;
  if (isTable(dense) && isTable(vectors)) return comparison(measure, dense, vectors);
  const sparse = Array.isArray(query) ? query : [query];
  if (isSparseList(sparse) && isSparseList(vectors)) return sparseComparison(sparse, vectors);
  throw invalid(
    "pass a vector and a list of vectors, results of encode, or results of encodeSparse; query and vectors must be of the same kind",
  );
}

/** Throws if a call's number of hits is none. */
export function checkCount(call: string, k: unknown): void {
  if (Number.isInteger(k) && (k as number) > 0) return;
  throw invalid(`k is ${String(k)}; it must be a whole number, 1 or more`, call);
}

function invalid(why: string, call = "topK"): GossamerError {
  return new GossamerError("invalid_input", `${call}: ${why}.`, { status: 400 });
}
