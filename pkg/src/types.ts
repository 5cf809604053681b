/** The public types. Names and fields follow the APIs and libraries that users already know. */

import "./globals.js";
import type { GossamerError } from "./errors.js";
import type { Progress } from "./progress-events.js";

/** The contents of one file of a model. A stream or a body can be read only once. */
export type FileContents =
  | ArrayBufferView
  | ArrayBufferLike
  | Blob
  | ReadableStream<Uint8Array>
  /** A `Response`, or an object from Cloudflare's R2. */
  | {
      /** The bytes of the file. */
      readonly body: ReadableStream<Uint8Array> | null;
    };

/**
 * A model's files by their paths, as on the Hub: `config.json`, `tokenizer.json`,
 * `model.safetensors`, `1_Pooling/config.json`, …
 */
export type ModelFiles =
  | ReadonlyMap<string, FileContents | null | undefined>
  | Readonly<Record<string, FileContents | null | undefined>>;

/**
 * Gets a model's files, one by one as they are needed: `(name) => bucket.get("minilm/" + name)`.
 * Returns `null` or `undefined` for a file that does not exist.
 */
export type ModelFileGetter = (
  name: string,
  signal: AbortSignal | undefined,
) => FileContents | null | undefined | Promise<FileContents | null | undefined>;

/**
 * Where a model comes from:
 * - `"org/name"` or `"org/name@revision"`: a model on the Hugging Face Hub. The address of its
 *   page, or of a folder or file there, works too.
 * - `"https://…/"`, and in browsers `"./folder/"` or `"/folder/"`: the URL of a folder with the
 *   model's files
 * - in Node, Deno and Bun `"./folder"`, `"/folder"` or a `file:` URL: a local folder
 * - the files themselves, or a function that gets them
 */
export type ModelSource = string | URL | ModelFiles | ModelFileGetter;

/**
 * What a model runs on: `"cpu"`, `"webgpu"`, or `"auto"` for both. With `"auto"` and a GPU, each
 * batch runs on the device that is faster for its size.
 */
export type Device = "cpu" | "webgpu" | "auto";

/**
 * What a model is for: dense vectors, sparse vectors, scores of pairs of texts, or vectors of
 * tokens for late interaction (ColBERT).
 */
export type ModelKind = "dense" | "sparse" | "reranker" | "late-interaction";

/** Number format in which weights are held in memory. */
export type WeightDtype = "f32" | "f16" | "q8" | "q6" | "q4";

/**
 * How the states of tokens become one vector, by sentence-transformers' names; transformers.js'
 * `"last_token"`, `"eos"` and `"first_token"` are `"lasttoken"`, the same, and `"cls"`.
 */
export type PoolingMode =
  | "mean"
  | "cls"
  | "lasttoken"
  | "max"
  | "weightedmean"
  | "mean_sqrt_len_tokens"
  | "last_token"
  | "eos"
  | "first_token";

