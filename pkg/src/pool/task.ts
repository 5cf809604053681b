/** A call in progress in a pool. */

import { GossamerError } from "../errors.js";
import type { Remote } from "./remote.js";
import type { Part } from "./split.js";

/** Number of workers that may fail on a part before the part fails. */
const TRIES = 2;

/** The parts of a call: those that wait, those in progress, and the results of the others. */
export class Task {
  readonly result: Promise<unknown[]>;
  /** The longest first: the shorter ones then fill the gaps at the end. */
  waiting: Part[];
  readonly #method: "check" | "run";
  readonly #parts: Part[];
  readonly #results = new Map<Part, unknown>();
  readonly #errors = new Map<Part, unknown>();
  readonly #running = new Map<Part, { worker: Remote; id: number }>();
  readonly #failures = new Map<Part, number>();
  /** Parts whose first input has this index or a higher one are dropped. */
  #end = Number.POSITIVE_INFINITY;
  #resolve: (results: unknown[]) => void = () => {};
  #reject: (error: unknown) => void = () => {};

  constructor(method: "check" | "run", parts: Part[]) {
    this.#method = method;
    this.#parts = parts;
    this.waiting = [...parts].sort((a, b) => b.tokens - a.tokens);
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** Runs a part on a worker. If the worker itself fails, the part waits again for another one. */
  async perform(worker: Remote, part: Part): Promise<void> {
    const { call, first } = part;
    const started = (id: number) => this.#running.set(part, { worker, id });
    try {
      const value =
        this.#method === "run"
          ? await worker.request("run", [call, first], { started })
          : await worker.request("check", [call], { started });
      this.#results.set(part, value);
    } catch (error) {
      // After a trap the worker's memory may be in any state, and a lost GPU loses the weights.
      if (error instanceof GossamerError && ["internal", "gpu_lost"].includes(error.code)) worker.fail(error);
      const failures = (this.#failures.get(part) ?? 0) + 1;
      this.#failures.set(part, failures);
      // Another part may have caused the failure: this one is tried again on a worker that does
      // nothing else.
      part.alone = true;
      if (worker.failure && failures < TRIES && part.first < this.#end) this.waiting.unshift(part);
      else this.#failed(part, error);
    }
    this.#running.delete(part);
    this.#settle();
  }

  /** Fails the whole call. */
  fail(error: unknown): void {
    this.#dropFrom(0);
    this.#reject(error);
  }

  /**
   * Drops the parts after one that failed. The parts before it go on: if one of them fails too, its
   * error is the one to report.
   */
  #failed(part: Part, error: unknown): void {
    this.#errors.set(part, error);
    this.#dropFrom(part.first);
  }

  #dropFrom(first: number): void {
    this.#end = Math.min(this.#end, first);
    this.waiting = this.waiting.filter((part) => part.first < this.#end);
    for (const [part, { worker, id }] of this.#running) if (part.first >= this.#end) worker.abort(id);
  }

  #settle(): void {
    const undone = this.#parts.find((part) => !this.#results.has(part));
    if (!undone) this.#resolve(this.#parts.map((part) => this.#results.get(part)));
    else if (this.#errors.has(undone)) this.#reject(this.#errors.get(undone));
  }
}
