/** The public types. Names and fields follow the formats that people's clients already speak. */

import "./globals.js";
import type { ModelStore } from "./cache/cache.js";
import type { GossamerError } from "./errors.js";
import type { Progress } from "./progress.js";

/** One file of a model, in any form that has its bytes. A stream or a body is read once. */
export type FileContents =
  | ArrayBufferView
  | ArrayBufferLike
  | Blob
  | ReadableStream<Uint8Array>
  /** A `Response`, or an object of Cloudflare's R2. */
  | {
      /** Its bytes. */
      readonly body: ReadableStream<Uint8Array> | null;
    };

/** A model's files by name, as on the Hub: `config.json`, `tokenizer.json`, `model.safetensors`, `1_Pooling/config.json`, … */
export type ModelFiles =
  | ReadonlyMap<string, FileContents | null | undefined>
  | Readonly<Record<string, FileContents | null | undefined>>;

/**
 * Gives a model's files, one by one as they are asked for: `(name) => bucket.get("minilm/" + name)`. Nothing for a file that
 * is not there.
 */
export type ModelFileGetter = (
  name: string,
  signal: AbortSignal | undefined,
) => FileContents | null | undefined | Promise<FileContents | null | undefined>;

/**
 * Where a model comes from:
 * - `"org/name"` or `"org/name@revision"`: a model of the Hugging Face Hub; or the address of its page, of a folder or of a file
 *   there
 * - `"https://…/"`, `"./folder/"`, `"/folder/"` in browsers: the URL of a folder with the model's files
 * - `"./folder"`, `"/folder"`, `file:` URLs in Node, Deno and Bun: a local folder
 * - the files themselves, or a function that gets them
 */
export type ModelSource = string | URL | ModelFiles | ModelFileGetter;

/**
 * What a model runs on: `"cpu"`, `"webgpu"`, or with `"auto"` both, where there is a GPU. Each pass then goes where passes of
 * its size are done sooner.
 */
export type Device = "cpu" | "webgpu" | "auto";

/** How weights are held. */
export type WeightDtype = "f32" | "f16" | "q8" | "q4";

/** Options of {@link load}. */
export interface LoadOptions {
  /**
   * `"cpu"`, the default; `"webgpu"`, which is an error where there is no GPU, or one that computes wrongly; or `"auto"`, which
   * then takes the CPU, with a warning if the GPU is at fault. `"auto"` keeps the weights for both, and measures from how many
   * tokens on the GPU is faster. `"wasm"`, transformers.js' name, is `"cpu"`.
   */
  device?: Device | "wasm" | undefined;
  /**
   * How to hold the weights: `"q8"` (8 bits, a quarter of the memory), `"q4"` (4 bits in the feed-forward blocks, less
   * memory again, less exact), `"f32"`, or `"f16"`, which takes half the memory of that on a GPU, and no less on the CPU.
   * `"auto"`, the default, is what the model was saved as (`save`, `gossamer quantize`), or else `"q8"`. The names of
   * transformers.js `"fp32"`, `"fp16"` and `"int8"` are `"f32"`, `"f16"` and `"q8"`.
   */
  dtype?: "auto" | WeightDtype | "fp32" | "fp16" | "int8" | undefined;
  /**
   * The weight file to load, by its path in the folder: a GGUF file (`"model-Q8_0.gguf"`), in which the tokenizer and the
   * configuration are too, or one to take in place of that folder's `model.safetensors` (`"model.fp16.safetensors"`,
   * `"onnx/model_quantized.onnx"`).
   * By default the smallest that will do of those that a Hub model has: one in 8 or 16 bits unless `dtype` is `"f32"`, then
   * `model.safetensors`, its shards, a torch checkpoint, an ONNX file, a GGUF file. `info.files` says which it was.
   */
  file?: string | undefined;
  /**
   * Load the model as this kind of embedder, though its files say that it is something else that is not supported: a reranker, a
   * model with code of its own, one with tensors that nothing uses. Such models are refused otherwise. `info.leftOut` lists what
   * is left out, and `spaceId` differs. Where there is no modules.json, it chooses the head, too: mean pooling (the last
   * token's state for a causal language model), or SPLADE. Such a model is not cached.
   */
  kind?: "dense" | "sparse" | undefined;
  /**
   * SHA-256 of files by name, in hexadecimal: `{ "model.safetensors": "53aa…" }`. A file that has another one is refused.
   * Of the Hub's files, those that are stored apart from its repositories, as all large ones are, are checked in any case.
   */
  sha256?: Readonly<Record<string, string>> | undefined;
  /** Keeps the small files, of which `tokenizer.json` may have 17 MB, so that the model can be saved ({@link SavedFile}). */
  saveable?: boolean | undefined;
  /**
   * Commit, branch or tag of a Hub model; `main` by default. For a folder that is a URL, what you call the version of its files:
   * it is cached if it has one.
   */
  revision?: string | undefined;
  /** Folder of a Hub model that has the files. */
  subfolder?: string | undefined;
  /** Base address of the Hub or of a mirror; by default `HF_ENDPOINT`, where there is an environment, or `https://huggingface.co`. */
  endpoint?: string | undefined;
  /** Access token for private or gated Hub models; by default `HF_TOKEN`. Sent to `endpoint` only. */
  token?: string | undefined;
  /**
   * Work in so many module workers, each with the model in memory of its own: calls are split among them, and the page
   * stays free. By default, 0, in this thread. Edge workers have no threads.
   */
  workers?: number | undefined;
  /**
   * Makes a worker that runs the module `gossamer-embed/worker` (in Node, Deno and Bun `gossamer-embed/node-worker`), where
   * a bundler or a security policy keeps the package from finding it.
   */
  createWorker?: (() => WorkerLike) | undefined;
  /**
   * Whether to load from the cache, and to keep what was loaded there. True by default: in browsers the Cache API has
   * the model in the dtype that it was loaded in, so that the next start reads a quarter; Node, Deno and Bun share the Hugging
   * Face cache folder with Python. Or a store of your own; edge workers have no other. Models are cached whose files cannot
   * change unseen: those of the Hub, and folders by URL with a `revision`.
   */
  cache?: boolean | ModelStore | undefined;
  /** Asks no network: what is not in the cache is not found. By default false, or `HF_HUB_OFFLINE`. */
  offline?: boolean | undefined;
  /** Milliseconds without a byte after which a connection is given up and made anew; 30,000 by default. */
  stallTimeout?: number | undefined;
  /** Called with what went wrong without keeping the model from being loaded; by default it is written to the console. */
  onWarning?: ((warning: GossamerError) => void) | undefined;
  /** Called as the files arrive, with the events that transformers.js sends. */
  onProgress?: ((progress: Progress) => void) | undefined;
  /** Stops the download and frees what was loaded; `load` then rejects with code `aborted`. */
  signal?: AbortSignal | undefined;
}

