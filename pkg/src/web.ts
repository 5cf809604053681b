/**
 * Entry point for browsers and their workers, and for every host that has `fetch` and no entry
 * point of its own.
 */

import { ABILITIES } from "./abilities.js";
import { browserHost, relayedWorker } from "./browser.js";
import { browserCache, cache as browserModels } from "./cache/browser.js";
import { entry } from "./entry.js";
import type { EntryPoint } from "./entry-point.js";
import { hasRelaxedSimd } from "./features.js";
import { fetchWasm } from "./init.js";
import type { ModelCache } from "./types.js";

export { modelCache } from "./cache/store.js";
export * from "./exports.js";

const host = browserHost({
  ...ABILITIES,
  cache: browserCache,
  isDivided: true,
  // Bundlers find the files by exactly these expressions: do not change their form.
  wasm: (build, signal) =>
    fetchWasm(
      build === "common"
        ? hasRelaxedSimd()
          ? new URL("./wasm/common-relaxed.wasm", import.meta.url)
          : new URL("./wasm/common-simd128.wasm", import.meta.url)
        : hasRelaxedSimd()
          ? new URL("./wasm/relaxed.wasm", import.meta.url)
          : new URL("./wasm/simd128.wasm", import.meta.url),
      signal,
    ),
  createWorker: () =>
    relayedWorker(import.meta.url, "web.js") ??
    new Worker(new URL("./worker.js", import.meta.url), { type: "module" }),
});

/** The models that this browser has cached for this origin. */
export const cache: ModelCache = browserModels;

const calls = entry(host);

/**
 * Starts the WebAssembly module. `load` and `serve` do this themselves; call `init` first where the
 * module must come from elsewhere. Only the first call has an effect: later calls wait for it and
 * ignore their options.
 *
 * @function
 */
export const init: EntryPoint["init"] = calls.init;

/**
 * Loads a model.
 *
 * ```ts
 * const embedder = await load("sentence-transformers/all-MiniLM-L6-v2");
 * const { data, shape } = await embedder.encode(["Ships at night", "A harbour"]);
 * ```
 *
 * @function
 */
export const load: EntryPoint["load"] = calls.load;

/**
 * Serves several models to the clients of several APIs (see `Embedder.fetch`). Each model is loaded
 * for the first request that needs it.
 *
 * @function
 */
export const serve: EntryPoint["serve"] = calls.serve;
