import { load } from "gossamer-embed";

/** What a model says in so many workers. */
export async function embed(workers, createWorker) {
  const embedder = await load("./model/", { workers, createWorker });
  const { data } = await embedder.encode(["a cat", "the dog sat"]);
  embedder.dispose();
  return [...data];
}

/** In the page's own thread, and in a worker; the package finds its own, if its bundler lets it. */
export const outcome = async (createWorker) => [await embed(0), await embed(1, createWorker)];
