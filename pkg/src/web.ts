/**
 * Entry point for browsers and their workers, and for every host that has `fetch` and no entry
 * point of its own.
 */

import { browserHost } from "./browser.js";
import { cache as browserModels } from "./cache/browser.js";
import { entry } from "./entry.js";
import type { EntryPoint } from "./entry-point.js";
import { hasRelaxedSimd } from "./features.js";
import { fetchWasm } from "./init.js";
import type { ModelCache } from "./types.js";

export * from "./exports.js";

const host = browserHost(
  // Bundlers find the files by exactly these expressions: do not change their form.
  () =>
    fetchWasm(
      hasRelaxedSimd()
        ? new URL("./wasm/relaxed.wasm", import.meta.url)
        : new URL("./wasm/simd128.wasm", import.meta.url),
    ),
  () => relayed(import.meta.url) ?? new Worker(new URL("./worker.js", import.meta.url), { type: "module" }),
);

/**
 * The worker of a package that was imported from another origin, such as a CDN; undefined where
 * there is no need for it. Browsers start only workers of the page's origin, so this one is a module
 * of the page that imports the script from `entry`'s folder. Bundlers rename this file, and place
 * the worker themselves.
 */
function relayed(entry: string): Worker | undefined {
  const { origin, protocol, pathname } = new URL(entry);
  const isElsewhere = protocol.startsWith("http") && origin !== globalThis.location?.origin;
  if (!isElsewhere || !pathname.endsWith("/web.js")) return undefined;
  const script = `import ${JSON.stringify(entry.replace(/web\.js(?=[?#]|$)/, "worker.js"))};`;
  const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  try {
    return new Worker(address, { type: "module" });
  } finally {
    URL.revokeObjectURL(address);
  }
}

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
