/** A loaded model. */

import type { Call, Results } from "./engine/call.js";
import type { Engine } from "./engine/engine.js";
import { type Handler, type HandlerOptions, handler } from "./handler.js";
import { save } from "./save.js";
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
  SavedFile,
  SaveOptions,
  SparseEntry,
  SparseVector,
  Token,
  TokenizeOptions,
  TokenVectors,
} from "./types.js";

/**
 * Turns texts into vectors. Made by `load`.
 *
 * Calls may overlap. Each does a bounded amount of work at a time and lets the event loop run in between; still, in a
 * page, load models with `workers: 1` or more, so that scrolling and typing never wait.
 */
export class Embedder {
  /** The part of the official `openai` client that embeds: `embeddings.create(body)`. */
  readonly embeddings: Embeddings;
  /**
   * Answers requests to OpenAI's `/v1/embeddings`, text-embeddings-inference's `/embed_sparse`, `/embed` and others, Chroma's
   * and Inworld's: for `new OpenAI({ fetch: embedder.fetch })`, or behind a server. See {@link handler}.
   */
  readonly fetch: Handler;
  /**
   * Whether the model is in the cache, once that is settled: true at once for one that came out of it, and for others when
   * it has been written there, which goes on after `load` has answered. Never rejects; warnings say why it is false.
   */
  readonly cached: Promise<boolean>;
  readonly #engine: Engine;

  /** @internal */
  constructor(engine: Engine, cached: Promise<boolean>) {
    this.#engine = engine;
    this.cached = cached;
    const create = (body: EmbeddingCreateParams, options?: CallOptions) =>
      this.#run("embeddings", body, options);
    this.embeddings = { create: create as Embeddings["create"] };
    this.fetch = this.handler();
  }

  /** What the model is, and how much memory is in use. */
  get info(): ModelInfo {
    return this.#engine.info;
  }

  /** Dense vectors, as one typed array: the fast way out of wasm. */
  encode(inputs: Inputs, options?: EncodeOptions): Promise<Encoded> {
    return this.#run("encode", inputs, options);
  }

  /** Sparse vectors in the format of text-embeddings-inference's `/embed_sparse`. */
  embedSparse(body: EmbedSparseParams, options?: CallOptions): Promise<SparseEntry[][]> {
    return this.#run("embedSparse", body, options);
  }

  /** Sparse vectors, as typed arrays. */
  encodeSparse(inputs: Inputs, options?: EncodeSparseOptions): Promise<SparseVector[]> {
    return this.#run("encodeSparse", inputs, options);
  }

  /** A vector for each token of each text, for late interaction. */
  encodeTokens(inputs: Inputs, options?: EncodeTokensOptions): Promise<TokenVectors[]> {
    return this.#run("encodeTokens", inputs, options);
  }

  /** Several kinds of vectors from one pass through the model, for those that have several (`info.outputs`). */
  encodeMulti(inputs: Inputs, options: EncodeMultiOptions): Promise<EncodedMulti> {
    return this.#run("encodeMulti", inputs, options);
  }

  /** The states of all tokens in the format of text-embeddings-inference's `/embed_all`. */
  embedAll(body: EmbedAllParams, options?: CallOptions): Promise<number[][][]> {
    return this.#run("embedAll", body, options);
  }

  /** As {@link fetch}, with options. */
  handler(options: HandlerOptions = {}): Handler {
    return handler((call, signal) => this.run(call, signal), options);
  }

  /** The tokens of each text, as the model sees them. */
  tokenize(texts: string | readonly string[], options?: TokenizeOptions): Promise<Token[][]> {
    return this.#run("tokenize", texts, options);
  }

  /**
   * The files of a folder that loads as this model: in the dtype that it has now, without being quantised again, and with
   * the same bits in its vectors. The model must have been loaded with `saveable`. Each file has a stream of its bytes, which
   * must be read before the model is disposed of.
   */
  save(options: SaveOptions & CallOptions = {}): Promise<SavedFile[]> {
    return save((call, signal) => this.run(call, signal), options);
  }

  /** How alike two vectors are, by the measure that the model was trained for (`info.similarity`). */
  similarity(a: Vector, b: Vector): number;
  /** How alike each of some texts is to each of others. */
  similarity(a: Encoded, b: Encoded): Matrix;
  /** Dot product of two sparse vectors. */
  similarity(a: SparseVector, b: SparseVector): number;
  similarity(a: Vector | Encoded | SparseVector, b: Vector | Encoded | SparseVector): number | Matrix {
    return similarity(this.info.similarity, a, b);
  }

  /**
   * How well a document answers a query by the vectors of their tokens (ColBERT's MaxSim, averaged over the query's vectors
   * as BGE-M3 does it).
   */
  maxSim(query: TokenVectors, document: TokenVectors): number {
    // Throws after `dispose`, as all else.
    this.#engine.info;
    return maxSim(query, document);
  }

  /** Gives the model's memory back, and ends its workers. Calls under way, and later ones, reject with code `disposed`. */
  dispose(): void {
    this.#engine.dispose();
  }

  /** Lets `using embedder = await load(…)` dispose of it. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal */
  run<Name extends keyof Results>(call: Call<Name>, signal: AbortSignal | undefined): Promise<Results[Name]> {
    return this.#engine.run(call, signal);
  }

  async #run<Name extends keyof Results>(
    name: Name,
    inputs: unknown,
    options: CallOptions | undefined,
  ): Promise<Results[Name]> {
    return this.run({ name, inputs, options: plain(options) }, options?.signal);
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
function plain(options: CallOptions | undefined): object {
  return Object.fromEntries(
    Object.entries(options ?? {}).filter(([name, value]) => name !== "signal" && value !== undefined),
  );
}
