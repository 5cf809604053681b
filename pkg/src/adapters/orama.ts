/** Orama: a plugin that adds vectors to documents and to vector and hybrid searches. */

import type { Embedder } from "../embedder.js";
import { GossamerError } from "../errors.js";
import { type AdapterOptions, checkEmbedder, checkTexts, denseLists } from "./shared/lists.js";

/** Options of the plugin. */
export interface OramaOptions {
  /** Properties of a document whose texts are embedded together. */
  from: readonly string[];
  /** The property for the vector, `vector[…]` in the schema; `"embedding"` by default. */
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
  /** Name of the plugin. */
  name: string;
  /** Called by Orama before it inserts several documents. */
  beforeInsertMultiple(orama: unknown, documents: object[]): Promise<void>;
  /** Called by Orama before it inserts a document. */
  beforeInsert(orama: unknown, id: string, document: object): Promise<void>;
  /** Called by Orama before it searches. */
  beforeSearch(orama: unknown, params: object): Promise<void>;
}

/**
 * Creates a plugin for Orama.
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
 * Orama inserts documents one by one, so the plugin embeds them one by one. {@link withVectors}
 * embeds many at once, which is faster. Documents that have a vector keep it.
 */
export function oramaPlugin(embedder: Embedder, options: OramaOptions): GossamerPlugin {
  checkEmbedder(embedder);
  const { property = "embedding", encode } = options;
  return {
    name: "gossamer-embed",
    // Orama waits for `beforeInsert` only if this function is async, too.
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

/** Returns copies of documents with vectors for those that have none. */
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
