/**
 * Entry point for edge workers. They may not compile wasm, so they import it as a compiled module.
 */

import { ABILITIES } from "./abilities.js";
import { entry } from "./entry.js";
import type { EntryPoint } from "./entry-point.js";
import type { Host } from "./host.js";
import { fetchWasm } from "./init.js";
import relaxed from "./wasm/relaxed.wasm";

export { modelCache } from "./cache/store.js";
export * from "./exports.js";

const host: Host = { ...ABILITIES, isDivided: false, wasm: async () => relaxed, wasmAt: fetchWasm };

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
 * Loads a model (here from an R2 bucket).
 *
 * ```ts
 * const embedder = await load((name) => env.MODELS.get(name));
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
