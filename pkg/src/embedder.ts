/** A loaded model. */

import type { Call, Results } from "./engine/call.js";
import type { Engine } from "./engine/engine.js";
import { GossamerError } from "./errors.js";
import { HANDLER_OPTIONS, type Handler, type HandlerOptions, handler, type Instance } from "./handler.js";
import { checkCall, checkOptions, hinted } from "./options.js";
import { checkRerank, rank, SCORE } from "./rerank.js";
import { withList } from "./rows.js";
import { save } from "./save.js";
import {
  type Comparable,
  type MultiLike,
  maxSim,
  type Rows,
  type SimilarityOptions,
  type SparseLike,
  similarity,
  type Table,
  type Vector,
} from "./similarity.js";
import { type Source, stream } from "./stream.js";
import type {
  BatchOf,
  CallOptions,
  Chunk,
  ChunkOptions,
  CreateEmbeddingResponse,
  EmbedAllParams,
  EmbeddingCreateParams,
  EmbedSparseParams,
  EncodeChunksOptions,
  Encoded,
  EncodedChunks,
  EncodedMulti,
  EncodedWhole,
  EncodeMultiOptions,
  EncodeOptions,
  EncodeSparseOptions,
  EncodeTokensOptions,
  Inputs,
  Matrix,
  ModelInfo,
  Output,
  Ranked,
  RerankOptions,
  SavedFile,
  SaveOptions,
  ScoreOptions,
  SparseBatch,
  SparseEntry,
  SparseVector,
  StreamOptions,
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

  /** Gives an instance of the wasm in this thread. */
  readonly #start: () => Promise<Instance>;

  /** @internal */
  constructor(engine: Engine, cached: Promise<boolean>, start: () => Promise<Instance>) {
    this.#engine = engine;
    this.#start = start;
    this.cached = cached;
    const create = async (body: EmbeddingCreateParams, options?: CallOptions) => {
      checkBody("embeddings.create", body, CREATE);
      return this.#run("embeddings", body, options);
    };
    this.embeddings = { create: create as Embeddings["create"] };
    this.fetch = this.handler();
  }

  /** What the model is, and how much memory is in use. */
  get info(): ModelInfo {
    return this.#engine.info;
  }

  /** Dense vectors, as one typed array: the fast way out of wasm. */
  async encode<O extends Output = "float">(
    inputs: Inputs,
    options?: EncodeOptions & { output?: O | undefined },
  ): Promise<EncodedAs<O>> {
    return withList<EncodedAs<O>>((await this.#run("encode", inputs, options)) as EncodedAs<O>);
  }

  /**
   * Dense vectors of any number of texts, in batches, in order, and in bounded memory: `for await (const batch of
   * embedder.stream(lines))`. The texts, a list or whatever can be iterated over, are read no faster than the batches are
   * taken; who leaves the loop ends the work.
   */
  stream<Input extends string | readonly number[], O extends Output = "float">(
    inputs: Source<Input>,
    options: EncodeOptions & StreamOptions & { output?: O | undefined } = {},
  ): AsyncGenerator<EncodedAs<O> & BatchOf<Input>, void, undefined> {
    return this.#stream("encode", inputs, options, (part: EncodedAs<O>) => withList<EncodedAs<O>>(part));
  }

  /** As {@link stream}, with sparse vectors. */
  streamSparse<Input extends string | readonly number[]>(
    inputs: Source<Input>,
    options: EncodeSparseOptions & StreamOptions = {},
  ): AsyncGenerator<SparseBatch & BatchOf<Input>, void, undefined> {
    return this.#stream("encodeSparse", inputs, options, (vectors: SparseVector[]) => ({ vectors }));
  }

  /**
   * Cuts texts in chunks of so many tokens at most, at the ends of paragraphs and sentences where there are some, else between
   * words. White space between chunks is in none of them.
   */
  async chunk(texts: string | readonly string[], options?: ChunkOptions): Promise<Chunk[][]> {
    const places = await this.#run("chunk", ...cutting(texts, options));
    return places.map((numbers, at) => chunksOf(texts, at, numbers));
  }

  /** Cuts texts in chunks as {@link chunk} does, and gives a dense vector for each; one result a text. */
  async encodeChunks(
    texts: string | readonly string[],
    options?: EncodeChunksOptions,
  ): Promise<EncodedChunks[]> {
    const { data, shape, tokens, truncated, chunks } = await this.#run(
      "encodeChunks",
      ...cutting(texts, options),
    );
    const [, width] = shape;
    let row = 0;
    return chunks.map((numbers, at) => {
      const first = row;
      const chunks = chunksOf(texts, at, numbers);
      row += chunks.length;
      return withList<EncodedChunks>({
        data: data.subarray(first * width, row * width),
        shape: [row - first, width],
        tokens: tokens.subarray(first, row),
        truncated: truncated.slice(first, row),
        chunks,
      });
    });
  }

  /** Sparse vectors in the format of text-embeddings-inference's `/embed_sparse`. */
  async embedSparse(body: EmbedSparseParams, options?: CallOptions): Promise<SparseEntry[][]> {
    checkBody("embedSparse", body, EMBED);
    return this.#run("embedSparse", body, options);
  }

  /** Sparse vectors, as typed arrays. */
  encodeSparse(inputs: Inputs, options?: EncodeSparseOptions): Promise<SparseVector[]> {
    return this.#run("encodeSparse", inputs, options);
  }

  /** A vector for each token of each text, for late interaction. */
  async encodeTokens(inputs: Inputs, options?: EncodeTokensOptions): Promise<TokenVectors[]> {
    return (await this.#run("encodeTokens", inputs, options)).map(withList<TokenVectors>);
  }

  /** Several kinds of vectors from one pass through the model, for those that have several (`info.outputs`). */
  async encodeMulti(inputs: Inputs, options: EncodeMultiOptions): Promise<EncodedMulti> {
    const { dense, sparse, tokens } = await this.#run("encodeMulti", inputs, options);
    return {
      ...(dense && { dense: withList<Encoded>(dense) }),
      ...(sparse && { sparse }),
      ...(tokens && { tokens: tokens.map(withList<TokenVectors>) }),
    };
  }

  /**
   * Ranks documents by how well they answer a query, the best first: for rerankers (`info.kind`). The documents are a list, or
   * whatever can be iterated over: that is read no faster than they are scored, and with `topK` no more than so many are kept.
   * No documents are ranked as none.
   */
  async rerank(
    query: string,
    documents: readonly string[] | Source<string>,
    options: RerankOptions = {},
  ): Promise<Ranked[]> {
    checkRerank(options);
    const { topK, returnDocuments, batchTokens, signal, ...rest } = options;
    const score = (documents: readonly string[], first: number, signal: AbortSignal | undefined) =>
      this.#call({ name: "rerank", inputs: { query, documents }, options: plain(rest), first }, signal);
    const tokens = batchTokens ?? BATCH_TOKENS * Math.max(1, this.info.workers);
    return rank(documents, score, tokens, options);
  }

  /**
   * Scores pairs of texts, for rerankers (`info.kind`): one number for each pair, or for a model of several labels
   * (`info.labels`) as many for each, pair after pair: `[pairs, labels]`.
   */
  async score(
    pairs: readonly (readonly [string, string])[],
    options: ScoreOptions = {},
  ): Promise<Float32Array> {
    checkOptions("score", options, SCORE);
    return (await this.#run("score", pairs, options)).data;
  }

  /** The states of all tokens in the format of text-embeddings-inference's `/embed_all`. */
  async embedAll(body: EmbedAllParams, options?: CallOptions): Promise<number[][][]> {
    checkBody("embedAll", body, EMBED);
    return this.#run("embedAll", body, options);
  }

  /** As {@link fetch}, with options. */
  handler(options: HandlerOptions = {}): Handler {
    checkOptions("handler", options, HANDLER_OPTIONS);
    return handler((call, signal) => this.run(call, signal), options, this.#start);
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
  async save(options: SaveOptions & CallOptions = {}): Promise<SavedFile[]> {
    checkOptions("save", options, ["shard", "signal"]);
    checkCall(options);
    return save((call, signal) => this.run(call, signal), options);
  }

  /** How alike two vectors are, by the measure that the model was trained for (`info.similarity`). */
  similarity(a: Vector, b: Vector): number;
  /**
   * How alike each of some texts is to each of others. Vectors of any `output` can be compared with those of another; bits
   * with bits by how many are the same (1 − 2 × Hamming distance / dimensions), and with others by the cosine. Lists of
   * vectors are tables too, and so is what `JSON.parse(JSON.stringify(…))` makes of one. A single vector is a table of one row.
   */
  similarity(a: Table | Vector, b: Table | Vector): Matrix;
  /** Dot product of two sparse vectors. */
  similarity(a: SparseLike, b: SparseLike): number;
  /** The dot product of each of some texts' sparse vectors with each of others'. */
  similarity(a: readonly SparseLike[], b: readonly SparseLike[]): Matrix;
  /** The weighted sum of the similarities by all kinds of vectors that both have: dense, sparse, and `maxSim` of tokens. */
  similarity(a: MultiLike, b: MultiLike, options?: SimilarityOptions): Matrix;
  similarity(a: Comparable, b: Comparable, options?: SimilarityOptions): number | Matrix {
    return similarity(this.info.similarity, a, b, options);
  }

  /**
   * How well a document answers a query by the vectors of their tokens (ColBERT's MaxSim, averaged over the query's vectors
   * as BGE-M3 does it).
   */
  maxSim(query: Rows, document: Rows): number {
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

  async *#stream<
    Name extends "encode" | "encodeSparse",
    Part extends Results[Name],
    Input extends string | readonly number[],
    Result extends object,
  >(
    name: Name,
    inputs: Source<Input>,
    given: CallOptions & StreamOptions,
    result: (part: Part) => Result,
  ): AsyncGenerator<Result & BatchOf<Input>, void, undefined> {
    checkCall(given);
    const { batchTokens, signal, ...options } = given ?? {};
    const run = async (some: Input[], first: number, signal: AbortSignal) => {
      // To `encode`, a list of numbers is one text's token ids.
      const at = some.findIndex((input) => typeof input !== "string" && typeof input !== "object");
      if (at >= 0) throw notAnInput(first + at, some[at]);
      const call = { name, inputs: some, options: plain(options), first };
      return result((await this.#call(call, signal)) as Part);
    };
    yield* stream(inputs, run, batchTokens ?? BATCH_TOKENS * Math.max(1, this.info.workers), signal);
  }

  /** As {@link run}, for a person: with the names of options that were meant. */
  async #call<Name extends keyof Results>(
    call: Call<Name>,
    signal: AbortSignal | undefined,
  ): Promise<Results[Name]> {
    try {
      return await this.run(call, signal);
    } catch (error) {
      throw hinted(error);
    }
  }

  async #run<Name extends keyof Results>(
    name: Name,
    inputs: unknown,
    options: CallOptions | undefined,
  ): Promise<Results[Name]> {
    checkCall(options);
    return this.#call({ name, inputs, options: plain(options) }, options?.signal ?? undefined);
  }
}

/** Fields that text-embeddings-inference's bodies have. */
const EMBED = ["inputs", "truncate", "truncation_direction", "prompt_name"];

/** Fields of OpenAI's body, and those that text-embeddings-inference takes beside them. */
const CREATE = [
  "input",
  "model",
  "encoding_format",
  "dimensions",
  "output_dtype",
  "user",
  "normalize",
  ...EMBED.slice(1),
];

/** What is no object at all is for wasm to refuse. */
function checkBody(call: string, body: unknown, known: readonly string[]): void {
  if (typeof body !== "object" || body === null) return;
  checkOptions(call, body, known);
  checkCall(body);
}

function notAnInput(at: number, value: unknown): GossamerError {
  const message = `input ${at} of the stream is of type ${typeof value}; each must be a text, or the list of a text's token ids.`;
  return new GossamerError("invalid_input", message, { status: 400 });
}

/** Tokens that a stream's batch has, for each worker. */
const BATCH_TOKENS = 4096;

/** What `encode` gives, for the `output` that it is told. */
export type EncodedAs<O extends Output> = O extends "float"
  ? Encoded
  : EncodedWhole<O extends "int8" | "binary" ? Int8Array : Uint8Array>;

/** What wasm is told of texts to cut, and of what else becomes of them. */
function cutting(
  texts: string | readonly string[],
  given: EncodeChunksOptions | undefined,
): [object, CallOptions] {
  checkCall(given);
  const { chunkSize, overlap, late, ...options } = given ?? {};
  return [plain({ texts, chunkSize, overlap, late }), options];
}

type Four = [number, number, number, number];

/** The chunks of a text, from four numbers each. */
function chunksOf(texts: string | readonly string[], at: number, numbers: Uint32Array): Chunk[] {
  const text = typeof texts === "string" ? texts : (texts[at] as string);
  return Array.from({ length: numbers.length / 4 }, (_, i) => {
    const [start, end, firstToken, endToken] = numbers.subarray(4 * i, 4 * i + 4) as unknown as Four;
    return { text: text.slice(start, end), start, end, firstToken, endToken };
  });
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
function plain(options: object | undefined): object {
  return Object.fromEntries(
    Object.entries(options ?? {}).filter(([name, value]) => name !== "signal" && value !== undefined),
  );
}
