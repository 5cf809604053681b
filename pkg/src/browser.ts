/**
 * The part of a host that the entry points for browsers share: everything except where the wasm and
 * the worker are, and what only some of them can do.
 */

import type { Host } from "./host.js";
import { fetchWasm } from "./init.js";
import type { WorkerLike } from "./types.js";

/** The host for a browser or one of its workers. */
export function browserHost({
  createWorker,
  ...more
}: Omit<Host, "wasmAt" | "thread"> & { createWorker: () => WorkerLike }): Host {
  return {
    ...more,
    wasmAt: fetchWasm,
    thread: (create = createWorker) => {
      const worker = create() as Worker;
      return {
        post: (message, transfer) => worker.postMessage(message, transfer),
        listen(message, failed) {
          worker.onmessage = ({ data }) => message(data);
          worker.onerror = failed;
          worker.onmessageerror = failed;
        },
        // A page does not exit by itself, so nothing has to keep it alive.
        hold() {},
        terminate: () => worker.terminate(),
      };
    },
  };
}

/**
 * The worker of a package that was imported from another origin, such as a CDN; undefined where
 * there is no need for it. Browsers start only workers of the page's origin, so this one is a
 * module of the page that imports the script `worker.js` from the folder of the entry point.
 * `entry` is the address of the entry point, and `file` its name. Bundlers rename that file, and
 * place the worker themselves.
 */
export function relayedWorker(entry: string, file: string): Worker | undefined {
  const { origin, protocol, pathname, search } = new URL(entry);
  const isElsewhere = protocol.startsWith("http") && origin !== globalThis.location?.origin;
  if (!isElsewhere || !pathname.endsWith(`/${file}`)) return undefined;
  const worker = new URL("./worker.js", entry);
  worker.search = search;
  const script = `import ${JSON.stringify(worker.href)};`;
  const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  try {
    return new Worker(address, { type: "module" });
  } finally {
    URL.revokeObjectURL(address);
  }
}
