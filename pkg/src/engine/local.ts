/** A model in this thread, and on its GPU. */

import { breathe } from "../breathe.js";
import { checkAborted, disposed, GossamerError, guard, release, toGossamerError } from "../errors.js";
import type { ModelInfo } from "../types.js";
import { type GpuDevice, type Job, Loader, type Model } from "../wasm/gossamer.js";
import type { Call, Results } from "./call.js";
import type { Engine, EngineLoader, LoaderOptions } from "./engine.js";
import { fasterFrom, openGpu } from "./gpu.js";

/** Loads the same model once more. */
export type Reload = () => Promise<LocalEngine>;

/** Loads into this thread's wasm, which must have been started, and onto its GPU if that is asked for. */
export class LocalLoader implements EngineLoader<LocalEngine> {
  readonly #loader: Loader;
  readonly #memory: WebAssembly.Memory;
  /** Whether the weights are on a GPU, and the CPU has them, too. */
  readonly #onGpu: boolean;
  readonly #both: boolean;
  readonly #reload: Reload | undefined;

  /** `reload` is for when the GPU is lost. */
  static async start(
    options: LoaderOptions,
    memory: WebAssembly.Memory,
    reload?: Reload,
  ): Promise<LocalLoader> {
    return new LocalLoader(options, memory, await gpuFor(options), reload);
  }

  private constructor(
    { device, ...options }: LoaderOptions,
    memory: WebAssembly.Memory,
    gpu: GpuDevice | undefined,
    reload: Reload | undefined,
  ) {
    this.#onGpu = gpu !== undefined;
    this.#both = device === "auto";
    this.#loader = guard(() => new Loader(options, gpu, this.#both));
    this.#memory = memory;
    this.#reload = reload;
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

  async finish(): Promise<LocalEngine> {
    const model = guard(() => this.#loader.finish());
    const engine = new LocalEngine(model, this.#memory, this.#both, this.#reload);
    try {
      if (this.#onGpu) await engine.settle();
    } catch (error) {
      engine.dispose();
      throw error;
    }
    return engine;
  }

  free(): void {
    release(this.#loader);
  }
}

/** The GPU to load on, if any: without one `"auto"` is the CPU, as on most servers. */
async function gpuFor({ device }: LoaderOptions): Promise<GpuDevice | undefined> {
  if (device === "cpu") return undefined;
  try {
    return await openGpu();
  } catch (error) {
    if (device === "auto" && error instanceof GossamerError && error.code === "no_gpu") return undefined;
    throw error;
  }
}

function rethrow(error: unknown): never {
  throw toGossamerError(error);
}

/** Answers calls in bounded steps, between which the event loop runs. */
export class LocalEngine implements Engine {
  readonly #memory: WebAssembly.Memory;
  readonly #both: boolean;
  readonly #reload: Reload | undefined;
  #info: Omit<ModelInfo, "memoryBytes" | "workers">;
  #model: Model | undefined;
  /** Why passes do not go to the GPU that was asked for. */
  #fallback: string | undefined;
  #lost = 0;
  #recovery: Promise<void> | undefined;

  /** `both`: the CPU has the weights, too, if they are on a GPU. */
  constructor(model: Model, memory: WebAssembly.Memory, both: boolean, reload: Reload | undefined) {
    this.#model = model;
    this.#memory = memory;
    this.#both = both;
    this.#reload = reload;
    this.#info = guard(() => model.info());
  }

  get info(): ModelInfo {
    this.#loaded();
    const info = { ...this.#info, workers: 0, memoryBytes: this.#memory.buffer.byteLength };
    return this.#fallback === undefined ? info : { ...info, fallback: this.#fallback };
  }

  /** Checks the GPU's results, and measures from how many tokens on it is faster than the CPU. */
  async settle(): Promise<void> {
    const name = this.#info.kind === "dense" ? "encode" : "encodeSparse";
    try {
      await this.#loaded().check().catch(rethrow);
      if (!this.#both) return;
      const from = await fasterFrom(this.info, (inputs, onGpu) => {
        this.#loaded().setGpuFrom(onGpu ? 0 : Infinity);
        return this.#attempt({ name, inputs, options: {} });
      });
      this.#setGpuFrom(from);
    } catch (error) {
      this.#leaveGpu(error);
    }
  }

  /** In a part of a call, `first` is the number of its first input. */
  async run<Name extends keyof Results>(
    call: Call<Name>,
    signal?: AbortSignal,
    first = 0,
  ): Promise<Results[Name]> {
    try {
      return await this.#attempt(call, signal, first);
    } catch (error) {
      if (!(error instanceof GossamerError) || error.code !== "gpu_lost") throw error;
      this.#recovery ??= this.#recover(error).finally(() => {
        this.#recovery = undefined;
      });
      await this.#recovery;
      return this.#attempt(call, signal, first);
    }
  }

  async #attempt<Name extends keyof Results>(
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
      for (;;) {
        // Before the first step too: calls that were made in the same breath share it.
        await breathe();
        checkAborted(signal);
        this.#loaded();
        if (guard(() => job.step())) break;
        // While a GPU is at work.
        await guard(() => job.wait());
      }
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

  /** Loads the model anew on what may be another device. After the second loss, or where it cannot be loaded, it stays off. */
  async #recover(lost: GossamerError): Promise<void> {
    this.#lost++;
    try {
      if (!this.#reload || this.#lost > 1) throw lost;
      const { spaceId } = this.info;
      const engine = await this.#reload();
      const model = engine.#loaded();
      engine.#model = undefined;
      if (!this.#model || engine.#info.spaceId !== spaceId) {
        model.free();
        throw this.#model ? lost : disposed();
      }
      this.#model.free();
      this.#model = model;
      this.#info = engine.#info;
      this.#fallback = engine.#fallback;
    } catch (error) {
      this.#leaveGpu(error);
    }
  }

  /** Has the CPU do all, if it can. */
  #leaveGpu(reason: unknown): void {
    if (!this.#both) throw reason;
    this.#setGpuFrom(Infinity);
    this.#fallback = toGossamerError(reason).message;
  }

  #setGpuFrom(tokens: number): void {
    const model = this.#loaded();
    model.setGpuFrom(tokens);
    this.#info = guard(() => model.info());
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
