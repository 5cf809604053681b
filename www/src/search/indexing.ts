/**
 * Fills the index: the models compute vectors in their workers, and the index stores them in its
 * worker.
 */

import { type Remote, transfer } from "comlink";
import type { SparseVector } from "gossamer-embed";
import type { LoadedModel, Role } from "../session.js";
import type { SearchIndex } from "./worker.js";

/**
 * Number of texts per call and worker: enough to keep workers busy, few enough for frequent
 * progress.
 */
const SHARE = 16;
/**
 * The least cosine of an imported vector to the model's own: another number format may have made
 * it.
 */
const ALIKE = 0.99;

export type Models = Partial<Record<Role, LoadedModel>>;

/**
 * Embeds the texts from number `from` on with one model and adds the vectors to the index.
 * `onProgress` is called with the number of texts done.
 */
export async function indexTexts(
  index: Remote<SearchIndex>,
  texts: readonly string[],
  role: Role,
  { embedder }: LoadedModel,
  from: number,
  onProgress: (done: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const step = SHARE * Math.max(embedder.info.workers, 1);
  const options = { task: "document", signal };
  for (let at = from; at < texts.length; at += step) {
    const batch = texts.slice(at, at + step);
    if (role === "dense") {
      const { data, shape, tokens } = await embedder.encode(batch, { ...options, normalize: true });
      const rows = { data, dimensions: shape[1], tokens: tokens.reduce((sum, tokens) => sum + tokens, 0) };
      signal.throwIfAborted();
      await index.add(transfer(rows, [data.buffer]), undefined);
    } else {
      const vectors = await embedder.encodeSparse(batch, options);
      signal.throwIfAborted();
      await index.add(undefined, vectors);
    }
    onProgress(at + batch.length);
  }
}

/**
 * Whether the vectors of an imported file are this model's: some of its texts are embedded again.
 */
export async function areOf(
  index: Remote<SearchIndex>,
  texts: readonly string[],
  role: Role,
  { embedder }: LoadedModel,
  signal: AbortSignal,
): Promise<boolean> {
  const rows = [...new Set([0, texts.length >> 1, texts.length - 1])];
  const some = rows.map((row) => texts[row] ?? "");
  const options = { task: "document", signal };
  const imported = await index.imported(role, rows);
  if (role === "dense") {
    const { data, shape } = await embedder.encode(some, { ...options, normalize: true });
    return imported.every((vector, row) => {
      const own = data.subarray(row * shape[1], (row + 1) * shape[1]);
      if (!(vector instanceof Float32Array) || vector.length !== own.length) return false;
      // Search takes them to have length 1.
      return cosine(vector, own) >= ALIKE && Math.abs(dot(vector, vector) - 1) <= 1 - ALIKE;
    });
  }
  const own = await embedder.encodeSparse(some, options);
  return imported.every((vector, row) => {
    const [one, other] = [own[row], vector];
    if (!one || !other || other instanceof Float32Array) return false;
    return cosine(spread(one, embedder.info.dimensions), spread(other, embedder.info.dimensions)) >= ALIKE;
  });
}

/** A sparse vector with all its zeros. */
function spread({ indices, values }: SparseVector, dimensions: number): Float32Array {
  const all = new Float32Array(dimensions);
  indices.forEach((index, at) => {
    all[index] = values[at] ?? 0;
  });
  return all;
}

function dot(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, at) => sum + value * (b[at] ?? 0), 0);
}

/** The cosine of two vectors; 1 if both are zero. */
function cosine(a: Float32Array, b: Float32Array): number {
  const [one, other] = [dot(a, a), dot(b, b)];
  return one === 0 && other === 0 ? 1 : dot(a, b) / Math.sqrt(one * other);
}