/** Options of {@link load}. */
export interface LoadOptions {
  /**
   * - `"cpu"`, the default. `"wasm"`, the name in transformers.js, means the same.
   * - `"webgpu"`: an error if there is no GPU, or if it computes wrong results.
   * - `"auto"`: keeps the weights on the CPU and the GPU, and measures from how many tokens on the
   *   GPU is faster. Without a GPU it uses the CPU. If the GPU fails or computes wrong results, it
   *   uses the CPU and warns.
   */
  device?: Device | "wasm" | undefined;
  /**
   * Number format of the weights in memory:
   * - `"q8"`: 8 bits, a quarter of the memory of `"f32"`
   * - `"q6"`: as `"q8"`, from weights of 5 to 7 bits. `save` then writes three quarters of the
   *   bytes of a model in `"q8"`.
   * - `"q4"`: 4 bits in the feed-forward blocks, 8 bits elsewhere; less memory, less exact
   * - `"f32"`: 32 bits
   * - `"f16"`: 16 bits on a GPU, half the memory of `"f32"`. On the CPU it takes as much as
   *   `"f32"`.
   * - `"auto"`, the default: the format that the model was saved in by `save` or
   *   `gossamer quantize`, otherwise `"q8"`
   *
   * The names in transformers.js, `"fp32"`, `"fp16"` and `"int8"`, mean `"f32"`, `"f16"` and
   * `"q8"`.
   */
  dtype?: "auto" | WeightDtype | "fp32" | "fp16" | "int8" | undefined;
  /**
   * Path of the weight file in the model's folder: a GGUF file (`"model-Q8_0.gguf"`), which also
   * holds the tokenizer and the configuration, or a file that replaces the folder's
   * `model.safetensors` (`"model.fp16.safetensors"`, `"onnx/model_quantized.onnx"`).
   *
   * By default, a Hub model loads the file that `download` chooses, or else `model.safetensors`,
   * its shards, a torch checkpoint, an ONNX file, a GGUF file. `info.files` names the file that was
   * loaded.
   */
  file?: string | undefined;
  /**
   * Which weight file of a repository to download, if `file` names none:
   * - `"auto"`, the default: the smallest one that loses nothing. Where the place lists its files,
   *   as the Hub does, and `dtype` is not `"f32"`, that is one in 16 bits.
   * - `"small"`: one in 8 bits if there is any. Vectors are less exact: `info.stored.cosine` says
   *   how much.
   *
   * A chosen file that cannot be used is replaced by the usual one, with a warning (code
   * `other_file`). The event `"initiate"` of `onProgress` names the file and its bytes before it is
   * requested.
   */
  download?: "auto" | "small" | undefined;
  /**
   * Loads the model as this kind although its files describe something else: a model with code of
   * its own, a model with tensors that nothing uses, a reranker. Without this option such a model
   * is an error, or what its files say. `info.leftOut` lists what is ignored, and `spaceId`
   * differs. If the model has no `modules.json`, this option also chooses the head: mean pooling
   * (last-token pooling for a causal language model), SPLADE, or the head for sequence
   * classification. Such a model is not cached.
   */
  kind?: ModelKind | undefined;
  /**
   * A LoRA adapter, as PEFT saves it, to merge into the weights while these load: a Hub id, an
   * address, a folder or files, as for the model, or the name of an adapter in the model's own
   * folder `adapters` (`"retrieval"` of jina-embeddings-v5). It must have been trained on this
   * model. `info.lora` describes it, and `spaceId` differs.
   */
  adapter?: ModelSource | undefined;
  /**
   * How token states become a vector, instead of what the model's own files say. The results of
   * several modes are concatenated. Without this option and without `modules.json` (repositories of
   * ONNX files often have none), the assumption of sentence-transformers is followed, with a
   * warning: the mean (the last token for causal language models), not normalised. `info.assumed`
   * names it. What the files say otherwise is in `info.overridden`.
   */
  pooling?: PoolingMode | readonly PoolingMode[] | undefined;
  /** Whether vectors are scaled to length 1, instead of what the model's own files say. */
  normalize?: boolean | undefined;
  /** Prompts by name, instead of the model's own (`info.prompts`). */
  prompts?: Readonly<Record<string, string>> | undefined;
  /**
   * The most tokens of one text, special tokens included, instead of the model's own limit; no more
   * than the model has positions.
   */
  maxTokens?: number | undefined;
  /**
   * SHA-256 of files by name, in hexadecimal: `{ "model.safetensors": "53aa…" }`. A file with
   * another hash is an error (`wrong_hash`), and so is the name of a file that the model does not
   * have (`invalid_input`). Large files of Hub models are always checked against the Hub's own
   * hashes.
   */
  sha256?: Readonly<Record<string, string>> | undefined;
  /**
   * Keeps the small files in memory so that `save` can write them. `tokenizer.json` can be as large
   * as 17 MB. See {@link SavedFile}.
   */
  saveable?: boolean | undefined;
  /**
   * Commit, branch or tag of a Hub model; `"main"` by default. For a folder at a URL: your name for
   * the version of its files. A folder at a URL is cached only if it has a `revision`.
   */
  revision?: string | undefined;
  /** Folder in a Hub repository that holds the model's files. */
  subfolder?: string | undefined;
  /**
   * Base address of the Hub or of a mirror. Default: the environment variable `HF_ENDPOINT` where
   * there is an environment, otherwise `https://huggingface.co`.
   */
  endpoint?: string | undefined;
  /**
   * Access token for private or gated Hub models. Default: the environment variable `HF_TOKEN`. It
   * is sent to `endpoint` only.
   */
  token?: string | undefined;
  /**
   * Number of module workers. Each holds its own copy of the model, calls are split among them, and
   * the page's thread stays free. Default: 0, which runs the model in this thread. Edge workers
   * have no threads.
   */
  workers?: number | undefined;
  /**
   * Creates a worker that runs the module `gossamer-embed/worker` (in Node, Deno and Bun
   * `gossamer-embed/node-worker`). Needed where a bundler or a security policy keeps the package
   * from creating it.
   */
  createWorker?: (() => WorkerLike) | undefined;
  /**
   * Whether to load from the cache and to store the model there; true by default. Pass a store to
   * use your own, which is the only cache in edge workers. Browsers use the Cache API and store the
   * model in the dtype that it was loaded in, so the next start reads a quarter of the bytes. Node,
   * Deno and Bun share the Hugging Face cache folder with Python. Only models whose files cannot
   * change unnoticed are cached: Hub models, and folders at a URL that have a `revision`.
   */
  cache?: boolean | ModelStore | undefined;
  /**
   * Loads from the cache without any network request; a model that is not cached is an error.
   * Default: the environment variable `HF_HUB_OFFLINE`, otherwise false.
   */
  offline?: boolean | undefined;
  /**
   * Milliseconds without a byte after which a connection is closed and opened again; 30,000 by
   * default.
   */
  stallTimeout?: number | undefined;
  /**
   * Called with problems that did not stop the model from loading. By default they are written to
   * the console.
   */
  onWarning?: ((warning: GossamerError) => void) | undefined;
  /** Called while the files arrive, with the events that transformers.js sends. */
  onProgress?: ((progress: Progress) => void) | undefined;
  /** Stops the download and frees the memory; `load` then rejects with code `aborted`. */
  signal?: AbortSignal | undefined;
}

