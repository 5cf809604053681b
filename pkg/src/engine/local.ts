/** A model in this thread, and on its GPU. */

import { anotherModel, checkAborted, disposed, GossamerError, toGossamerError } from "../errors.js";
import { yieldToEventLoop } from "../event-loop.js";
import type { GpuDevice, Job, Loader, Model, Wasm } from "../instance.js";
import type { ModelInfo } from "../types.js";
import type { Call, Results } from "./call.js";
import type { Engine, EngineLoader, LoaderOptions } from "./engine.js";
import { fasterFrom, openGpu } from "./gpu.js";

/** Loads the same model once more. */
export type Reload = () => Promise<LocalEngine>;

/** Loads into an instance of the wasm in this thread, and onto a GPU if that is asked for. */
export class LocalLoader implements EngineLoader<LocalEngine> {
  readonly #loader: Loader;
  readonly #wasm: Wasm;
  /** Whether the weights are on a GPU, and the CPU has them, too. */
  readonly #onGpu: boolean;
  readonly #both: boolean;
  readonly #reload: Reload | undefined;

  /** `reload` is for when the instance has trapped, or the GPU is lost. */
  static async start(options: LoaderOptions, wasm: Wasm, reload?: Reload): Promise<LocalLoader> {
    return new LocalLoader(options, wasm, await gpuFor(options, wasm), reload);
  }

  private constructor(
    { device, ...options }: LoaderOptions,
    wasm: Wasm,
    gpu: GpuDevice | undefined,
    reload: Reload | undefined,
  ) {
    this.#onGpu = gpu !== undefined;
    this.#both = device === "auto";
    this.#loader = wasm.guard(() => new wasm.classes.Loader(options, gpu, this.#both));
    this.#wasm = wasm;
    this.#reload = reload;
  }

  wanted(): string[] {
    return this.#wasm.guard(() => this.#loader.wanted());
  }

  provide(name: string, bytes: Uint8Array | undefined): void {
    this.#wasm.guard(() => this.#loader.provide(name, bytes));
  }

  weights(): string[] {
    return this.#wasm.guard(() => this.#loader.weights());
  }

  absent(): string | undefined {
    return this.#wasm.guard(() => this.#loader.absent());
  }

  beginWeights(name: string): void {
    this.#wasm.guard(() => this.#loader.beginWeights(name));
  }

