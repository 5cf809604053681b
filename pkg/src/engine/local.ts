/** A model in this thread, and on a GPU if requested. */

import { anotherModel, checkAborted, disposed, GossamerError, toGossamerError } from "../errors.js";
import { yieldToEventLoop } from "../event-loop.js";
import { withCosine } from "../fidelity.js";
import type { GpuDevice, Job, Loader, Model, Wasm } from "../instance.js";
import type { ModelInfo } from "../types.js";
import type { Call, Results } from "./call.js";
import type { Engine, EngineLoader, LoaderOptions, LoadStep } from "./engine.js";
import { describeGpu, fasterFrom, openGpu } from "./gpu.js";

/** Loads the same model once more. */
export type Reload = () => Promise<LocalEngine>;

/** Loads a model into a wasm instance of this thread, and onto a GPU if requested. */
export class LocalLoader implements EngineLoader<LocalEngine> {
  readonly #loader: Loader;
  readonly #wasm: Wasm;
  /** Whether the weights are on a GPU. */
  readonly #onGpu: boolean;
  /** Whether the CPU has the weights, too. */
  readonly #both: boolean;
  readonly #reload: Reload | undefined;

  /** `reload` loads the model again after a trap of the instance or the loss of the GPU. */
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

  get isFull(): boolean {
    return this.#wasm.isFull;
  }

  next(): LoadStep {
    return this.#wasm.guard(() => this.#loader.next()) as LoadStep;
  }

  provide(name: string, bytes: Uint8Array | undefined): void {
    this.#wasm.guard(() => this.#loader.provide(name, bytes));
  }

  push(bytes: Uint8Array): number | undefined {
    return this.#wasm.guard(() => this.#loader.push(bytes));
  }

  end(): void {
    this.#wasm.guard(() => this.#loader.end());
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

/**
 * The GPU to load the model on, if any. Without a GPU, as on most servers, `"auto"` uses the CPU.
 */
async function gpuFor({ device }: LoaderOptions, wasm: Wasm): Promise<GpuDevice | undefined> {
  if (device === "cpu") return undefined;
  try {
    return await openGpu(wasm);
  } catch (error) {
    if (device === "auto" && error instanceof GossamerError && error.code === "no_gpu") return undefined;
    throw error;
  }
}

/** Runs calls in bounded steps. The event loop runs between steps. */
export class LocalEngine implements Engine {
  readonly #both: boolean;
  readonly #reload: Reload | undefined;
  #wasm: Wasm;
  #info: Omit<ModelInfo, "memoryBytes" | "workers">;
  #model: Model | undefined;
  /** Why the requested GPU is not used. */
  #fallback: string | undefined;
  /** The error of the GPU, until the model has been loaded again. */
  #gpuLost: GossamerError | undefined;
  #losses = 0;
  #recovery: Promise<void> | undefined;
  /** Number of calls in progress. */
  #underWay = 0;
  /** Settles when no call is being repeated. */
  #repeated: Promise<unknown> = Promise.resolve();

  /** `both`: if the weights are on a GPU, the CPU has them, too. */
  constructor(model: Model, wasm: Wasm, both: boolean, reload: Reload | undefined) {
    this.#model = model;
    this.#wasm = wasm;
    this.#both = both;
    this.#reload = reload;
    this.#info = withCosine(wasm.guard(() => model.info()));
  }

  get isFull(): boolean {
    return this.#wasm.isFull;
  }

  get info(): ModelInfo {
    this.#loaded();
    const info = { ...this.#info, workers: 0, memoryBytes: this.#wasm.memory.buffer.byteLength };
    return this.#fallback === undefined ? info : { ...info, fallback: this.#fallback };
  }

  /** Checks the GPU's results, and measures from which batch size on it is faster than the CPU. */
  async settle(): Promise<void> {
    const { kind, adapter } = this.#info;
    try {
      if (adapter === "") this.#info = { ...this.#info, adapter: await describeGpu() };
      await this.#wasm.settled(this.#wasm.guard(() => this.#loaded().check()));
      if (!this.#both) return;
      const from = await fasterFrom(this.info, (inputs, onGpu) => {
        this.#loaded().setGpuFrom(onGpu ? 0 : Infinity);
        if (kind === "reranker") {
          return this.#attempt({ name: "rerank", inputs: { query: "a", documents: inputs }, options: {} });
        }
        if (kind === "late-interaction") {
          return this.#attempt({ name: "encodeTokens", inputs, options: { task: "document" } });
        }
        return this.#attempt({ name: kind === "dense" ? "encode" : "encodeSparse", inputs, options: {} });
      });
      this.#setGpuFrom(from);
    } catch (error) {
      this.#leaveGpu(error);
    }
  }

  /**
   * Runs a call. In a part of a call, `first` is the index of its first input. After a trap or the
   * loss of the GPU the model is loaded again. A call that trapped while it ran alone fails. If
   * several calls were running, any of them may be the cause, so each is repeated once, alone.
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
        // A call may report a loss after which the model has already been loaded again.
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
        // Also before the first step, so that calls made at the same time share a batch.
        await yieldToEventLoop();
        checkAborted(signal);
        this.#loaded();
        if (wasm.guard(() => job.step())) break;
        // Waits for the GPU, if one is working.
        await wasm.settled(wasm.guard(() => job.wait()));
      }
      // `finish` consumes the job.
      finished = true;
      return wasm.guard(() => job.finish()) as Results[Name];
    } finally {
      if (!finished) wasm.release(job);
    }
  }

  /** Throws the errors of a call that can be found before the work starts. */
  check(call: Call): void {
    this.#wasm.release(this.#start(call));
  }

  dispose(): void {
    if (this.#model) this.#wasm.release(this.#model);
    this.#model = undefined;
  }

  /**
   * Waits until the model is usable. After a failure the model is loaded again, once for all
   * waiting calls.
   */
  async #recovered(): Promise<void> {
    const reason = this.#wasm.trap ?? this.#gpuLost;
    if (reason) {
      this.#recovery ??= this.#recover(reason).finally(() => {
        this.#recovery = undefined;
      });
    }
    await this.#recovery;
  }

  /**
   * Loads the model again. After the second loss of the GPU, or if the model cannot be loaded, the
   * GPU stays unused.
   */
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

  /** Stops using the GPU; throws if the CPU does not have the weights. */
  #leaveGpu(reason: unknown): void {
    if (!this.#both) throw reason;
    this.#setGpuFrom(Infinity);
    this.#fallback = toGossamerError(reason).message;
  }

  #setGpuFrom(tokens: number): void {
    const model = this.#loaded();
    model.setGpuFrom(tokens);
    const { adapter = "" } = this.#info;
    const info = withCosine(this.#wasm.guard(() => model.info()));
    this.#info = info.adapter === "" ? { ...info, adapter } : info;
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