/**
 * A store of your own that caches models. It holds named values of at most 4 MiB. A Cloudflare R2
 * bucket is a `ModelStore` without any adapter. Names are paths of ASCII letters, digits and
 * `-_.~%/`.
 */
export interface ModelStore {
  /** Returns a value, or `null` or `undefined` if there is none with that name. */
  get(name: string): Promise<FileContents | null | undefined> | FileContents | null | undefined;
  /** Stores a value; replaces an existing one with that name. */
  put(name: string, value: Uint8Array<ArrayBuffer>): unknown;
  /** Deletes a value. Deleting a name that does not exist is not an error. */
  delete(name: string): unknown;
}

/** A model in a cache. It loads without a network. */
export interface CachedModel {
  /** The model's name, or the address of its folder. */
  model: string;
  /** The commit, or the `revision` that `load` was given. */
  revision: string;
  /**
   * Number format of the stored weights; absent if the files are stored as they were downloaded.
   */
  dtype?: WeightDtype;
  /** Size in bytes. */
  size: number;
  /** When the model was last loaded. */
  lastUsed: Date;
}

/** The models in a cache. */
export interface ModelCache {
  /** All models, the most recently used first. */
  list(): Promise<CachedModel[]>;
  /** Deletes all versions of a model. Returns whether there was one. */
  delete(model: string): Promise<boolean>;
  /** Deletes all models. */
  clear(): Promise<void>;
  /** Size of all models in bytes. */
  size(): Promise<number>;
}

/**
 * The WebAssembly module, for hosts and bundlers that cannot find it themselves. Pass at most one
 * of these.
 */
export interface InitOptions {
  /** The compiled module. */
  module?: WebAssembly.Module | undefined;
  /** The address of `simd128.wasm` or `relaxed.wasm`. */
  url?: string | URL | undefined;
  /** The contents of one of these files. */
  bytes?: ArrayBufferView | ArrayBufferLike | undefined;
  /** A response whose body is one of these files. */
  response?: Response | Promise<Response> | undefined;
}

/** A `Worker` of a browser or of `node:worker_threads`. */
export interface WorkerLike {
  /** Sends a message to the worker. */
  // biome-ignore lint/suspicious/noExplicitAny: the two have different parameters
  postMessage(...args: any[]): void;
  /** Stops the worker. */
  terminate(): unknown;
}

/** Options of every call. */
export interface CallOptions {
  /** Stops the work at its next step; the call then rejects with code `aborted`. */
  signal?: AbortSignal | undefined;
}

