/** In a thread of its own, so that wasm memory is its own. */

import { parentPort, workerData } from "node:worker_threads";
import { measureSplade } from "./sized-splade.mjs";

parentPort.postMessage(await measureSplade(...workerData));
