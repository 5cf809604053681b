/**
 * Fills the index: the models compute vectors in their workers, and the index stores them in its
 * worker.
 */

import { type Remote, transfer } from "comlink";
import type { LoadedModel, Role } from "../session.js";
import type { SearchIndex } from "./worker.js";

/**
 * Number of texts per call and worker: enough to keep workers busy, few enough for frequent
 * progress.
 */
const SHARE = 16;

export type Models = Partial<Record<Role, LoadedModel>>;

/**
 * Embeds all texts with each model and adds the vectors to the index. `onProgress` is called with
 * the number of texts done.
 */
export async function indexTexts(
  index: Remote<SearchIndex>,
  texts: readonly string[],
  { dense, sparse }: Models,
  onProgress: (done: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const workers = Math.max(...[dense, sparse].map((model) => model?.embedder.info.workers ?? 0));
  const step = SHARE * Math.max(workers, 1);
  const options = { task: "document", signal };
  for (let at = 0; at < texts.length; at += step) {
    const batch = texts.slice(at, at + step);
    const [encoded, vectors] = await Promise.all([
      dense?.embedder.encode(batch, { ...options, normalize: true }),
      sparse?.embedder.encodeSparse(batch, options),
    ]);
    const rows = encoded && {
      data: encoded.data,
      dimensions: encoded.shape[1],
      tokens: encoded.tokens.reduce((sum, tokens) => sum + tokens, 0),
    };
    await index.add(rows && transfer(rows, [rows.data.buffer]), vectors);
    onProgress(at + batch.length);
  }
}
