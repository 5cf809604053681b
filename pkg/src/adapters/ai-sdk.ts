/** Vercel's AI SDK: an `EmbeddingModelV4`, for `embed`, `embedMany` and providers' registries. */

import type { Embedder } from "../embedder.js";
import { lists } from "../lists.js";
import type { EncodeOptions } from "../types.js";

/** What the AI SDK asks for. */
export interface EmbedCall {
  values: string[];
  dimensions?: number | undefined;
  abortSignal?: AbortSignal | undefined;
  /** Under `gossamer`, options of `encode`: `{ gossamer: { task: "query" } }`. */
  providerOptions?: Record<string, Record<string, unknown>> | undefined;
}

/** What it gets. */
export interface EmbedResult {
  embeddings: number[][];
  usage: { tokens: number };
  /** The vectors' space, to be kept beside an index. */
  providerMetadata: { gossamer: { spaceId: string } };
  /** One, if texts were cut off. */
  warnings: { type: "other"; message: string }[];
}

/** A model for the AI SDK. */
export interface GossamerEmbeddingModel {
  readonly specificationVersion: "v4";
  readonly provider: "gossamer";
  readonly modelId: string;
  readonly maxEmbeddingsPerCall: number;
  /** The SDK calls one after the other: a call uses all workers. */
  readonly supportsParallelCalls: false;
  doEmbed(call: EmbedCall): Promise<EmbedResult>;
}

/**
 * An embedding model for the AI SDK. The options are those of `encode`.
 *
 * ```ts
 * const { embeddings } = await embedMany({ model: embeddingModel(embedder), values: texts });
 * ```
 */
export function embeddingModel(
  embedder: Embedder,
  options: Omit<EncodeOptions, "output" | "signal"> = {},
): GossamerEmbeddingModel {
  const { model, maxTokens, spaceId } = embedder.info;
  return {
    specificationVersion: "v4",
    provider: "gossamer",
    modelId: model,
    maxEmbeddingsPerCall: 2048,
    supportsParallelCalls: false,
    async doEmbed({ values, dimensions, abortSignal, providerOptions }) {
      const call = { ...options, ...providerOptions?.gossamer };
      if (dimensions !== undefined) call.dimensions = dimensions;
      const encoded = await embedder
        .encode(values, { ...call, output: "float", signal: abortSignal })
        .catch((error: unknown) => {
          // As `fetch` rejects, which the SDK knows.
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
