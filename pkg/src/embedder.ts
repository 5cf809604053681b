/** A loaded model. */

import type { Call, Results } from "./engine/call.js";
import type { Engine } from "./engine/engine.js";
import { checkAborted, GossamerError } from "./errors.js";
import { yieldIfDue } from "./event-loop.js";
import type { Handler, HandlerOptions, Runner, Start } from "./handler.js";
import { scoreAll } from "./max-sim.js";
import { checkCall, checkOptions, hinted } from "./options.js";
import { checkRerank, rank, SCORE } from "./rerank.js";
import { withList } from "./rows.js";
import { save } from "./save.js";
import { type Found, type SearchOptions, search } from "./search.js";
import {
  type Comparable,
  type MultiLike,
  maxSim,
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
  TokenCodes,
  TokenizeOptions,
  TokenVectors,
} from "./types.js";

/**
 * Turns texts into vectors. Made by `load`.
 *
 * Calls may overlap. Each does a bounded amount of work at a time and lets the event loop run in
 * between. Still, load models with `workers: 1` or more in a page, so that scrolling and typing
 * never wait.
 */
export class Embedder {
  /** The embeddings part of the official `openai` client: `embeddings.create(body)`. */
  readonly embeddings: Embeddings;
  /**
   * Answers requests in the formats of OpenAI (`/v1/embeddings`), text-embeddings-inference
   * (`/embed`, `/embed_sparse` and others), Chroma and Inworld. Use it as
   * `new OpenAI({ fetch: embedder.fetch })`, or as the handler of a server. See {@link handler}.
   */
  readonly fetch: Handler;
  /**
   * Resolves to whether the model is in the cache. Writing it there continues after `load` has
   * returned; the promise resolves when that is done. It never rejects; a warning says why the
   * result is false.
   */
  readonly cached: Promise<boolean>;
  readonly #engine: Engine;
  /** Returns a wasm instance of this thread. */
  readonly #start: Start;
  /** Makes handlers. Absent from the entry point `lean`. */
  readonly #handler: ((run: Runner, options: HandlerOptions) => Handler) | undefined;

  /** @internal */
  constructor(
    engine: Engine,
    cached: Promise<boolean>,
    start: Start,
    handler: ((run: Runner, options: HandlerOptions) => Handler) | undefined,
  ) {
    this.#engine = engine;
    this.#start = start;
    this.#handler = handler;
    this.cached = cached;
    const create = async (body: EmbeddingCreateParams, options?: CallOptions) => {
      checkBody("embeddings.create", body, CREATE);
      return this.#run("embeddings", body, options);
    };
    this.embeddings = { create: create as Embeddings["create"] };
    this.fetch = handler ? this.handler() : async () => this.handler()("");
  }

  /** A description of the model, and the memory in use. */
  get info(): ModelInfo {
    return this.#engine.info;
  }

