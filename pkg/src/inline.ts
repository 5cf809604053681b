/**
 * `gossamer-embed/inline`: the entry point for bundlers that do not copy the package's files. The
 * wasm is in the code. It is the full build without relaxed SIMD, the download is a third larger,
 * and there is no worker script.
 */

import { Decompress } from "fzstd";
import { ABILITIES } from "./abilities.js";
import { browserHost } from "./browser.js";
import { browserCache, cache as browserModels } from "./cache/browser.js";
import { entry } from "./entry.js";
import type { EntryPoint } from "./entry-point.js";
import { GossamerError } from "./errors.js";
import { yieldToEventLoop } from "./event-loop.js";
import type { ModelCache } from "./types.js";
import zstd from "./wasm/inline.js";

export { modelCache } from "./cache/store.js";
export * from "./exports.js";

const host = browserHost({
  ...ABILITIES,
  cache: browserCache,
  isDivided: false,
  wasm: unpack,
  createWorker() {
    const advice = "pass `createWorker`, which makes one from gossamer-embed/worker, or leave `workers` out";
    throw new GossamerError("unsupported_runtime", `gossamer-embed/inline has no worker: ${advice}.`, {
      status: 501,
    });
  },
});

/** Compressed bytes that are unpacked in one turn of the event loop, in a few milliseconds. */
const TURN = 1 << 16;

/**
 * Unpacks the wasm. It is base64, since that is plain text for every bundler and most security
 * policies forbid `data:` URLs. It is compressed with zstd, which no browser unpacks for a script,
 * since it takes an eighth less than gzip and unpacks faster than anything smaller.
 */
async function unpack(): Promise<Response> {
  const bytes = Uint8Array.from(atob(zstd), (character) => character.charCodeAt(0));
  const parts: BlobPart[] = [];
  const unpacking = new Decompress((part) => parts.push(part as Uint8Array<ArrayBuffer>));
  for (let at = 0; at < bytes.length; at += TURN) {
    const end = at + TURN;
    unpacking.push(bytes.subarray(at, end), end >= bytes.length);
    await yieldToEventLoop();
  }
  return new Response(new Blob(parts), { headers: { "content-type": "application/wasm" } });
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