/** Where the wasm is, for hosts and bundlers that cannot find it by themselves. At most one of these. */
export interface InitOptions {
  /** The compiled module. */
  module?: WebAssembly.Module | undefined;
  /** The address of `simd128.wasm` or `relaxed.wasm`. */
  url?: string | URL | undefined;
  /** The contents of one of these files. */
  bytes?: ArrayBufferView | ArrayBufferLike | undefined;
  /** A response that holds one of these files. */
  response?: Response | Promise<Response> | undefined;
}

/** A browser's `Worker`, or one of `node:worker_threads`. */
export interface WorkerLike {
  /** Sends it a message. */
  // biome-ignore lint/suspicious/noExplicitAny: the two have different parameters
  postMessage(...args: any[]): void;
  /** Ends it. */
  terminate(): unknown;
}

/** Options that every call takes. */
export interface CallOptions {
  /** Stops the work at its next step; the call then rejects with code `aborted`. */
  signal?: AbortSignal | undefined;
}

/**
 * Texts, or texts that are tokenised already; one or several. Token ids are used as they are: they include what the
 * model expects around a text, as `tokenize` gives them, and are refused without it.
 */
export type Inputs = string | readonly string[] | readonly number[] | readonly (readonly number[])[];

/** How texts become tokens. */
export interface TextOptions extends CallOptions {
  /** Name of one of the model's own prompts, see `info.prompts`. `prompt` goes first if both are given. */
  promptName?: string | undefined;
  /** Text to put before every input. */
  prompt?: string | undefined;
  /**
   * What the texts are for, in a sentence, for models that take instructions (`info.instructionTemplate`): put before
   * every input in the form that the model was trained with.
   */
  instruction?: string | undefined;
  /**
   * Whether the texts are queries or documents: takes that way through a model that has one for each (`info.tasks`), and
   * the model's prompt of that name if there is one.
   */
  task?: "query" | "document" | (string & {}) | undefined;
  /** Shorten texts that the model cannot take whole (default) rather than refuse them. */
  truncate?: boolean | undefined;
  /** The end to cut at; by default the one that the model's files name, or else `"right"`. */
  truncationDirection?: "left" | "right" | undefined;
}