  pushWeights(bytes: Uint8Array): number | undefined {
    return this.#wasm.guard(() => {
      this.#loader.pushWeights(bytes);
      return this.#loader.weightsSize();
    });
  }

  endWeights(): void {
    this.#wasm.guard(() => this.#loader.endWeights());
  }

  async finish(): Promise<LocalEngine> {
    const model = this.#wasm.guard(() => this.#loader.finish());
    const engine = new LocalEngine(model, this.#wasm, this.#both, this.#reload);
    try {
      if (this.#onGpu) await engine.settle();
    } catch (error) {
      engine.dispose();
      throw error;
    }
    return engine;
  }

  free(): void {
    this.#wasm.release(this.#loader);
  }
}

/** The GPU to load on, if any: without one `"auto"` is the CPU, as on most servers. */
async function gpuFor({ device }: LoaderOptions, wasm: Wasm): Promise<GpuDevice | undefined> {
  if (device === "cpu") return undefined;
  try {
    return await openGpu(wasm);
  } catch (error) {
    if (device === "auto" && error instanceof GossamerError && error.code === "no_gpu") return undefined;
    throw error;
  }
}

/** Answers calls in bounded steps, between which the event loop runs. */
export class LocalEngine implements Engine {
  readonly #both: boolean;
  readonly #reload: Reload | undefined;
  #wasm: Wasm;
  #info: Omit<ModelInfo, "memoryBytes" | "workers">;
  #model: Model | undefined;
  /** Why passes do not go to the GPU that was asked for. */
  #fallback: string | undefined;
  /** The GPU's failure, until the model has been loaded anew. */
  #gpuLost: GossamerError | undefined;
  #losses = 0;
  #recovery: Promise<void> | undefined;
  /** Calls that have a job. */
  #underWay = 0;
  /** Settles when no call is being repeated by itself. */
  #repeated: Promise<unknown> = Promise.resolve();

  /** `both`: the CPU has the weights, too, if they are on a GPU. */
  constructor(model: Model, wasm: Wasm, both: boolean, reload: Reload | undefined) {
    this.#model = model;
    this.#wasm = wasm;
    this.#both = both;
    this.#reload = reload;
    this.#info = wasm.guard(() => model.info());
  }

  get info(): ModelInfo {
    this.#loaded();
    const info = { ...this.#info, workers: 0, memoryBytes: this.#wasm.memory.buffer.byteLength };
    return this.#fallback === undefined ? info : { ...info, fallback: this.#fallback };
  }

  /** Checks the GPU's results, and measures from how many tokens on it is faster than the CPU. */
  async settle(): Promise<void> {
    const { kind } = this.#info;
    try {
      await this.#wasm.settled(this.#wasm.guard(() => this.#loaded().check()));
      if (!this.#both) return;
      const from = await fasterFrom(this.info, (inputs, onGpu) => {
        this.#loaded().setGpuFrom(onGpu ? 0 : Infinity);
        if (kind === "reranker") {
          return this.#attempt({ name: "rerank", inputs: { query: "a", documents: inputs }, options: {} });
        }
        return this.#attempt({ name: kind === "dense" ? "encode" : "encodeSparse", inputs, options: {} });
      });
      this.#setGpuFrom(from);
    } catch (error) {
      this.#leaveGpu(error);
    }
  }

  /**
   * In a part of a call, `first` is the number of its first input. If the instance traps, or the GPU is lost, the model is
   * loaded anew. A call that was alone when it trapped fails; others may not have been at fault, and each is repeated once, by
   * itself.
   */
  async run<Name extends keyof Results>(
    call: Call<Name>,
    signal?: AbortSignal,
    first = 0,
  ): Promise<Results[Name]> {
    await this.#repeated;
    this.#loaded();
    checkAborted(signal);
    await this.#recovered();
    const wasm = this.#wasm;
    const model = this.#model;
    this.#underWay++;
    try {
      return await this.#attempt(call, signal, first);
    } catch (error) {
      const { code } = toGossamerError(error);
      if (code === "gpu_lost") {
        // Calls tell of a loss that was made good meanwhile, too.
        if (this.#model === model) this.#gpuLost = error as GossamerError;
      } else if (code !== "internal" || !wasm.trap) throw error;
      else if (!this.#reload || (error === wasm.trap && this.#underWay === 1)) throw error;
      const repeated = this.#repeated.then(async () => {
        await this.#recovered();
        return this.#attempt(call, signal, first);
      });
      this.#repeated = repeated.catch(() => {});
      return await repeated;
    } finally {
      this.#underWay--;
    }
  }

  async #attempt<Name extends keyof Results>(
    call: Call<Name>,
    signal?: AbortSignal,
    first = 0,
  ): Promise<Results[Name]> {
    const wasm = this.#wasm;
    checkAborted(signal);
    const job = this.#start(call);
    let finished = false;
    try {
      wasm.guard(() => job.countFrom((call.first ?? 0) + first));
      for (;;) {
        // Before the first step too: calls that were made in the same breath share it.
        await yieldToEventLoop();
        checkAborted(signal);
        this.#loaded();
        if (wasm.guard(() => job.step())) break;
        // While a GPU is at work.
        await wasm.settled(wasm.guard(() => job.wait()));
      }
      // It takes the job with it.
      finished = true;
      return wasm.guard(() => job.finish()) as Results[Name];
    } finally {
      if (!finished) wasm.release(job);
    }
  }

  /** Throws what is wrong with a call, as far as that shows before the work. */
  check(call: Call): void {
    this.#wasm.release(this.#start(call));
  }

  dispose(): void {
    if (this.#model) this.#wasm.release(this.#model);
    this.#model = undefined;
  }

  /** Waits until calls can be answered: loads the model anew where that is needed, once for all calls. */
  async #recovered(): Promise<void> {
    const reason = this.#wasm.trap ?? this.#gpuLost;
    if (reason) {
      this.#recovery ??= this.#recover(reason).finally(() => {
        this.#recovery = undefined;
      });
    }
    await this.#recovery;
  }

  /** Loads the model anew. After the second loss of a GPU, or where the model cannot be loaded, the GPU stays off. */
  async #recover(reason: GossamerError): Promise<void> {
    const hasTrapped = reason === this.#wasm.trap;
    if (!hasTrapped) this.#losses++;
    try {
      if (!this.#reload || (!hasTrapped && this.#losses > 1)) throw reason;
      const engine = await this.#reload();
      const model = engine.#loaded();
      if (!this.#model || engine.#info.spaceId !== this.#info.spaceId) {
        engine.dispose();
        throw this.#model ? anotherModel() : disposed();
      }
      this.dispose();
      this.#wasm = engine.#wasm;
      this.#model = model;
      this.#info = engine.#info;
      this.#fallback = engine.#fallback;
    } catch (error) {
      if (!hasTrapped) return this.#leaveGpu(error);
      const { code, status, message } = toGossamerError(error);
      const what = "The WebAssembly code had stopped, and the model could not be loaded anew";
      throw this.#model ? new GossamerError(code, `${what}: ${message}`, { status, cause: error }) : error;
    } finally {
      this.#gpuLost = undefined;
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
    this.#info = this.#wasm.guard(() => model.info());
  }

  #start({ name, inputs, options }: Call): Job {
    const model = this.#loaded();
    return this.#wasm.guard(() => model[name](inputs, options));
  }

  #loaded(): Model {
    if (this.#model) return this.#model;
    throw disposed();
  }
}
