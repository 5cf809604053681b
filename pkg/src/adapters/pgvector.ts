/** pgvector: the text of its type `sparsevec`. */

import { GossamerError } from "../errors.js";
import type { SparseVector } from "../types.js";
import { checkEntries } from "./shared/limits.js";

/** The most entries of a `sparsevec`. */
const STORED = 16_000;
/** The most entries of one that an HNSW index takes. */
const INDEXED = 1_000;

/**
 * A sparse vector as the text of a `sparsevec`, whose indices count from 1: `{11:0.5,42:1.25}/30522`. `dimensions` is the
 * model's (`info.dimensions`), as in the column's type.
 *
 * `indexed`, true by default, refuses what an HNSW index would: more than 1,000 entries.
 */
export function pgvectorSparse(
  vector: SparseVector,
  dimensions: number,
  { indexed = true }: { indexed?: boolean } = {},
): string {
  checkEntries(vector, 0, indexed ? INDEXED : STORED, indexed ? "an HNSW index of pgvector" : "pgvector");
  const needed = (vector.indices.at(-1) ?? 0) + 1;
  if (!Number.isInteger(dimensions) || dimensions < needed) {
    const message = `dimensions is ${String(dimensions)}; it must be a whole number, for this vector ${needed} or more. Pass info.dimensions.`;
    throw new GossamerError("invalid_input", message, { status: 400 });
  }
  const entries = Array.from(vector.indices, (index, at) => `${index + 1}:${vector.values[at]}`);
  return `{${entries.join(",")}}/${dimensions}`;
}
