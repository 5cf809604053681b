/** Answers requests for embeddings inside the browser, offline too. */

import { type Embedder, init, load } from "gossamer-embed";
import relaxed from "gossamer-embed/wasm/common-relaxed.wasm?url";
import simd128 from "gossamer-embed/wasm/common-simd128.wasm?url";

declare const self: ServiceWorkerGlobalScope;

const MODEL = "models/minilm/";
const FILES = [
  "1_Pooling/config.json",
  "config.json",
  "config_sentence_transformers.json",
  "model.safetensors",
  "modules.json",
  "sentence_bert_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
];
/** To be counted up with the model. */
const CACHE = "embeddings-1";

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(activate()));
self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.url === scoped("v1/embeddings")) event.respondWith(embed(request));
  else if (request.method === "GET") event.respondWith(fetched(request));
});

const scoped = (path: string) => new URL(path, self.registration.scope).href;

/** The page, and all that embeddings take: a worker's own requests do not pass through it. */
async function install(): Promise<void> {
  const cache = await caches.open(CACHE);
  await cache.addAll(["", "main.js", ...FILES.map((file) => MODEL + file)].map(scoped));
  await cache.addAll([relaxed, simd128]);
  await self.skipWaiting();
}

async function activate(): Promise<void> {
  const old = (await caches.keys()).filter((name) => name.startsWith("embeddings-") && name !== CACHE);
  await Promise.all(old.map((name) => caches.delete(name)));
  await self.clients.claim();
}

let ready: Promise<Embedder> | undefined;

/**
 * The browser ends the worker when it is idle; the next request starts it, and loads the model,
 * again.
 */
async function embed(request: Request): Promise<Response> {
  ready ??= start();
  try {
    return (await ready).fetch(request);
  } catch (error) {
    ready = undefined;
    const message = error instanceof Error ? error.message : String(error);
    return Response.json(
      { error: { message, type: "server_error", param: null, code: null } },
      { status: 503 },
    );
  }
}

async function start(): Promise<Embedder> {
  const cache = await caches.open(CACHE);
  const wasm = async (url: string) => init({ response: (await cache.match(url)) as Response });
  // Not every engine has what the faster build takes.
  await wasm(relaxed).catch(() => wasm(simd128));
  return load((file) => cache.match(scoped(MODEL + file)));
}

/** The page as it is on the network, or else as it was. */
async function fetched(request: Request): Promise<Response> {
  try {
    return await fetch(request);
  } catch (error) {
    // One's own files are the same for every request, whatever the server says.
    const known = await caches.match(request, { ignoreVary: true });
    if (known) return known;
    throw error;
  }
}
