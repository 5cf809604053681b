/** LlamaIndex.TS: a `BaseEmbedding`, for `Settings.embedModel`, indices and ingestion pipelines. */

import type { BaseEmbedding } from "@llamaindex/core/embeddings";
import type { MessageContentDetail } from "@llamaindex/core/llms";
import type { Embedder } from "../embedder.js";
import { type AdapterOptions, checkEmbedder, denseLists } from "./shared/lists.js";

/**
 * Creates an embedding model for LlamaIndex.TS. Pass the base class, so that this package needs no
 * dependency on it:
 *
 * ```ts
 * import { BaseEmbedding } from "@llamaindex/core/embeddings";
 *
 * Settings.embedModel = llamaIndexEmbedding(BaseEmbedding, embedder);
 * ```
 *
 * The options are those of `encode`. Queries and documents use the model's own prompt or route
 * (`task`), unless the options say otherwise.
 */
export function llamaIndexEmbedding(
  Base: typeof BaseEmbedding,
  embedder: Embedder,
  options: AdapterOptions = {},
): BaseEmbedding {
  checkEmbedder(embedder);
  class GossamerEmbedding extends Base {
    constructor() {
      super();
      this.embedBatchSize = 256;
      this.embedInfo = {
        dimensions: options.dimensions ?? embedder.info.dimensions,
        maxTokens: embedder.info.maxTokens,
      };
      this.getTextEmbeddings = (texts) => denseLists(embedder, texts, { task: "document", ...options });
    }

    override async getTextEmbedding(text: string): Promise<number[]> {
      const [vector] = await this.getTextEmbeddings([text]);
      return vector as number[];
    }

    override async getQueryEmbedding(query: MessageContentDetail): Promise<number[] | null> {
      if (query.type !== "text") return null;
      const [vector] = await denseLists(embedder, [query.text], { task: "query", ...options });
      return vector as number[];
    }
  }
  return new GossamerEmbedding();
}
