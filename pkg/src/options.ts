/** Checks options. The error for an unknown option names the one that was probably meant. */

import { GossamerError } from "./errors.js";
import type { LoadOptions } from "./types.js";

/** What the value of an option must be: a test, and the description in the error message. */
export type Rule = readonly [test: (value: unknown) => boolean, must: string];

const isObject = (value: unknown) => typeof value === "object" && value !== null && !Array.isArray(value);

/** Rules that several options share. */
export const TEXT: Rule = [(value) => typeof value === "string", "a string"];
export const FLAG: Rule = [(value) => typeof value === "boolean", "true or false"];
/** Infinity means that there is no limit. */
export const LIMIT: Rule = [(value) => typeof value === "number" && value >= 0, "a number, 0 or more"];
export const OBJECT: Rule = [isObject, "an object"];
const ACTION: Rule = [(value) => typeof value === "function", "a function"];
/** For options that `load` or the calls check themselves. */
const ANY: Rule = [() => true, ""];
export const SIGNAL: Rule = [
  (value) => typeof (value as AbortSignal | null)?.addEventListener === "function",
  "an AbortSignal (of an AbortController, its `signal`)",
];
const DOWNLOAD: Rule = [(value) => value === "auto" || value === "small", '"auto" or "small"'];
const HASHES: Rule = [
  (value) => isPlain(value) && Object.values(value).every((hash) => typeof hash === "string"),
  "an object that has the hash of each file under its name",
];
const POOLING: Rule = [
  (value) => [value].flat().every((mode) => typeof mode === "string"),
  "the name of a pooling mode, or a list of several",
];
const PROMPTS: Rule = [
  (value) => isPlain(value) && Object.values(value).every((text) => typeof text === "string"),
  "an object that has the text of each prompt under its name",
];
const COUNT: Rule = [
  (value) => Number.isSafeInteger(value) && Number(value) > 0,
  "a whole number, 1 or more",
];
const CACHE: Rule = [
  (value) =>
    typeof value === "boolean" ||
    ["get", "put", "delete"].every((name) => typeof Object(value)[name] === "function"),
  "true, false, or a store with `get`, `put` and `delete`",
];

/** The options of `load` and their rules. */
const LOAD: Readonly<Record<keyof LoadOptions, Rule>> = {
  device: TEXT,
  dtype: TEXT,
  file: TEXT,
  download: DOWNLOAD,
  sha256: HASHES,
  kind: TEXT,
  adapter: ANY,
  pooling: POOLING,
  normalize: FLAG,
  prompts: PROMPTS,
  maxTokens: COUNT,
  saveable: FLAG,
  revision: TEXT,
  subfolder: TEXT,
  endpoint: TEXT,
  token: TEXT,
  workers: ANY,
  createWorker: ACTION,
  cache: CACHE,
  offline: FLAG,
  stallTimeout: LIMIT,
  onWarning: ACTION,
  onProgress: ACTION,
  signal: SIGNAL,
};

/** Options of `encode` that users often pass to other calls. */
const ENCODE = [
  "normalize",
  "pooling",
  "dimensions",
  "output",
  "prompt",
  "promptName",
  "instruction",
  "task",
  "truncate",
];

/** Option names of other libraries → our name, or advice. */
const MEANT: Readonly<Record<string, string>> = {
  quantized: 'write dtype: "q8"',
  progress_callback: "onProgress",
  progressCallback: "onProgress",
  threads: "workers",
  numThreads: "workers",
  num_threads: "workers",
  normalize_embeddings: "normalize",
  local_files_only: "offline",
  cache_dir: "set HF_HUB_CACHE in the environment",
  model_file_name: "file",
  max_tokens: "maxTokens",
  max_length: "maxTokens",
  batch_size: "leave it out, or write batchTokens for stream",
  batchSize: "leave it out, or write batchTokens for stream",
  chunk_size: "write chunkSize",
  truncate_dim: "dimensions",
  output_dimensionality: "dimensions",
  precision: "output",
  input_type: "task",
  inputType: "task",
  abortSignal: "signal",
};

/**
 * Checks the options of `load` and returns them without those that are null (except `workers`).
 * Throws if an option is unknown or has a value of the wrong type.
 */
