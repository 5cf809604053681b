/** Dense and sparse embeddings from inside a worker: models out of R2, the routes of five APIs. */

import { GossamerError, type Server, serve } from "gossamer-embed";

interface Env {
  /** A folder for each model: `minilm/config.json`, `minilm/model.safetensors`, … */
  MODELS: { get(key: string): Promise<{ body: ReadableStream<Uint8Array> } | null> };
  /** Keys that requests must have one of, separated by commas (a secret). Without it all may ask. */
  API_KEYS?: string;
}

let server: Server | undefined;

function start(env: Env): Server {
  const folder = (model: string) => (file: string) => env.MODELS.get(`${model}/${file}`);
  return serve({
    // Loaded when a request first asks for them, the first where it names none.
    models: { minilm: folder("minilm"), splade: folder("splade") },
    // Of an isolate's 128 MB: two models of all-MiniLM's size in 8 bits.
    memoryBudget: 50e6,
    maxRequests: 64,
    apiKeys: env.API_KEYS?.split(",") ?? [],
  });
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
