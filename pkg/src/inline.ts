/**
 * `gossamer-embed/inline`, for bundlers that lose files: as the entry point for browsers, with the wasm in the code. It is the
 * build without relaxed SIMD, a third more to download, and has no worker of its own.
 */

import { browserHost } from "./browser.js";
import { cache as browserModels } from "./cache/browser.js";
import type { ModelCache } from "./cache/cache.js";
import type { Embedder } from "./embedder.js";
import { GossamerError } from "./errors.js";
import { ensureStarted } from "./init.js";
import { loadModel } from "./load.js";
import { type ServeOptions, type Server, serveModels } from "./serve.js";
import type { InitOptions, LoadOptions, ModelSource } from "./types.js";
import gzip from "./wasm/inline.js";

export * from "./exports.js";

const host = browserHost(unpack, () => {
  const advice = "pass `createWorker`, which makes one from gossamer-embed/worker, or leave `workers` out";
  throw new GossamerError("unsupported_runtime", `gossamer-embed/inline has no worker: ${advice}.`, {
    status: 501,
  });
});

/** Only base64 is text to every bundler, and a `data:` URL nothing to most security policies. */
async function unpack(): Promise<Response> {
  const bytes = Uint8Array.from(atob(gzip), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream, { headers: { "content-type": "application/wasm" } });
}

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
