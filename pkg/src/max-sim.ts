/** Late interaction of one query with many documents, in WebAssembly. */

import { checkAborted, GossamerError } from "./errors.js";
import { yieldIfDue } from "./event-loop.js";
import { checkDimensions, components, isTable, type Side, side, type Table } from "./similarity.js";

/** The calls of the wasm instance. */
export interface Scorer {
  maxSim(query: Float32Array, documents: Float32Array, rows: Uint32Array, width: number): Float32Array;
  maxSimCodes(
    query: Int8Array,
    factors: Float32Array,
    documents: Int8Array,
    scales: Float32Array,
    rows: Uint32Array,
    width: number,
  ): Float32Array;
}

/** Products that are computed before the event loop may run: about a millisecond of work. */
const PRODUCTS_PER_TURN = 1 << 23;

/**
 * The sum over the query's vectors of the best dot product with a vector of the document, for each
 * document.
 */
export async function scoreAll(
  score: <T>(call: (wasm: Scorer) => T) => T,
  query: Table,
  documents: readonly Table[],
  signal: AbortSignal | undefined,
): Promise<Float32Array> {
  const wrong = "pass the token vectors of a query, and a list of those of documents";
  if (!isTable(query) || !Array.isArray(documents)) throw invalid(wrong);
  const one = side(query);
  const scores = new Float32Array(documents.length);
  if (one.rows.length === 0) return scores;
  let batch: Side[] = [];
  let products = 0;
  let first = 0;
  const flush = () => {
    scores.set(
      score((wasm) => scoreBatch(wasm, one, batch)),
      first,
    );
    first += batch.length;
    [batch, products] = [[], 0];
  };
  for (const [at, document] of documents.entries()) {
    if (!isTable(document)) throw invalid(`document ${at} is no table of vectors; ${wrong}`);
    const other = side(document);
    if (one.rows.length > 0 && other.rows.length > 0) checkDimensions(one.dimensions, other.dimensions);
    batch.push(other);
    products += (one.rows.length + 1) * (other.rows.length + 1) * one.dimensions;
    if (products < PRODUCTS_PER_TURN) continue;
    flush();
    checkAborted(signal);
    await yieldIfDue();
  }
  flush();
  const at = scores.findIndex((score) => !Number.isFinite(score));
  if (at >= 0) throw invalid(`the score of document ${at} is not a number: a component is NaN or infinite`);
  return scores;
}

function scoreBatch(wasm: Scorer, query: Side, documents: Side[]): Float32Array {
  const width = query.dimensions;
  const rows = Uint32Array.from(documents, (document) => document.rows.length);
  const codes = [query, ...documents].every(({ output, scales }) => output === "int8" && scales);
  if (!codes) {
    const flat = (sides: Side[]) => joined(Float32Array, sides.flatMap(components), width);
    return wasm.maxSim(flat([query]), flat(documents), rows, width);
  }
  const flat = (sides: Side[]) =>
    joined(
      Int8Array,
      sides.flatMap(({ rows }) => rows),
      width,
    );
  const scales = (sides: Side[]) =>
    Float32Array.from(sides.flatMap(({ scales }) => Array.from(scales ?? [])));
  return wasm.maxSimCodes(flat([query]), scales([query]), flat(documents), scales(documents), rows, width);
}

/** Rows of one width, end to end. */
function joined<T extends Float32Array | Int8Array>(
  array: new (length: number) => T,
  rows: ArrayLike<number>[],
  width: number,
): T {
  const all = new array(rows.length * width);
  rows.forEach((row, at) => {
    all.set(row, at * width);
  });
  return all;
}

function invalid(why: string): GossamerError {
  return new GossamerError("invalid_input", `These cannot be compared: ${why}.`, { status: 400 });
}
