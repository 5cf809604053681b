/** Starts the WebAssembly side, once. */

import { GossamerError } from "./errors.js";
import type { Host } from "./host.js";
import start from "./wasm/gossamer.js";

/** Where the wasm is, for hosts and bundlers that cannot find it by themselves. At most one of these. */
export interface InitOptions {
  /** The compiled module. */
  module?: WebAssembly.Module | undefined;
  /** The address of `simd128.wasm` or `relaxed.wasm`. */
  url?: string | URL | undefined;
  /** The contents of one of these files. */
  bytes?: BufferSource | undefined;
  /** A response that holds one of these files. */
  response?: Response | Promise<Response> | undefined;
}

let started: Promise<WebAssembly.Memory> | undefined;

/** Starts wasm, or answers with the memory of the one that runs. A start that failed can be tried again. */
export function ensureStarted(host: Host, options: InitOptions = {}): Promise<WebAssembly.Memory> {
  started ??= startUp(host, options).catch((error: unknown) => {
    started = undefined;
    throw error;
  });
  return started;
}

async function startUp(host: Host, options: InitOptions): Promise<WebAssembly.Memory> {
  const wasm = await find(host, options);
  try {
    const exports = await start({ module_or_path: wasm });
    return exports.memory;
  } catch (error) {
    throw new GossamerError(
      "unsupported_runtime",
      `The WebAssembly module could not be started (${reason(error)}). Where compiling is forbidden (edge workers), pass it compiled: init({ module }). Where a content security policy forbids it, allow 'wasm-unsafe-eval'.`,
      { status: 501, cause: error },
    );
  }
}

async function find(host: Host, { module, url, bytes, response }: InitOptions) {
  try {
    return await (module ?? bytes ?? response ?? (url === undefined ? host.wasm() : host.wasmAt(url)));
  } catch (error) {
    throw error instanceof GossamerError ? error : notFound("the package's own files", error);
  }
}

/** Fetches the wasm, and notices when something else is answered. */
export async function fetchWasm(url: string | URL): Promise<Response> {
  const response = await fetch(url).catch((error: unknown) => {
    throw notFound(url, error);
  });
  if (!response.ok) throw notFound(url, `HTTP ${response.status}`);
  if (/^text\/html\b/i.test(response.headers.get("content-type") ?? "")) {
    throw notFound(url, "an HTML page was answered");
  }
  return response;
}

function notFound(place: string | URL, why: unknown): GossamerError {
  return new GossamerError(
    "not_found",
    `The WebAssembly module was not found at ${place} (${reason(why)}). If a bundler moved the package's code, say where the file is: init({ url }), with the URL of gossamer-embed/wasm/simd128.wasm. With Vite's development server, add gossamer-embed to optimizeDeps.exclude.`,
    { status: 404, cause: why },
  );
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
