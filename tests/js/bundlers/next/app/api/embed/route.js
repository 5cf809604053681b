import { load } from "gossamer-embed";

let ready;

/** A route handler: OpenAI's API, from a model in the app's public folder. */
export async function POST(request) {
  ready ??= load("./public/model", { workers: 1 });
  const embedder = await ready;
  return Response.json(await embedder.embeddings.create(await request.json()));
}
