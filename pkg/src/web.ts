/** Entry point for browsers and their workers, and for every host that has `fetch` and no better entry. */

import { browserCache, cache as browserModels } from "./cache/browser.js";
import type { ModelCache } from "./cache/cache.js";
import type { Embedder } from "./embedder.js";
import { hasRelaxedSimd } from "./features.js";
import type { Host } from "./host.js";
import { ensureCompiled, ensureStarted, fetchWasm, type InitOptions } from "./init.js";
import { loadModel } from "./load.js";
import { type ServeOptions, type Server, serveModels } from "./serve.js";
import type { LoadOptions, ModelSource } from "./types.js";

export * from "./exports.js";

const host: Host = {
  // Bundlers find the files by exactly these expressions.
  wasm: () =>
    fetchWasm(
      hasRelaxedSimd()
        ? new URL("./wasm/relaxed.wasm", import.meta.url)
        : new URL("./wasm/simd128.wasm", import.meta.url),
    ),
  wasmAt: fetchWasm,
  cache: browserCache,
  thread: (create = () => new Worker(new URL("./worker.js", import.meta.url), { type: "module" })) => {
    const worker = create() as Worker;
    return {
      post: (message, transfer) => worker.postMessage(message, transfer),
      listen(message, failed) {
        worker.onmessage = ({ data }) => message(data);
        worker.onerror = failed;
        worker.onmessageerror = failed;
      },
      // A page does not end by itself.
      hold() {},
      terminate: () => worker.terminate(),
    };
  },
};

/** The models that this browser keeps for this origin. */
export const cache: ModelCache = browserModels;

/**
 * Starts the WebAssembly side. `load` does this by itself; call it first where the wasm must come from elsewhere.
 * The first call counts: later ones wait for it, whatever their options.
 */
export async function init(options?: InitOptions): Promise<void> {
  await ensureCompiled(host, options);
  await ensureStarted(host);
}

/**
 * Loads a model.
 *
 * ```ts
 * const embedder = await load("sentence-transformers/all-MiniLM-L6-v2");
 * const { data, shape } = await embedder.encode(["Ships at night", "A harbour"]);
 * ```
 */
export async function load(source: ModelSource, options: LoadOptions = {}): Promise<Embedder> {
  return loadModel(host, source, options);
}

/** Serves several models, each loaded when it is first asked for, to the clients of several APIs (see `Embedder.fetch`). */
export function serve(options: ServeOptions): Server {
  return serveModels(load, options);
}
