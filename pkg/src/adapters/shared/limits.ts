/** Limits of databases for sparse vectors. */

import { GossamerError } from "../../errors.js";
import type { SparseVector } from "../../types.js";

/**
 * Throws if a value is not a sparse vector. Most often it is the list of vectors that
 * `encodeSparse` returns.
 */
export function checkSparse(vector: SparseVector): void {
  const [indices, values] = [vector?.indices?.length, vector?.values?.length];
  if (typeof indices === "number" && indices === values) return;
  throw new GossamerError("invalid_input", "Pass one sparse vector: an entry of what encodeSparse gives.", {
    status: 400,
  });
}

/** Throws if a vector has too many or too few entries for a database. */
export function checkEntries(vector: SparseVector, least: number, most: number, where: string): void {
  checkSparse(vector);
  const entries = vector.indices.length;
  if (entries >= least && entries <= most) return;
  const advice =
    entries > most
      ? `ask for the heaviest ones only: encodeSparse(texts, { topK: ${most} })`
      : "leave texts out that have no words";
  throw new GossamerError(
    "invalid_input",
    `The sparse vector has ${entries} entries, and ${where} takes ${least} to ${most}; ${advice}.`,
    { status: 400 },
  );
}
