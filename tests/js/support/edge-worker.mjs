/** A worker that tells its memory: models out of a bucket, or from a service in another process. */

import { load } from "gossamer-embed";

const loaded = {};

async function get({ MODELS, FILES }, path) {
  if (MODELS) return MODELS.get(path);
  const response = await FILES.fetch(`http://files/${path}`);
  return response.ok ? response : null;
}

/** Reads what a load reads, and does nothing with it. */
async function read(env, paths) {
  for (const path of paths) {
    const file = await get(env, path);
    for await (const _ of file.body) {
    }
  }
}

export default {
  async fetch(request, env) {
    const { model, texts, paths } = await request.json();
    if (paths) {
      await read(env, paths);
      return new Response();
    }
    loaded[model] ??= load((file) => get(env, `${model}/${file}`));
    const embedder = await loaded[model];
    const kind = embedder.info.kind === "sparse" ? "encodeSparse" : "encode";
    await embedder[kind](texts);
    return Response.json(embedder.info);
  },
};
