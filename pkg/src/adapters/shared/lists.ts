/** Vectors as the lists of numbers that other libraries take. */

import type { Embedder } from "../../embedder.js";
import type { Encoded, EncodeOptions, SparseVector } from "../../types.js";

/** What adapters do with texts: as `encode`, always in f32. */
export type AdapterOptions = Omit<EncodeOptions, "output" | "signal">;

/** A dense vector for each text. None for none, where `encode` would refuse. */
export async function denseLists(
  embedder: Embedder,
  texts: readonly string[],
  options: Omit<EncodeOptions, "output">,
): Promise<number[][]> {
  return texts.length === 0 ? [] : lists(await embedder.encode(texts, options));
}

/** The rows of a table. */
export function lists({ data, shape: [n, width] }: Pick<Encoded, "data" | "shape">): number[][] {
  return Array.from({ length: n }, (_, i) => Array.from(data.subarray(i * width, (i + 1) * width)));
}

/** A sparse vector's indices and values. */
export function sparseLists({ indices, values }: SparseVector): { indices: number[]; values: number[] } {
  return { indices: Array.from(indices), values: Array.from(values) };
}
