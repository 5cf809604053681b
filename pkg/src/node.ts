/** Entry point for Node, Deno and Bun: as the one for browsers, and it reads local folders. */

import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";
import { type TransferListItem, Worker } from "node:worker_threads";
import type { ModelCache } from "./cache/cache.js";
import { HubFolder } from "./cache/hub-folder.js";
import type { Embedder } from "./embedder.js";
import { hasRelaxedSimd } from "./features.js";
import type { Host } from "./host.js";
import { ensureStarted, fetchWasm } from "./init.js";
import { loadModel } from "./load.js";
import { type ServeOptions, type Server, serveModels } from "./serve.js";
import { directorySource } from "./sources/directory.js";
import type { InitOptions, LoadOptions, ModelSource } from "./types.js";

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
  variable,
  cache: hubFolder,
  // Of the process's own arguments some are for its main script alone.
  thread: (create = () => new Worker(new URL("./node-worker.js", import.meta.url), { execArgv: [] })) => {
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

function variable(name: string): string | undefined {
  return isPermitted({ name: "env", variable: name }) ? process.env[name] : undefined;
}

/** The cache folder as huggingface_hub finds it, if it may be used. */
function hubFolder(): HubFolder | undefined {
  const path = hubCache();
  const isOurs = (name: string) => isPermitted({ name, path });
  return path !== undefined && isOurs("read") && isOurs("write") ? new HubFolder(path) : undefined;
}

function hubCache(): string | undefined {
  const folder = variable("HF_HUB_CACHE") || variable("HUGGINGFACE_HUB_CACHE");
  if (folder) return expand(folder);
  const base = variable("HF_HOME") || join(variable("XDG_CACHE_HOME") || "~/.cache", "huggingface");
  const expanded = expand(base);
  return expanded && join(expanded, "hub");
}

/** As Python's `expanduser` and `expandvars`; nothing where a home folder is meant and there is none. */
function expand(path: string): string | undefined {
  const [start = "", user] = /^~([^/\\]*)/.exec(path) ?? [];
  const home = start && homeOf(user);
  if (home === undefined) return user ? path : undefined;
  const whole = home.replace(/\/+$/, "") + path.slice(start.length);
  return whole.replace(
    /\$(?:(\w+)|\{([^}]*)\})/g,
    (found, name, inBraces) => variable(name ?? inBraces) ?? found,
  );
}

/** The home folder of a user, or of this one. */
function homeOf(user: string | undefined): string | undefined {
  try {
    if (user) {
      if (!isPermitted({ name: "read", path: USERS })) return undefined;
      const users = readFileSync(USERS, "utf8").split("\n");
      return users.map((line) => line.split(":")).find(([name]) => name === user)?.[5];
    }
    const home = variable(process.platform === "win32" ? "USERPROFILE" : "HOME");
    return home ?? (isPermitted({ name: "sys", kind: "userInfo" }) ? userInfo().homedir : undefined);
  } catch {
    // There is no such list, or this user is not in it.
    return undefined;
  }
}

/** The list of users, on systems that have one. */
const USERS = "/etc/passwd";

/** Whether Deno may do something without asking its user; others may do anything. */
function isPermitted(what: object): boolean {
  const { Deno } = globalThis as { Deno?: { permissions: { querySync(of: object): { state: string } } } };
  return !Deno || Deno.permissions.querySync(what).state === "granted";
}

/** Node 20's V8 has relaxed SIMD behind a flag, and computes it wrongly. */
function hasEarlyV8(): boolean {
  return Number.parseInt(process.versions.v8 ?? "", 10) < 12;
}

/** The models in the Hugging Face cache folder. Those that others have put there are listed, and stay when it is cleared. */
export const cache: ModelCache = {
  list: async () => (await hubFolder()?.list()) ?? [],
  delete: async (model) => (await hubFolder()?.delete(model)) ?? false,
  clear: async () => hubFolder()?.clear(),
  size: async () => (await hubFolder()?.size()) ?? 0,
};

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
 * const embedder = await load("./models/all-MiniLM-L6-v2");
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
