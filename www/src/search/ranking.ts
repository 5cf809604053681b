/** From scores to ranks, and from two rankings to one. */

export interface Hit {
  document: number;
  score: number;
}

/** How much the first ranks are worth over the next ones: what the paper and most engines use. */
const RRF_K = 60;

/** The best so many documents, of those with a score above `least`. */
export function best(scores: Float64Array, most: number, least = Number.NEGATIVE_INFINITY): Hit[] {
  const hits: Hit[] = [];
  for (const [document, score] of scores.entries()) if (score > least) hits.push({ document, score });
  return hits.sort((a, b) => b.score - a.score || a.document - b.document).slice(0, most);
}

/** Reciprocal rank fusion (Cormack et al., 2009): only ranks count, since the scores have no common scale. */
export function fuse(rankings: Hit[][]): Hit[] {
  const scores = new Map<number, number>();
  for (const hits of rankings) {
    for (const [rank, { document }] of hits.entries()) {
      scores.set(document, (scores.get(document) ?? 0) + 1 / (RRF_K + rank + 1));
    }
  }
  return [...scores]
    .map(([document, score]) => ({ document, score }))
    .sort((a, b) => b.score - a.score || a.document - b.document);
}
