/** The search index, in a worker, so that the page stays responsive with many documents. */

import { expose } from "comlink";
import type { SparseVector } from "gossamer-embed";
import type { Role } from "../session.js";
import { DenseIndex } from "./dense.js";
import { readDocuments } from "./documents.js";
import { FORMATS, type FormatName } from "./export.js";
import { deleteIndex, type IndexFacts, keepIndex, keptIndex } from "./kept.js";
import { best, fuse, type Hit } from "./ranking.js";
import { SparseIndex, type TermShare } from "./sparse.js";
import { type DenseRows, readVectors, type StoredVectors, writeVectors } from "./vectors.js";

/** Number of documents of each ranking that are fused. */
const DEPTH = 100;

export interface Ranking {
  hits: (Hit & { terms?: TermShare[] })[];
  milliseconds: number;
}

export interface Passages {
  texts: string[];
  /** The kinds of vectors that came with them. */
  vectors: Role[];
}

export type Rankings = Partial<Record<Role | "hybrid" | "reranked", Ranking>>;

export class SearchIndex {
  #texts: readonly string[] = [];
  #dense = new DenseIndex();
  #sparse = new SparseIndex();
  #tokens = 0;
  /** Vectors of the file that was read last. */
  #imported: StoredVectors = {};

  /** The passages of a file, and the kinds of vectors that it has for them. */
  async read(name: string, blob: Blob): Promise<Passages> {
    const { texts, dense, sparse } = await readDocuments(name, blob);
    this.#imported = { ...(dense && { dense }), ...(sparse && { sparse }) };
    return { texts, vectors: Object.keys(this.#imported) as Role[] };
  }

  /** Some of the vectors of the file that was read last. */
  imported(role: Role, rows: readonly number[]): (Float32Array | SparseVector | undefined)[] {
    const { dense, sparse } = this.#imported;
    if (role === "sparse") return rows.map((row) => sparse?.[row]);
    return rows.map((row) => dense?.data.slice(row * dense.dimensions, (row + 1) * dense.dimensions));
  }

  /** Takes the vectors of the file that was read last. */
  adopt(role: Role): void {
    const { dense, sparse } = this.#imported;
    this.add(role === "dense" ? dense : undefined, role === "sparse" ? sparse : undefined);
    delete this.#imported[role];
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

  /** Keeps the index for the next visit. */
  async keep({ name, spaces }: Pick<IndexFacts, "name" | "spaces">): Promise<void> {
    const { parts, dimensions, size } = this.#dense;
    const sparse = this.#sparse.vectors;
    const dense = size > 0 ? { parts, dimensions, tokens: this.#tokens } : undefined;
    const vectors = writeVectors(dense, sparse.length > 0 ? sparse : undefined);
    const done = { ...(spaces.dense && { dense: size }), ...(spaces.sparse && { sparse: sparse.length }) };
    await keepIndex({ name, spaces, done, texts: [...this.#texts] }, vectors);
  }

  /** Takes the index of the last visit; undefined if none was kept or it is damaged. */
  async restore(): Promise<IndexFacts | undefined> {
    try {
      const kept = await keptIndex();
      if (!kept) return undefined;
      const { facts, vectors } = kept;
      const { dense, sparse } = readVectors(await vectors.arrayBuffer());
      const rows = {
        dense: (dense?.data.length ?? 0) / (dense?.dimensions ?? 1),
        sparse: sparse?.length ?? 0,
      };
      for (const role of ["dense", "sparse"] as const) {
        if (rows[role] !== (facts.done[role] ?? 0)) throw new Error(`${rows[role]} ${role} vectors`);
      }
      this.reset(facts.texts);
      this.add(dense, sparse);
      return facts;
    } catch {
      await deleteIndex().catch(() => {});
      return undefined;
    }
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
