/** A call at work in a pool. */

import { GossamerError } from "../errors.js";
import type { Remote } from "./remote.js";
import type { Part } from "./split.js";

/** Workers that may fail over one part before the part is given up. */
const TRIES = 2;

/** A call's parts: those that wait, those that are being done, and what became of the others. */
export class Task {
  readonly result: Promise<unknown[]>;
  /** Longest first: the shorter ones then fill the gaps at the end. */
  waiting: Part[];
  readonly #method: "check" | "run";
  readonly #parts: Part[];
  readonly #results = new Map<Part, unknown>();
  readonly #errors = new Map<Part, unknown>();
  readonly #running = new Map<Part, { worker: Remote; id: number }>();
  readonly #failures = new Map<Part, number>();
  /** Parts from here on are given up. */
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

  /** Has a worker do a part, which goes back to those that wait if it was the worker that failed. */
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
      // After a trap nothing is known of the worker's memory, and a lost GPU takes the weights along.
      if (error instanceof GossamerError && ["internal", "gpu_lost"].includes(error.code)) worker.fail(error);
      const failures = (this.#failures.get(part) ?? 0) + 1;
      this.#failures.set(part, failures);
      // Others may have been at fault: it is tried again on a worker that does nothing beside.
      part.alone = true;
      if (worker.failure && failures < TRIES && part.first < this.#end) this.waiting.unshift(part);
      else this.#failed(part, error);
    }
    this.#running.delete(part);
    this.#settle();
  }

  /** Gives the whole call up. */
  fail(error: unknown): void {
    this.#dropFrom(0);
    this.#reject(error);
  }

  /** What comes after a part that failed need not be done. What comes before may fail too, and then counts first. */
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
