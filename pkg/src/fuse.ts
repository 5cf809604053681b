/** Combines several rankings into one. */

import { GossamerError } from "./errors.js";
import { checkOptions } from "./options.js";

/** Options of {@link fuse}. */
export interface FuseOptions {
  /**
   * The larger `k`, the less the first ranks count over later ones. Default: 60, as in the paper
   * and most search engines.
   */
  k?: number | undefined;
  /** Weight of each ranking; 1 by default. */
  weights?: readonly number[] | undefined;
}

/** One entry of a fused ranking. */
export interface Fused<Id> {
  /** The id, as in the rankings. */
  id: Id;
  /** The sum of `weight / (k + rank)` over the rankings. */
  score: number;
}

/**
 * Reciprocal rank fusion (Cormack et al. 2009) of several rankings, such as those of a dense and a
 * sparse search, each with the best id first. The score of an id is the sum of
 * `weight / (k + rank)`, with ranks counted from 1. Only ranks are used, since the scores of
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
  // The sort is stable: ids with equal scores keep the order in which they came.
  return [...scores].map(([id, score]) => ({ id, score })).sort((a, b) => b.score - a.score);
}

function invalid(why: string): GossamerError {
  return new GossamerError("invalid_input", `fuse: ${why}.`, { status: 400 });
}
