/** Entry point for Node, Deno and Bun: as the one for browsers, and it reads local folders. */

import { readFile } from "node:fs/promises";
import { type TransferListItem, Worker } from "node:worker_threads";
import type { Embedder } from "./embedder.js";
import { hasRelaxedSimd } from "./features.js";
import type { Host } from "./host.js";
import { ensureCompiled, ensureStarted, fetchWasm, type InitOptions } from "./init.js";
import { loadModel } from "./load.js";
import { type ServeOptions, type Server, serveModels } from "./serve.js";
import { directorySource } from "./sources/directory.js";
import type { LoadOptions, ModelSource } from "./types.js";

export * from "./exports.js";

const host: Host = {
  wasm: () =>
    readWasm(
      hasRelaxedSimd() && !hasEarlyV8()
        ? new URL("./wasm/relaxed.wasm", import.meta.url)
        : new URL("./wasm/simd128.wasm", import.meta.url),
    ),
  wasmAt: readWasm,
  directory: directorySource,
  variable: (name) => (mayRead(name) ? process.env[name] : undefined),
  thread: (create = () => new Worker(new URL("./node-worker.js", import.meta.url))) => {
    const worker = create() as Worker;
    return {
      post: (message, transfer) => worker.postMessage(message, transfer as TransferListItem[]),
      listen(message, failed) {
        worker.on("message", message);
        worker.on("error", failed);
        worker.on("messageerror", failed);
        worker.on("exit", (code) => failed(new Error(`it ended with code ${code}`)));
      },
      hold: (held) => (held ? worker.ref() : worker.unref()),
      terminate: () => void worker.terminate(),
    };
  },
};

/** Reads a path or `file:` URL, which Node's `fetch` does not; fetches the rest. */
async function readWasm(url: string | URL): Promise<Response | BufferSource> {
  const address = String(url);
  // One letter and a colon is a drive.
  if (!/^[a-z][a-z\d+.-]+:/i.test(address)) return readFile(address);
  return address.startsWith("file:") ? readFile(new URL(address)) : fetchWasm(url);
}

/** Deno would ask its user. */
function mayRead(variable: string): boolean {
  const { Deno } = globalThis as { Deno?: { permissions: { querySync(of: object): { state: string } } } };
  return !Deno || Deno.permissions.querySync({ name: "env", variable }).state === "granted";
}

/** Node 20's V8 has relaxed SIMD behind a flag, and computes it wrongly. */
function hasEarlyV8(): boolean {
  return Number.parseInt(process.versions.v8 ?? "", 10) < 12;
}

/**
 * Starts the WebAssembly side. `load` does this by itself; call it first where the wasm must come from elsewhere.
 * The first call counts: later ones wait for it, whatever their options.
 */
export async function init(options: InitOptions = {}): Promise<void> {
  await ensureCompiled(host, options);
  await ensureStarted(host);
}

/**
 * Loads a model.
 *
 * ```ts
 * const embedder = await load("./models/all-MiniLM-L6-v2");
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
