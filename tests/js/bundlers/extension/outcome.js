import { load } from "./gossamer-embed/dist/web.js";

/** What a model among the extension's files says in so many workers. */
export async function embed(workers) {
  const embedder = await load(chrome.runtime.getURL("model/"), { workers });
  const { data } = await embedder.encode(["a cat", "the dog sat"]);
  embedder.dispose();
  return [...data];
}
