/** A class with the interface of `SemanticEmbedder`, a planned browser API, for any model. */

import type { Embedder } from "../embedder.js";
import { GossamerError } from "../errors.js";
import type { Target } from "../globals.js";
import type { Progress } from "../progress-events.js";
import type { LoadOptions, ModelCache, ModelInfo, ModelSource, TextOptions } from "../types.js";

/** Whether a model is ready for use. */
export type Availability = "unavailable" | "downloadable" | "downloading" | "available";

/** What the texts are for. */
export type TaskType =
  | "semantic-similarity"
  | "retrieval-query"
  | "retrieval-document"
  | "classification"
  | "clustering";

/** Options of `create`. */
export interface CreateOptions {
  /** Stops the download. */
  signal?: AbortSignal | undefined;
  /**
   * Called with a target that fires `downloadprogress` events while the model arrives, with
   * `loaded` from 0 to 1.
   */
  monitor?: ((monitor: Target) => void) | undefined;
}

/** Options of `embed`. */
export interface EmbedOptions {
  /** What the texts are for. Without it, texts are embedded without a prompt. */
  taskType?: TaskType | undefined;
  /** Stops the work. */
  signal?: AbortSignal | undefined;
}

/** The result of `embed`. */
export interface SemanticEmbedderResult {
  /** One embedding for each text. */
  embeddings: {
    /** The vector. */
    values: Float32Array;
    /** Facts about the text. */
    statistics: {
      /** Number of tokens, as the model read it. */
      tokenCount: number;
      /** Whether the text was cut off. */
      truncated: boolean;
    };
  }[];
  /** Facts about the model. */
  metadata: {
    /** The model's `spaceId`: vectors of different spaces cannot be compared. */
    embeddingSpace: string;
    /** Maximum number of tokens of a text. */
    maxInputTokens: number;
  };
}

/** An embedder with a loaded model. */
export interface SemanticEmbedder {
  /** Turns texts into vectors. */
  embed(input: string | readonly string[], options?: EmbedOptions): Promise<SemanticEmbedderResult>;
  /** Frees the memory. Calls in progress and later calls reject with the reason. */
  destroy(reason?: unknown): void;
}

/** The class `SemanticEmbedder`. */
export interface SemanticEmbedderClass {
  /** The prototype of embedders. */
  readonly prototype: SemanticEmbedder;
  /** Whether the model is ready, or can be downloaded. */
  availability(options?: object): Promise<Availability>;
  /** Loads the model. */
  create(options?: CreateOptions): Promise<SemanticEmbedder>;
}

/** The exports of `gossamer-embed` that are used here. */
export interface Gossamer {
  /** Loads a model. */
  load(source: ModelSource, options?: LoadOptions): Promise<Embedder>;
  /** The cached models. */
  cache?: Pick<ModelCache, "list"> | undefined;
}

/** Names of prompts for each task in sentence-transformers' models. */
const PROMPTS: Record<TaskType, readonly string[]> = {
  "semantic-similarity": ["STS"],
  "retrieval-query": ["query"],
  "retrieval-document": ["document", "passage", "corpus"],
  classification: ["Classification"],
  clustering: ["Clustering"],
};

/**
 * Creates a class `SemanticEmbedder` for a model:
 *
 * ```ts
 * import * as gossamer from "gossamer-embed";
 *
 * globalThis.SemanticEmbedder ??= semanticEmbedder(gossamer, "google/embeddinggemma-300m", { workers: 1 });
 * ```
 *
 * Unlike in a browser's implementation, `create` needs no user activation, and each embedder has
 * its own copy of the model.
 */
