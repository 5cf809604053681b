/** The pool's side of one worker: sends requests and receives answers. */

import { GossamerError } from "../errors.js";
import type { Answer, Arguments, Failure, Method, Reply, Request } from "./protocol.js";

/** A thread of the host. */
export interface Thread {
  post(message: unknown, transfer: Transferable[]): void;
  /** Sets the callbacks for messages of the thread and for its failure. */
  listen(message: (message: unknown) => void, failed: (reason: unknown) => void): void;
  /** Whether the thread keeps the process alive. It does at first. */
  hold(held: boolean): void;
  terminate(): void;
}

/** Seconds within which a worker must report that its script is running. */
const PATIENCE = 8;

interface Pending {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** One worker. */
export class Remote {
  /** Wasm memory of the worker when it last answered. */
  memoryBytes = 0;
  /** The error after which the worker was ended, if any. */
  failure: GossamerError | undefined;
  readonly #thread: Thread;
  readonly #pending = new Map<number, Pending>();
  #next = 0;
  #watch: ReturnType<typeof setInterval> | undefined;

  constructor(thread: Thread) {
    this.#thread = thread;
    thread.listen(
      (message) => this.#receive(message as Reply | undefined | null),
      (reason) => this.fail(workerFailed("a worker stopped", reason)),
    );
    thread.hold(false);
  }

  /** Fails if the script does not report soon that it is running. */
  #expect(): void {
    // Counts ticks instead of time: a sleeping computer or a busy page skips ticks.
    let left = PATIENCE;
    this.#watch = setInterval(() => {
      if (--left > 0) return;
      const why = new Error(`no answer within ${PATIENCE} s: is it another script?`);
      this.fail(workerFailed("a worker did not start", why));
    }, 1000);
  }

  /** `started` is called with the id of the request, for {@link abort}. */
  request<M extends Method>(
    method: M,
    args: Arguments<M>,
    { transfer = [], started }: { transfer?: Transferable[]; started?: (id: number) => void } = {},
  ): Promise<Answer<M>> {
    if (this.failure) return Promise.reject(this.failure);
    const id = this.#next++;
    if (id === 0) this.#expect();
    return new Promise<Answer<M>>((resolve, reject) => {
      this.#post({ id, method, args }, transfer);
      this.#pending.set(id, { resolve: resolve as Pending["resolve"], reject });
      this.#thread.hold(true);
      started?.(id);
    });
  }

  /** Asks the worker to abort a request. It is still answered. */
  abort(id: number): void {
    if (this.#pending.has(id)) this.#post({ id, abort: true }, []);
  }

  /** Ends the thread. Requests in progress reject with `error`. */
  fail(error: GossamerError): void {
    if (this.failure) return;
    this.failure = error;
    clearInterval(this.#watch);
    this.#thread.terminate();
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }

  #post(request: Request, transfer: Transferable[]): void {
    try {
      this.#thread.post(request, transfer);
    } catch (error) {
      throw new GossamerError(
        "invalid_input",
        `The call cannot be sent to a worker (${describe(error)}); pass plain objects, lists, strings and numbers.`,
        { status: 400, cause: error },
      );
    }
  }

  /** Handles a message. Messages of other scripts are ignored. */
  #receive(reply: Reply | undefined | null): void {
    const pending = this.#pending.get(reply?.id as number);
    if (!pending || !reply || !("begun" in reply || "memoryBytes" in reply)) return;
    clearInterval(this.#watch);
    if ("begun" in reply) return;
    this.#pending.delete(reply.id);
    if (this.#pending.size === 0) this.#thread.hold(false);
    this.memoryBytes = reply.memoryBytes;
    if ("failure" in reply) pending.reject(revived(reply.failure));
    else pending.resolve(reply.value);
  }
}

/** The error for a worker that failed, or for all of them. */
export function workerFailed(what: string, cause: unknown): GossamerError {
  return new GossamerError(
    "worker_failed",
    `The work could not be done: ${what} (${describe(cause)}). Try again, or load the model anew; if workers never start, see \`createWorker\`.`,
    { status: 500, cause },
  );
}

function revived({ code, status, message }: Failure): GossamerError {
  return new GossamerError(code, message, { status });
}

function describe(reason: unknown): string {
  const message = (reason as { message?: unknown } | null)?.message;
  return typeof message === "string" && message !== "" ? message : "it gave no reason";
}
