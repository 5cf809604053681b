/**
 * An inverted index: for each term the documents that contain it, so that a query visits no others.
 */

import type { SparseVector } from "gossamer-embed";

interface Posting {
  document: number;
  weight: number;
}

/** The contribution of one term to a score. */
export interface TermShare {
  index: number;
  share: number;
}

export class SparseIndex {
  readonly #vectors: SparseVector[] = [];
  readonly #postings = new Map<number, Posting[]>();

  add(vectors: SparseVector[]): void {
    for (const vector of vectors) {
      const document = this.#vectors.push(vector) - 1;
      for (const [at, index] of vector.indices.entries()) {
        const posting = { document, weight: vector.values[at] ?? 0 };
        const postings = this.#postings.get(index);
        if (postings) postings.push(posting);
        else this.#postings.set(index, [posting]);
      }
    }
  }

  get isEmpty(): boolean {
    return this.#vectors.length === 0;
  }

  /** The vector of each document. */
  get vectors(): readonly SparseVector[] {
    return this.#vectors;
  }

  /** The dot product of each document with the query; 0 if they share no term. */
  scores({ indices, values }: SparseVector): Float64Array {
    const scores = new Float64Array(this.#vectors.length);
    for (const [at, index] of indices.entries()) {
      const weight = values[at] ?? 0;
      for (const posting of this.#postings.get(index) ?? []) {
        scores[posting.document] = (scores[posting.document] ?? 0) + weight * posting.weight;
      }
    }
    return scores;
  }

  /** The contributions to a document's score, the largest first. */
  shares(query: SparseVector, document: number): TermShare[] {
    const vector = this.#vectors[document];
    return vector ? overlap(query, vector) : [];
  }
}

/**
 * The terms that two vectors share and the contribution of each to their dot product, the largest
 * first.
 */
export function overlap(a: SparseVector, b: SparseVector): TermShare[] {
  const weights = new Map([...b.indices].map((index, at) => [index, b.values[at] ?? 0]));
  return [...a.indices]
    .map((index, at) => ({ index, share: (a.values[at] ?? 0) * (weights.get(index) ?? 0) }))
    .filter(({ share }) => share > 0)
    .sort((one, other) => other.share - one.share);
}
