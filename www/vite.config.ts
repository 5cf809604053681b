/** The demo page: static files, and the models/ folder of the repository under /models. */

import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import sirv from "sirv";
import type { Connect, Plugin } from "vite";
import { defineConfig } from "vite";

const folder = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** Serves downloaded models. What is not there is a plain 404, not the page. */
function serveModels(): Plugin {
  const files = sirv(folder("../models"), { dev: true, etag: true });
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

/** What is fetched only when the bench measures another library: its worker and its runtime. */
const PEER = /^assets\/(peer-worker|ort-)/;

/** What comes with the page beside its models, where `cargo xtask demo` has made it. */
const DEMO = ["demo.json", "index.safetensors"];

/**
 * Puts the vectors of the page's passages among its files, so that it searches without a network.
 */
function demoData(): Plugin {
  return {
    name: "demo-data",
    apply: "build",
    generateBundle() {
      for (const name of DEMO) {
        const file = folder(`../models/demo/${name}`);
        if (!existsSync(file)) continue;
        this.emitFile({ type: "asset", fileName: `models/demo/${name}`, source: readFileSync(file) });
      }
    },
  };
}

/**
 * Tells the service worker which files the page is made of. Those with a hash in their name need no
 * revision.
 */
function precache(): Plugin {
  const revision = (content: string | Uint8Array) =>
    createHash("sha256").update(content).digest("hex").slice(0, 16);
  return {
    name: "precache",
    apply: "build",
    enforce: "post",
    generateBundle: {
      order: "post",
      handler(_, bundle) {
        const worker = bundle["service-worker.js"];
        if (worker?.type !== "chunk") throw new Error("the build has no service worker: see `input` below");
        const built = Object.values(bundle).filter((file) => file !== worker && !PEER.test(file.fileName));
        const files = [
          ...built.map((file) => ({
            url: file.fileName,
            revision: file.fileName.startsWith("assets/")
              ? null
              : revision(file.type === "chunk" ? file.code : file.source),
          })),
          ...readdirSync(folder("public")).map((name) => ({
            url: name,
            revision: revision(readFileSync(folder(`public/${name}`))),
          })),
        ];
        worker.code = worker.code.replace("__PRECACHE__", JSON.stringify(files));
      },
    },
  };
}

export default defineConfig({
  base: "./",
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: { index: folder("index.html"), "service-worker": folder("src/service-worker.ts") },
      output: {
        entryFileNames: ({ name }) =>
          name === "service-worker" ? "service-worker.js" : "assets/[name]-[hash].js",
      },
    },
  },
  // transformers.js asks for the runtime with WebGPU, which is twice the size and no faster on the
  // CPU.
  resolve: { alias: { "onnxruntime-web/webgpu": "onnxruntime-web/wasm" } },
  worker: { format: "es" },
  plugins: [serveModels(), demoData(), precache()],
});
