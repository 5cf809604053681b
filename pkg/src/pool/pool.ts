/** A model in several workers: each has an instance of its own, and takes the next part when it is done with one. */

import { onAbort } from "../abort.js";
import { type Call, merge, type Results } from "../engine/call.js";
import type { Engine } from "../engine/engine.js";
import { aborted, anotherModel, checkAborted, disposed } from "../errors.js";
import type { ModelInfo } from "../types.js";
import { type Remote, workerFailed } from "./remote.js";
import { type Part, SHARED, split } from "./split.js";
import { Task } from "./task.js";

/** Several workers behind the face of one. */
export class Pool implements Engine {
  readonly #info: ModelInfo;
  readonly #reload: () => Promise<Pool>;
  readonly #size: number;
  /** And the parts that each is working on. */
  readonly #workers: Map<Remote, Set<Part>>;
  /** With parts that wait, by turns. */
  #tasks: Task[] = [];
  /** With parts of any kind. */
  readonly #open = new Set<Task>();
  #replacing = 0;
  #disposed = false;

  constructor(workers: Remote[], info: ModelInfo, reload: () => Promise<Pool>) {
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
    // What is wrong with the whole may not show in its parts: one worker looks while the others begin.
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
    // Those that could not be replaced when they failed perhaps can be now.
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

  /** Gives out parts, one of each call by turns, to the workers that have the least to do. */
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

  /** Calls whose turn it may be: short ones do not overtake for ever what must wait for room, but requests need none. */
  #next(): Task[] {
    const isRequest = ({ waiting: [part] }: Task) => part?.call.name === "fetch" && !part.alone;
    const first = this.#tasks.find((task) => !isRequest(task));
    // One that must be alone waits for that, and all others for it.
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

  /** Loads a worker in place of one that failed. The others go on meanwhile; if there are none, calls wait. */
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
 * Whether a worker may take a part beside what it has. Requests of servers always: a worker does all that it has by
 * turns, so none is stuck behind a long one. Parts of calls only while they are short: these do better together, and
 * longer ones are done sooner by whichever worker is free first.
 */
function fits(part: Part, others: Set<Part>): boolean {
  if (others.size === 0) return true;
  if (part.alone || [...others].some((other) => other.alone)) return false;
  if (part.call.name === "fetch") return true;
  const calls = [...others].filter((other) => other.call.name !== "fetch");
  return calls.length === 0 || tokens(calls) + part.tokens <= SHARED;
}
