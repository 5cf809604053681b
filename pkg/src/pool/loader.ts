/** Loads one model into several workers. */

import type { EngineLoader, LoaderOptions, LoadStep } from "../engine/engine.js";
import { disposed, GossamerError } from "../errors.js";
import { Pool } from "./pool.js";
import type { Answer, Arguments, Method } from "./protocol.js";
import { type Remote, workerFailed } from "./remote.js";

/** Hands every worker the same bytes, from one stream. */
export class PoolLoader implements EngineLoader<Pool> {
  readonly #workers: Remote[] = [];
  readonly #reload: () => Promise<Pool>;
  /** The last push, which may still be under way. */
  #pushed: Promise<number | undefined> = Promise.resolve(undefined);

  /** `reload` makes a pool of one worker, which replaces a worker that failed. */
  static async start(
    create: () => Remote,
    count: number,
    module: WebAssembly.Module,
    options: LoaderOptions,
    reload: () => Promise<Pool>,
  ): Promise<PoolLoader> {
    const loader = new PoolLoader(reload);
    try {
      while (loader.#workers.length < count) loader.#workers.push(create());
      await loader.#all("start", [module, options]);
    } catch (error) {
      loader.free();
      throw error instanceof GossamerError ? error : workerFailed("no worker could be created", error);
    }
    return loader;
  }

  private constructor(reload: () => Promise<Pool>) {
    this.#reload = reload;
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
    return new Pool(this.#workers, info, this.#reload);
  }

  free(): void {
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
