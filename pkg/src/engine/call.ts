/** Calls as data, so that they can be sent to another thread, whole or in parts. */

import type {
  CreateEmbeddingResponse,
  Encoded,
  EncodedWhole,
  SparseEntry,
  SparseVector,
  Token,
  TokenCodes,
  TokenVectors,
} from "../types.js";

/**
 * What each call answers with. Chunks are four numbers each: start, end, first token, end token.
 * Scores are rows of one number for each label.
 */
export interface Results {
  encode: Data<Encoded | EncodedWhole>;
  encodeSparse: SparseVector[];
  encodeTokens: Data<TokenVectors | TokenCodes>[];
  encodeMulti: MultiData;
  encodeChunks: Data<Encoded> & { chunks: Uint32Array[] };
  chunk: Uint32Array[];
  embeddings: CreateEmbeddingResponse<number[] | string>;
  embedSparse: SparseEntry[][];
  embedAll: number[][][];
  score: Data<Encoded>;
  rerank: Data<Encoded>;
  tokenize: Token[][];
  fetch: Answer;
  save: SavedEntry[];
  readSaved: ArrayBuffer;
}

/** A result without methods, which are lost on the way from another thread. */
type Data<Result> = Result extends unknown ? Omit<Result, "toList"> : never;

/** {@link EncodedMulti} without methods. */
export interface MultiData {
  dense?: Data<Encoded>;
  sparse?: SparseVector[];
  tokens?: Data<TokenVectors>[];
}

/** A file of a saved model. */
export interface SavedEntry {
  path: string;
  size: number;
}

/** A `Response` as data. */
export interface Answer {
  status: number;
  headers: Record<string, string>;
  body: string;
}

/**
 * A call by name. `options` have the form that wasm reads. The options of a wire format are in its
 * body.
 */
export interface Call<Name extends keyof Results = keyof Results> {
  name: Name;
  inputs: unknown;
  options: object;
  /**
   * Index of its first input in a longer list, for error messages: the call is one of several over
   * that list.
   */
  first?: number;
}

/** Name of the field that holds the inputs, for calls whose argument is an object. */
const FIELDS: Partial<Record<keyof Results, string>> = {
  embeddings: "input",
  embedSparse: "inputs",
  embedAll: "inputs",
  encodeChunks: "texts",
  chunk: "texts",
  rerank: "documents",
};

/**
 * A call's inputs, where there are several that could be done apart. Whether they make sense is for
 * wasm to say.
 */
export function severalInputs({
  name,
  inputs,
}: Call): readonly (string | readonly (string | number)[])[] | undefined {
  const field = FIELDS[name];
  const list: unknown = field === undefined ? inputs : (inputs as Record<string, unknown> | null)?.[field];
  const several = Array.isArray(list) && list.length > 1 && typeof list[0] !== "number";
  return several && list.every((item) => typeof item === "string" || Array.isArray(item)) ? list : undefined;
}

/** The same call for some of its inputs. */
export function withInputs(call: Call, some: unknown[]): Call {
  const field = FIELDS[call.name];
  return { ...call, inputs: field === undefined ? some : { ...(call.inputs as object), [field]: some } };
}

/** Merges the results of a call's parts, in order, into the result of the whole call. */
export function merge<Name extends keyof Results>(name: Name, parts: Results[Name][]): Results[Name] {
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) return only;
  return (MERGE[name as keyof typeof MERGE] as unknown as (parts: Results[Name][]) => Results[Name])(parts);
}

/** How to merge the results of each call. Calls that are never split are not here. */
const MERGE: {
  [Name in Exclude<keyof Results, "fetch" | "save" | "readSaved">]: (parts: Results[Name][]) => Results[Name];
} = {
  encode: mergeDense,
  encodeSparse: (parts) => parts.flat(),
  encodeTokens: (parts) => parts.flat(),
  encodeMulti: (parts) => {
    const dense = parts.flatMap((part) => part.dense ?? []);
    const whole: MultiData = {};
    if (parts[0]?.sparse) whole.sparse = parts.flatMap((part) => part.sparse ?? []);
    if (parts[0]?.tokens) whole.tokens = parts.flatMap((part) => part.tokens ?? []);
    if (dense.length > 0) whole.dense = mergeDense(dense);
    return whole;
  },
  encodeChunks: (parts) => ({ ...mergeDense(parts), chunks: parts.flatMap(({ chunks }) => chunks) }),
  chunk: (parts) => parts.flat(),
  embeddings: (parts) => {
    const sum = (field: "prompt_tokens" | "total_tokens") =>
      parts.reduce((total, { usage }) => total + usage[field], 0);
    return {
      object: "list",
      data: parts.flatMap(({ data }) => data).map((entry, index) => ({ ...entry, index })),
      model: parts[0]?.model ?? "",
      usage: { prompt_tokens: sum("prompt_tokens"), total_tokens: sum("total_tokens") },
    };
  },
  embedSparse: (parts) => parts.flat(),
  embedAll: (parts) => parts.flat(),
  score: mergeDense,
  rerank: mergeDense,
  tokenize: (parts) => parts.flat(),
};

function mergeDense<Part extends Data<Encoded | EncodedWhole>>(parts: Part[]): Part {
  const [one] = parts as [Part];
  const rows = parts.reduce((sum, { shape }) => sum + shape[0], 0);
  const joined: Part = {
    ...one,
    data: join(parts.map(({ data }) => data)),
    shape: [rows, one.shape[1]],
    tokens: join(parts.map(({ tokens }) => tokens)),
    truncated: parts.flatMap(({ truncated }) => truncated),
  };
  if ("scales" in joined)
    joined.scales = join(parts.flatMap((part) => ("scales" in part ? [part.scales] : [])));
  return joined;
}

/** Concatenates typed arrays of one type. */
function join<T extends Float32Array | Int8Array | Uint8Array | Uint32Array>(parts: (T | undefined)[]): T {
  const all = parts.filter((part) => part !== undefined) as [T];
  const length = all.reduce((sum, part) => sum + part.length, 0);
  const joined = new (all[0].constructor as new (length: number) => T)(length);
  let at = 0;
  for (const part of all) {
    joined.set(part as never, at);
    at += part.length;
  }
  return joined;
}
