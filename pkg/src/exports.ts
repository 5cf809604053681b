/** The exports of all entry points besides `init`, `load`, and those that `lean` lacks. */

export type { Embedder, Embeddings, EncodedAs, TokensAs } from "./embedder.js";
export type { EntryPoint } from "./entry-point.js";
export { type ErrorCode, GossamerError } from "./errors.js";
export { type Fused, type FuseOptions, fuse } from "./fuse.js";
export type { Handler, HandlerOptions, RequestContext } from "./handler.js";
export type {
  BytesProgress,
  FileBytes,
  FileProgress,
  Progress,
  ReadyProgress,
  TotalProgress,
} from "./progress-events.js";
export type { Found, SearchOptions } from "./search.js";
export type { ServeOptions, Server } from "./serve.js";
export type {
  Comparable,
  KindWeights,
  MultiLike,
  Numbers,
  Rows,
  SimilarityOptions,
  SparseLike,
  Table,
  Vector,
} from "./similarity.js";
export type { Source } from "./stream.js";
export { type Hit, type TopKOptions, topK } from "./top-k.js";
export type * from "./types.js";
