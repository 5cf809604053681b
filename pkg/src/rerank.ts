/** Documents by how well they answer a query. */

import { GossamerError } from "./errors.js";
import { checkCall, checkOptions } from "./options.js";
import { type Source, stream } from "./stream.js";
import type { Ranked, RerankOptions } from "./types.js";

/** Options of `score`. */
export const SCORE = [
  "activation",
  "promptName",
  "prompt",
  "truncate",
  "truncationDirection",
  "signal",
] as const;

/** Scores documents for a query. `first` is the number of the first of them in the whole list. */
export type Scorer = (
  documents: readonly string[],
  first: number,
  signal: AbortSignal | undefined,
) => Promise<{ data: Float32Array }>;

/** Ranks documents, the best first; of equal ones the earlier one is first. */
export async function rank(
  documents: readonly string[] | Source<string>,
  score: Scorer,
  batchTokens: number,
  { topK, returnDocuments, signal }: RerankOptions,
): Promise<Ranked[]> {
  const most = topK ?? Number.POSITIVE_INFINITY;
  const ranked: Ranked[] = [];
  const add = (texts: readonly string[], first: number, scores: Float32Array) => {
    for (const [at, score] of scores.entries()) {
      const document = texts[at] as string;
      ranked.push({ index: first + at, score, ...(returnDocuments && { document }) });
    }
    // Sorting is stable, and those of later batches come last.
    ranked.sort((a, b) => b.score - a.score);
    ranked.splice(most);
  };
  if (Array.isArray(documents)) {
    add(documents, 0, (await score(documents, 0, signal)).data);
    return ranked;
  }
  const run = async (some: string[], first: number, signal: AbortSignal) => {
    const at = some.findIndex((document) => typeof document !== "string");
    if (at >= 0) throw invalid(`document ${first + at} is no string`);
    return score(some, first, signal);
  };
  for await (const part of stream(documents as Source<string>, run, batchTokens, signal)) {
    add(part.inputs, part.first, part.data);
  }
  return ranked;
}

/** Throws if the options of `rerank` are no such ones. */
export function checkRerank(options: RerankOptions): void {
  checkOptions("rerank", options, [...SCORE, "topK", "returnDocuments", "batchTokens"]);
  checkCall(options);
  const { topK, returnDocuments } = options;
  if (topK !== undefined && !(Number.isInteger(topK) && topK > 0)) {
    throw invalid(`topK is ${String(topK)}; it must be a whole number of 1 or more`);
  }
  if (returnDocuments !== undefined && typeof returnDocuments !== "boolean") {
    throw invalid(`returnDocuments is ${String(returnDocuments)}; it must be true or false`);
  }
}

function invalid(why: string): GossamerError {
  return new GossamerError("invalid_input", `These documents cannot be ranked: ${why}.`, { status: 400 });
}
