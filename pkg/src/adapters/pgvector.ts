/** pgvector: the text form of its type `sparsevec`. */

import { GossamerError } from "../errors.js";
import type { SparseVector } from "../types.js";
import { checkEntries } from "./shared/limits.js";

/** Maximum number of entries of a `sparsevec`. */
const STORED = 16_000;
/** Maximum number of entries in an HNSW index. */
const INDEXED = 1_000;

/**
 * Formats a sparse vector as a `sparsevec`, whose indices start at 1: `{11:0.5,42:1.25}/30522`.
 * `dimensions` is that of the model (`info.dimensions`) and of the column's type.
 *
 * With `indexed`, the default, more than 1,000 entries are an error, as an HNSW index allows no
 * more.
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
