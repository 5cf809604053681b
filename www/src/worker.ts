/** The page's worker: loading and embedding happen here, so the page never freezes. */

import { expose } from "comlink";
import {
  type Embedder,
  type Encoded,
  GossamerError,
  type LoadOptions,
  load,
  type Progress,
} from "gossamer-embed";

let embedder: Embedder | undefined;
let loading: AbortController | undefined;

/** What a GossamerError says, in a form that crosses threads. */
export interface Failure {
  code: string;
  message: string;
}

export type Outcome<T> = { ok: T } | { failure: Failure };

/** What the page shows of a loaded model. */
export type Loaded = Embedder["info"];

/** Vectors, their similarities, and how long they took. */
export interface Result {
  encoded: Encoded;
  similarity: Float32Array;
  milliseconds: number;
}

async function attempt<T>(work: () => Promise<T>): Promise<Outcome<T>> {
  try {
    return { ok: await work() };
  } catch (error) {
    const code = error instanceof GossamerError ? error.code : "internal";
    return { failure: { code, message: error instanceof Error ? error.message : String(error) } };
  }
}

const api = {
  load(
    source: string,
    dtype: NonNullable<LoadOptions["dtype"]>,
    onProgress: (info: Progress) => void,
  ): Promise<Outcome<Loaded>> {
    return attempt(async () => {
      embedder?.dispose();
      embedder = undefined;
      loading = new AbortController();
      embedder = await load(source, { dtype, signal: loading.signal, onProgress });
      return embedder.info;
    });
  },

  cancel(): void {
    loading?.abort();
  },

  embed(texts: string[]): Promise<Outcome<Result>> {
    return attempt(async () => {
      if (!embedder)
        throw new GossamerError("disposed", "No model is loaded: load one first.", { status: 410 });
      const start = performance.now();
      const encoded = await embedder.encode(texts);
      const milliseconds = performance.now() - start;
      const similarity = embedder.similarity(encoded, encoded).data;
      return { encoded, similarity, milliseconds };
    });
  },
};

export type Api = typeof api;
expose(api);
