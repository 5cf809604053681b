/** Compiles and starts the WebAssembly module: each of its builds at most once. */

import { GossamerError } from "./errors.js";
import type { Build, Host } from "./host.js";
import { isFull, Wasm } from "./instance.js";
import { checkOptions } from "./options.js";
import type { InitOptions } from "./types.js";

/** A module that is being compiled, or was. */
interface Compiling {
  readonly module: Promise<WebAssembly.Module>;
  /** Stops the download. */
  readonly controller: AbortController;
  /** Whether somebody waits for it, rather than having begun it in case it is needed. */
  claimed: boolean;
}

/** The module that the caller of `init` passed, which is used wherever it is sufficient. */
let given: Promise<WebAssembly.Module> | undefined;
const compiling = new Map<Build, Compiling>();
const instances = new Map<WebAssembly.Module, Promise<Wasm>>();

/**
 * Compiles a build, or returns the module that was compiled before. The full build stands in for
 * the common one once it has been asked for. After a failure the next call tries again.
 */
export async function ensureCompiled(host: Host, build: Build): Promise<WebAssembly.Module> {
  if (given) {
    const passed = await given;
    if (build === "common" || isFull(passed)) return passed;
  }
  // At once, so that an `init` that is called next finds it begun.
  const entry = begin(host, build);
  entry.claimed = true;
  return entry.module;
}

/**
 * Begins to compile a build, and to start it if `starts`, in case it is needed. The function that
 * it returns is told the build that is needed: it stops the download of another one, unless
 * somebody waits for that.
 */
export function foresee(host: Host, build: Build, starts: boolean): (needed: Build) => void {
  if (given) return () => {};
  const entry = begin(host, build);
  // The error, if any, is reported where the wasm is needed.
  entry.module.then((module) => (starts ? instanceOf(module) : undefined)).catch(() => {});
  return (needed) => {
    if (needed === build || entry.claimed) return;
    for (const [key, value] of compiling) if (value === entry) compiling.delete(key);
    entry.controller.abort();
  };
}

function begin(host: Host, wanted: Build): Compiling {
  const build = host.isDivided ? wanted : "full";
  const known = compiling.get("full") ?? compiling.get(build);
  if (known) return known;
  const controller = new AbortController();
  const module = compiled(find(() => host.wasm(build, controller.signal)));
  const entry: Compiling = { module, controller, claimed: false };
  compiling.set(build, entry);
  module.catch(() => {
    if (compiling.get(build) === entry) compiling.delete(build);
  });
  return entry;
}

/** Starts the module that the caller of `init` passes, unless one has been started. */
export async function initialize(host: Host, options: InitOptions = {}): Promise<void> {
  checkOptions("init", options, ["module", "url", "bytes", "response"]);
  const { module, url, bytes, response } = options;
  const passed = module ?? (bytes as BufferSource | undefined) ?? response;
  const isFirst = !given && compiling.size === 0;
  const mine =
    isFirst && (passed !== undefined || url !== undefined)
      ? compiled(find(() => passed ?? host.wasmAt(url as string | URL)))
      : undefined;
  if (mine) given = mine;
  try {
    await ensureStarted(host, "common");
  } catch (error) {
    // The next call may pass another one.
    if (given === mine) given = undefined;
    throw error;
  }
}

/**
 * Starts an instance of a build in this thread, or returns the running one. An instance that has
 * trapped is replaced.
 */
export async function ensureStarted(host: Host, build: Build): Promise<Wasm> {
  const module = await ensureCompiled(host, build);
  const running = instances.get(module);
  if ((await running?.catch(() => undefined))?.trap && instances.get(module) === running) {
    instances.delete(module);
  }
  return instanceOf(module);
}

function instanceOf(module: WebAssembly.Module): Promise<Wasm> {
  const known = instances.get(module);
  if (known) return known;
  const starting = instantiate(module);
  instances.set(module, starting);
  starting.catch(() => {
    if (instances.get(module) === starting) instances.delete(module);
  });
  return starting;
}

/** Starts a compiled module in this thread. */
export async function instantiate(module: WebAssembly.Module): Promise<Wasm> {
  try {
    return await Wasm.start(module);
  } catch (error) {
    throw unusable(error);
  }
}

/** Compiles what is found. */
async function compiled(
  found: Promise<WebAssembly.Module | Response | BufferSource>,
): Promise<WebAssembly.Module> {
  const wasm = await found;
  try {
    return await compile(wasm);
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

async function find<T>(get: () => T | Promise<T>): Promise<T> {
  try {
    return await get();
  } catch (error) {
    throw error instanceof GossamerError ? error : notFound("the package's own files", error);
  }
}

/** Fetches the wasm. Throws if the response is an error or an HTML page. */
export async function fetchWasm(url: string | URL, signal?: AbortSignal): Promise<Response> {
  const response = await fetch(url, signal ? { signal } : {}).catch((error: unknown) => {
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
