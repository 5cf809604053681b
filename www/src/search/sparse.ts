/** An inverted index: for each term the documents that have it, so that a query visits no others. */

import type { SparseVector } from "gossamer-embed";

interface Posting {
  document: number;
  weight: number;
}

/** What one term adds to a score. */
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

  /** Each document's vector. */
  get vectors(): readonly SparseVector[] {
    return this.#vectors;
  }

  /** Each document's dot product with the query; 0 for those that share no term with it. */
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

  /** What makes a document's score, the largest share first. */
  shares(query: SparseVector, document: number): TermShare[] {
    const vector = this.#vectors[document];
    return vector ? overlap(query, vector) : [];
  }
}

/** The terms that two vectors share and what each adds to their dot product, the largest share first. */
export function overlap(a: SparseVector, b: SparseVector): TermShare[] {
  const weights = new Map([...b.indices].map((index, at) => [index, b.values[at] ?? 0]));
  return [...a.indices]
    .map((index, at) => ({ index, share: (a.values[at] ?? 0) * (weights.get(index) ?? 0) }))
    .filter(({ share }) => share > 0)
    .sort((one, other) => other.share - one.share);
}