/**
 * One or several texts, or the token ids of one or several texts. Token ids are used unchanged, so
 * they must include the special tokens that the model expects around a text, as `tokenize` returns
 * them; without them the call is an error.
 */
export type Inputs = string | readonly string[] | readonly number[] | readonly (readonly number[])[];

/** How texts are turned into tokens. */
export interface TextOptions extends CallOptions {
  /** Name of one of the model's own prompts (`info.prompts`). Ignored if `prompt` is given. */
  promptName?: string | undefined;
  /** Text to put before every input. */
  prompt?: string | undefined;
  /**
   * What the texts are for, as a sentence. For models that take instructions
   * (`info.instructionTemplate`): it is put before every input in the form that the model was
   * trained with.
   */
  instruction?: string | undefined;
  /**
   * Whether the texts are queries or documents, or another task of the model. Selects the route
   * or the adapters of that name in a model that has them (`info.tasks`), and the model's prompt of
   * that name if it has one.
   */
  task?: "query" | "document" | (string & {}) | undefined;
  /**
   * Whether to cut off texts that are longer than the model allows (true, the default) or to reject
   * them with code `input_too_long`.
   */
  truncate?: boolean | undefined;
  /** The end to cut at. Default: as the model's files say, otherwise `"right"`. */
  truncationDirection?: "left" | "right" | undefined;
}

/** Options for dense vectors. */
export interface DenseOptions {
  /** Whether to scale vectors to length 1. Default: as the model's files say. */
  normalize?: boolean | undefined;
  /**
   * Keeps only the first `dimensions` components of each vector. Models trained with Matryoshka
   * loss lose little by this.
   */
  dimensions?: number | undefined;
}

/**
 * Number format of the components of dense vectors, with the names that embedding APIs and vector
 * databases use:
 * - `"float"`: 32-bit floats
 * - `"int8"`: integers from -127 to 127. Each vector is scaled so that its largest component is
 *   ±127; multiply by the vector's entry in `scales` to get the components back. The cosine does
 *   not need the scales; store them if you use another measure.
 * - `"uint8"`: the same plus 128
 * - `"ubinary"`: one bit per component, 1 if it is above 0. Eight bits make a byte, the first
 *   component in the highest bit, as `numpy.packbits` does it.
 * - `"binary"`: the same bytes minus 128
 */
export type Output = "float" | "int8" | "uint8" | "binary" | "ubinary";

/** Options of `encode`. */
export interface EncodeOptions extends TextOptions, DenseOptions {
  /**
   * The pooling mode that the model is expected to have, as in transformers.js'
   * `{ pooling: "mean", normalize: true }`. It is an error if the model was loaded with another
   * one, which is an option of `load`.
   */
  pooling?: PoolingMode | undefined;
  /** Number format of the vectors' components; `"float"` by default. */
  output?: Output | undefined;
}

/** Options of `chunk`; `encodeChunks` has them too. */
export interface ChunkOptions extends Omit<TextOptions, "truncate" | "truncationDirection"> {
  /**
   * Maximum number of tokens in a chunk, including special tokens and the prompt. Default: the
   * model's limit.
   */
  chunkSize?: number | undefined;
  /**
   * Maximum number of tokens that a chunk repeats from the end of the one before; 0 by default. The
   * repeated part starts at a sentence if one starts within these tokens, otherwise at a word.
   */
  overlap?: number | undefined;
}

/** Options of `encodeChunks`. */
export interface EncodeChunksOptions extends ChunkOptions, DenseOptions {
  /**
   * Late chunking (Günther et al. 2024): the model reads as much of the text at once as it can, and
   * the vector of a chunk is the mean of its tokens' states, which reflect the surrounding text.
   * Only for models with mean pooling.
   */
  late?: boolean | undefined;
}

/** Options of `encodeSparse`. */
export interface EncodeSparseOptions extends TextOptions {
  /** Keeps only the `topK` entries with the largest weights in each vector. */
  topK?: number | undefined;
  /** Drops entries whose weight is not above this. */
  threshold?: number | undefined;
  /** Whether to add the vocabulary's word for each index. */
  labels?: boolean | undefined;
}

