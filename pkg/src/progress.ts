/** Progress of a load, in the events of transformers.js, so that existing progress bars work unchanged. */

/** One event. `progress` is a percentage. */
export type Progress =
  | { status: "initiate" | "download" | "done"; name: string; file: string }
  | { status: "progress"; name: string; file: string; progress: number; loaded: number; total: number }
  | {
      status: "progress_total";
      name: string;
      progress: number;
      loaded: number;
      total: number;
      files: Record<string, { loaded: number; total: number }>;
    }
  | { status: "ready"; task: string; model: string };

/** Events per file that are worth a redraw. */
const STEPS = 200;

/** Turns byte counts into events: percentages never fall and never pass 100. */
export class ProgressReport {
  readonly #name: string;
  readonly #emit: (progress: Progress) => void;
  readonly #files: Record<string, { loaded: number; total: number }> = {};
  readonly #reported = new Map<string, number>();
  #overall = 0;
  #weights: string[] = [];

  constructor(name: string, emit: ((progress: Progress) => void) | undefined) {
    this.#name = name;
    this.#emit = emit ?? (() => {});
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
    if (size === undefined) return;
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
  ready(kind: string): void {
    const task = kind === "sparse" ? "sparse-feature-extraction" : "feature-extraction";
    this.#emit({ status: "ready", task, model: this.#name });
  }

  /** The whole, once the first weight file's size is known; the other weight files are taken to be as large. */
  #whole(): void {
    const known = this.#weights.flatMap((file) => this.#files[file] ?? []);
    if (known.length === 0) return;
    const sum = (of: "loaded" | "total", files: { loaded: number; total: number }[]) =>
      files.reduce((bytes, file) => bytes + file[of], 0);
    const all = Object.values(this.#files);
    const loaded = sum("loaded", all);
    const unknown = this.#weights.length - known.length;
    const total = Math.ceil(sum("total", all) + (unknown * sum("total", known)) / known.length);
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

function percent(loaded: number, total: number): number {
  return total === 0 ? 100 : (100 * loaded) / total;
}
