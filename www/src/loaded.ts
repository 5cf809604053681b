/** What a loaded model is. */

import type { Embedder, LoadOptions, ModelSource } from "gossamer-embed";

/** The kinds of vectors that are searched. A model with both kinds has both roles. */
export type Role = "dense" | "sparse";

/** What a model is used for. */
export type Use = Role | "reranker";

export interface LoadedModel {
  embedder: Embedder;
  /** The source and options that it was loaded with, to load it again. */
  source: ModelSource;
  options: Pick<LoadOptions, "device" | "dtype" | "workers" | "endpoint" | "token" | "revision" | "file">;
  /** Hub id, address or name of a folder. */
  name: string;
  milliseconds: number;
  /** Whether it is the one that comes with the page. */
  own?: boolean;
}
