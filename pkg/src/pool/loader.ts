/** Loads a model into several workers. */

import { onAbort } from "../abort.js";
import type { EngineLoader, LoaderOptions, LoadStep } from "../engine/engine.js";
import { disposed, GossamerError } from "../errors.js";
import { isFull } from "../instance.js";
import { Pool } from "./pool.js";
import type { Answer, Arguments, Method } from "./protocol.js";
import { type Remote, workerFailed } from "./remote.js";

/** Passes the bytes of one stream to every worker. */
export class PoolLoader implements EngineLoader<Pool> {
  #isFull = false;
  readonly #workers: Remote[] = [];
  readonly #reload: () => Promise<Pool>;
  /** Stops listening to the signal. */
  readonly #ignore: () => void;
  /** The last push, which may still be under way. */
  #pushed: Promise<number | undefined> = Promise.resolve(undefined);

  /**
   * `reload` loads a pool of one worker, to replace one that failed. When `signal` is aborted while
   * the model is loaded, the workers end at once: they may be busy, or never start.
   */
  static async start(
    create: () => Remote,
    count: number,
    module: Promise<WebAssembly.Module>,
    options: LoaderOptions,
    reload: () => Promise<Pool>,
    signal: AbortSignal | undefined,
  ): Promise<PoolLoader> {
    const loader = new PoolLoader(reload, signal);
    try {
      while (loader.#workers.length < count) loader.#workers.push(create());
      const ready = await module;
      loader.#isFull = isFull(ready);
      await loader.#all("start", [ready, options]);
    } catch (error) {
      loader.free();
      throw error instanceof GossamerError ? error : workerFailed("no worker could be created", error);
    }
    return loader;
  }

  private constructor(reload: () => Promise<Pool>, signal: AbortSignal | undefined) {
    this.#reload = reload;
    this.#ignore = onAbort(signal, () => this.free());
  }

  get isFull(): boolean {
    return this.#isFull;
  }

  next(): Promise<LoadStep> {
    return this.#all("next", []);
  }

  async provide(name: string, bytes: Uint8Array | undefined): Promise<void> {
    const provided = this.#workers.map((worker) => {
      const copy = bytes && copied(bytes);
      return worker.request("provide", [name, copy], { transfer: copy ? [copy] : [] });
    });
    await Promise.all(provided);
  }

  /**
   * Returns before the workers have taken the bytes in, so that the next chunk can be fetched
   * meanwhile.
   */
  async push(bytes: Uint8Array): Promise<number | undefined> {
    const copies = this.#workers.map(() => copied(bytes));
    const size = await this.#pushed;
    const pushes = this.#workers.map((worker, index) => {
      const copy = copies[index] as ArrayBuffer;
      return worker.request("push", [copy], { transfer: [copy] });
    });
    this.#pushed = Promise.all(pushes).then(([size]) => size);
    // The next call awaits it, and hears of its failure.
    this.#pushed.catch(() => {});
    return size;
  }

  async end(): Promise<void> {
    await this.#pushed;
    this.#pushed = Promise.resolve(undefined);
    return this.#all("end", []);
  }

  async finish(): Promise<Pool> {
    const info = await this.#all("finish", []);
    this.#ignore();
    return new Pool(this.#workers, info, this.#isFull, this.#reload);
  }

  free(): void {
    this.#ignore();
    for (const worker of this.#workers) worker.fail(disposed());
  }

  /** Asks all workers, which give the same answer. */
  async #all<M extends Method>(method: M, args: Arguments<M>): Promise<Answer<M>> {
    const answers = await Promise.all(this.#workers.map((worker) => worker.request(method, args)));
    return answers[0] as Answer<M>;
  }
}

/** A copy for one worker, to which it is transferred. */
function copied(bytes: Uint8Array): ArrayBuffer {
  return bytes.slice().buffer as ArrayBuffer;
}
