/** A loaded model. */

import { breathe, breatheIfDue } from "./breathe.js";
import { checkAborted, GossamerError, guard, release } from "./errors.js";
import { maxSim, similarity, type Vector } from "./similarity.js";
import type {
  CallOptions,
  CreateEmbeddingResponse,
  EmbedAllParams,
  EmbeddingCreateParams,
  EmbedSparseParams,
  Encoded,
  EncodedMulti,
  EncodeMultiOptions,
  EncodeOptions,
  EncodeSparseOptions,
  EncodeTokensOptions,
  Inputs,
  Matrix,
  ModelInfo,
  SparseEntry,
  SparseVector,
  Token,
  TokenizeOptions,
  TokenVectors,
} from "./types.js";
import type { Job, Model } from "./wasm/gossamer.js";

/**
 * Turns texts into vectors. Made by `load`.
 *
 * Calls may overlap. Each does a bounded amount of work at a time and lets the event loop run in between; still, in a
 * page, keep embedders in a worker so that scrolling and typing never wait.
 */
export class Embedder {
  /** The part of the official `openai` client that embeds: `embeddings.create(body)`. */
  readonly embeddings: Embeddings;
  readonly #memory: WebAssembly.Memory;
  readonly #info: Omit<ModelInfo, "memoryBytes">;
  #model: Model | undefined;

  /** @internal */
  constructor(model: Model, memory: WebAssembly.Memory) {
    this.#model = model;
    this.#memory = memory;
    this.#info = guard(() => model.info());
    const run = <T>(start: (model: Model) => Job, options: CallOptions | undefined) =>
      this.#run<T>(start, options);
    const create = (body: EmbeddingCreateParams, options?: CallOptions) =>
      run((model) => model.embeddings(body), options);
    this.embeddings = { create: create as Embeddings["create"] };
  }

  /** What the model is, and how much memory is in use. */
  get info(): ModelInfo {
    this.#loaded();
    return { ...this.#info, memoryBytes: this.#memory.buffer.byteLength };
  }

  /** Dense vectors, as one typed array: the fast way out of wasm. */
  encode(inputs: Inputs, options?: EncodeOptions): Promise<Encoded> {
    return this.#run((model) => model.encode(inputs, plain(options)), options);
  }

  /** Sparse vectors in the format of text-embeddings-inference's `/embed_sparse`. */
  embedSparse(body: EmbedSparseParams, options?: CallOptions): Promise<SparseEntry[][]> {
    return this.#run((model) => model.embedSparse(body), options);
  }

  /** Sparse vectors, as typed arrays. */
  encodeSparse(inputs: Inputs, options?: EncodeSparseOptions): Promise<SparseVector[]> {
    return this.#run((model) => model.encodeSparse(inputs, plain(options)), options);
  }

  /** A vector for each token of each text, for late interaction. */
  encodeTokens(inputs: Inputs, options?: EncodeTokensOptions): Promise<TokenVectors[]> {
    return this.#run((model) => model.encodeTokens(inputs, plain(options)), options);
  }

  /** Several kinds of vectors from one pass through the model, for those that have several (`info.outputs`). */
  encodeMulti(inputs: Inputs, options: EncodeMultiOptions): Promise<EncodedMulti> {
    return this.#run((model) => model.encodeMulti(inputs, plain(options)), options);
  }

  /** The states of all tokens in the format of text-embeddings-inference's `/embed_all`. */
  embedAll(body: EmbedAllParams, options?: CallOptions): Promise<number[][][]> {
    return this.#run((model) => model.embedAll(body), options);
  }

  /** The tokens of each text, as the model sees them. */
  async tokenize(texts: string | readonly string[], options?: TokenizeOptions): Promise<Token[][]> {
    const model = this.#loaded();
    return guard(() => model.tokenize(texts, plain(options)));
  }

  /** How alike two vectors are, by the measure that the model was trained for (`info.similarity`). */
  similarity(a: Vector, b: Vector): number;
  /** How alike each of some texts is to each of others. */
  similarity(a: Encoded, b: Encoded): Matrix;
  /** Dot product of two sparse vectors. */
  similarity(a: SparseVector, b: SparseVector): number;
  similarity(a: Vector | Encoded | SparseVector, b: Vector | Encoded | SparseVector): number | Matrix {
    this.#loaded();
    return similarity(this.#info.similarity, a, b);
  }

  /**
   * How well a document answers a query by the vectors of their tokens (ColBERT's MaxSim, averaged over the query's vectors
   * as BGE-M3 does it).
   */
  maxSim(query: TokenVectors, document: TokenVectors): number {
    this.#loaded();
    return maxSim(query, document);
  }

  /** Gives the model's memory back. Calls under way, and later ones, reject with code `disposed`. */
  dispose(): void {
    this.#model?.free();
    this.#model = undefined;
  }

  /** Lets `using embedder = await load(…)` dispose of it. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #loaded(): Model {
    if (this.#model) return this.#model;
    throw new GossamerError("disposed", "This embedder was disposed of; load the model anew.", {
      status: 410,
    });
  }

  async #run<T>(start: (model: Model) => Job, options: CallOptions | undefined): Promise<T> {
    const signal = options?.signal;
    this.#loaded();
    checkAborted(signal);
    await breatheIfDue();
    const model = this.#loaded();
    const job = guard(() => start(model));
    let finished = false;
    try {
      for (;;) {
        checkAborted(signal);
        this.#loaded();
        if (guard(() => job.step())) break;
        await breathe();
      }
      // It takes the job with it.
      finished = true;
      return guard(() => job.finish()) as T;
    } finally {
      if (!finished) release(job);
    }
  }
}

/** OpenAI's embeddings, answered on this machine. */
export interface Embeddings {
  /** Vectors as base64 of little-endian f32, which is what the official client asks for by default. */
  create(
    body: EmbeddingCreateParams & { encoding_format: "base64" },
    options?: CallOptions,
  ): Promise<CreateEmbeddingResponse<string>>;
  /** Vectors as lists of numbers. */
  create(
    body: EmbeddingCreateParams & { encoding_format?: "float" | undefined },
    options?: CallOptions,
  ): Promise<CreateEmbeddingResponse>;
  /** Either, as the body says. */
  create(
    body: EmbeddingCreateParams,
    options?: CallOptions,
  ): Promise<CreateEmbeddingResponse<number[] | string>>;
}

/** What wasm reads: it refuses options that it does not know, and `undefined` where it has a default. */
function plain(options: CallOptions | TokenizeOptions | undefined): object {
  return Object.fromEntries(
    Object.entries(options ?? {}).filter(([name, value]) => name !== "signal" && value !== undefined),
  );
}