/** Options of `encodeTokens`. */
export interface EncodeTokensOptions extends TextOptions {
  /**
   * - `"states"`: the last layer's state of each token
   * - `"colbert"`: the projection for late interaction. BGE-M3's is of each token except the first;
   *   a late-interaction model's files say which tokens have a vector
   *
   * Default: `"colbert"` if the model has it (`info.outputs`), otherwise `"states"`.
   */
  head?: "states" | "colbert" | undefined;
  /**
   * Whether to scale vectors to length 1. Default: true for `"colbert"`, unless a late-interaction
   * model's files say otherwise, and false for `"states"`.
   */
  normalize?: boolean | undefined;
  /**
   * For documents: keeps one vector for so many tokens, a whole number; 1, the default, keeps all.
   * Similar vectors are replaced by their mean (Ward's hierarchical clustering of their cosine
   * distances). The first vector of a late-interaction model stays. Takes memory and time in
   * proportion to the square of a text's tokens.
   */
  poolFactor?: number | undefined;
  /**
   * Number format of the vectors' components; `"float"` by default. With `"int8"` a vector takes a
   * quarter of the memory, and each has a scale.
   */
  output?: "float" | "int8" | undefined;
}

/**
 * Options of `encodeMulti`: the kinds of vectors, and the options of `encode` and `encodeSparse`.
 */
export interface EncodeMultiOptions extends DenseOptions, EncodeSparseOptions {
  /** Whether to return dense vectors, as `encode` does. */
  dense?: boolean | undefined;
  /** Whether to return sparse vectors, as `encodeSparse` does. */
  sparse?: boolean | undefined;
  /** Whether to return a vector for each token, as `encodeTokens` does by default. */
  tokens?: boolean | undefined;
}

/** The vectors of one text's tokens, in row-major order. */
export interface TokenVectors {
  /** All vectors end to end. */
  data: Float32Array;
  /** [number of vectors, number of dimensions]. */
  shape: [number, number];
  /** The vectors as lists of numbers. */
  toList(): number[][];
}

/** The vectors of one text's tokens in 8-bit integers, in row-major order. */
export interface TokenCodes {
  /** All vectors end to end: whole numbers from -127 to 127. */
  data: Int8Array;
  /** [number of vectors, number of dimensions]. */
  shape: [number, number];
  /** The format. */
  output: "int8";
  /** The factor of each vector: its components are `data` × factor. */
  scales: Float32Array;
  /** The vectors as lists of whole numbers. */
  toList(): number[][];
}

/** The kinds of vectors that `encodeMulti` was asked for. */
export interface EncodedMulti {
  /** Dense vectors, one row for each text. */
  dense?: Encoded;
  /** One sparse vector for each text. */
  sparse?: SparseVector[];
  /** The token vectors of each text. */
  tokens?: TokenVectors[];
}

/** Dense vectors, in row-major order. */
export interface Encoded {
  /** All vectors end to end: vector `i` is `data.subarray(i * shape[1], (i + 1) * shape[1])`. */
  data: Float32Array;
  /** [number of texts, number of dimensions]. */
  shape: [number, number];
  /** Number of tokens of each text, as the model read it, including special tokens. */
  tokens: Uint32Array;
  /** Whether each text was cut off. */
  truncated: boolean[];
  /** The vectors as lists of numbers. */
  toList(): number[][];
}

/** Dense vectors of integers or bits, in row-major order. See {@link Output}. */
export interface EncodedWhole<Data extends Int8Array | Uint8Array = Int8Array | Uint8Array> {
  /** All vectors end to end: vector `i` is `data.subarray(i * shape[1], (i + 1) * shape[1])`. */
  data: Data;
  /** [number of texts, bytes per vector]. */
  shape: [number, number];
  /** Number format of the components. */
  output: Exclude<Output, "float">;
  /** Number of components of a vector. */
  dimensions: number;
  /** Factor of each vector's components, for `"int8"` and `"uint8"`. */
  scales?: Float32Array;
  /** Number of tokens of each text, as the model read it, including special tokens. */
  tokens: Uint32Array;
  /** Whether each text was cut off. */
  truncated: boolean[];
  /** The vectors as lists of numbers. */
  toList(): number[][];
}

