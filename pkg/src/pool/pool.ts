/** A model in several workers: each has an instance of its own, and takes the next part when it is done with one. */

import { type Call, merge, type Results } from "../engine/call.js";
import type { Engine } from "../engine/engine.js";
import { aborted, checkAborted, disposed } from "../errors.js";
import type { ModelInfo } from "../types.js";
import { type Remote, workerFailed } from "./remote.js";
import { type Part, SHARED, split } from "./split.js";
import { Task } from "./task.js";

/** Several workers behind the face of one. */
export class Pool implements Engine {
  readonly #info: ModelInfo;
  readonly #reload: () => Promise<Pool>;
  readonly #size: number;
  /** And the tokens that each is working on. */
  readonly #workers: Map<Remote, number>;
  /** With parts that wait, by turns. */
  #tasks: Task[] = [];
  /** With parts of any kind. */
  readonly #open = new Set<Task>();
  #replacing = 0;
  #disposed = false;

  constructor(workers: Remote[], info: ModelInfo, reload: () => Promise<Pool>) {
    this.#size = workers.length;
    this.#workers = new Map(workers.map((worker) => [worker, 0]));
    this.#info = info;
    this.#reload = reload;
  }

  get info(): ModelInfo {
    if (this.#disposed) throw disposed();
    const workers = [...this.#workers.keys()].filter((worker) => !worker.failure);
    const memoryBytes = workers.reduce((sum, worker) => sum + worker.memoryBytes, 0);
    return { ...this.#info, workers: workers.length, memoryBytes };
  }

  async run<Name extends keyof Results>(
    call: Call<Name>,
    signal: AbortSignal | undefined,
  ): Promise<Results[Name]> {
    const parts = split(call, this.#workers.size, this.#info.maxTokens);
    // What is wrong with the whole may not show in its parts.
    if (parts.length > 1) await this.#do("check", [{ call, first: 0, tokens: 0 }], signal);
    return merge(call.name, (await this.#do("run", parts, signal)) as Results[Name][]);
  }

  dispose(): void {
    this.#disposed = true;
    for (const task of this.#open) task.fail(disposed());
    for (const worker of this.#workers.keys()) worker.fail(disposed());
    this.#workers.clear();
    this.#tasks = [];
  }

  async #do(method: "check" | "run", parts: Part[], signal: AbortSignal | undefined): Promise<unknown[]> {
    if (this.#disposed) throw disposed();
    checkAborted(signal);
    // Those that could not be replaced when they failed perhaps can be now.
    if (this.#workers.size < this.#size && this.#replacing === 0) void this.#replace();
    const task = new Task(method, parts);
    const abort = () => signal && task.fail(aborted(signal));
    signal?.addEventListener("abort", abort);
    this.#open.add(task);
    this.#tasks.push(task);
    this.#dispatch();
    try {
      return await task.result;
    } finally {
      this.#open.delete(task);
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Gives work to those that have none, a part of each call by turns. Short parts share a worker, and so its steps. */
  #dispatch(): void {
    for (const worker of this.#workers.keys()) {
      if (worker.failure && this.#workers.delete(worker)) void this.#replace();
    }
    this.#tasks = this.#tasks.filter((task) => task.waiting.length > 0);
    for (;;) {
      const task = this.#tasks[0];
      const part = task?.waiting[0];
      const [least] = [...this.#workers].sort(([, a], [, b]) => a - b);
      if (!task || !part || !least) return;
      const [worker, tokens] = least;
      if (tokens > 0 && tokens + part.tokens > SHARED) return;
      this.#tasks.shift();
      task.waiting.shift();
      if (task.waiting.length > 0) this.#tasks.push(task);
      void this.#perform(worker, task, part);
    }
  }

  async #perform(worker: Remote, task: Task, part: Part): Promise<void> {
    const tokens = Math.max(1, part.tokens);
    this.#add(worker, tokens);
    await task.perform(worker, part);
    if (task.waiting.length > 0 && !this.#tasks.includes(task)) this.#tasks.unshift(task);
    this.#add(worker, -tokens);
    this.#dispatch();
  }

  #add(worker: Remote, tokens: number): void {
    const before = this.#workers.get(worker);
    if (before !== undefined) this.#workers.set(worker, before + tokens);
  }

  /** Loads a worker in place of one that failed. The others go on meanwhile; if there are none, calls wait. */
  async #replace(): Promise<void> {
    this.#replacing++;
    let why: unknown;
    try {
      const recruit = await this.#reload();
      if (this.#disposed) recruit.dispose();
      else if (recruit.#info.spaceId !== this.#info.spaceId) {
        recruit.dispose();
        why = new Error("the model at its source is another one now");
      } else {
        for (const worker of recruit.#workers.keys()) this.#workers.set(worker, 0);
      }
    } catch (error) {
      why = error;
    }
    this.#replacing--;
    if (why !== undefined && this.#workers.size + this.#replacing === 0) {
      for (const task of this.#open) task.fail(workerFailed("no worker could be replaced", why));
    }
    this.#dispatch();
  }
}
