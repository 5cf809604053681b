/** Entry point for Node, Deno and Bun. It also reads local folders. */

import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";
import { type TransferListItem, Worker } from "node:worker_threads";
import { ABILITIES } from "./abilities.js";
import { HubFolder } from "./cache/hub-folder.js";
import { entry } from "./entry.js";
import type { EntryPoint } from "./entry-point.js";
import { hasRelaxedSimd } from "./features.js";
import type { Host } from "./host.js";
import { fetchWasm } from "./init.js";
import { directorySource } from "./sources/directory.js";
import type { ModelCache } from "./types.js";

export { modelCache } from "./cache/store.js";
export * from "./exports.js";

const host: Host = {
  ...ABILITIES,
  isDivided: false,
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
  // `execArgv: []`: some of the process's arguments are only valid for its main script.
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

/** Reads a path or a `file:` URL, which Node's `fetch` cannot; fetches other addresses. */
async function readWasm(url: string | URL): Promise<Response | BufferSource> {
  const address = String(url);
  // A scheme has two letters or more: one letter and a colon is a Windows drive.
  if (!/^[a-z][a-z\d+.-]+:/i.test(address)) return readFile(address);
  return address.startsWith("file:") ? readFile(new URL(address)) : fetchWasm(url);
}

function variable(name: string): string | undefined {
  return isPermitted({ name: "env", variable: name }) ? process.env[name] : undefined;
}

/** The cache folder that huggingface_hub uses, if this process may read and write it. */
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

/**
 * Like Python's `expanduser` and `expandvars`. Undefined if the path needs a home folder and there
 * is none.
 */
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

/** The home folder of a user; of the current user if none is named. */
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
    // The system has no list of users, or the user is not in it.
    return undefined;
  }
}

/** The list of users, on systems that have one. */
const USERS = "/etc/passwd";

/** Whether Deno grants a permission without a prompt. True in other runtimes. */
function isPermitted(what: object): boolean {
  const { Deno } = globalThis as { Deno?: { permissions: { querySync(of: object): { state: string } } } };
  return !Deno || Deno.permissions.querySync(what).state === "granted";
}

/**
 * Whether V8 is older than version 12: Node 20 has relaxed SIMD behind a flag, with wrong results.
 */
function hasEarlyV8(): boolean {
  return Number.parseInt(process.versions.v8 ?? "", 10) < 12;
}

/**
 * The models in the Hugging Face cache folder. `clear` keeps the models that other programs have
 * put there.
 */
export const cache: ModelCache = {
  list: async () => (await hubFolder()?.list()) ?? [],
  delete: async (model) => (await hubFolder()?.delete(model)) ?? false,
  clear: async () => hubFolder()?.clear(),
  size: async () => (await hubFolder()?.size()) ?? 0,
};

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
 * const embedder = await load("./models/all-MiniLM-L6-v2");
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
