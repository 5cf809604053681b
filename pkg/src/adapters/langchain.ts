/** LangChain.js: an `EmbeddingsInterface`, for vector stores, retrievers and whatever else takes embeddings. */

import type { Embedder } from "../embedder.js";
import { type AdapterOptions, checkEmbedder, denseLists } from "./shared/lists.js";

/**
 * Embeddings for LangChain.js.
 *
 * ```ts
 * const store = await MemoryVectorStore.fromTexts(texts, metadata, new GossamerEmbeddings(embedder));
 * ```
 *
 * Queries and documents use the model's own prompt or route (`task`), unless the options say
 * otherwise.
 */
export class GossamerEmbeddings {
  readonly #embedder: Embedder;
  readonly #options: AdapterOptions;

  /** The options are those of `encode`. */
  constructor(embedder: Embedder, options: AdapterOptions = {}) {
    checkEmbedder(embedder);
    this.#embedder = embedder;
    this.#options = options;
  }

  /** One vector for each document. */
  embedDocuments(documents: string[]): Promise<number[][]> {
    return denseLists(this.#embedder, documents, { task: "document", ...this.#options });
  }

  /** The vector of a query. */
  async embedQuery(document: string): Promise<number[]> {
    const [vector] = await denseLists(this.#embedder, [document], { task: "query", ...this.#options });
    return vector as number[];
  }
}
