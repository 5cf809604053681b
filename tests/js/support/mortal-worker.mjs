/** In browsers. Import maps do not reach into workers. */

import "/pkg/dist/worker.js";
import { mishap } from "/tests/js/support/mortal.mjs";

const receive = globalThis.onmessage;
globalThis.onmessage = (event) => {
  mishap(event.data);
  receive(event);
};