/** A part of a longer text. */
export interface Chunk {
  /** The chunk: `text.slice(start, end)`. */
  text: string;
  /**
   * Where the chunk starts in the text, in UTF-16 code units like all JavaScript string indices.
   */
  start: number;
  /** Where the chunk ends, in the same units. */
  end: number;
  /** Index of the chunk's first token in the text, as `tokenize` counts without special tokens. */
  firstToken: number;
  /** Index of the first token after the chunk. */
  endToken: number;
}

/** The chunks of one text, and a vector for each. */
export interface EncodedChunks extends Encoded {
  /** The chunks; vector `i` belongs to chunk `i`. */
  chunks: Chunk[];
}

/** Options of `stream` and `streamSparse`. */
export interface StreamOptions {
  /**
   * Approximate number of tokens per batch. Default: 4,096, times the number of workers. At most
   * two or three batches are in memory at a time.
   */
  batchTokens?: number | undefined;
}

/** A batch of sparse vectors from a stream. */
export interface SparseBatch {
  /** One vector for each input. */
  vectors: SparseVector[];
}

/** A batch of a stream's inputs. */
export interface BatchOf<Input> {
  /** Index of the batch's first input in the stream. */
  first: number;
  /** The inputs of this batch, unchanged. */
  inputs: Input[];
}

/** A sparse vector. Its indices are in ascending order. */
export interface SparseVector {
  /** Token ids of the vocabulary that have a weight. */
  indices: Uint32Array;
  /** The weight of each index. */
  values: Float32Array;
  /** The vocabulary's word for each index; present if the call asked for `labels`. */
  labels?: string[];
}

/** Options of `score`. */
export interface ScoreOptions extends CallOptions {
  /**
   * What makes scores of the model's logits: `"sigmoid"` gives numbers from 0 to 1, `"softmax"`
   * probabilities of a pair's labels, `"identity"` the logits. By default what the model's files
   * say, or else `"sigmoid"` for models of one label and `"identity"` for others, as in
   * sentence-transformers.
   */
  activation?: "identity" | "sigmoid" | "softmax" | undefined;
  /**
   * Name of one of the model's own prompts, see `info.prompts`: put before the query. `prompt` goes
   * first if both are given.
   */
  promptName?: string | undefined;
  /** Text to put before the query. */
  prompt?: string | undefined;
  /**
   * Shorten pairs that the model cannot take whole (default), the longer text first, rather than
   * refuse them.
   */
  truncate?: boolean | undefined;
  /** The end to cut at; by default the one that the model's files name, or else `"right"`. */
  truncationDirection?: "left" | "right" | undefined;
}

/** Options of `rerank`. */
export interface RerankOptions extends ScoreOptions {
  /** The most documents of the answer, 1 or more; by default all. */
  topK?: number | undefined;
  /** Give each document's text, too. */
  returnDocuments?: boolean | undefined;
  /** Of documents that are no list: about how many tokens are scored at a time, as in `stream`. */
  batchTokens?: number | undefined;
}

/** A document's place in a ranking. */
export interface Ranked {
  /** Its place in the list of documents. */
  index: number;
  /** How well it answers the query: more is better. */
  score: number;
  /** Its text, where asked for. */
  document?: string;
}

/** A table of similarities: entry (i, j) is `data[i * shape[1] + j]`. */
export interface Matrix {
  /** All rows end to end. */
  data: Float32Array;
  /** [number of rows, number of columns]. */
  shape: [number, number];
  /** The rows as lists of numbers. */
  toList(): number[][];
}

/** One token of a text. */
export interface Token {
  /** The token's id in the vocabulary. */
  id: number;
  /** The token's spelling in the vocabulary. */
  text: string;
  /** True if the tokenizer added the token (such as `[CLS]`) and the text does not contain it. */
  special: boolean;
  /** Where the token starts in the text, in UTF-8 bytes; null for special tokens. */
  start: number | null;
  /** Where the token ends in the text, in UTF-8 bytes; null for special tokens. */
  stop: number | null;
}

/** Options of `tokenize`. */
export interface TokenizeOptions extends CallOptions {
  /** Whether to add the model's special tokens, such as `[CLS]` and `[SEP]`; true by default. */
  addSpecialTokens?: boolean | undefined;
}

