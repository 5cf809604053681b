/** What databases take of sparse vectors. */

import { GossamerError } from "../../errors.js";
import type { SparseVector } from "../../types.js";

/** Throws if a vector has too many entries for a database, or too few. */
export function checkEntries({ indices }: SparseVector, least: number, most: number, where: string): void {
  const entries = indices.length;
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
