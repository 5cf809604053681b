/** Reports the progress of a load. */

import { GossamerError, reason } from "./errors.js";
import type { FileBytes, Progress } from "./progress-events.js";
import type { Listing } from "./sources/source.js";
import type { LoadOptions, ModelKind } from "./types.js";

/** Maximum number of progress events per file. */
const STEPS = 200;
/** The Hub's names of what models are for, by their kind. */
const TASKS = {
  dense: "feature-extraction",
  sparse: "sparse-feature-extraction",
  reranker: "text-ranking",
  "late-interaction": "feature-extraction",
};

/** Turns byte counts into events. Percentages never fall and never exceed 100. */
export class ProgressReport {
  readonly #name: string;
  readonly #known: Listing;
  readonly #emit: (progress: Progress) => void;
  /** Whether there is a listener. */
  readonly #isHeard: boolean;
  readonly #files: Record<string, FileBytes> = {};
  readonly #reported = new Map<string, number>();
  /** Names of the files whose bytes have begun to arrive. */
  readonly started = new Set<string>();
  readonly #initiated = new Set<string>();
  #overall = 0;
  #weights: string[] = [];

  /** `known`: what is known about the files before they arrive. */
  constructor(name: string, emit: ((progress: Progress) => void) | undefined, known: Listing = new Map()) {
    this.#name = name;
    this.#known = known;
    this.#emit = emit ?? (() => {});
    this.#isHeard = emit !== undefined;
  }

  /** Sets the weight files. There are no events for the whole model before they are known. */
  expect(weights: string[]): void {
    this.#weights = weights;
  }

  /** Reports that a file will be requested, or was found. The first report of a file counts. */
  initiate(file: string, size = this.#known.get(file)?.size): void {
    if (this.#initiated.has(file)) return;
    this.#initiated.add(file);
    const total = size === undefined ? {} : { total: size };
    this.#emit({ status: "initiate", name: this.#name, file, ...total });
  }

  /** Reports that a file was found and its bytes are about to arrive. */
  start(file: string, size?: number): void {
    this.started.add(file);
    this.initiate(file, size);
    this.#emit({ status: "download", name: this.#name, file });
  }

  /** Reports the number of bytes of a file that have arrived. `size` may be unknown at first. */
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

  /** Reports that a file is complete. */
  finish(file: string, bytes: number): void {
    this.advance(file, bytes, this.#files[file]?.total ?? bytes);
    this.#emit({ status: "done", name: this.#name, file });
  }

  /** The model can be used. */
  ready(kind: ModelKind): void {
    const task = TASKS[kind];
    this.#emit({ status: "ready", task, model: this.#name });
  }

  /**
   * Reports the progress of all files, once the size of a weight file is known. Weight files of
   * unknown size are assumed to be as large as the known ones.
   */
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

/** Calls a user's function, which may throw or return a promise that rejects. */
function call<T>(listener: (event: T) => unknown, event: T, failed: (error: unknown) => void): void {
  try {
    Promise.resolve(listener(event)).catch(failed);
  } catch (error) {
    failed(error);
  }
}

/** A listener for warnings that never throws. */
export function careful(
  onWarning: LoadOptions["onWarning"] = (warning) => console.warn(warning.message),
): (warning: GossamerError) => void {
  return (warning) => call(onWarning, warning, (error) => console.error(warning.message, error));
}

/** A listener for progress that never throws. Warns once if the user's function fails. */
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
