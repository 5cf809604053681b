/** The calls that every entry point of the package exports. */

import type { Embedder } from "./embedder.js";
import type { Host } from "./host.js";
import { ensureStarted } from "./init.js";
import { loadModel } from "./load.js";
import { type ServeOptions, type Server, serveModels } from "./serve.js";
import type { InitOptions, LoadOptions, ModelSource } from "./types.js";

/** The exports of an entry point that depend on its host. */
export interface EntryPoint {
  /** Starts the WebAssembly module. */
  init(options?: InitOptions): Promise<void>;
  /** Loads a model. */
  load(source: ModelSource, options?: LoadOptions): Promise<Embedder>;
  /** Serves several models to the clients of several APIs. */
  serve(options: ServeOptions): Server;
}

/** Makes the exports of the entry point for `host`. */
export function entry(host: Host): EntryPoint {
  const load: EntryPoint["load"] = async (source, options = {}) => loadModel(host, source, options);
  return {
    load,
    init: async (options) => {
      await ensureStarted(host, options);
    },
    serve: (options) => serveModels(load, () => ensureStarted(host), options),
  };
}
