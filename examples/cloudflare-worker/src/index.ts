/** Dense and sparse embeddings from inside a worker: models out of R2 or static assets, the routes of five APIs. */

import { GossamerError, type Server, serve } from "gossamer-embed";

interface Env {
  /** A folder for each model: `minilm/config.json`, `minilm/model.safetensors`, … */
  MODELS?: { get(key: string): Promise<{ body: ReadableStream<Uint8Array> } | null> };
  /** The same folders among the worker's own files, which then take the place of the bucket. */
  ASSETS?: { fetch(url: string): Promise<Response> };
  /** Keys that requests must have one of, separated by commas (a secret). Without it all may ask. */
  API_KEYS?: string;
}

let server: Server | undefined;

function start(env: Env): Server {
  const folder = (model: string) => (file: string) => get(env, `${model}/${file}`);
  return serve({
    // Loaded when a request first asks for them, the first where it names none.
    models: { minilm: folder("minilm"), splade: folder("splade") },
    // Of an isolate's 128 MB: two models of all-MiniLM's size in 8 bits.
    memoryBudget: 50e6,
    maxRequests: 64,
    apiKeys: env.API_KEYS?.split(",") ?? [],
  });
}

/** A file, if it is there. */
async function get({ ASSETS, MODELS }: Env, path: string) {
  if (!ASSETS) return MODELS?.get(path);
  const response = await ASSETS.fetch(`https://assets/${path}`);
  if (response.ok) return response;
  await response.body?.cancel();
  return null;
}

export default {
  async fetch(
    request: Request,
    env: Env,
    context: { waitUntil(promise: Promise<unknown>): void },
  ): Promise<Response> {
    server ??= start(env);
    const answer = server.fetch(request).catch(failed);
    // A model that this request has begun to load is for the others too: it is loaded even if this one goes away.
    context.waitUntil(answer);
    return answer;
  },
};

/** A model that cannot be loaded: the next request tries again. */
function failed(error: unknown): Response {
  const message = error instanceof GossamerError ? error.message : "the request could not be answered";
  const code = error instanceof GossamerError ? error.code : "internal";
  return Response.json({ error: { message, type: "server_error", param: null, code } }, { status: 503 });
}
