/**
 * LlamaIndex.TS: a `BaseEmbedding`, for `Settings.embedModel`, indices and ingestion pipelines; and
 * a `BaseNodePostprocessor`, which reranks what a retriever found.
 */

import type { BaseEmbedding } from "@llamaindex/core/embeddings";
import type { MessageContent, MessageContentDetail } from "@llamaindex/core/llms";
import type { BaseNodePostprocessor } from "@llamaindex/core/postprocessor";
import type { MetadataMode, NodeWithScore } from "@llamaindex/core/schema";
import type { Embedder } from "../embedder.js";
import { GossamerError } from "../errors.js";
import { type AdapterOptions, checkEmbedder, denseLists, type RerankerOptions } from "./shared/lists.js";

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

/**
 * A postprocessor of nodes for LlamaIndex.TS: nodes by how well they answer the query, the best
 * first, with its scores. The options are those of `rerank`: `topK` is the most nodes that are
 * kept.
 *
 * ```ts
 * index.asQueryEngine({ nodePostprocessors: [llamaIndexReranker(reranker, { topK: 5 })] });
 * ```
 *
 * A node's text is what it gives for `MetadataMode.ALL`: its metadata and its content.
 */
export function llamaIndexReranker(reranker: Embedder, options: RerankerOptions = {}): BaseNodePostprocessor {
  checkEmbedder(reranker);
  return {
    async postprocessNodes(nodes: NodeWithScore[], query?: MessageContent): Promise<NodeWithScore[]> {
      const texts = nodes.map(({ node }) => node.getContent("ALL" as MetadataMode.ALL));
      const ranked = await reranker.rerank(textOf(query), texts, options);
      return ranked.map(({ index, score }) => ({ ...(nodes[index] as NodeWithScore), score }));
    },
  };
}

/** The text of a query, without pictures and sounds. */
function textOf(query: MessageContent | undefined): string {
  if (typeof query === "string") return query;
  const texts = (query ?? []).flatMap((part) => (part.type === "text" ? [part.text] : []));
  if (texts.length > 0) return texts.join("\n");
  throw new GossamerError("empty_input", "Nodes are reranked for a query: pass one with a text.", {
    status: 400,
  });
}