/** What is done with dense vectors. */
export interface DenseOptions {
  /** Scale vectors to length 1. By default as the model's own files say. */
  normalize?: boolean | undefined;
  /** Keep only the first so many dimensions (models trained with Matryoshka loss lose little). */
  dimensions?: number | undefined;
}

/**
 * What the components of dense vectors are, by the names that embedding APIs and vector databases have for them:
 * - `"float"`: 32 bits
 * - `"int8"`: whole numbers from -127 to 127, of which each vector's largest component is one; multiplied by its entry in
 *   `scales` they are the component again. The cosine needs no scales: store them where the measure is another one
 * - `"uint8"`: the same plus 128
 * - `"ubinary"`: a bit for each component, 1 if it is above 0; eight a byte, the first one highest, as numpy packs them
 * - `"binary"`: those bytes minus 128
 */
export type Output = "float" | "int8" | "uint8" | "binary" | "ubinary";

/** Options of `encode`. */
export interface EncodeOptions extends TextOptions, DenseOptions {
  /** What the components of vectors are; `"float"` by default. */
  output?: Output | undefined;
}

/** Options of `chunk`, and of `encodeChunks` in part. */
export interface ChunkOptions extends Omit<TextOptions, "truncate" | "truncationDirection"> {
  /** The most tokens of a chunk, special tokens and the prompt included; by default as many as the model takes. */
  chunkSize?: number | undefined;
  /**
   * The most tokens at the end of a chunk that the next one begins with; 0 by default. It begins where a sentence does, if
   * one does among them, or else with a word.
   */
  overlap?: number | undefined;
}

/** Options of `encodeChunks`. */
export interface EncodeChunksOptions extends ChunkOptions, DenseOptions {
  /**
   * Late chunking (Günther et al. 2024): the model reads as much of the text at a time as it can take, and each chunk's
   * vector is the mean of its tokens' states, which know what is around it. For models with mean pooling.
   */
  late?: boolean | undefined;
}

/** Options of `encodeSparse`. */
export interface EncodeSparseOptions extends TextOptions {
  /** Keep only the heaviest so many entries of each vector. */
  topK?: number | undefined;
  /** Drop entries that are not heavier than this. */
  threshold?: number | undefined;
  /** Add the vocabulary's word for each index. */
  labels?: boolean | undefined;
}

/** Options of `encodeTokens`. */
export interface EncodeTokensOptions extends TextOptions {
  /**
   * `"states"`: the model's state after its last layer, for each token. `"colbert"`: its projection for late
   * interaction, for each token but the first. By default the latter, where the model has it (`info.outputs`).
   */
  head?: "states" | "colbert" | undefined;
  /** Scale vectors to length 1. By default done for `"colbert"` only. */
  normalize?: boolean | undefined;
}

/** Options of `encodeMulti`: which kinds of vectors, and what `encode` and `encodeSparse` take for them. */
export interface EncodeMultiOptions extends DenseOptions, EncodeSparseOptions {
  /** Dense vectors, as `encode` gives them. */
  dense?: boolean | undefined;
  /** Sparse vectors, as `encodeSparse` gives them. */
  sparse?: boolean | undefined;
  /** A vector for each token, as `encodeTokens` gives them by default. */
  tokens?: boolean | undefined;
}

/** The vectors of one text's tokens, row after row. */
export interface TokenVectors {
  /** All vectors end to end. */
  data: Float32Array;
  /** Number of vectors, number of dimensions. */
  shape: [number, number];
  /** The vectors as lists of numbers. */
  toList(): number[][];
}

/** Several kinds of vectors, those that were asked for. */
export interface EncodedMulti {
  /** Of all texts. */
  dense?: Encoded;
  /** One for each text. */
  sparse?: SparseVector[];
  /** One for each text. */
  tokens?: TokenVectors[];
}

/** Dense vectors, row after row. */
export interface Encoded {
  /** All vectors end to end: the i-th is `data.subarray(i * shape[1], (i + 1) * shape[1])`. */
  data: Float32Array;
  /** Number of texts, number of dimensions. */
  shape: [number, number];
  /** Tokens of each text as the model saw it, special tokens included. */
  tokens: Uint32Array;
  /** Whether a text had to be shortened. */
  truncated: boolean[];
  /** The vectors as lists of numbers. */
  toList(): number[][];
}

