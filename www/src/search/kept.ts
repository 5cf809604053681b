/** The visitor's index, kept on the device for the next visit. Pages and workers both use it. */

import type { Role } from "../session.js";

/** What is known of an index beside its vectors. */
export interface IndexFacts {
  /** The passages that it is of. */
  name: string;
  texts: string[];
  /** `spaceId` of each kind of vectors. */
  spaces: Partial<Record<Role, string>>;
  /** Number of texts that have vectors of each kind. */
  done: Partial<Record<Role, number>>;
}

const NAME = "gossamer-index";
const [FACTS, VECTORS] = ["/kept-index/facts.json", "/kept-index/vectors.safetensors"];

/** Undefined where a page may keep nothing, such as without HTTPS. */
const open = async () => (globalThis.caches ? caches.open(NAME) : undefined);

export async function keepIndex(facts: IndexFacts, vectors: Blob): Promise<void> {
  const store = await open();
  // The facts are written last: with them the index is complete.
  await store?.delete(FACTS);
  await store?.put(VECTORS, new Response(vectors, { headers: { "content-length": String(vectors.size) } }));
  await store?.put(FACTS, Response.json(facts));
}

/** The kept index; undefined if there is none. */
export async function keptIndex(): Promise<{ facts: IndexFacts; vectors: Blob } | undefined> {
  const store = await open();
  const [facts, vectors] = [await store?.match(FACTS), await store?.match(VECTORS)];
  return facts && vectors && { facts: await facts.json(), vectors: await vectors.blob() };
}

export async function deleteIndex(): Promise<void> {
  await (await open())?.delete(FACTS);
  await (await open())?.delete(VECTORS);
}
