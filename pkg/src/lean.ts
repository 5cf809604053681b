/**
 * `gossamer-embed/lean`: the entry point for pages that only encode, with models from addresses,
 * files and extensions. It has no Hub, no cache and no handlers, which makes it smaller. In Node,
 * Deno, Bun and edge workers the package's main entry point stands in for it.
 */

import { browserHost, relayedWorker } from "./browser.js";
import type { EntryPoint } from "./entry-point.js";
import { hasRelaxedSimd } from "./features.js";
import { fetchWasm, initialize } from "./init.js";
import { loadModel } from "./load.js";

export * from "./exports.js";

const host = browserHost({
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
    relayedWorker(import.meta.url, "lean.js") ??
    new Worker(new URL("./worker.js", import.meta.url), { type: "module" }),
});

/**
 * Starts the WebAssembly module. `load` does this itself; call `init` first where the module must
 * come from elsewhere. Only the first call has an effect: later calls wait for it and ignore their
 * options.
 */
export const init: EntryPoint["init"] = (options) => initialize(host, options);

/**
 * Loads a model from an address or from files.
 *
 * ```ts
 * const embedder = await load("/models/all-MiniLM-L6-v2/");
 * const { data, shape } = await embedder.encode(["Ships at night", "A harbour"]);
 * ```
 */
export const load: EntryPoint["load"] = async (source, options = {}) => loadModel(host, source, options);
