/**
 * A model of the Hugging Face Hub, which is in the bucket or the KV namespace, in 8 bits, when it
 * has been loaded once.
 */

import { type Handler, load, type ModelStore } from "gossamer-embed";
import { kvStore, type Namespace } from "./kv.js";
import { failed, handlerOptions, type Keys, type Lifetime } from "./worker.js";

interface Env extends Keys {
  /** A bucket of R2; without one `KV` is used. */
  MODELS?: ModelStore;
  KV?: Namespace;
  /** By default all-MiniLM-L6-v2. */
  MODEL?: string;
  /** For private and gated models (a secret). */
  HF_TOKEN?: string;
  /** A mirror of the Hub. */
  HF_ENDPOINT?: string;
}

let ready: Promise<Handler> | undefined;

async function start(env: Env, context: Lifetime): Promise<Handler> {
  const embedder = await load(env.MODEL ?? "sentence-transformers/all-MiniLM-L6-v2", {
    cache: env.MODELS ?? (env.KV && kvStore(env.KV)),
    token: env.HF_TOKEN,
    endpoint: env.HF_ENDPOINT,
  });
  // Written to the bucket after the answer.
  context.waitUntil(embedder.cached);
  return embedder.handler(handlerOptions(env));
}

export default {
  async fetch(request: Request, env: Env, context: Lifetime): Promise<Response> {
    ready ??= start(env, context).catch((error) => {
      ready = undefined;
      throw error;
    });
    const answer = ready.then((handler) => handler(request)).catch(failed);
    context.waitUntil(answer);
    return answer;
  },
};
