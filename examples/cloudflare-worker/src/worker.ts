/**
 * What all ways have in common: requests of five APIs, keys, errors, and one load of a model for
 * all requests of an isolate.
 */

import { GossamerError, type HandlerOptions, type ModelSource, type Server, serve } from "gossamer-embed";

/** Keys that requests must have one of, separated by commas (a secret). Without it all may ask. */
export interface Keys {
  API_KEYS?: string;
}

/** What a worker is told of a request's context. */
export interface Lifetime {
  waitUntil(promise: Promise<unknown>): void;
}

/** How requests are answered. */
export function handlerOptions({ API_KEYS }: Keys): HandlerOptions {
  return { maxRequests: 64, apiKeys: API_KEYS?.split(",") ?? [] };
}

/** Serves `models`, each loaded when a request first asks for it, the first where it names none. */
export function worker<Env extends object>(models: (env: Env) => Record<string, ModelSource>) {
  let server: Server | undefined;
  const start = (env: Env & Keys) =>
    serve({
      models: models(env),
      // Of an isolate's 128 MB: two models of all-MiniLM's size in 8 bits.
      memoryBudget: 50e6,
      ...handlerOptions(env),
    });

  return {
    async fetch(request: Request, env: Env & Keys, context: Lifetime): Promise<Response> {
      server ??= start(env);
      // With the context, a model that this request has begun to load is loaded even if this one
      // goes away: others wait for it.
      return server.fetch(request, env, context).catch(failed);
    },
  };
}

/** What went wrong beside requests: the next one tries again. */
export function failed(error: unknown): Response {
  const message = error instanceof GossamerError ? error.message : "the request could not be answered";
  const code = error instanceof GossamerError ? error.code : "internal";
  return Response.json({ error: { message, type: "server_error", param: null, code } }, { status: 503 });
}
