/** Entry point for edge workers. They may not compile wasm, so they import it compiled. */

import type { Embedder } from "./embedder.js";
import type { Host } from "./host.js";
import { ensureStarted, fetchWasm } from "./init.js";
import { loadModel } from "./load.js";
import { type ServeOptions, type Server, serveModels } from "./serve.js";
import type { InitOptions, LoadOptions, ModelSource } from "./types.js";
import relaxed from "./wasm/relaxed.wasm";

export * from "./exports.js";

const host: Host = { wasm: async () => relaxed, wasmAt: fetchWasm };

/** Starts the WebAssembly side. `load` does this by itself. */
export async function init(options?: InitOptions): Promise<void> {
  await ensureStarted(host, options);
}

/**
 * Loads a model, for instance out of an R2 bucket:
 *
 * ```ts
 * const embedder = await load((name) => env.MODELS.get(name));
 * ```
 */
export async function load(source: ModelSource, options: LoadOptions = {}): Promise<Embedder> {
  return loadModel(host, source, options);
}

/** Serves several models, each loaded when it is first asked for, to the clients of several APIs (see `Embedder.fetch`). */
export function serve(options: ServeOptions): Server {
  return serveModels(load, () => ensureStarted(host), options);
}
