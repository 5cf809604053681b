/** Pinecone: `sparseValues` of records and queries. */

import type { SparseVector } from "../types.js";
import { checkEntries } from "./shared/limits.js";
import { sparseLists } from "./shared/lists.js";

/** A sparse vector in Pinecone's format. */
export interface PineconeSparse {
  /** Token ids of the vocabulary that have a weight. */
  indices: number[];
  /** The weight of each index. */
  values: number[];
}

/**
 * Converts a sparse vector for Pinecone: `{ id, values, sparseValues: pineconeSparse(vector) }`.
 * The index must use the metric `dotproduct`. A vector must have 1 to `limit` entries; the default,
 * 1,000, is the limit of indexes with dense and sparse vectors.
 */
export function pineconeSparse(
  vector: SparseVector,
  { limit = 1000 }: { limit?: number } = {},
): PineconeSparse {
  checkEntries(vector, 1, limit, "Pinecone");
  return sparseLists(vector);
}
