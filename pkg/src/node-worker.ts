/** The worker script of a pool in Node, Deno and Bun. */

import { parentPort, type TransferListItem } from "node:worker_threads";
import { serve } from "./pool/service.js";

const receive = serve((reply, transfer) => parentPort?.postMessage(reply, transfer as TransferListItem[]));
parentPort?.on("message", receive);
