import { load } from "gossamer-embed";

let ready;

/** The same model on the server, in OpenAI's format. It is loaded for the first request. */
export async function POST(request) {
  ready ??= load("sentence-transformers/all-MiniLM-L6-v2", { workers: 1 }).catch((error) => {
    // The next request tries again.
    ready = undefined;
    throw error;
  });
  try {
    const embedder = await ready;
    return Response.json(await embedder.embeddings.create(await request.json()));
  } catch (error) {
    const { message, status = 500 } = error;
    return Response.json({ error: { message } }, { status });
  }
}
