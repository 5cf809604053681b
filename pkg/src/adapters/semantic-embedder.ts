/** A class with the interface of the browsers' coming `SemanticEmbedder`, around any model. */

import type { Embedder } from "../embedder.js";
import { GossamerError } from "../errors.js";
import type { Target } from "../globals.js";
import type { Progress } from "../progress-events.js";
import type { LoadOptions, ModelCache, ModelInfo, ModelSource, TextOptions } from "../types.js";

/** How far a model is from being used. */
export type Availability = "unavailable" | "downloadable" | "downloading" | "available";

/** What texts are for. */
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
  /** Is given what fires `downloadprogress` as the model arrives, with `loaded` from 0 to 1. */
  monitor?: ((monitor: Target) => void) | undefined;
}

/** Options of `embed`. */
export interface EmbedOptions {
  /** Without it, texts go to the model as they are. */
  taskType?: TaskType | undefined;
  /** Stops the work. */
  signal?: AbortSignal | undefined;
}

/** What `embed` gives. */
export interface SemanticEmbedderResult {
  /** One for each text. */
  embeddings: {
    /** The vector. */
    values: Float32Array;
    /** Of the text. */
    statistics: {
      /** Its tokens, as the model saw it. */
      tokenCount: number;
      /** Whether it had to be shortened. */
      truncated: boolean;
    };
  }[];
  /** Of the model. */
  metadata: {
    /** The model's `spaceId`: vectors of different spaces cannot be compared. */
    embeddingSpace: string;
    /** The most tokens of one text. */
    maxInputTokens: number;
  };
}

/** An embedder with a model in memory. */
export interface SemanticEmbedder {
  /** Turns texts into vectors. */
  embed(input: string | readonly string[], options?: EmbedOptions): Promise<SemanticEmbedderResult>;
  /** Gives the memory back. Calls under way, and later ones, reject with the reason. */
  destroy(reason?: unknown): void;
}

/** The class. */
export interface SemanticEmbedderClass {
  /** What embedders are made of. */
  readonly prototype: SemanticEmbedder;
  /** Whether the model is here, or can be. */
  availability(options?: object): Promise<Availability>;
  /** Loads the model. */
  create(options?: CreateOptions): Promise<SemanticEmbedder>;
}

/** What `gossamer-embed` exports, as far as it is used here. */
export interface Gossamer {
  /** Loads a model. */
  load(source: ModelSource, options?: LoadOptions): Promise<Embedder>;
  /** The models that are kept. */
  cache?: Pick<ModelCache, "list"> | undefined;
}

/** The prompts that sentence-transformers' models have for tasks. */
const PROMPTS: Record<TaskType, readonly string[]> = {
  "semantic-similarity": ["STS"],
  "retrieval-query": ["query"],
  "retrieval-document": ["document", "passage", "corpus"],
  classification: ["Classification"],
  clustering: ["Clustering"],
};

/**
 * Makes a `SemanticEmbedder` of a model:
 *
 * ```ts
 * import * as gossamer from "gossamer-embed";
 *
 * globalThis.SemanticEmbedder ??= semanticEmbedder(gossamer, "google/embeddinggemma-300m", { workers: 1 });
 * ```
 *
 * Unlike a browser's, `create` does not wait for the user to click on something, and each embedder has a model of its own.
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

/** The model's own way for a task. */
function task(info: ModelInfo, taskType: TaskType | undefined): TextOptions {
  if (taskType === undefined) return { prompt: "" };
  const route = taskType.replace(/^retrieval-/, "");
  if (info.tasks.includes(route)) return { task: route };
  const promptName = PROMPTS[taskType].find((name) => Object.hasOwn(info.prompts, name));
  return promptName === undefined ? { prompt: "" } : { promptName };
}

/** Fires `downloadprogress`: first with 0, last with 1, and in between whenever there is more, in 65,536ths. */
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
