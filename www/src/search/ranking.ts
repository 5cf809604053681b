/** Ranks documents by score, and fuses two rankings. */

import { fuse as fuseIds } from "gossamer-embed";

export interface Hit {
  document: number;
  score: number;
}

/** The best documents, among those with a score above `least`. */
export function best(scores: Float64Array, most: number, least = Number.NEGATIVE_INFINITY): Hit[] {
  const hits: Hit[] = [];
  for (const [document, score] of scores.entries()) if (score > least) hits.push({ document, score });
  return hits.sort((a, b) => b.score - a.score || a.document - b.document).slice(0, most);
}

/** Reciprocal rank fusion. Only ranks are used, since the scores have no common scale. */
export function fuse(rankings: Hit[][]): Hit[] {
  const documents = rankings.map((hits) => hits.map(({ document }) => document));
  return fuseIds(documents).map(({ id, score }) => ({ document: id, score }));
}
