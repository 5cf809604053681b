/** Vercel's AI SDK: an embedding model for `embed`, `embedMany` and providers' registries. */

import type { Embedder } from "../embedder.js";
import { type AdapterOptions, checkEmbedder, checkTexts, lists } from "./shared/lists.js";

/** What the AI SDK asks for. */
export interface EmbedCall {
  /** Texts. */
  values: string[];
  /** Keep only the first so many dimensions. */
  dimensions?: number | undefined;
  /** Stops the work. */
  abortSignal?: AbortSignal | undefined;
  /** Under `gossamer`, options of `encode`: `{ gossamer: { task: "query" } }`. */
  providerOptions?: Record<string, Record<string, unknown>> | undefined;
}

/** What it gets. */
export interface EmbedResult {
  /** A vector for each text. */
  embeddings: number[][];
  /** What was read. */
  usage: {
    /** Tokens of all texts. */
    tokens: number;
  };
  /** The vectors' space, to be kept beside an index. */
  providerMetadata: {
    /** Of this provider. */
    gossamer: {
      /** See `info.spaceId`. */
      spaceId: string;
    };
  };
  /** One, if texts were cut off. */
  warnings: {
    /** Always this. */
    type: "other";
    /** Which texts. */
    message: string;
  }[];
}

/** Versions of the SDK's interface of models: `"v1"` of `ai` 4, `"v2"` of 5, `"v3"` of 6, `"v4"` of 7. */
export type SpecificationVersion = "v1" | "v2" | "v3" | "v4";

/** A model for the AI SDK. */
export interface GossamerEmbeddingModel<Version extends SpecificationVersion = "v4"> {
  /** The interface's version. */
  readonly specificationVersion: Version;
  /** Always this. */
  readonly provider: "gossamer";
  /** The model's name. */
  readonly modelId: string;
  /** The SDK cuts larger calls. */
  readonly maxEmbeddingsPerCall: number;
  /** The SDK calls one after the other: a call uses all workers. */
  readonly supportsParallelCalls: false;
  /** Embeds texts; the SDK calls it. */
  doEmbed(call: EmbedCall): Promise<EmbedResult>;
}

/**
 * An embedding model for the AI SDK. The options are those of `encode`, and the version of the SDK's interface: `"v4"` of
 * `ai` 7 by default.
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