/** Body of OpenAI's `POST /v1/embeddings`. */
export interface EmbeddingCreateParams {
  /** One or several texts, or the token ids of one or several texts. */
  input: string | string[] | number[] | number[][];
  /** Returned unchanged in the response. It has no other effect: an embedder is one model. */
  model?: string | undefined;
  /** Lists of numbers, or base64 of little-endian 32-bit floats. */
  encoding_format?: "float" | "base64" | undefined;
  /** Keeps only the first `dimensions` components of each vector. */
  dimensions?: number | undefined;
  /** Number format of the components, under Voyage AI's name for it. See {@link Output}. */
  output_dtype?: Output | undefined;
  /** Ignored. Nothing is sent to anyone. */
  user?: string | undefined;
  /** A field of text-embeddings-inference, like those below: scales vectors to length 1. */
  normalize?: boolean | undefined;
  /** Name of one of the model's own prompts. */
  prompt_name?: string | undefined;
  /** Whether to cut off texts that are too long (true) or to reject them (false, the default). */
  truncate?: boolean | undefined;
  /** The end to cut at. */
  truncation_direction?: "left" | "right" | undefined;
}

/** OpenAI's `Embedding`: a list of numbers, or base64 of little-endian 32-bit floats. */
export interface Embedding<Vector = number[]> {
  /** Always `"embedding"`. */
  object: "embedding";
  /** Index of the input. */
  index: number;
  /** The vector of the input. */
  embedding: Vector;
}

/** OpenAI's `CreateEmbeddingResponse`. */
export interface CreateEmbeddingResponse<Vector = number[]> {
  /** Always `"list"`. */
  object: "list";
  /** One vector for each input, in the order of the inputs. */
  data: Embedding<Vector>[];
  /** The request's `model`. */
  model: string;
  /** Number of tokens that were read. */
  usage: {
    /** Tokens of all inputs. */
    prompt_tokens: number;
    /** The same number: an embedder generates no tokens. */
    total_tokens: number;
  };
}

/** Body of text-embeddings-inference's `POST /embed_sparse`. */
export interface EmbedSparseParams {
  /** One or several texts, or the token ids of one or several texts. */
  inputs: string | string[] | number[] | number[][];
  /** Whether to cut off texts that are too long (true) or to reject them (false, the default). */
  truncate?: boolean | undefined;
  /** The end to cut at. */
  truncation_direction?: "left" | "right" | undefined;
  /** Name of one of the model's own prompts. */
  prompt_name?: string | undefined;
}

/** Body of text-embeddings-inference's `POST /embed_all`. */
export type EmbedAllParams = EmbedSparseParams;

/** One entry of a sparse vector in text-embeddings-inference's format. */
export interface SparseEntry {
  /** A token id of the vocabulary. */
  index: number;
  /** The weight of the token. */
  value: number;
}

/** Options of `save`. */
export interface SaveOptions {
  /**
   * Maximum size of a file in bytes, such as `24 * 2 ** 20` for a host that accepts no larger
   * assets. Larger weights are split into several files.
   */
  shard?: number | undefined;
}

/** A file of a saved model. */
export interface SavedFile {
  /** Path in the model's folder, with `/` as separator. */
  readonly path: string;
  /** Size in bytes. */
  readonly size: number;
  /** Streams the bytes. They are produced from the weights in memory as they are read. */
  stream(): ReadableStream<Uint8Array<ArrayBuffer>>;
}

/** How a model's files store quantised matrices, and what became of them. */
export interface StoredWeights {
  /**
   * The library and the bits, `"MLX, 4 bits"`, `"block-wise FP8, FP8"` or `"GGUF, Q8_0"`. Several
   * are separated by `"; "`. What `save` wrote is `"compressed-tensors, 8 bits, rotated"`, in q6
   * `"Gossamer, 7 bits, rotated"` and the like.
   */
  layout: string;
  /**
   * `"kept"`: the model holds the codes of the files as they are. `"requantized"`: they were
   * decoded and quantised to `dtype`. `"widened"`: they were decoded to `"f32"` or `"f16"`.
   */
  outcome: "kept" | "requantized" | "widened";
  /**
   * The mean cosine to the vectors of all-MiniLM-L6-v2 in f32 that this model has when its weights
   * are stored so and held in 8 bits. Absent where it was not measured.
   */
  cosine?: number;
}

