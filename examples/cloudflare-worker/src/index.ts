/** Dense and sparse embeddings from inside a worker: models out of R2 or static assets. */

import { worker } from "./worker.js";

interface Env {
  /** A folder for each model: `minilm/config.json`, `minilm/model.safetensors`, … */
  MODELS?: { get(key: string): Promise<{ body: ReadableStream<Uint8Array> } | null> };
  /** The same folders among the worker's own files, which then take the place of the bucket. */
  ASSETS?: { fetch(url: string): Promise<Response> };
}

export default worker((env: Env) => {
  const folder = (model: string) => (file: string) => get(env, `${model}/${file}`);
  return { minilm: folder("minilm"), splade: folder("splade") };
});

/** A file, if it is there. */
async function get({ ASSETS, MODELS }: Env, path: string) {
  if (!ASSETS) return MODELS?.get(path);
  const response = await ASSETS.fetch(`https://assets/${path}`);
  if (response.ok) return response;
  await response.body?.cancel();
  return null;
}
