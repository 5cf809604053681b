/** The search index, in a worker, so that the page stays responsive with many documents. */

import { expose } from "comlink";
import type { SparseVector } from "gossamer-embed";
import type { Role } from "../session.js";
import { DenseIndex } from "./dense.js";
import { readDocuments } from "./documents.js";
import { FORMATS, type FormatName } from "./export.js";
import { best, fuse, type Hit } from "./ranking.js";
import { SparseIndex, type TermShare } from "./sparse.js";

/** Number of documents of each ranking that are fused. */
const DEPTH = 100;

/** The dense vectors of the next documents, end to end. */
export interface DenseRows {
  data: Float32Array;
  dimensions: number;
  tokens: number;
}

export interface Ranking {
  hits: (Hit & { terms?: TermShare[] })[];
  milliseconds: number;
}

export type Rankings = Partial<Record<"dense" | "sparse" | "hybrid", Ranking>>;

export class SearchIndex {
  #texts: readonly string[] = [];
  #dense = new DenseIndex();
  #sparse = new SparseIndex();
  #tokens = 0;

  /** The passages of a file. */
  read(name: string, blob: Blob): Promise<string[]> {
    return readDocuments(name, blob);
  }

  /**
   * Starts with other documents. If the documents are the same, deletes only the vectors of these
   * kinds.
   */
  reset(texts: readonly string[], kinds: readonly Role[] = ["dense", "sparse"]): void {
    this.#texts = texts;
    if (kinds.includes("dense")) {
      this.#dense = new DenseIndex();
      this.#tokens = 0;
    }
    if (kinds.includes("sparse")) this.#sparse = new SparseIndex();
  }

  /** Adds the vectors of the next documents. */
  add(dense: DenseRows | undefined, sparse: SparseVector[] | undefined): void {
    if (dense) {
      this.#dense.add(dense.data, dense.dimensions);
      this.#tokens += dense.tokens;
    }
    if (sparse) this.#sparse.add(sparse);
  }

  /** The best documents of each ranking for which there are vectors. */
  search(dense: Float32Array | undefined, sparse: SparseVector | undefined, most: number): Rankings {
    const rankings: Rankings = {};
    if (dense && !this.#dense.isEmpty) rankings.dense = timed(() => best(this.#dense.scores(dense), DEPTH));
    if (sparse && !this.#sparse.isEmpty) {
      rankings.sparse = timed(() => best(this.#sparse.scores(sparse), DEPTH, 0));
    }
    const both = [rankings.dense, rankings.sparse].flatMap((ranking) => (ranking ? [ranking.hits] : []));
    if (both.length === 2) rankings.hybrid = timed(() => fuse(both));
    for (const [name, ranking] of Object.entries(rankings)) {
      ranking.hits = ranking.hits.slice(0, most);
      if (!sparse || name === "dense") continue;
      for (const hit of ranking.hits) hit.terms = this.#sparse.shares(sparse, hit.document);
    }
    return rankings;
  }

  /** Exports all vectors as a file. */
  export(format: FormatName, model: string): Blob {
    const vectors = {
      dense: this.#dense.isEmpty ? undefined : this.#dense.vectors(),
      sparse: this.#sparse.isEmpty ? undefined : this.#sparse.vectors,
      tokens: this.#tokens,
    };
    return new Blob([...FORMATS[format].write(vectors, this.#texts, model)], { type: "application/json" });
  }
}

function timed(rank: () => Hit[]): Ranking {
  const start = performance.now();
  return { hits: rank(), milliseconds: performance.now() - start };
}

expose(new SearchIndex());
