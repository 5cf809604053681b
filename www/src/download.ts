/** Collects the progress events of a load: the files, the speed, and the time left. */

import type { Progress } from "gossamer-embed";

/**
 * Milliseconds over which the speed is measured: long enough for a steady figure, short enough to
 * show a change.
 */
const WINDOW = 4000;

export interface FileProgress {
  name: string;
  loaded: number;
  total: number | undefined;
  done: boolean;
}

export class Download {
  readonly #files = new Map<string, FileProgress>();
  #samples: { at: number; loaded: number }[] = [];
  loaded = 0;
  /** Unknown until the first weights arrive. */
  total: number | undefined;

  /** Whether all bytes have arrived. */
  get hasArrived(): boolean {
    return this.total !== undefined && this.loaded >= this.total;
  }

  get files(): FileProgress[] {
    return [...this.#files.values()];
  }

  get bytesPerSecond(): number | undefined {
    const [first, last] = [this.#samples.at(0), this.#samples.at(-1)];
    if (!first || !last || last.at === first.at) return undefined;
    return ((last.loaded - first.loaded) / (last.at - first.at)) * 1000;
  }

  get millisecondsLeft(): number | undefined {
    const speed = this.bytesPerSecond;
    return speed && this.total !== undefined ? ((this.total - this.loaded) / speed) * 1000 : undefined;
  }

  update(event: Progress): void {
    if (event.status === "ready") return;
    if (event.status === "progress_total") {
      this.loaded = event.loaded;
      this.total = event.total;
      const at = performance.now();
      this.#samples = [
        ...this.#samples.filter((sample) => at - sample.at < WINDOW),
        { at, loaded: event.loaded },
      ];
      return;
    }
    const file = this.#files.get(event.file) ?? {
      name: event.file,
      loaded: 0,
      total: undefined,
      done: false,
    };
    this.#files.set(event.file, file);
    if (event.status === "done") file.done = true;
    if (event.status === "progress") {
      file.loaded = event.loaded;
      file.total = event.total;
    }
  }
}
