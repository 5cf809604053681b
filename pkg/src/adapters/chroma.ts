/** Chroma: dense and sparse embedding functions that collections find again by name and configuration. */

import type { Embedder } from "../embedder.js";
import { GossamerError } from "../errors.js";
import type { LoadOptions, WeightDtype } from "../types.js";
import { checkTexts, denseLists, sparseLists } from "./shared/lists.js";

/** `load`, as this package exports it. */
export type Load = (source: string, options?: LoadOptions) => Promise<Embedder>;

/** What Chroma keeps with a collection. */
export interface ChromaConfig {
  /** The model, as `load` takes it. */
  model: string;
  /** As `load` takes it. */
  revision?: string | undefined;
  /** How to hold the weights. */
  dtype?: WeightDtype | undefined;
  /** Of dense vectors. */
  dimensions?: number | undefined;
  /** Entries of sparse vectors to keep, the heaviest ones. */
  topK?: number | undefined;
  /** Whether sparse vectors have the words of their entries. */
  labels?: boolean | undefined;
}

/** The measure of a collection. */
export type Space = "cosine" | "l2" | "ip";

/** As Chroma has it. */
export interface ChromaSparseVector {
  /** Tokens of the vocabulary that have a weight. */
  indices: number[];
  /** Their weights. */
  values: number[];
  /** The vocabulary's words for them. */
  tokens?: string[];
}

/** Functions of one kind: a class for `registerEmbeddingFunction` or `registerSparseEmbeddingFunction`. */
export interface FunctionClass<T> {
  new (config: ChromaConfig): T;
  /** Makes a function of what Chroma has kept; Chroma calls it. */
  buildFromConfig(config: Record<string, unknown>): T;
}

/**
 * A class of dense embedding functions. Models are loaded by `load` when they are first used, and once for all functions.
 *
 * ```ts
 * const Gossamer = denseFunction(load);
 * registerEmbeddingFunction("gossamer", Gossamer);
 * const embeddingFunction = new Gossamer({ model: "sentence-transformers/all-MiniLM-L6-v2" });
 * await client.createCollection({ name: "notes", embeddingFunction });
 * ```
 *
 * `name` is the one that it is registered with.
 */
export function denseFunction(load: Load, name = "gossamer"): FunctionClass<DenseFunction> {
  const shared = models(load);
  return class extends DenseFunction {
    constructor(config: ChromaConfig) {
      super(name, config, shared);
    }

    static buildFromConfig(config: Record<string, unknown>): DenseFunction {
      return new this(checked(config));
    }
  };
}

/** A class of sparse embedding functions, as {@link denseFunction} for dense ones. */
export function sparseFunction(load: Load, name = "gossamer-sparse"): FunctionClass<SparseFunction> {
  const shared = models(load);
  return class extends SparseFunction {
    constructor(config: ChromaConfig) {
      super(name, config, shared);
    }

    static buildFromConfig(config: Record<string, unknown>): SparseFunction {
      return new this(checked(config));
    }
  };
}

/** What both kinds have in common. */
class ChromaFunction {
  /** What it is registered as. */
  readonly name: string;
  /** What was asked for. */
  protected readonly config: ChromaConfig;
  /** The model, loaded when it is first used. */
  protected readonly embedder: () => Promise<Embedder>;

  /** @internal */
  constructor(name: string, config: ChromaConfig, models: (config: ChromaConfig) => Promise<Embedder>) {
    this.name = name;
    this.config = checked({ ...config });
    this.embedder = () => models(this.config);
  }

  /** What Chroma keeps, and `buildFromConfig` takes. */
  getConfig(): ChromaConfig {
    const known = Object.entries(this.config).filter(([, value]) => value !== undefined);
    return Object.fromEntries(known) as unknown as ChromaConfig;
  }

  /** Throws if something is no configuration. */
  validateConfig(config: Record<string, unknown>): void {
    checked(config);
  }

  /** Throws if vectors could no longer be compared with those of the collection. */
  validateConfigUpdate(config: Record<string, unknown>): void {
    const next = checked(config);
    for (const field of ["model", "revision", "dtype", "dimensions"] as const) {
      if (next[field] !== this.config[field]) {
        throw invalid(
          `${field} cannot be changed: vectors of both could not be compared; make a new collection`,
        );
      }
    }
  }
}

/** Dense vectors for Chroma. */
export class DenseFunction extends ChromaFunction {
  /** Vectors of documents. */
  generate(texts: string[]): Promise<number[][]> {
    return this.#generate(texts, "document");
  }

  /** Vectors of queries. */
  generateForQueries(texts: string[]): Promise<number[][]> {
    return this.#generate(texts, "query");
  }

  /** The measure that nearly all models are trained for. */
  defaultSpace(): Space {
    return "cosine";
  }

  /** Any. */
  supportedSpaces(): Space[] {
    return ["cosine", "l2", "ip"];
  }

  async #generate(texts: string[], task: string): Promise<number[][]> {
    return denseLists(await this.embedder(), texts, { task, dimensions: this.config.dimensions });
  }
}

/** Sparse vectors for Chroma. */
export class SparseFunction extends ChromaFunction {
  /** Vectors of documents. */
  generate(texts: string[]): Promise<ChromaSparseVector[]> {
    return this.#generate(texts, "document");
  }

  /** Vectors of queries. */
  generateForQueries(texts: string[]): Promise<ChromaSparseVector[]> {
    return this.#generate(texts, "query");
  }

  async #generate(texts: string[], task: string): Promise<ChromaSparseVector[]> {
    checkTexts(texts);
    if (texts.length === 0) return [];
    const { topK, labels } = this.config;
    const vectors = await (await this.embedder()).encodeSparse(texts, { task, topK, labels });
    return vectors.map(({ labels, ...vector }) => ({
      ...sparseLists(vector),
      ...(labels && { tokens: labels }),
    }));
  }
}

/** Loads each model once. */
function models(load: Load): (config: ChromaConfig) => Promise<Embedder> {
  if (typeof load !== "function") {
    throw invalid("pass `load`, or another function that gives an embedder for a model's name");
  }
  const loaded = new Map<string, Promise<Embedder>>();
  return ({ model, revision, dtype }) => {
    const key = JSON.stringify([model, revision, dtype]);
    const known = loaded.get(key);
    if (known) return known;
    // It may also give an embedder at once, or throw.
    const loading = (async () => load(model, { revision, dtype }))();
    loaded.set(key, loading);
    loading.catch(() => loaded.delete(key));
    return loading;
  };
}

function checked(config: Record<string, unknown>): ChromaConfig {
  if (typeof config.model !== "string" || config.model === "") {
    throw invalid("`model` must be a model's name or address, as `load` takes it");
  }
  return config as unknown as ChromaConfig;
}

function invalid(why: string): GossamerError {
  return new GossamerError("invalid_input", `The embedding function cannot be used so: ${why}.`, {
    status: 400,
  });
}