/** Dense vectors in whole numbers, row after row: see {@link Output}. */
export interface EncodedWhole<Data extends Int8Array | Uint8Array = Int8Array | Uint8Array> {
  /** All vectors end to end: the i-th is `data.subarray(i * shape[1], (i + 1) * shape[1])`. */
  data: Data;
  /** Number of texts, bytes of a vector. */
  shape: [number, number];
  /** What the bytes are. */
  output: Exclude<Output, "float">;
  /** Components of a vector. */
  dimensions: number;
  /** What each vector's numbers are to be multiplied by, for `"int8"` and `"uint8"`. */
  scales?: Float32Array;
  /** Tokens of each text as the model saw it, special tokens included. */
  tokens: Uint32Array;
  /** Whether a text had to be shortened. */
  truncated: boolean[];
  /** The vectors as lists of numbers. */
  toList(): number[][];
}

/** A part of a longer text. */
export interface Chunk {
  /** The part: `text.slice(start, end)`. */
  text: string;
  /** Where it begins in the text, in units of UTF-16 as all of JavaScript's strings. */
  start: number;
  /** Where it ends. */
  end: number;
  /** Which of the text's tokens it has, as `tokenize` numbers them without special tokens; `endToken` is the next one's. */
  firstToken: number;
  /** See `firstToken`. */
  endToken: number;
}

/** The chunks of one text, and a vector for each. */
export interface EncodedChunks extends Encoded {
  /** The i-th is that of the i-th vector. */
  chunks: Chunk[];
}

/** Options of `stream` and `streamSparse`. */
export interface StreamOptions {
  /**
   * About how many tokens are embedded at a time; by default 4,096, times the number of workers. Memory is bounded by two
   * or three times as many.
   */
  batchTokens?: number | undefined;
}

/** The vectors of some of a stream's inputs. */
export interface SparseBatch {
  /** One for each input. */
  vectors: SparseVector[];
}

/** Some of a stream's inputs. */
export interface BatchOf<Input> {
  /** Number of the first of them in the stream. */
  first: number;
  /** As they came. */
  inputs: Input[];
}

/** A sparse vector. Indices ascend. */
export interface SparseVector {
  /** Tokens of the vocabulary that have a weight. */
  indices: Uint32Array;
  /** Their weights. */
  values: Float32Array;
  /** The vocabulary's word for each index, where asked for. */
  labels?: string[];
}

/** A table of similarities: entry (i, j) is `data[i * shape[1] + j]`. */
export interface Matrix {
  /** All rows end to end. */
  data: Float32Array;
  /** Number of rows, number of columns. */
  shape: [number, number];
}

/** One token of a text. */
export interface Token {
  /** Its number in the vocabulary. */
  id: number;
  /** What the vocabulary calls it. */
  text: string;
  /** Added by the tokenizer (such as `[CLS]`), not read from the text. */
  special: boolean;
  /** Where it starts and stops in the text, in bytes of UTF-8; null for special tokens. */
  start: number | null;
  /** See `start`. */
  stop: number | null;
}

/** Options of `tokenize`. */
export interface TokenizeOptions extends CallOptions {
  /** Add the tokens that the model expects around a text, such as `[CLS]` and `[SEP]`; true by default. */
  addSpecialTokens?: boolean | undefined;
}

/** Body of OpenAI's `POST /v1/embeddings`. */
export interface EmbeddingCreateParams {
  /** Texts, or the token ids of texts; one or several. */
  input: string | string[] | number[] | number[][];
  /** Repeated in the answer, otherwise unused: an embedder is one model. */
  model?: string | undefined;
  /** Lists of numbers, or base64 of little-endian f32. */
  encoding_format?: "float" | "base64" | undefined;
  /** Keep only the first so many dimensions. */
  dimensions?: number | undefined;
  /** What the components of vectors are, by the name that Voyage AI's API has for it. See {@link Output}. */
  output_dtype?: Output | undefined;
  /** Not used: nobody is told who asked. */
  user?: string | undefined;
  /** Extra field of text-embeddings-inference, as those below: scale vectors to length 1. */
  normalize?: boolean | undefined;
  /** Name of one of the model's own prompts. */
  prompt_name?: string | undefined;
  /** Shorten texts that the model cannot take whole, rather than refuse them (default). */
  truncate?: boolean | undefined;
  /** The end to cut at. */
  truncation_direction?: "left" | "right" | undefined;
}

/** OpenAI's `Embedding`: a list of numbers, or base64 of little-endian f32. */
export interface Embedding<Vector = number[]> {
  /** Always this. */
  object: "embedding";
  /** Number of the input. */
  index: number;
  /** Its vector. */
  embedding: Vector;
}

