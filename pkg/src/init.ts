/** Compiles and starts the WebAssembly module, once. */

import { GossamerError } from "./errors.js";
import type { Host } from "./host.js";
import { Wasm } from "./instance.js";
import { checkOptions } from "./options.js";
import type { InitOptions } from "./types.js";

let compiled: Promise<WebAssembly.Module> | undefined;
let started: Promise<Wasm> | undefined;

/**
 * Compiles the wasm, or returns the module that was compiled before. After a failure the next call
 * tries again.
 */
export function ensureCompiled(host: Host, options: InitOptions = {}): Promise<WebAssembly.Module> {
  compiled ??= find(host, options)
    .then((wasm) => compile(wasm).catch((error) => Promise.reject(unusable(error))))
    .catch((error: unknown) => {
      compiled = undefined;
      throw error;
    });
  return compiled;
}

/**
 * Starts an instance in this thread, or returns the running one. An instance that has trapped is
 * replaced.
 */
export async function ensureStarted(host: Host, options?: InitOptions): Promise<Wasm> {
  const running = started;
  if ((await running)?.trap && started === running) started = undefined;
  checkOptions("init", options ?? {}, ["module", "url", "bytes", "response"]);
  started ??= ensureCompiled(host, options)
    .then(instantiate)
    .catch((error: unknown) => {
      started = undefined;
      throw error;
    });
  return started;
}

/** Starts a compiled module in this thread. */
export async function instantiate(module: WebAssembly.Module): Promise<Wasm> {
  try {
    return await Wasm.start(module);
  } catch (error) {
    throw unusable(error);
  }
}

async function compile(wasm: WebAssembly.Module | Response | BufferSource): Promise<WebAssembly.Module> {
  // `instanceof` would reject values of another realm.
  const kind = Object.prototype.toString.call(wasm);
  if (kind === "[object WebAssembly.Module]") return wasm as WebAssembly.Module;
  if (kind !== "[object Response]") return WebAssembly.compile(wasm as BufferSource);
  const response = wasm as Response;
  // Engines compile a stream only if it has this content type, which not every server sends.
  const streams = response.headers.get("content-type")?.startsWith("application/wasm");
  return streams && typeof WebAssembly.compileStreaming === "function"
    ? WebAssembly.compileStreaming(response)
    : WebAssembly.compile(await response.arrayBuffer());
}

function unusable(error: unknown): GossamerError {
  return new GossamerError(
    "unsupported_runtime",
    `The WebAssembly module could not be started (${reason(error)}). Where compiling is forbidden (edge workers), pass it compiled: init({ module }). Where a content security policy forbids it, allow 'wasm-unsafe-eval'.`,
    { status: 501, cause: error },
  );
}

async function find(host: Host, { module, url, bytes, response }: InitOptions) {
  try {
    return await (module ??
      (bytes as BufferSource | undefined) ??
      response ??
      (url === undefined ? host.wasm() : host.wasmAt(url)));
  } catch (error) {
    throw error instanceof GossamerError ? error : notFound("the package's own files", error);
  }
}

/** Fetches the wasm. Throws if the response is an error or an HTML page. */
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
    `The WebAssembly module was not found at ${place} (${reason(why)}). If a bundler moved the package's code without its files, import gossamer-embed/inline instead, or say where the file is: init({ url }), with the URL of gossamer-embed/wasm/simd128.wasm. For the development server of a Vite before 8, add gossamer-embed to optimizeDeps.exclude.`,
    { status: 404, cause: why },
  );
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
