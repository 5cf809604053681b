/** The demo page: six panels that share the loaded models. Models and search run in workers. */

import "./page.js";
import { demo } from "./demo.js";

if (import.meta.env.PROD) {
  // Keeping the page costs as much download as opening it, so the models come first.
  await demo.settled();
  // Without a service worker (private windows, some policies) the page works, but not offline.
  navigator.serviceWorker
    ?.register(new URL("service-worker.js", document.baseURI), { type: "module" })
    .catch((error) => console.info("The page is not kept for offline use:", error));
}