/** OpenAI's `CreateEmbeddingResponse`. */
export interface CreateEmbeddingResponse<Vector = number[]> {
  /** Always this. */
  object: "list";
  /** A vector for each input, in their order. */
  data: Embedding<Vector>[];
  /** What the request called the model. */
  model: string;
  /** What was read. */
  usage: {
    /** Tokens of all inputs. */
    prompt_tokens: number;
    /** The same: an embedder writes nothing. */
    total_tokens: number;
  };
}

/** Body of text-embeddings-inference's `POST /embed_sparse`. */
export interface EmbedSparseParams {
  /** Texts, or the token ids of texts; one or several. */
  inputs: string | string[] | number[] | number[][];
  /** Shorten texts that the model cannot take whole, rather than refuse them (default). */
  truncate?: boolean | undefined;
  /** The end to cut at. */
  truncation_direction?: "left" | "right" | undefined;
  /** Name of one of the model's own prompts. */
  prompt_name?: string | undefined;
}

/** Body of text-embeddings-inference's `POST /embed_all`. */
export type EmbedAllParams = EmbedSparseParams;

/** One entry of text-embeddings-inference's sparse vectors. */
export interface SparseEntry {
  /** A token of the vocabulary. */
  index: number;
  /** Its weight. */
  value: number;
}

/** Options of `save`. */
export interface SaveOptions {
  /**
   * The most bytes of a file, such as `24 * 2 ** 20` for a platform that takes no larger assets: weights are then cut into
   * several files.
   */
  shard?: number | undefined;
}

/** A file of a model that is being saved. */
export interface SavedFile {
  /** Path in the model's folder, with slashes. */
  readonly path: string;
  /** In bytes. */
  readonly size: number;
  /** Its bytes, made from the packed weights as they are read. */
  stream(): ReadableStream<Uint8Array<ArrayBuffer>>;
}

/** What an embedder is. */
export interface ModelInfo {
  /** The model's name, or its address. */
  model: string;
  /** The commit of a Hub model, or the version that `load` was given. */
  revision?: string;
  /** Architecture, such as `"bert"`. */
  family: string;
  /** What the model is for. */
  kind: "dense" | "sparse";
  /** All kinds of vectors that it gives: `"colbert"` are those of tokens for late interaction. */
  outputs: ("dense" | "sparse" | "tokens" | "colbert")[];
  /** The ways through a model with a router, such as `"query"` and `"document"`; empty for others. */
  tasks: string[];
  /** Length of its vectors; for sparse models, of the vocabulary. */
  dimensions: number;
  /** The most tokens of one text, special tokens included. */
  maxTokens: number;
  /** How the weights are held. */
  dtype: WeightDtype;
  /** What computes: `"webgpu"` if any pass goes to a GPU. */
  device: "cpu" | "webgpu";
  /** The GPU's name, as far as the browser tells. */
  adapter?: string;
  /** With `"auto"`, tokens of the smallest pass that goes to the GPU. */
  gpuFrom?: number;
  /** Why it is not on the GPU that was asked for. */
  fallback?: string;
  /** The wasm build in use. */
  simd: "simd128" | "relaxed-simd";
  /** The integer kernel that was found exact on this engine. */
  dotKernel: "relaxed-u8" | "relaxed-i8" | "i16" | "scalar";
  /**
   * How matrices were quantised in the model's files, if they were, and what became of them: `"MLX, 4 bits (quantised
   * anew)"`, `"compressed-tensors, 8 bits, rotated (kept)"`, or in f32 `"GPTQ, 4 bits (widened)"`.
   */
  stored?: string;
  /** The weight files that it was loaded from. */
  files: string[];
  /** What the model's files say of it that was left out because `kind` was given: classes, code, tensors. */
  leftOut?: string[];
  /** Number of weights. */
  parameters: number;
  /** Memory that the weights take. */
  weightBytes: number;
  /** The model's own prompts, by name. */
  prompts: Record<string, string>;
  /** The prompt that is put before texts if a call names none. */
  defaultPromptName?: string;
  /** What goes before a text with an instruction, `{}` standing for the instruction; for models that take one. */
  instructionTemplate?: string;
  /** How its vectors are meant to be compared, as `similarity` does. */
  similarity: "cosine" | "dot" | "euclidean" | "manhattan";
  /** Whether vectors have length 1 by default. */
  normalized: boolean;
  /** Vectors can be compared if, and only if, their embedders have the same `spaceId`. Keep it beside an index. */
  spaceId: string;
  /** Workers that are alive; 0 where the model is in the caller's thread. */
  workers: number;
  /** Wasm memory in bytes, of the caller's thread with all of its embedders, or of all workers. It never shrinks. */
  memoryBytes: number;
}
