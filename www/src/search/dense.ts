/** Exact search over dense vectors of length 1. */

export class DenseIndex {
  readonly parts: Float32Array[] = [];
  dimensions = 0;

  /** Adds the vectors of the next documents, end to end. */
  add(data: Float32Array, dimensions: number): void {
    this.parts.push(data);
    this.dimensions = dimensions;
  }

  get isEmpty(): boolean {
    return this.parts.length === 0;
  }

  /** Number of documents. */
  get size(): number {
    return this.isEmpty ? 0 : this.parts.reduce((sum, part) => sum + part.length, 0) / this.dimensions;
  }

  /** The vector of each document. */
  *vectors(): Generator<Float32Array> {
    const { dimensions } = this;
    for (const part of this.parts) {
      for (let at = 0; at < part.length; at += dimensions) yield part.subarray(at, at + dimensions);
    }
  }

  /** The cosine of each document with the query. */
  scores(query: Float32Array): Float64Array {
    const scores = new Float64Array(this.size);
    let document = 0;
    for (const part of this.parts) {
      for (let at = 0; at < part.length; document++) {
        let sum = 0;
        for (const value of query) sum += value * (part[at++] ?? 0);
        scores[document] = sum;
      }
    }
    return scores;
  }
}
