/** Chooses the build of the wasm for a model, as early as it can be known. */

import { GossamerError } from "./errors.js";
import type { Build } from "./host.js";
import type { Device } from "./types.js";

/** Models that only the full build has: with experts, with adapters of tasks, and DeBERTa. */
const FULL_ID = /-moe$|jina-embeddings-v3$|deberta-v|mxbai-rerank-\w+-v1$/i;

/** Weight files that only the full build reads. */
const FOREIGN = /\.(gguf|onnx|bin|pth?)$/i;

/** Weight files that are read only if the same in safetensors is not there. */
const TORCH = /^(.*\/)?(?:pytorch_(model)\.bin|(sparse_linear|colbert_linear)\.pt)$/;

/**
 * Ids of repositories of which another file than safetensors is likely to be loaded: those of
 * sentence-transformers have ONNX files of half the size.
 */
const FOREIGN_ID = /gguf|onnx|^(xenova|sentence-transformers)\//i;

/** What is known about a model before it is loaded. */
export interface Known {
  /** Its name. */
  model: string;
  device: Device | undefined;
  /** The weight file, if one is named. */
  file: string | undefined;
  /** The names of all files. */
  names?: Iterable<string> | undefined;
  /** Whether an adapter is merged into it. */
  hasAdapter?: boolean;
}

/**
 * The build for a model. If it turns out to be the wrong one while the model is loaded, the loader
 * takes the full build then (see {@link needsFull}); that costs time, and nothing else.
 */
export function chooseBuild({ model, device = "cpu", file, names, hasAdapter }: Known): Build {
  if (hasAdapter || FULL_ID.test(model)) return "full";
  if (device !== "cpu" && (globalThis.navigator as { gpu?: unknown } | undefined)?.gpu) return "full";
  if (file !== undefined) return FOREIGN.test(file) ? "full" : "common";
  const all = new Set(names ?? []);
  const isLacking = (name: string) => {
    const [match, folder = "", model, head] = TORCH.exec(name) ?? [];
    const other = `${folder}${model ?? head}.safetensors`;
    return match !== undefined && !all.has(other) && !all.has(`${other}.index.json`);
  };
  const isForeign = (name: string) => FOREIGN.test(name);
  const hasOwn = all.size === 0 || [...all].some((name) => name.endsWith(".safetensors"));
  return [...all].some(isLacking) || (!hasOwn && [...all].some(isForeign)) ? "full" : "common";
}

/** Whether to begin with the common build while the files of a model are still being listed. */
export function isUsual(model: string): boolean {
  return !FOREIGN_ID.test(model);
}

/** Whether the common build refused a model because it lacks what the model needs. */
export function needsFull(error: unknown): boolean {
  return error instanceof GossamerError && error.code === "needs_full_build";
}
