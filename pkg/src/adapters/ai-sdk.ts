/**
 * Vercel's AI SDK: an embedding model for `embed`, `embedMany` and providers' registries, and a
 * model for `rerank`.
 */

import type { Embedder } from "../embedder.js";
import {
  type AdapterOptions,
  checkEmbedder,
  checkTexts,
  lists,
  type RerankerOptions,
} from "./shared/lists.js";

/** A call of the AI SDK. */
export interface EmbedCall {
  /** The texts to embed. */
  values: string[];
  /** Keeps only the first `dimensions` components of each vector. */
  dimensions?: number | undefined;
  /** Stops the work. */
  abortSignal?: AbortSignal | undefined;
  /** Options of `encode`, under the key `gossamer`: `{ gossamer: { task: "query" } }`. */
  providerOptions?: Record<string, Record<string, unknown>> | undefined;
}

/** The result of a call. */
export interface EmbedResult {
  /** One vector for each text. */
  embeddings: number[][];
  /** Number of tokens that were read. */
  usage: {
    /** Tokens of all texts. */
    tokens: number;
  };
  /** The space of the vectors, to store with an index. */
  providerMetadata: {
    /** Metadata of this provider. */
    gossamer: {
      /** See `info.spaceId`. */
      spaceId: string;
    };
  };
  /** One warning if texts were cut off. */
  warnings: {
    /** Always `"other"`. */
    type: "other";
    /** Says which texts were cut off. */
    message: string;
  }[];
}

/**
 * Versions of the SDK's model interface: `"v1"` for `ai` 4, `"v2"` for 5, `"v3"` for 6, `"v4"` for
 * 7.
 */
export type SpecificationVersion = "v1" | "v2" | "v3" | "v4";

/** A model for the AI SDK. */
export interface GossamerEmbeddingModel<Version extends SpecificationVersion = "v4"> {
  /** The interface's version. */
  readonly specificationVersion: Version;
  /** Always `"gossamer"`. */
  readonly provider: "gossamer";
  /** The model's name. */
  readonly modelId: string;
  /** Maximum number of texts per call. The SDK splits larger calls. */
  readonly maxEmbeddingsPerCall: number;
  /** False, so that the SDK sends one call at a time: a call uses all workers. */
  readonly supportsParallelCalls: false;
  /** Embeds texts. Called by the SDK. */
  doEmbed(call: EmbedCall): Promise<EmbedResult>;
}

/**
 * Creates an embedding model for the AI SDK. The options are those of `encode`, and the version of
 * the SDK's interface, which is `"v4"` (`ai` 7) by default.
 *
 * ```ts
 * const { embeddings } = await embedMany({ model: embeddingModel(embedder), values: texts });
 * ```
 */
export function embeddingModel<Version extends SpecificationVersion = "v4">(
  embedder: Embedder,
  { specificationVersion, ...options }: AdapterOptions & { specificationVersion?: Version | undefined } = {},
): GossamerEmbeddingModel<Version> {
  checkEmbedder(embedder);
  const { model, maxTokens, spaceId } = embedder.info;
  return {
    specificationVersion: specificationVersion ?? ("v4" as Version),
    provider: "gossamer",
    modelId: model,
    maxEmbeddingsPerCall: 2048,
    supportsParallelCalls: false,
    async doEmbed({ values, dimensions, abortSignal, providerOptions }) {
      checkTexts(values, "value");
      const call = { ...options, ...providerOptions?.gossamer };
      if (dimensions !== undefined) call.dimensions = dimensions;
      const encoded = await embedder
        .encode(values, { ...call, output: "float", signal: abortSignal })
        .catch((error: unknown) => {
          // Rejects with the reason of the signal, as `fetch` does; the SDK expects that.
          throw abortSignal?.aborted ? abortSignal.reason : error;
        });
      const cut = encoded.truncated.flatMap((truncated, at) => (truncated ? [at] : []));
      const message = `Cut off to the ${maxTokens} tokens that the model takes: values ${cut.join(", ")}.`;
      return {
        embeddings: lists(encoded),
        usage: { tokens: encoded.tokens.reduce((sum, tokens) => sum + tokens, 0) },
        providerMetadata: { gossamer: { spaceId } },
        warnings: cut.length > 0 ? [{ type: "other", message }] : [],
      };
    },
  };
}

/** Documents that are texts. */
export interface RerankTexts {
  /** Always `"text"`. */
  type: "text";
  /** The documents. */
  values: string[];
}

/** Documents that are objects. */
export interface RerankObjects {
  /** Always `"object"`. */
  type: "object";
  /** The documents. */
  values: Record<string, unknown>[];
}

/** What the AI SDK asks a reranking model for. */
export interface RerankCall {
  /** Texts, or objects, which are ranked as JSON. */
  documents: RerankTexts | RerankObjects;
  /** What the documents are to answer. */
  query: string;
  /** The most documents of the answer. */
  topN?: number | undefined;
  /** Stops the work. */
  abortSignal?: AbortSignal | undefined;
  /** Under `gossamer`, options of `rerank`. */
  providerOptions?: Record<string, Record<string, unknown>> | undefined;
}

/** What it gets. */
export interface RerankResult {
  /** The best first. */
  ranking: {
    /** Its place in the list of documents. */
    index: number;
    /** Its score. */
    relevanceScore: number;
  }[];
  /** One, if documents were objects. */
  warnings: {
    /** Always this. */
    type: "other";
    /** What was done with them. */
    message: string;
  }[];
}

/** A model for the AI SDK's `rerank`. */
export interface GossamerRerankingModel<Version extends "v3" | "v4" = "v4"> {
  /** The interface's version. */
  readonly specificationVersion: Version;
  /** Always this. */
  readonly provider: "gossamer";
  /** The model's name. */
  readonly modelId: string;
  /** Ranks documents; the SDK calls it. */
  doRerank(call: RerankCall): Promise<RerankResult>;
}

/**
 * A reranking model for the AI SDK. The options are those of `rerank`, and the version of the SDK's
 * interface: `"v4"` of `ai` 7 by default, `"v3"` of 6.
 *
 * ```ts
 * const { ranking } = await rerank({ model: rerankingModel(reranker), query, documents, topN: 5 });
 * ```
 */
export function rerankingModel<Version extends "v3" | "v4" = "v4">(
  reranker: Embedder,
  { specificationVersion, ...options }: RerankerOptions & { specificationVersion?: Version | undefined } = {},
): GossamerRerankingModel<Version> {
  checkEmbedder(reranker);
  return {
    specificationVersion: specificationVersion ?? ("v4" as Version),
    provider: "gossamer",
    modelId: reranker.info.model,
    async doRerank({ documents, query, topN, abortSignal, providerOptions }) {
      const isText = documents.type === "text";
      const texts: string[] = isText
        ? documents.values
        : documents.values.map((value) => JSON.stringify(value));
      const call: RerankerOptions = { ...options, ...providerOptions?.gossamer };
      if (topN !== undefined) call.topK = topN;
      const ranked = await reranker
        .rerank(query, texts, { ...call, signal: abortSignal })
        .catch((error: unknown) => {
          // As `fetch` rejects, which the SDK knows.
          throw abortSignal?.aborted ? abortSignal.reason : error;
        });
      return {
        ranking: ranked.map(({ index, score }) => ({ index, relevanceScore: score })),
        warnings: isText
          ? []
          : [{ type: "other", message: "Documents that are objects are ranked as JSON." }],
      };
    },
  };
}
