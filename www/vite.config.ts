/** The demo page: static files, and the models/ folder of the repository under /models. */

import { fileURLToPath } from "node:url";
import sirv from "sirv";
import type { Connect, Plugin } from "vite";
import { defineConfig } from "vite";

const models = fileURLToPath(new URL("../models", import.meta.url));

/** Serves downloaded models. What is not there is a plain 404, not the page. */
function serveModels(): Plugin {
  const files = sirv(models, { dev: true, etag: true });
  const serve: Connect.NextHandleFunction = (request, response, next) => {
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    if (!pathname.startsWith("/models/")) return next();
    request.url = pathname.slice("/models".length);
    files(request, response, () => {
      response.statusCode = 404;
      response.end("no such file");
    });
  };
  return {
    name: "serve-models",
    configureServer: ({ middlewares }) => void middlewares.use(serve),
    configurePreviewServer: ({ middlewares }) => void middlewares.use(serve),
  };
}

export default defineConfig({
  base: "./",
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  worker: { format: "es" },
  plugins: [serveModels()],
});
