/** Pinecone: `sparseValues` of records and queries. */

import type { SparseVector } from "../types.js";
import { checkEntries } from "./shared/limits.js";
import { sparseLists } from "./shared/lists.js";

/** As Pinecone has it. */
export interface PineconeSparse {
  /** Tokens of the vocabulary that have a weight. */
  indices: number[];
  /** Their weights. */
  values: number[];
}

/**
 * A sparse vector as Pinecone takes it: `{ id, values, sparseValues: pineconeSparse(vector) }`. Its indices must compare by
 * `dotproduct`. A vector has 1 to `limit` entries, 1,000 in indices of dense and sparse vectors together.
 */
export function pineconeSparse(
  vector: SparseVector,
  { limit = 1000 }: { limit?: number } = {},
): PineconeSparse {
  checkEntries(vector, 1, limit, "Pinecone");
  return sparseLists(vector);
}
