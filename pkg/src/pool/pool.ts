/**
 * A model in several workers. Each has its own copy and takes the next part of a call when it has
 * finished one.
 */

import { onAbort } from "../abort.js";
import { type Call, merge, type Results } from "../engine/call.js";
import type { Engine } from "../engine/engine.js";
import { aborted, anotherModel, checkAborted, disposed } from "../errors.js";
import type { ModelInfo } from "../types.js";
import { type Remote, workerFailed } from "./remote.js";
import { type Part, SHARED, split } from "./split.js";
import { Task } from "./task.js";

/** Several workers behind the interface of one engine. */
export class Pool implements Engine {
  readonly isFull: boolean;
  readonly #info: ModelInfo;
  readonly #reload: () => Promise<Pool>;
  readonly #size: number;
  /** The workers, and the parts that each is working on. */
  readonly #workers: Map<Remote, Set<Part>>;
  /** Tasks that have waiting parts, in the order of their turns. */
  #tasks: Task[] = [];
  /** All tasks in progress. */
  readonly #open = new Set<Task>();
  #replacing = 0;
  #disposed = false;

  constructor(workers: Remote[], info: ModelInfo, isFull: boolean, reload: () => Promise<Pool>) {
    this.isFull = isFull;
    this.#size = workers.length;
    this.#workers = new Map(workers.map((worker) => [worker, new Set()]));
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
    // Some errors only show in the whole call: one worker checks it while the others begin with the
    // parts.
    const check = parts.length > 1 && this.#start("check", [{ call, first: 0, tokens: 0 }], signal);
    const run = this.#start("run", parts, signal);
    if (check) {
      run.result.catch(() => {});
      await check.result.catch((error: unknown) => {
        run.fail(error);
        throw error;
      });
    }
    return merge(call.name, (await run.result) as Results[Name][]);
  }

  dispose(): void {
    this.#disposed = true;
    for (const task of this.#open) task.fail(disposed());
    for (const worker of this.#workers.keys()) worker.fail(disposed());
    this.#workers.clear();
    this.#tasks = [];
  }

  #start(method: "check" | "run", parts: Part[], signal: AbortSignal | undefined): Task {
    if (this.#disposed) throw disposed();
    checkAborted(signal);
    // Workers that could not be replaced when they failed may be replaceable now.
    if (this.#workers.size < this.#size && this.#replacing === 0) void this.#replace();
    const task = new Task(method, parts);
    const ignore = onAbort(signal, () => task.fail(aborted(signal as AbortSignal)));
    this.#open.add(task);
    this.#tasks.push(task);
    this.#dispatch();
    const end = () => {
      this.#open.delete(task);
      ignore();
    };
    task.result.then(end, end);
    return task;
  }

  /**
   * Assigns waiting parts, one of each call in turn, to the workers with the fewest tokens in
   * progress.
   */
  #dispatch(): void {
    for (const worker of this.#workers.keys()) {
      if (worker.failure && this.#workers.delete(worker)) void this.#replace();
    }
    for (;;) {
      this.#tasks = this.#tasks.filter((task) => task.waiting.length > 0);
      const workers = [...this.#workers].sort(([, a], [, b]) => tokens(a) - tokens(b));
      const found = this.#next()
        .flatMap((task) => workers.map(([worker, parts]) => ({ task, worker, parts })))
        .find(({ task, parts }) => fits(task.waiting[0] as Part, parts));
      if (!found) return;
      const { task, worker, parts } = found;
      this.#tasks = [...this.#tasks.filter((other) => other !== task), task];
      void this.#perform(worker, parts, task, task.waiting.shift() as Part);
    }
  }

  /**
   * Tasks that may be next. A call that waits for a free worker is not overtaken by shorter calls;
   * HTTP requests never wait.
   */
  #next(): Task[] {
    const isRequest = ({ waiting: [part] }: Task) => part?.call.name === "fetch" && !part.alone;
    const first = this.#tasks.find((task) => !isRequest(task));
    // A part that must run alone waits until a worker is idle, and all others wait for it.
    if (first?.waiting[0]?.alone) return [first];
    const requests = this.#tasks.filter(isRequest);
    return first ? [first, ...requests] : requests;
  }

  async #perform(worker: Remote, parts: Set<Part>, task: Task, part: Part): Promise<void> {
    parts.add(part);
    await task.perform(worker, part);
    parts.delete(part);
    if (task.waiting.length > 0 && !this.#tasks.includes(task)) this.#tasks.unshift(task);
    this.#dispatch();
  }

  /**
   * Loads a worker to replace one that failed. The others go on meanwhile; if there are none, calls
   * wait.
   */
  async #replace(): Promise<void> {
    this.#replacing++;
    let why: unknown;
    try {
      const recruit = await this.#reload();
      if (this.#disposed) recruit.dispose();
      else if (recruit.#info.spaceId !== this.#info.spaceId) {
        recruit.dispose();
        why = anotherModel();
      } else {
        for (const worker of recruit.#workers.keys()) this.#workers.set(worker, new Set());
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

const tokens = (parts: Iterable<Part>): number => [...parts].reduce((sum, part) => sum + part.tokens, 0);

/**
 * Whether a worker may take a part in addition to those that it has. HTTP requests always: a worker
 * processes its parts in turns, so a request does not wait for a long one. Parts of calls only
 * while they are short: short ones are faster together, long ones are finished sooner by the first
 * worker that is free.
 */
function fits(part: Part, others: Set<Part>): boolean {
  if (others.size === 0) return true;
  if (part.alone || [...others].some((other) => other.alone)) return false;
  if (part.call.name === "fetch") return true;
  const calls = [...others].filter((other) => other.call.name !== "fetch");
  return calls.length === 0 || tokens(calls) + part.tokens <= SHARED;
}
