/** Documents by how similar they are to a query, in memory. */

import { GossamerError } from "./errors.js";
import { checkCall, checkOptions } from "./options.js";
import { isSparseList, type SparseLike, type Table } from "./similarity.js";
import { checkCount, type Hit, type TopKOptions, topK } from "./top-k.js";
import type { CallOptions, EncodeOptions, ModelInfo, SparseVector } from "./types.js";

/** Options of `search`. */
export interface SearchOptions extends CallOptions {
  /** Name of the prompt for the query, instead of the one that the model has for queries. */
  promptName?: string | undefined;
  /** Text to put before the query, instead of a prompt of the model's. */
  prompt?: string | undefined;
  /** Whether results have their `document`, where documents are texts. */
  returnDocuments?: boolean | undefined;
}

/** A document that `search` found. */
export interface Found extends Hit {
  /** Its text, where asked for. */
  document?: string;
}

/** What {@link search} needs of an embedder. */
interface Searcher {
  readonly info: ModelInfo;
  encode(texts: string | readonly string[], options: EncodeOptions): Promise<Table>;
  encodeSparse(texts: string | readonly string[], options: EncodeOptions): Promise<SparseVector[]>;
}

/** See `Embedder.search`. */
export async function search(
  embedder: Searcher,
  query: string,
  documents: readonly string[] | Table | readonly SparseLike[],
  k: number,
  options: SearchOptions,
): Promise<Found[]> {
  checkOptions("search", options, ["promptName", "prompt", "returnDocuments", "signal"]);
  checkCall(options);
  checkCount("search", k);
  const { promptName, prompt, returnDocuments, signal } = options;
  if (returnDocuments !== undefined && typeof returnDocuments !== "boolean") {
    throw invalid(`returnDocuments is ${String(returnDocuments)}; it must be true or false`);
  }
  if (typeof query !== "string") throw invalid("the query is no string");
  if (!query.trim()) {
    throw new GossamerError("empty_input", "search: the query is empty.", { status: 400 });
  }
  const texts = areTexts(documents) ? documents : undefined;
  const { kind, similarity } = embedder.info;
  const isSparse = texts ? kind === "sparse" : isSparseList(documents);
  const own = { task: "query" as const, promptName, prompt, signal };
  if (isSparse) {
    const [asked] = await embedder.encodeSparse(query, own);
    const known = texts
      ? texts.length > 0
        ? await embedder.encodeSparse(texts, { task: "document", signal })
        : []
      : (documents as readonly SparseLike[]);
    return found(topK(asked as SparseVector, known, k));
  }
  const asked = await embedder.encode(query, own);
  if (texts?.length === 0) return [];
  const known = texts ? await embedder.encode(texts, { task: "document", signal }) : (documents as Table);
  // For late-interaction models, which have other measures, `encode` has thrown.
  return found(topK(asked, known, k, { similarity } as TopKOptions));

  function found(hits: Hit[]): Found[] {
    if (!returnDocuments || !texts) return hits;
    return hits.map((hit) => ({ ...hit, document: texts[hit.index] as string }));
  }
}

/** Whether documents are texts: all of them, or an error. An empty list has none. */
function areTexts(documents: unknown): documents is readonly string[] {
  if (!Array.isArray(documents)) {
    if (typeof documents === "object" && documents !== null) return false;
    throw invalid("documents must be a list of texts, or vectors");
  }
  if (documents.length > 0 && !documents.some((document) => typeof document === "string")) {
    if (documents.every((document) => typeof document === "object" && document !== null)) return false;
  }
  const other = documents.findIndex((document) => typeof document !== "string");
  if (other >= 0) throw invalid(`document ${other} is no string`);
  return true;
}

function invalid(why: string): GossamerError {
  return new GossamerError("invalid_input", `search: ${why}.`, { status: 400 });
}
