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
