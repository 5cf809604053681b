/** Entry point for browsers and their workers, and for every host that has `fetch` and no better entry. */

import { browserHost } from "./browser.js";
import { cache as browserModels } from "./cache/browser.js";
import type { ModelCache } from "./cache/cache.js";
import type { Embedder } from "./embedder.js";
import { hasRelaxedSimd } from "./features.js";
import { ensureStarted, fetchWasm } from "./init.js";
import { loadModel } from "./load.js";
import { type ServeOptions, type Server, serveModels } from "./serve.js";
import type { InitOptions, LoadOptions, ModelSource } from "./types.js";

export * from "./exports.js";

const host = browserHost(
  // Bundlers find the files by exactly these expressions.
  () =>
    fetchWasm(
      hasRelaxedSimd()
        ? new URL("./wasm/relaxed.wasm", import.meta.url)
        : new URL("./wasm/simd128.wasm", import.meta.url),
    ),
  () => new Worker(new URL("./worker.js", import.meta.url), { type: "module" }),
);

/** The models that this browser keeps for this origin. */
export const cache: ModelCache = browserModels;

/**
 * Starts the WebAssembly side. `load` does this by itself; call it first where the wasm must come from elsewhere.
 * The first call counts: later ones wait for it, whatever their options.
 */
export async function init(options?: InitOptions): Promise<void> {
  await ensureStarted(host, options);
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
  return serveModels(load, () => ensureStarted(host), options);
}
