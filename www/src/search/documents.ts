/** Reads passages from files, and their vectors if the file is an export of this page. */

import type { SparseVector } from "gossamer-embed";
import papaparse from "papaparse";
import type { StoredVectors } from "./vectors.js";

/**
 * Names of fields and columns that hold the text, in order of preference. If there is none of them,
 * the one with the longest texts is used.
 */
const TEXT_FIELDS = ["text", "passage", "content", "body", "document", "abstract", "description"];

const EXTENSIONS = ["txt", "md", "json", "jsonl", "ndjson", "csv", "tsv"];

export interface Documents extends StoredVectors {
  texts: string[];
}

/** The passages of a file. Its extension determines the format. */
export async function readDocuments(name: string, blob: Blob): Promise<Documents> {
  const extension = extensionOf(name);
  if (extension !== undefined && !EXTENSIONS.includes(extension)) {
    throw new Error(`${name} cannot be read: choose a file that ends with .${EXTENSIONS.join(", .")}.`);
  }
  const content = decode(name, await blob.arrayBuffer());
  const records = parse(name, content);
  const texts = textsOf(records).map((text) => text.trim());
  const documents = texts.filter((text) => text !== "");
  if (documents.length === 0) throw new Error(nothing(name, records));
  // Vectors belong to their texts only if each record has a text.
  const isWhole = documents.length === records.length;
  return { texts: documents, ...(isWhole && vectorsOf(records)) };
}

function extensionOf(name: string): string | undefined {
  return /\.(\w+)$/.exec(name)?.[1]?.toLowerCase();
}

/** The text of a file in UTF-8, or in UTF-16 if it says so. */
function decode(name: string, bytes: ArrayBuffer): string {
  const [first, second] = new Uint8Array(bytes);
  const encoding =
    first === 0xff && second === 0xfe ? "utf-16le" : first === 0xfe && second === 0xff ? "utf-16be" : "utf-8";
  try {
    const text = new TextDecoder(encoding, { fatal: true }).decode(bytes);
    if (!text.includes("\0")) return text;
  } catch {
    // Explained below.
  }
  throw new Error(`${name} is not text in UTF-8: save it as UTF-8, or choose another file.`);
}

/** Why a file has no passages. */
function nothing(name: string, records: unknown[]): string {
  const vectors = records.some((record) => Array.isArray(record) || hasVectors(record));
  if (vectors)
    return `${name} has vectors, but not the texts that they are of: export the index as “JSONL, with texts” to import it.`;
  return `${name} has no texts: it must be a .txt or .md file with a passage a line or a paragraph, a .json or .jsonl file with a field “text”, or a .csv file with a column “text”.`;
}

/** The records of a file: strings, objects, or whatever else JSON may hold. */
function parse(name: string, content: string): unknown[] {
  const extension = extensionOf(name);
  if (extension === "jsonl" || extension === "ndjson") return jsonLines(name, content);
  if (extension === "json") return jsonList(name, content);
  if (extension === "csv" || extension === "tsv") {
    const { data } = papaparse.parse<Record<string, unknown>>(content, {
      header: true,
      skipEmptyLines: "greedy",
    });
    return data;
  }
  const paragraphs = content.split(/\n\s*\n/);
  // In a file without empty lines each line is a passage.
  return paragraphs.length > 1
    ? paragraphs.map((paragraph) => paragraph.replace(/^#+\s+/, ""))
    : content.split("\n");
}

function jsonList(name: string, content: string): unknown[] {
  let list: unknown;
  try {
    list = JSON.parse(content);
  } catch (error) {
    throw new Error(`${name} is not JSON: ${(error as Error).message}. Correct it, or choose another file.`);
  }
  if (Array.isArray(list)) return list;
  // Some APIs answer with an object that has the list in a field.
  const lists = Object.values(Object(list)).filter(Array.isArray);
  if (lists.length === 1) return lists[0] as unknown[];
  throw new Error(`${name} must be a JSON array of texts, or of objects with a field “text”.`);
}

function jsonLines(name: string, content: string): unknown[] {
  return content
    .split("\n")
    .map((line, index) => ({ line: line.trim(), number: index + 1 }))
    .filter(({ line }) => line !== "")
    .map(({ line, number }) => {
      try {
        return JSON.parse(line) as unknown;
      } catch (error) {
        throw new Error(
          `Line ${number} of ${name} is not JSON: ${(error as Error).message}. Correct or remove it.`,
        );
      }
    });
}

/** The texts of records. A record is a string, or an object with a string in some field. */
function textsOf(records: unknown[]): string[] {
  const objects = records.filter((record) => typeof record === "object" && record !== null);
  const field = textField(objects as Record<string, unknown>[]);
  return records.flatMap((record) => {
    const text = typeof record === "string" ? record : (record as Record<string, unknown> | null)?.[field];
    return typeof text === "string" ? [text] : [];
  });
}

function hasVectors(record: unknown): boolean {
  const { dense, sparse, embedding, values, embeddings } = Object(record);
  return [dense, sparse, embedding, values, embeddings].some((value) => typeof value === "object" && value);
}

/**
 * The vectors of records, of each kind that all of them have. See the format `jsonl` of export.ts.
 */
function vectorsOf(records: unknown[]): StoredVectors {
  const rows = records.map((record) => Object(record) as { dense?: unknown; sparse?: unknown });
  const dense = rows.map(({ dense }) => dense).filter(isNumbers);
  const dimensions = dense[0]?.length ?? 0;
  const isDense = dense.length === rows.length && dense.every(({ length }) => length === dimensions);
  const sparse = rows.map(({ sparse }) => sparseVector(sparse)).filter((vector) => vector !== undefined);
  return {
    ...(isDense &&
      dimensions > 0 && { dense: { data: Float32Array.from(dense.flat()), dimensions, tokens: 0 } }),
    ...(sparse.length === rows.length && { sparse }),
  };
}

function isNumbers(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((entry) => Number.isFinite(entry));
}

function sparseVector(value: unknown): SparseVector | undefined {
  const { indices, values } = Object(value) as { indices?: unknown; values?: unknown };
  if (!isNumbers(indices) || !isNumbers(values) || indices.length !== values.length) return undefined;
  return { indices: Uint32Array.from(indices), values: Float32Array.from(values) };
}

function textField(records: Record<string, unknown>[]): string {
  const lengths = new Map<string, number>();
  for (const record of records) {
    for (const [name, value] of Object.entries(record)) {
      if (typeof value === "string") lengths.set(name, (lengths.get(name) ?? 0) + value.length);
    }
  }
  const known = TEXT_FIELDS.find((name) => lengths.has(name));
  const [longest] = [...lengths].sort(([, a], [, b]) => b - a);
  return known ?? longest?.[0] ?? "text";
}
