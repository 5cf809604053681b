/** Options that do not exist: an error that names the one that was meant. */

import { GossamerError } from "./errors.js";
import type { LoadOptions } from "./types.js";

/** Options of `load`. */
const LOAD: Readonly<Record<keyof LoadOptions, 1>> = {
  device: 1,
  dtype: 1,
  file: 1,
  sha256: 1,
  saveable: 1,
  revision: 1,
  subfolder: 1,
  endpoint: 1,
  token: 1,
  workers: 1,
  createWorker: 1,
  cache: 1,
  offline: 1,
  stallTimeout: 1,
  onWarning: 1,
  onProgress: 1,
  signal: 1,
};

/** Options of `encode` that are looked for elsewhere. */
const ENCODE = [
  "normalize",
  "dimensions",
  "output",
  "prompt",
  "promptName",
  "instruction",
  "task",
  "truncate",
];

/** What other libraries have → the name here, or advice. */
const MEANT: Readonly<Record<string, string>> = {
  quantized: 'write dtype: "q8"',
  progress_callback: "onProgress",
  local_files_only: "offline",
  cache_dir: "set HF_HUB_CACHE in the environment",
  model_file_name: "file",
  pooling: "leave it out, the model's own files say it",
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

/** Throws if `load` has no such option. */
export function checkLoadOptions(options: object): void {
  checkOptions("load", options, Object.keys(LOAD));
}

/** Throws if a call has no such option. `undefined` is no option. */
export function checkOptions(call: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== "object" || options === null) {
    throw invalid(`The options of ${call} must be an object`);
  }
  const unknown = Object.entries(options).find(
    ([name, value]) => value !== undefined && !known.includes(name),
  );
  if (!unknown) return;
  const [name] = unknown;
  throw invalid(`${call} has no option \`${name}\`${hint(name, known) || `, but ${known.join(", ")}`}`);
}

/** An error of wasm, with the name that was meant if it is about an unknown field. */
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
  const nearest = known
    .filter((other) => Math.abs(other.length - name.length) < 4)
    .map((other) => ({ other, distance: distance(bare(name), bare(other)) }))
    .filter(({ other, distance }) => distance <= Math.min(2, other.length / 3))
    .sort((a, b) => a.distance - b.distance)[0];
  if (nearest) return `; perhaps \`${nearest.other}\` was meant`;
  if (ENCODE.includes(name)) return "; it is an option of encode";
  return Object.hasOwn(LOAD, name) ? "; it is an option of load" : "";
}

/** However words are joined. */
const bare = (name: string) => name.replace(/[_-]/g, "").toLowerCase();

/** Levenshtein's: characters to insert, delete or replace. */
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
