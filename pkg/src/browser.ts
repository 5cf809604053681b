/** What the entry points for browsers share: all but where the wasm and the worker are. */

import { browserCache } from "./cache/browser.js";
import type { Host } from "./host.js";
import { fetchWasm } from "./init.js";
import type { WorkerLike } from "./types.js";

/** A browser, or one of its workers. */
export function browserHost(wasm: Host["wasm"], createWorker: () => WorkerLike): Host {
  return {
    wasm,
    wasmAt: fetchWasm,
    cache: browserCache,
    thread: (create = createWorker) => {
      const worker = create() as Worker;
      return {
        post: (message, transfer) => worker.postMessage(message, transfer),
        listen(message, failed) {
          worker.onmessage = ({ data }) => message(data);
          worker.onerror = failed;
          worker.onmessageerror = failed;
        },
        // A page does not end by itself.
        hold() {},
        terminate: () => worker.terminate(),
      };
    },
  };
}