  /** Dense vectors of texts, as one typed array with a row for each text. */
  async encode<O extends Output = "float">(
    inputs: Inputs,
    options?: EncodeOptions & { output?: O | undefined },
  ): Promise<EncodedAs<O>> {
    return withList<EncodedAs<O>>((await this.#run("encode", inputs, options)) as EncodedAs<O>);
  }

  /**
   * Dense vectors of any number of texts, in batches, in order, and in bounded memory:
   * `for await (const batch of embedder.stream(lines))`. `inputs` is a list or any other iterable
   * or async iterable. It is read no faster than the batches are consumed. Leaving the loop stops
   * the work.
   */
  stream<Input extends string | readonly number[], O extends Output = "float">(
    inputs: Source<Input>,
    options: EncodeOptions & StreamOptions & { output?: O | undefined } = {},
  ): AsyncGenerator<EncodedAs<O> & BatchOf<Input>, void, undefined> {
    return this.#stream("encode", inputs, options, (part: EncodedAs<O>) => withList<EncodedAs<O>>(part));
  }

  /** Like {@link stream}, with sparse vectors. */
  streamSparse<Input extends string | readonly number[]>(
    inputs: Source<Input>,
    options: EncodeSparseOptions & StreamOptions = {},
  ): AsyncGenerator<SparseBatch & BatchOf<Input>, void, undefined> {
    return this.#stream("encodeSparse", inputs, options, (vectors: SparseVector[]) => ({ vectors }));
  }

  /**
   * Splits texts into chunks of at most `chunkSize` tokens: at the ends of paragraphs and sentences
   * where possible, otherwise between words. White space between chunks belongs to no chunk.
   */
  async chunk(texts: string | readonly string[], options?: ChunkOptions): Promise<Chunk[][]> {
    const places = await this.#run("chunk", ...cutting(texts, options));
    const chunks: Chunk[][] = [];
    for (const [at, numbers] of places.entries()) {
      chunks.push(await chunksOf(texts, at, numbers, options?.signal));
    }
    return chunks;
  }

  /**
   * Splits texts into chunks as {@link chunk} does, and returns a dense vector for each chunk; one
   * result per text.
   */
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
    const encoded: EncodedChunks[] = [];
    for (const [at, numbers] of chunks.entries()) {
      const first = row;
      const own = await chunksOf(texts, at, numbers, options?.signal);
      row += own.length;
      encoded.push(
        withList<EncodedChunks>({
          data: data.subarray(first * width, row * width),
          shape: [row - first, width],
          tokens: tokens.subarray(first, row),
          truncated: truncated.slice(first, row),
          chunks: own,
        }),
      );
    }
    return encoded;
  }

  /** Sparse vectors in the format of text-embeddings-inference's `/embed_sparse`. */
  async embedSparse(body: EmbedSparseParams, options?: CallOptions): Promise<SparseEntry[][]> {
    checkBody("embedSparse", body, EMBED);
    return this.#run("embedSparse", body, options);
  }

  /** Sparse vectors of texts, as typed arrays. */
  encodeSparse(inputs: Inputs, options?: EncodeSparseOptions): Promise<SparseVector[]> {
    return this.#run("encodeSparse", inputs, options);
  }

  /**
   * A vector for each token of each text, for late interaction. A late-interaction model
   * (`info.kind`) reads queries and documents in different ways: `task` says what the texts are.
   */
  async encodeTokens<O extends "float" | "int8" = "float">(
    inputs: Inputs,
    options?: EncodeTokensOptions & { output?: O | undefined },
  ): Promise<TokensAs<O>[]> {
    const all = (await this.#run("encodeTokens", inputs, options)) as TokensAs<O>[];
    return all.map(withList<TokensAs<O>>);
  }

  /**
   * Several kinds of vectors from one pass through the model, for those that have several
   * (`info.outputs`).
   */
  async encodeMulti(inputs: Inputs, options: EncodeMultiOptions): Promise<EncodedMulti> {
    const { dense, sparse, tokens } = await this.#run("encodeMulti", inputs, options);
    return {
      ...(dense && { dense: withList<Encoded>(dense) }),
      ...(sparse && { sparse }),
      ...(tokens && { tokens: tokens.map(withList<TokenVectors>) }),
    };
  }

  /**
   * The `k` documents that are most similar to a query, the most similar first, by the measure that
   * the model was trained for (`info.similarity`). Documents are texts, which are encoded for this,
   * or vectors: a result of `encode` or `encodeSparse`, or lists of numbers. The query and the
   * texts have the prompts that the model has for them. The search compares the query with every
   * document, so it is exact; if there are fewer than `k`, all are found.
   *
   * Throws a `GossamerError` with code `empty_input` for an empty query, and `invalid_input` if `k`
   * is not a whole number of 1 or more, or a document is not what the others are.
   */
  async search(
    query: string,
    documents: readonly string[] | Table | readonly SparseLike[],
    k: number,
    options: SearchOptions = {},
  ): Promise<Found[]> {
    return search(this, query, documents, k, options);
  }

  /**
   * Ranks documents by how well they answer a query, the best first: for rerankers and
   * late-interaction models (`info.kind`), whose scores are those of {@link maxSims}. The documents
   * are a list, or whatever can be iterated over: that is read no faster than they are scored, and
   * with `topK` no more than so many are kept. No documents are ranked as none.
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
   * Scores pairs of texts, for rerankers (`info.kind`): one number for each pair, or for a model of
   * several labels (`info.labels`) as many for each, pair after pair: `[pairs, labels]`.
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

  /** Like {@link fetch}, with options. */
  handler(options: HandlerOptions = {}): Handler {
    if (!this.#handler) {
      const why = "gossamer-embed/lean answers no requests: import gossamer-embed";
      throw new GossamerError("unsupported_runtime", `${why}.`, { status: 501 });
    }
    return this.#handler((call, signal) => this.run(call, signal), options);
  }

  /** The tokens of each text. */
  tokenize(texts: string | readonly string[], options?: TokenizeOptions): Promise<Token[][]> {
    return this.#run("tokenize", texts, options);
  }

  /**
   * Returns the files of a folder that loads as this model. The weights keep the dtype that they
   * have now and are not quantised again, so the vectors of the saved model are bit-identical. The
   * model must have been loaded with `saveable`. Read the streams of the files before you dispose
   * of the model.
   */
  async save(options: SaveOptions & CallOptions = {}): Promise<SavedFile[]> {
    checkOptions("save", options, ["shard", "signal"]);
    checkCall(options);
    return save((call, signal) => this.run(call, signal), options);
  }

  /**
   * The similarity of two vectors, by the measure that the model was trained for
   * (`info.similarity`). Larger means more similar.
   */
  similarity(a: Vector, b: Vector): number;
  /**
   * The similarity of each row of `a` to each row of `b`. Rows are results of `encode`, lists of
   * vectors, or either of them after `JSON.parse(JSON.stringify(…))`; a single vector is one row.
   * Vectors of different `output` can be compared: two vectors of bits by 1 − 2 × Hamming distance
   * / dimensions, bits and numbers by the cosine.
   */
  similarity(a: Table | Vector, b: Table | Vector): Matrix;
  /** The dot product of two sparse vectors. */
  similarity(a: SparseLike, b: SparseLike): number;
  /** The dot product of each sparse vector of `a` with each of `b`. */
  similarity(a: readonly SparseLike[], b: readonly SparseLike[]): Matrix;
  /**
   * The weighted sum of the similarities of all kinds of vectors that both have: dense, sparse, and
   * `maxSim` of token vectors.
   */
  similarity(a: MultiLike, b: MultiLike, options?: SimilarityOptions): Matrix;
  similarity(a: Comparable, b: Comparable, options?: SimilarityOptions): number | Matrix {
    return similarity(this.info.similarity, a, b, options);
  }

  /**
   * The late-interaction score of a query and a document, by vectors of `encodeTokens`: the sum
   * over the query's vectors of the best dot product with a vector of the document (ColBERT's
   * MaxSim); for BGE-M3, and where `info.similarity` is `"meanmaxsim"`, the mean. {@link maxSims}
   * is faster for many documents.
   */
  maxSim(query: Table, document: Table): number {
    // Throws after `dispose`, like all other calls.
    return maxSim(this.#engine.info.similarity, query, document);
  }

  /**
   * Like {@link maxSim}, the scores of a query with many documents, computed in WebAssembly:
   * vectors of `encodeTokens` with either `output`, or lists of vectors. The work lets the event
   * loop run. The same vectors give the same bits in every engine and natively. A text without
   * vectors has the score 0.
   *
   * Throws a `GossamerError` with code `invalid_input` if the dimensions differ, or if a component
   * is not a finite number.
   */
  async maxSims(query: Table, documents: readonly Table[], options: CallOptions = {}): Promise<Float32Array> {
    checkOptions("maxSims", options, ["signal"]);
    checkCall(options);
    const { similarity } = this.#engine.info;
    const wasm = await this.#start(false);
    const signal = options.signal ?? undefined;
    checkAborted(signal);
    const scores = await scoreAll((call) => wasm.guard(() => call(wasm.classes)), query, documents, signal);
    const count = "shape" in query ? query.shape[0] : (query as readonly Vector[]).length;
    return similarity === "maxsim" || !count ? scores : scores.map((score) => score / count);
  }

  /**
   * Frees the model's memory and stops its workers. Calls in progress and later calls reject with
   * code `disposed`.
   */
  dispose(): void {
    this.#engine.dispose();
  }

  /** Disposes of the embedder at the end of the scope of `using embedder = await load(…)`. */
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
      // `encode` would read a list of numbers as the token ids of one text.
      const at = some.findIndex((input) => typeof input !== "string" && typeof input !== "object");
      if (at >= 0) throw notAnInput(first + at, some[at]);
      const call = { name, inputs: some, options: plain(options), first };
      return result((await this.#call(call, signal)) as Part);
    };
    yield* stream(inputs, run, batchTokens ?? BATCH_TOKENS * Math.max(1, this.info.workers), signal);
  }

  /** Like {@link run}, with hints for misspelt options in errors. */
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

/** The fields of text-embeddings-inference's bodies. */
const EMBED = ["inputs", "truncate", "truncation_direction", "prompt_name"];

/** The fields of OpenAI's body, and those that text-embeddings-inference accepts in addition. */
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

/** Checks the fields of a body. A body that is not an object is rejected by wasm. */
function checkBody(call: string, body: unknown, known: readonly string[]): void {
  if (typeof body !== "object" || body === null) return;
  checkOptions(call, body, known);
  checkCall(body);
}

function notAnInput(at: number, value: unknown): GossamerError {
  const message = `input ${at} of the stream is of type ${typeof value}; each must be a text, or the list of a text's token ids.`;
  return new GossamerError("invalid_input", message, { status: 400 });
}

/** Default number of tokens in a batch of a stream, per worker. */
const BATCH_TOKENS = 4096;

/** The result of `encodeTokens` for a value of `output`. */
export type TokensAs<O extends "float" | "int8"> = O extends "int8" ? TokenCodes : TokenVectors;

/** The result of `encode` for a value of `output`. */
export type EncodedAs<O extends Output> = O extends "float"
  ? Encoded
  : EncodedWhole<O extends "int8" | "binary" ? Int8Array : Uint8Array>;

/** The inputs and the options of a call that splits texts, as wasm reads them. */
function cutting(
  texts: string | readonly string[],
  given: EncodeChunksOptions | undefined,
): [object, CallOptions] {
  checkCall(given);
  const { chunkSize, overlap, late, ...options } = given ?? {};
  return [plain({ texts, chunkSize, overlap, late }), options];
}

type Four = [number, number, number, number];

/** Chunks that are made before the event loop may run: less than a millisecond of work. */
const CHUNKS_PER_TURN = 1024;

/** Builds the chunks of a text from four numbers each. */
async function chunksOf(
  texts: string | readonly string[],
  at: number,
  numbers: Uint32Array,
  signal: AbortSignal | undefined,
): Promise<Chunk[]> {
  const text = typeof texts === "string" ? texts : (texts[at] as string);
  const chunks: Chunk[] = [];
  for (let i = 0; i < numbers.length; i += 4) {
    const [start, end, firstToken, endToken] = numbers.subarray(i, i + 4) as unknown as Four;
    chunks.push({ text: text.slice(start, end), start, end, firstToken, endToken });
    if (chunks.length % CHUNKS_PER_TURN === 0) {
      await yieldIfDue();
      checkAborted(signal);
    }
  }
  return chunks;
}

/** OpenAI's embeddings API, answered on this machine. */
export interface Embeddings {
  /**
   * Vectors as base64 of little-endian 32-bit floats, which the official client requests by
   * default.
   */
  create(
    body: EmbeddingCreateParams & { encoding_format: "base64" },
    options?: CallOptions,
  ): Promise<CreateEmbeddingResponse<string>>;
  /** Vectors as lists of numbers. */
  create(
    body: EmbeddingCreateParams & { encoding_format?: "float" | undefined },
    options?: CallOptions,
  ): Promise<CreateEmbeddingResponse>;
  /** Either form, depending on `encoding_format`. */
  create(
    body: EmbeddingCreateParams,
    options?: CallOptions,
  ): Promise<CreateEmbeddingResponse<number[] | string>>;
}

/** The options as wasm reads them: without `signal` and without those that are undefined. */
function plain(options: object | undefined): object {
  return Object.fromEntries(
    Object.entries(options ?? {}).filter(([name, value]) => name !== "signal" && value !== undefined),
  );
}