export function checkLoadOptions(options: object): LoadOptions {
  checkOptions("load", options, Object.keys(LOAD));
  const given = Object.fromEntries(
    Object.entries(options).filter(([name, value]) => value !== null || name === "workers"),
  );
  checkValues("load", given, LOAD);
  return given;
}

/** Throws if a call has an unknown option. Options that are `undefined` are ignored. */
export function checkOptions(call: string, options: unknown, known: readonly string[]): void {
  if (!isPlain(options)) throw invalid(`The options of ${call} must be an object`);
  const unknown = Object.entries(options).find(
    ([name, value]) => value !== undefined && !known.includes(name),
  );
  if (!unknown) return;
  const [name] = unknown;
  throw invalid(`${call} has no option \`${name}\`${hint(name, known) || `, but ${known.join(", ")}`}`);
}

/** Throws if the value of an option breaks its rule. */
export function checkValues(call: string, options: object, rules: Readonly<Record<string, Rule>>): void {
  for (const [name, value] of Object.entries(options)) {
    const [test, must] = (value !== undefined && rules[name]) || ANY;
    if (!test(value)) throw invalid(`${call}: \`${name}\` is ${described(value)}; it must be ${must}`);
  }
}

/**
 * Throws if the options of a call are not an object, or have a number that is NaN or infinite:
 * JSON, in which options go to wasm, cannot express these.
 */
export function checkCall(options: unknown): void {
  if (options === undefined || options === null) return;
  if (!isPlain(options)) throw invalid(`The options of a call must be an object, not ${described(options)}`);
  const { signal } = options;
  if (signal !== undefined && signal !== null) checkValues("a call", { signal }, { signal: SIGNAL });
  for (const [name, value] of Object.entries(options)) {
    if (typeof value !== "number" || Number.isFinite(value)) continue;
    throw invalid(`\`${name}\` is ${value}; it must be a finite number. Leave it out for the default`);
  }
}

/** Whether a value is a plain object. A Map or a Date would look like an object without options. */
function isPlain(value: unknown): value is Record<string, unknown> {
  return Object.prototype.toString.call(value) === "[object Object]";
}

function described(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value !== "object" && typeof value !== "function") return String(value);
  return value === null ? "null" : Object.prototype.toString.call(value);
}

/** Adds to an error of wasm about an unknown field the name that was probably meant. */
export function hinted(error: unknown): unknown {
  if (!(error instanceof GossamerError)) return error;
  const [, name, list] = /unknown field `(.+?)`, expected (.+)/.exec(error.message) ?? [];
  if (name === undefined || list === undefined) return error;
  const known = Array.from(list.matchAll(/`(.+?)`/g), ([, name]) => name as string);
  return invalid(error.message + hint(name, known));
}

function hint(name: string, known: readonly string[]): string {
  const meant = Object.hasOwn(MEANT, name) ? (MEANT[name] as string) : "";
  if (meant.includes(" ")) return `; ${meant}`;
  if (known.includes(meant)) return `; write ${meant}`;
  const near = nearest(name, known);
  if (near !== undefined) return `; perhaps \`${near}\` was meant`;
  if (ENCODE.includes(name)) return "; it is an option of encode";
  return Object.hasOwn(LOAD, name) ? "; it is an option of load" : "";
}

/** The name that differs least from a misspelt one; undefined if none is close. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  return known
    .filter((other) => Math.abs(other.length - name.length) < 4)
    .map((other) => ({ other, distance: distance(bare(name), bare(other)) }))
    .filter(({ other, distance }) => distance <= Math.min(2, other.length / 3))
    .sort((a, b) => a.distance - b.distance)[0]?.other;
}

/** A name without its word separators, in lower case. */
const bare = (name: string) => name.replace(/[_-]/g, "").toLowerCase();

/** The Levenshtein distance: the number of characters to insert, delete or replace. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      const replaced = (row[j] as number) + (letter === b[j] ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] as number) + 1, (next[j] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}

function invalid(message: string): GossamerError {
  return new GossamerError("invalid_input", `${message}.`, { status: 400 });
}
