/** The calls that every entry point of the package exports. */

import type { EntryPoint } from "./entry-point.js";
import type { Host } from "./host.js";
import { ensureStarted, initialize } from "./init.js";
import { loadModel } from "./load.js";
import { serveModels } from "./serve.js";

/** Makes the exports of the entry point for `host`. */
export function entry(host: Host): EntryPoint {
  const load: EntryPoint["load"] = async (source, options = {}) => loadModel(host, source, options);
  return {
    load,
    init: (options) => initialize(host, options),
    serve: (options) =>
      serveModels(load, (isFull) => ensureStarted(host, isFull ? "full" : "common"), options),
  };
}
