/**
 * LangChain.js: an `EmbeddingsInterface`, for vector stores, retrievers and whatever else takes
 * embeddings; and a `BaseDocumentCompressor`, which reranks what a retriever found.
 */

import type { Embedder } from "../embedder.js";
import { type AdapterOptions, checkEmbedder, denseLists, type RerankerOptions } from "./shared/lists.js";

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

/** What a reranker takes of LangChain's documents. */
export interface RankedDocument {
  /** Its text. */
  pageContent: string;
  /** What is kept beside it. */
  // biome-ignore lint/suspicious/noExplicitAny: as LangChain types it
  metadata: Record<string, any>;
}

/**
 * A document compressor for LangChain.js: documents by how well they answer the query, the best
 * first, each with its score as `metadata.relevanceScore`. The options are those of `rerank`:
 * `topK` is the most documents that are kept.
 *
 * ```ts
 * const retriever = new ContextualCompressionRetriever({
 *   baseRetriever: store.asRetriever(50),
 *   baseCompressor: new GossamerReranker(reranker, { topK: 5 }),
 * });
 * ```
 */
export class GossamerReranker {
  readonly #reranker: Embedder;
  readonly #options: RerankerOptions;

  /** The options are those of `rerank`. */
  constructor(reranker: Embedder, options: RerankerOptions = {}) {
    checkEmbedder(reranker);
    this.#reranker = reranker;
    this.#options = options;
  }

  /** The documents in their new order. */
  async compressDocuments<Document extends RankedDocument>(
    documents: Document[],
    query: string,
  ): Promise<Document[]> {
    const texts = documents.map(({ pageContent }) => pageContent);
    const ranked = await this.#reranker.rerank(query, texts, this.#options);
    return ranked.map(({ index, score }) => {
      const document = documents[index] as Document;
      return { ...document, metadata: { ...document.metadata, relevanceScore: score } };
    });
  }
}