/** A description of a loaded model. */
export interface ModelInfo {
  /** The model's name or address. */
  model: string;
  /** The commit of a Hub model, or the `revision` that `load` was given. */
  revision?: string;
  /** Architecture, such as `"bert"`. */
  family: string;
  /** What the model is for. */
  kind: ModelKind;
  /**
   * All that the model gives: `"dense"`, `"sparse"` and `"tokens"` are vectors, `"colbert"` token
   * vectors for late interaction, `"scores"` scores of pairs of texts.
   */
  outputs: ("dense" | "sparse" | "tokens" | "colbert" | "scores")[];
  /**
   * The routes of a model with a router, such as `"query"` and `"document"`, the tasks of a
   * late-interaction model, or those that a model has adapters for, such as `"retrieval.query"`;
   * otherwise empty.
   */
  tasks: string[];
  /** Names of a reranker's labels. It gives a score for each. */
  labels?: string[];
  /**
   * Number of dimensions of the vectors; for a sparse model, the size of the vocabulary; for a
   * reranker, the number of labels.
   */
  dimensions: number;
  /**
   * Maximum number of tokens of a text, including special tokens; of a document, for a
   * late-interaction model. 4294967295 if there is no limit (static tables).
   */
  maxTokens: number;
  /** Number format in which the weights are held. */
  dtype: WeightDtype;
  /** The device in use: `"webgpu"` if any batch runs on a GPU. */
  device: "cpu" | "webgpu";
  /** The GPU's name; in browsers, which do not reveal it, vendor and architecture if known. */
  adapter?: string;
  /** With `"auto"`: batches of at least this many tokens run on the GPU. */
  gpuFrom?: number;
  /** Why the requested GPU is not in use. */
  fallback?: string;
  /** The WebAssembly build in use. */
  simd: "simd128" | "relaxed-simd";
  /** The integer kernel in use: the fastest one that gives exact results on this engine. */
  dotKernel: "relaxed-u8" | "relaxed-i8" | "i16" | "scalar";
  /** How the weights were quantised in the model's files. Absent if they were not quantised. */
  stored?: StoredWeights;
  /** The weight files that the model was loaded from. */
  files: string[];
  /** What the option `kind` made the loader ignore in the model's files: classes, code, tensors. */
  leftOut?: string[];
  /** The LoRA adapter that is merged into the weights. */
  lora?: {
    /** Its name. */
    adapter: string;
    /** The model that it was trained on, as its settings name it. */
    base?: string;
    /** Its rank. */
    rank: number;
  };
  /**
   * What is assumed of a model without modules.json that was loaded without `pooling`: a pooling
   * mode, or `"splade"`.
   */
  assumed?: string;
  /**
   * What the model's own files say otherwise than the options of `load`, by the name of the option.
   */
  overridden?: Partial<Record<"kind" | "pooling" | "normalize" | "maxTokens" | "prompts", unknown>>;
  /**
   * How the states of tokens become a dense vector; the results of several modes are concatenated.
   */
  pooling?: PoolingMode[];
  /** Number of weights. */
  parameters: number;
  /** Memory of the weights in bytes. */
  weightBytes: number;
  /** The model's own prompts, by name. */
  prompts: Record<string, string>;
  /** Name of the prompt that is put before texts if a call names none. */
  defaultPromptName?: string;
  /**
   * The text before an input that has an instruction; `{}` stands for the instruction. Absent for
   * models that take none.
   */
  instructionTemplate?: string;
  /**
   * The measure that the model was trained for, which `similarity` uses; of a late-interaction
   * model that of `maxSim`: a sum, or a mean.
   */
  similarity: "cosine" | "dot" | "euclidean" | "manhattan" | "maxsim" | "meanmaxsim";
  /** Whether vectors have length 1 by default. */
  normalized: boolean;
  /**
   * Vectors can be compared if, and only if, their embedders have the same `spaceId`. Store it with
   * an index.
   */
  spaceId: string;
  /** Number of running workers; 0 if the model is in the caller's thread. */
  workers: number;
  /**
   * WebAssembly memory in bytes: that of all workers, or that of the caller's thread, which all its
   * embedders share. It never shrinks.
   */
  memoryBytes: number;
}
