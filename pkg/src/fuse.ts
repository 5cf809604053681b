/** From several rankings to one. */

import { GossamerError } from "./errors.js";
import { checkOptions } from "./options.js";

/** Options of {@link fuse}. */
export interface FuseOptions {
  /** How little the first ranks are worth over the next ones; 60, as in the paper and in most engines. */
  k?: number | undefined;
  /** How much each ranking counts; 1 by default. */
  weights?: readonly number[] | undefined;
}

/** One entry of a fused ranking. */
export interface Fused<Id> {
  /** As the rankings have it. */
  id: Id;
  /** The sum over the rankings. */
  score: number;
}

/**
 * Reciprocal rank fusion (Cormack et al. 2009) of rankings of the same things by dense, sparse and other searches, each with
 * the best first: an id has the sum of `weight / (k + rank)`, its ranks counted from 1. Only ranks count, since scores of
 * different searches have no common scale.
 */
export function fuse<Id>(rankings: readonly (readonly Id[])[], options: FuseOptions = {}): Fused<Id>[] {
  checkOptions("fuse", options, ["k", "weights"]);
  const isList = (value: unknown) => Array.isArray(value) || ArrayBuffer.isView(value);
  if (!isList(rankings) || !rankings.every(isList)) {
    throw invalid("pass a list of rankings, each a list of ids");
  }
  const { k = 60, weights = rankings.map(() => 1) } = options;
  const fits = Array.isArray(weights) && weights.length === rankings.length && weights.every(Number.isFinite);
  if (!fits || typeof k !== "number" || !(k >= 0)) {
    throw invalid("`weights` must have a number for each ranking, and `k` must be a number, 0 or more");
  }
  const scores = new Map<Id, number>();
  for (const [at, ranking] of rankings.entries()) {
    for (const [rank, id] of ranking.entries()) {
      scores.set(id, (scores.get(id) ?? 0) + (weights[at] as number) / (k + rank + 1));
    }
  }
  // Of equal scores the one that came first stays first.
  return [...scores].map(([id, score]) => ({ id, score })).sort((a, b) => b.score - a.score);
}

function invalid(why: string): GossamerError {
  return new GossamerError("invalid_input", `fuse: ${why}.`, { status: 400 });
}
