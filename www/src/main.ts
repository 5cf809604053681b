/** The demo page: six panels around the models that are loaded. Models and search work in workers. */

import "./page.js";

if (import.meta.env.PROD) {
  // Without it (private windows, some policies) the page works all the same, but not offline.
  navigator.serviceWorker
    ?.register(new URL("service-worker.js", document.baseURI), { type: "module" })
    .catch((error) => console.info("The page is not kept for offline use:", error));
}
