/** What all entry points export, besides `init` and `load`. */

export type { CachedModel, ModelCache, ModelStore } from "./cache/cache.js";
export { modelCache } from "./cache/store.js";
export type { Embedder, Embeddings } from "./embedder.js";
export { type ErrorCode, GossamerError } from "./errors.js";
export type { Handler, HandlerOptions } from "./handler.js";
export type { InitOptions } from "./init.js";
export type { Progress } from "./progress.js";
export type { ServeOptions, Server } from "./serve.js";
export type { Vector } from "./similarity.js";
export type * from "./types.js";
