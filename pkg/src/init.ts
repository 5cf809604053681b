/** Starts the WebAssembly side, once. */

import { GossamerError } from "./errors.js";
import type { Host } from "./host.js";
import { Wasm } from "./instance.js";
import { checkOptions } from "./options.js";

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

let compiled: Promise<WebAssembly.Module> | undefined;
let started: Promise<Wasm> | undefined;

/** Compiles the wasm, or answers with what was compiled before. What failed can be tried again. */
export function ensureCompiled(host: Host, options: InitOptions = {}): Promise<WebAssembly.Module> {
  compiled ??= find(host, options)
    .then((wasm) => compile(wasm).catch((error) => Promise.reject(unusable(error))))
    .catch((error: unknown) => {
      compiled = undefined;
      throw error;
    });
  return compiled;
}

/** Starts wasm in this thread, or answers with the instance that runs. One that has trapped is replaced. */
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
  // Cross-realm values are welcome.
  const kind = Object.prototype.toString.call(wasm);
  if (kind === "[object WebAssembly.Module]") return wasm as WebAssembly.Module;
  if (kind !== "[object Response]") return WebAssembly.compile(wasm as BufferSource);
  const response = wasm as Response;
  // Engines compile a stream under this type only; not every server sends it.
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
    `The WebAssembly module was not found at ${place} (${reason(why)}). If a bundler moved the package's code without its files, import gossamer-embed/inline instead, or say where the file is: init({ url }), with the URL of gossamer-embed/wasm/simd128.wasm. For the development server of a Vite before 8, add gossamer-embed to optimizeDeps.exclude.`,
    { status: 404, cause: why },
  );
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
