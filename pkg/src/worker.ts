/** The worker script of a pool in browsers. Bundlers find it through the entry point. */

import type { Reply, Request } from "./pool/protocol.js";
import { serve } from "./pool/service.js";

/** The part of the worker's global scope that is used here. */
const scope = globalThis as unknown as {
  postMessage(message: Reply, transfer: Transferable[]): void;
  onmessage: (event: { data: Request }) => void;
};

const receive = serve((reply, transfer) => scope.postMessage(reply, transfer));
scope.onmessage = ({ data }) => receive(data);
