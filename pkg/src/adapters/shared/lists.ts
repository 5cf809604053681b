/** Converts vectors to the lists of numbers that other libraries take. */

import type { Embedder } from "../../embedder.js";
import { GossamerError } from "../../errors.js";
import { lists } from "../../rows.js";
import type { EncodeOptions, RerankOptions, SparseVector } from "../../types.js";
import { checkSparse } from "./limits.js";

export { lists };

/** Options of adapters: those of `encode`. Vectors are always floats. */
export type AdapterOptions = Omit<EncodeOptions, "output" | "signal">;

/** What adapters do with documents: as `rerank`, and the list is always given whole. */
export type RerankerOptions = Omit<RerankOptions, "signal" | "returnDocuments" | "batchTokens">;

/** Throws if something is not an embedder: most often it is the promise of one. */
export function checkEmbedder(embedder: Embedder): void {
  if (typeof embedder?.encode === "function") return;
  throw new GossamerError("invalid_input", "Pass an embedder: what `await load(…)` gives.", { status: 400 });
}

/**
 * One dense vector for each text. An empty list gives an empty result, where `encode` would throw.
 */
export async function denseLists(
  embedder: Embedder,
  texts: readonly string[],
  options: Omit<EncodeOptions, "output">,
): Promise<number[][]> {
  checkEmbedder(embedder);
  checkTexts(texts);
  return texts.length === 0 ? [] : lists(await embedder.encode(texts, options));
}

/**
 * Throws if a value is not a text. `encode` would read a list of numbers as token ids, which is
 * never meant in adapters.
 */
export function checkTexts(texts: readonly unknown[], what = "text"): void {
  const list = Array.isArray(texts) ? texts : [texts];
  const at = list.findIndex((text) => typeof text !== "string");
  if (list === texts && at < 0) return;
  const kind = list[at] === null ? "null" : typeof list[at];
  const found = list === texts ? `${what} ${at} is of type ${kind}, not a string` : "pass a list of strings";
  throw new GossamerError("invalid_input", `These texts cannot be embedded: ${found}.`, { status: 400 });
}

/** The indices and values of a sparse vector as lists. */
export function sparseLists(vector: SparseVector): { indices: number[]; values: number[] } {
  checkSparse(vector);
  const { indices, values } = vector;
  return { indices: Array.from(indices), values: Array.from(values) };
}
