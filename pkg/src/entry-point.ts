/**
 * The type of the exports of an entry point. It is a file of its own, so that the public types need
 * no types of hosts.
 */

import type { Embedder } from "./embedder.js";
import type { ServeOptions, Server } from "./serve.js";
import type { InitOptions, LoadOptions, ModelSource } from "./types.js";

/** The exports of an entry point that depend on its host. */
export interface EntryPoint {
  /** Starts the WebAssembly module. */
  init: (options?: InitOptions) => Promise<void>;
  /** Loads a model. */
  load: (source: ModelSource, options?: LoadOptions) => Promise<Embedder>;
  /** Serves several models to the clients of several APIs. */
  serve: (options: ServeOptions) => Server;
}
