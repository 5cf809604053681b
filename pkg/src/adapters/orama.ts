/** Orama: a plugin that fills documents' vectors and answers vector and hybrid searches for a term. */

import type { Embedder } from "../embedder.js";
import { GossamerError } from "../errors.js";
import { type AdapterOptions, checkEmbedder, checkTexts, denseLists } from "./shared/lists.js";

/** What is embedded, and where vectors go. */
export interface OramaOptions {
  /** Properties of a document whose texts are embedded. */
  from: readonly string[];
  /** The property of the vector, `vector[…]` in the schema; `"embedding"` by default. */
  property?: string | undefined;
  /** Options of `encode`. */
  encode?: AdapterOptions | undefined;
}

interface SearchParams {
  mode?: string;
  term?: unknown;
  vector?: { value: unknown; property: string };
}

/** An Orama plugin. */
export interface GossamerPlugin {
  /** What Orama calls it. */
  name: string;
  /** Orama waits for it before it inserts several documents. */
  beforeInsertMultiple(orama: unknown, documents: object[]): Promise<void>;
  /** Orama waits for it before it inserts a document. */
  beforeInsert(orama: unknown, id: string, document: object): Promise<void>;
  /** Orama waits for it before it searches. */
  beforeSearch(orama: unknown, params: object): Promise<void>;
}

/**
 * A plugin for Orama.
 *
 * ```ts
 * const db = create({
 *   schema: { title: "string", text: "string", embedding: "vector[384]" },
 *   plugins: [oramaPlugin(embedder, { from: ["title", "text"] })],
 * });
 * await insertMultiple(db, await withVectors(embedder, documents, { from: ["title", "text"] }));
 * await search(db, { mode: "hybrid", term: "ships at night" });
 * ```
 *
 * Orama inserts document by document, and so the plugin embeds them; {@link withVectors} does many at once. Documents that have
 * a vector keep it.
 */
export function oramaPlugin(embedder: Embedder, options: OramaOptions): GossamerPlugin {
  checkEmbedder(embedder);
  const { property = "embedding", encode } = options;
  return {
    name: "gossamer-embed",
    // Without an async one, Orama would not wait for `beforeInsert` either.
    async beforeInsertMultiple() {},
    async beforeInsert(_orama, _id, document) {
      const [filled] = await withVectors(embedder, [document], options);
      Object.assign(document, filled);
    },
    async beforeSearch(_orama, params: SearchParams) {
      const isSearch = params.mode === "vector" || params.mode === "hybrid";
      if (!isSearch || params.vector || typeof params.term !== "string") return;
      const [value] = await denseLists(embedder, [params.term], { task: "query", ...encode });
      params.vector = { value, property };
    },
  };
}

/** Copies of documents, with vectors for those that have none yet. */
export async function withVectors<Document extends object>(
  embedder: Embedder,
  documents: readonly Document[],
  options: OramaOptions,
): Promise<Document[]> {
  if (!Array.isArray(documents) || !Array.isArray(options?.from)) {
    const message =
      "withVectors takes an embedder, a list of documents, and options with `from`, a list of properties.";
    throw new GossamerError("invalid_input", message, { status: 400 });
  }
  const { from, property = "embedding", encode } = options;
  const get = (document: Document, name: string) => (document as Record<string, unknown>)[name];
  const bare = documents.filter((document) => !get(document, property));
  const texts = bare.map((document) => {
    const parts = from.flatMap((name) => get(document, name) ?? []);
    checkTexts(parts, `document ${documents.indexOf(document)}: of ${from.join(", ")}, entry`);
    return parts.join("\n");
  });
  const vectors = await denseLists(embedder, texts, { task: "document", ...encode });
  const found = new Map(bare.map((document, at) => [document, vectors[at]]));
  return documents.map((document) =>
    found.has(document) ? { ...document, [property]: found.get(document) } : document,
  );
}
