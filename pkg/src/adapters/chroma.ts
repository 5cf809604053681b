/**
 * Chroma: dense and sparse embedding functions. Chroma stores their name and configuration with a
 * collection.
 */

import type { Embedder } from "../embedder.js";
import { GossamerError } from "../errors.js";
import type { LoadOptions, WeightDtype } from "../types.js";
import { checkTexts, denseLists, sparseLists } from "./shared/lists.js";

/** The function `load` of this package. */
export type Load = (source: string, options?: LoadOptions) => Promise<Embedder>;

/** The configuration that Chroma stores with a collection. */
export interface ChromaConfig {
  /** The model's name or address, as `load` takes it. */
  model: string;
  /** The revision, as `load` takes it. */
  revision?: string | undefined;
  /** Number format of the weights. */
  dtype?: WeightDtype | undefined;
  /** Number of dimensions to keep of dense vectors. */
  dimensions?: number | undefined;
  /** Number of entries to keep of sparse vectors, those with the largest weights. */
  topK?: number | undefined;
  /** Whether to add the word of each entry to sparse vectors. */
  labels?: boolean | undefined;
}

/** The distance measure of a collection. */
export type Space = "cosine" | "l2" | "ip";

/** A sparse vector in Chroma's format. */
export interface ChromaSparseVector {
  /** Token ids of the vocabulary that have a weight. */
  indices: number[];
  /** The weight of each index. */
  values: number[];
  /** The vocabulary's word for each index. */
  tokens?: string[];
}

/**
 * A class of embedding functions, for `registerEmbeddingFunction` or
 * `registerSparseEmbeddingFunction`.
 */
export interface FunctionClass<T> {
  new (config: ChromaConfig): T;
  /** Creates a function from a stored configuration. Called by Chroma. */
  buildFromConfig(config: Record<string, unknown>): T;
}

/**
 * Creates a class of dense embedding functions. Each model is loaded with `load` when it is first
 * used, once for all functions.
 *
 * ```ts
 * const Gossamer = denseFunction(load);
 * registerEmbeddingFunction("gossamer", Gossamer);
 * const embeddingFunction = new Gossamer({ model: "sentence-transformers/all-MiniLM-L6-v2" });
 * await client.createCollection({ name: "notes", embeddingFunction });
 * ```
 *
 * `name` is the name under which it is registered.
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

/** Creates a class of sparse embedding functions. See {@link denseFunction}. */
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

/** The base class of dense and sparse functions. */
class ChromaFunction {
  /** The name under which it is registered. */
  readonly name: string;
  /** The configuration. */
  protected readonly config: ChromaConfig;
  /** Returns the embedder; loads the model at the first call. */
  protected readonly embedder: () => Promise<Embedder>;

  /** @internal */
  constructor(name: string, config: ChromaConfig, models: (config: ChromaConfig) => Promise<Embedder>) {
    this.name = name;
    this.config = checked({ ...config });
    this.embedder = () => models(this.config);
  }

  /** The configuration that Chroma stores and passes to `buildFromConfig`. */
  getConfig(): ChromaConfig {
    const known = Object.entries(this.config).filter(([, value]) => value !== undefined);
    return Object.fromEntries(known) as unknown as ChromaConfig;
  }

  /** Throws if a configuration is invalid. */
  validateConfig(config: Record<string, unknown>): void {
    checked(config);
  }

  /** Throws if new vectors could not be compared with those of the collection. */
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

  /** All measures. */
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

/** Returns a function that loads each model once. */
function models(load: Load): (config: ChromaConfig) => Promise<Embedder> {
  if (typeof load !== "function") {
    throw invalid("pass `load`, or another function that gives an embedder for a model's name");
  }
  const loaded = new Map<string, Promise<Embedder>>();
  return ({ model, revision, dtype }) => {
    const key = JSON.stringify([model, revision, dtype]);
    const known = loaded.get(key);
    if (known) return known;
    // `load` may also return an embedder synchronously, or throw.
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