export function semanticEmbedder(
  gossamer: Gossamer,
  source: ModelSource,
  loadOptions: LoadOptions = {},
): SemanticEmbedderClass {
  const { load, cache } = gossamer ?? {};
  if (typeof load !== "function") {
    const message = 'Pass the module: `import * as gossamer from "gossamer-embed"`.';
    throw new GossamerError("invalid_input", message, { status: 400 });
  }
  let downloads = 0;
  let wasLoaded = false;

  return class FromGossamer implements SemanticEmbedder {
    readonly #embedder: Embedder;
    readonly #destroyed = new AbortController();

    static async availability(): Promise<Availability> {
      if (typeof WebAssembly !== "object") return "unavailable";
      if (wasLoaded) return "available";
      const cached = (await cache?.list())?.some(({ model }) => model === source) ?? false;
      if (cached) return "available";
      return downloads > 0 ? "downloading" : "downloadable";
    }

    static async create({ signal, monitor }: CreateOptions = {}): Promise<SemanticEmbedder> {
      if (signal?.aborted) throw signal.reason;
      const progress = new DownloadProgress(monitor);
      const onProgress = (event: Progress) => {
        if (event.status === "progress_total") progress.advance(event.progress / 100);
        loadOptions.onProgress?.(event);
      };
      downloads++;
      try {
        const embedder = await load(source, { ...loadOptions, signal, onProgress });
        wasLoaded = true;
        progress.advance(1);
        return new FromGossamer(embedder);
      } catch (error) {
        throw signal?.aborted ? signal.reason : error;
      } finally {
        downloads--;
      }
    }

    /** @internal */
    constructor(embedder: Embedder) {
      this.#embedder = embedder;
    }

    async embed(
      input: string | readonly string[],
      { taskType, signal }: EmbedOptions = {},
    ): Promise<SemanticEmbedderResult> {
      const isKnown = taskType === undefined || Object.hasOwn(PROMPTS, taskType);
      if (!isKnown) throw new TypeError(`${String(taskType)} is no taskType`);
      const signals = [this.#destroyed.signal, ...(signal ? [signal] : [])];
      const aborted = () => signals.find((signal) => signal.aborted);
      const stopped = aborted();
      if (stopped) throw stopped.reason;
      const { info } = this.#embedder;
      const metadata = { embeddingSpace: info.spaceId, maxInputTokens: info.maxTokens };
      const texts = typeof input === "object" ? Array.from(input, String) : [String(input)];
      if (texts.length === 0) return { embeddings: [], metadata };
      try {
        const options = { ...task(info, taskType), signal };
        const { data, shape, tokens, truncated } = await this.#embedder.encode(texts, options);
        const embeddings = texts.map((_, at) => ({
          values: data.slice(at * shape[1], (at + 1) * shape[1]),
          statistics: { tokenCount: tokens[at] as number, truncated: truncated[at] as boolean },
        }));
        return { embeddings, metadata };
      } catch (error) {
        throw aborted() ? aborted()?.reason : error;
      }
    }

    destroy(reason: unknown = new DOMException("The embedder was destroyed.", "AbortError")): void {
      this.#destroyed.abort(reason);
      this.#embedder.dispose();
    }
  };
}

/** The model's route or prompt for a task. */
function task(info: ModelInfo, taskType: TaskType | undefined): TextOptions {
  if (taskType === undefined) return { prompt: "" };
  const route = taskType.replace(/^retrieval-/, "");
  if (info.tasks.includes(route)) return { task: route };
  const promptName = PROMPTS[taskType].find((name) => Object.hasOwn(info.prompts, name));
  return promptName === undefined ? { prompt: "" } : { promptName };
}

/**
 * Fires `downloadprogress`: first with 0, last with 1, and in between on progress, rounded down to
 * 1/65,536.
 */
class DownloadProgress {
  readonly #target = new EventTarget();
  #last = -1;

  constructor(monitor: CreateOptions["monitor"]) {
    if (monitor !== undefined && typeof monitor !== "function") {
      throw new TypeError("monitor is no function");
    }
    monitor?.(this.#target);
    this.advance(0);
  }

  advance(share: number): void {
    const loaded = Math.floor(Math.min(1, share) * 0x10000) / 0x10000;
    if (loaded <= this.#last) return;
    this.#last = loaded;
    const event = new Event("downloadprogress");
    this.#target.dispatchEvent(Object.assign(event, { loaded, total: 1, lengthComputable: true }));
  }
}
