/** A model in this thread. */

import { breathe } from "../breathe.js";
import { checkAborted, disposed, guard, release } from "../errors.js";
import type { ModelInfo } from "../types.js";
import { type Job, Loader, type Model } from "../wasm/gossamer.js";
import type { Call, Results } from "./call.js";
import type { Engine, EngineLoader, LoaderOptions } from "./engine.js";

/** Loads into this thread's wasm, which must have been started. */
export class LocalLoader implements EngineLoader<LocalEngine> {
  readonly #loader: Loader;
  readonly #memory: WebAssembly.Memory;

  constructor(options: LoaderOptions, memory: WebAssembly.Memory) {
    this.#loader = guard(() => new Loader(options));
    this.#memory = memory;
  }

  wanted(): string[] {
    return guard(() => this.#loader.wanted());
  }

  provide(name: string, bytes: Uint8Array | undefined): void {
    guard(() => this.#loader.provide(name, bytes));
  }

  weights(): string[] {
    return guard(() => this.#loader.weights());
  }

  absent(): string | undefined {
    return guard(() => this.#loader.absent());
  }

  beginWeights(name: string): void {
    guard(() => this.#loader.beginWeights(name));
  }

  pushWeights(bytes: Uint8Array): number | undefined {
    guard(() => this.#loader.pushWeights(bytes));
    return this.#loader.weightsSize();
  }

  endWeights(): void {
    guard(() => this.#loader.endWeights());
  }

  finish(): LocalEngine {
    return new LocalEngine(
      guard(() => this.#loader.finish()),
      this.#memory,
    );
  }

  free(): void {
    release(this.#loader);
  }
}

/** Answers calls in bounded steps, between which the event loop runs. */
export class LocalEngine implements Engine {
  readonly #memory: WebAssembly.Memory;
  readonly #info: Omit<ModelInfo, "memoryBytes" | "workers">;
  #model: Model | undefined;

  constructor(model: Model, memory: WebAssembly.Memory) {
    this.#model = model;
    this.#memory = memory;
    this.#info = guard(() => model.info());
  }

  get info(): ModelInfo {
    this.#loaded();
    return { ...this.#info, workers: 0, memoryBytes: this.#memory.buffer.byteLength };
  }

  /** In a part of a call, `first` is the number of its first input. */
  async run<Name extends keyof Results>(
    call: Call<Name>,
    signal?: AbortSignal,
    first = 0,
  ): Promise<Results[Name]> {
    this.#loaded();
    checkAborted(signal);
    const job = this.#start(call);
    job.countFrom((call.first ?? 0) + first);
    let finished = false;
    try {
      do {
        // Before the first step too: calls that were made in the same breath share it.
        await breathe();
        checkAborted(signal);
        this.#loaded();
      } while (!guard(() => job.step()));
      // It takes the job with it.
      finished = true;
      return guard(() => job.finish()) as Results[Name];
    } finally {
      if (!finished) release(job);
    }
  }

  /** Throws what is wrong with a call, as far as that shows before the work. */
  check(call: Call): void {
    release(this.#start(call));
  }

  dispose(): void {
    this.#model?.free();
    this.#model = undefined;
  }

  #start({ name, inputs, options }: Call): Job {
    const model = this.#loaded();
    return guard(() => model[name](inputs, options));
  }

  #loaded(): Model {
    if (this.#model) return this.#model;
    throw disposed();
  }
}
