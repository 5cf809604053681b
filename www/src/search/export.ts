/** Exports an index as a file, in formats of vector databases and clients. */

import type { SparseVector } from "gossamer-embed";

export interface Vectors {
  dense: Iterable<Float32Array> | undefined;
  sparse: readonly SparseVector[] | undefined;
  /** Number of tokens of all texts in the dense model. */
  tokens: number;
}

interface Format {
  title: string;
  extension: "json" | "jsonl";
  /** The kind of vectors in the file. `both`: all that are available. */
  of: "dense" | "sparse" | "both";
  write(vectors: Vectors, texts: readonly string[], model: string): Iterable<string>;
}

export const FORMATS = {
  jsonl: {
    title: "JSONL, with texts",
    extension: "jsonl",
    of: "both",
    *write({ dense, sparse }, texts) {
      const rows = dense && [...dense];
      for (const [at, text] of texts.entries()) {
        const [row, vector] = [rows?.[at], sparse?.[at]];
        yield `${JSON.stringify({ text, ...(row && { dense: [...row] }), ...(vector && { sparse: plain(vector) }) })}\n`;
      }
    },
  },
  openai: {
    title: "OpenAI /v1/embeddings",
    extension: "json",
    of: "dense",
    *write({ dense = [], tokens }, _texts, model) {
      yield '{"object":"list","data":[';
      yield* list(dense, (row, index) => ({ object: "embedding", index, embedding: [...row] }));
      yield `],"model":${JSON.stringify(model)},"usage":{"prompt_tokens":${tokens},"total_tokens":${tokens}}}`;
    },
  },
  tei: {
    title: "text-embeddings-inference /embed",
    extension: "json",
    of: "dense",
    *write({ dense = [] }) {
      yield "[";
      yield* list(dense, (row) => [...row]);
      yield "]";
    },
  },
  teiSparse: {
    title: "text-embeddings-inference /embed_sparse",
    extension: "json",
    of: "sparse",
    *write({ sparse = [] }) {
      yield "[";
      yield* list(sparse, ({ indices, values }) =>
        [...indices].map((index, at) => ({ index, value: values[at] })),
      );
      yield "]";
    },
  },
  chroma: {
    title: "Chroma /embed_sparse",
    extension: "json",
    of: "sparse",
    *write({ sparse = [] }) {
      yield '{"embeddings":[';
      yield* list(sparse, plain);
      yield "]}";
    },
  },
  inworld: {
    title: "Inworld embedding:embed",
    extension: "json",
    of: "dense",
    *write({ dense = [] }) {
      yield '{"embeddings":[';
      yield* list(dense, (row) => ({ values: [...row] }));
      yield "]}";
    },
  },
} satisfies Record<string, Format>;

export type FormatName = keyof typeof FORMATS;

function plain({ indices, values }: SparseVector) {
  return { indices: [...indices], values: [...values] };
}

/** Writes a JSON list entry by entry, so that only one entry is in memory as an object. */
function* list<T>(rows: Iterable<T>, entry: (row: T, index: number) => unknown): Generator<string> {
  let index = 0;
  for (const row of rows) {
    yield (index > 0 ? "," : "") + JSON.stringify(entry(row, index));
    index += 1;
  }
}
