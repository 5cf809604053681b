/** Progress of a load, in the events of transformers.js, so that existing progress bars work unchanged. */

import { GossamerError, reason } from "./errors.js";
import type { Listing } from "./sources/source.js";
import type { LoadOptions, ModelKind } from "./types.js";

/** One event. */
export type Progress = FileProgress | BytesProgress | TotalProgress | ReadyProgress;

/** A file was found, begins to arrive, or is there. */
export interface FileProgress {
  /** Which of these. */
  status: "initiate" | "download" | "done";
  /** The model's name. */
  name: string;
  /** The file's path in the model's folder. */
  file: string;
}

/** More of a file is there. */
export interface BytesProgress {
  /** Always this. */
  status: "progress";
  /** The model's name. */
  name: string;
  /** The file's path in the model's folder. */
  file: string;
  /** In percent. */
  progress: number;
  /** Bytes that are there. */
  loaded: number;
  /** Bytes of the whole file. */
  total: number;
}

/** More of the model is there. */
export interface TotalProgress {
  /** Always this. */
  status: "progress_total";
  /** The model's name. */
  name: string;
  /** In percent. */
  progress: number;
  /** Bytes that are there. */
  loaded: number;
  /** Bytes of all files. */
  total: number;
  /** The same of each file, by its path. */
  files: Record<string, FileBytes>;
}

/** How far a file is. */
export interface FileBytes {
  /** Bytes that are there. */
  loaded: number;
  /** Bytes of the whole file. */
  total: number;
}

/** The model can be used. */
export interface ReadyProgress {
  /** Always this. */
  status: "ready";
  /** What it is for. */
  task: string;
  /** The model's name. */
  model: string;
}

/** Events per file that are worth a redraw. */
const STEPS = 200;
/** The Hub's names of what models are for, by their kind. */
const TASKS = {
  dense: "feature-extraction",
  sparse: "sparse-feature-extraction",
  reranker: "text-ranking",
};

/** Turns byte counts into events: percentages never fall and never pass 100. */
export class ProgressReport {
  readonly #name: string;
  readonly #known: Listing;
  readonly #emit: (progress: Progress) => void;
  /** Whether anyone hears of it. */
  readonly #isHeard: boolean;
  readonly #files: Record<string, FileBytes> = {};
  readonly #reported = new Map<string, number>();
  #overall = 0;
  #weights: string[] = [];

  /** `known` is what is known of files before they arrive. */
  constructor(name: string, emit: ((progress: Progress) => void) | undefined, known: Listing = new Map()) {
    this.#name = name;
    this.#known = known;
    this.#emit = emit ?? (() => {});
    this.#isHeard = emit !== undefined;
  }

  /** Weight files to come. Until they are known the whole is not. */
  expect(weights: string[]): void {
    this.#weights = weights;
  }

  /** A file was found and its bytes are about to arrive. */
  start(file: string): void {
    this.#emit({ status: "initiate", name: this.#name, file });
    this.#emit({ status: "download", name: this.#name, file });
  }

  /** So many bytes of a file are here. Its size may be unknown at first. */
  advance(file: string, bytes: number, size: number | undefined): void {
    if (size === undefined || !this.#isHeard) return;
    const total = Math.max(size, this.#files[file]?.total ?? 0);
    const loaded = Math.min(bytes, total);
    const last = this.#reported.get(file);
    if (last !== undefined && loaded < total && loaded - last < total / STEPS) return;
    if (last === loaded) return;
    this.#reported.set(file, loaded);
    this.#files[file] = { loaded, total };
    this.#emit({
      status: "progress",
      name: this.#name,
      file,
      progress: percent(loaded, total),
      loaded,
      total,
    });
    this.#whole();
  }

  /** A file is complete. */
  finish(file: string, bytes: number): void {
    this.advance(file, bytes, this.#files[file]?.total ?? bytes);
    this.#emit({ status: "done", name: this.#name, file });
  }

  /** The model can be used. */
  ready(kind: ModelKind): void {
    const task = TASKS[kind];
    this.#emit({ status: "ready", task, model: this.#name });
  }

  /** The whole, once a weight file's size is known; those of which nothing is known are taken to be as large. */
  #whole(): void {
    const sizes = this.#weights.map((file) => this.#files[file]?.total ?? this.#known.get(file)?.size);
    const known = sizes.filter((size) => size !== undefined);
    if (known.length === 0) return;
    const sum = (numbers: number[]) => numbers.reduce((total, number) => total + number, 0);
    const all = Object.entries(this.#files);
    const loaded = sum(all.map(([, file]) => file.loaded));
    const small = all.flatMap(([name, file]) => (this.#weights.includes(name) ? [] : [file.total]));
    const unknown = sizes.length - known.length;
    const total = Math.ceil(sum(small) + sum(known) + (unknown * sum(known)) / known.length);
    this.#overall = Math.max(this.#overall, percent(loaded, total));
    this.#emit({
      status: "progress_total",
      name: this.#name,
      progress: this.#overall,
      loaded,
      total,
      files: structuredClone(this.#files),
    });
  }
}

/** Calls a user's function, which may throw or give a promise that rejects. */
function call<T>(listener: (event: T) => unknown, event: T, failed: (error: unknown) => void): void {
  try {
    Promise.resolve(listener(event)).catch(failed);
  } catch (error) {
    failed(error);
  }
}

/** What hears of warnings, and never throws. */
export function careful(
  onWarning: LoadOptions["onWarning"] = (warning) => console.warn(warning.message),
): (warning: GossamerError) => void {
  return (warning) => call(onWarning, warning, (error) => console.error(warning.message, error));
}

/** What hears of progress, and never throws: that it fails is warned of once. */
export function reporter(
  onProgress: (progress: Progress) => unknown,
  warn: (warning: GossamerError) => void,
): (progress: Progress) => void {
  let isTold = false;
  const failed = (cause: unknown) => {
    if (isTold) return;
    isTold = true;
    const why = `onProgress has failed: ${reason(cause)}. The model is loaded all the same.`;
    warn(new GossamerError("invalid_input", why, { status: 400, cause }));
  };
  return (progress) => call(onProgress, progress, failed);
}

function percent(loaded: number, total: number): number {
  return total === 0 ? 100 : (100 * loaded) / total;
}
