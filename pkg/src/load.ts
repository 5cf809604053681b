/** Loads a model from its source or the cache, into this thread or a pool of workers. */

import { orAborted } from "./abort.js";
import { chooseBuild, isUsual, needsFull } from "./build.js";
import type { LoadCache, Visit } from "./cache/cache.js";
import { passing } from "./cache/passing.js";
import { Embedder } from "./embedder.js";
import type { Engine, EngineLoader, LoaderOptions } from "./engine/engine.js";
import { type LocalEngine, LocalLoader } from "./engine/local.js";
import { checkAborted, type ErrorCode, GossamerError, reason } from "./errors.js";
import type { Start } from "./handler.js";
import type { Build, Host } from "./host.js";
import { ensureCompiled, ensureStarted, foresee } from "./init.js";
import { checkLoadOptions, nearest } from "./options.js";
import { PoolLoader } from "./pool/loader.js";
import type { Pool } from "./pool/pool.js";
import { Remote } from "./pool/remote.js";
import { careful, ProgressReport, reporter } from "./progress.js";
import { Adapted, ownAdapter } from "./sources/adapter.js";
import { Ahead } from "./sources/ahead.js";
import { choices, EIGHTHS } from "./sources/choice.js";
import { resolveSource } from "./sources/resolve.js";
import type { AdapterFolder, Listing, OpenFile, Source } from "./sources/source.js";
import { WRAP, type WrapOptions } from "./sources/wrap.js";
import { Transfer } from "./transfer.js";
import type { Device, LoadOptions, ModelSource, WeightDtype } from "./types.js";

/** The options of `load`, with aliases replaced by our own names of devices and dtypes. */
type Options = LoadOptions & { device: Device | undefined; dtype: "auto" | WeightDtype | undefined };

/** transformers.js' names → ours. */
const ALIASES: Readonly<Record<string, string>> = { wasm: "cpu", fp32: "f32", fp16: "f16", int8: "q8" };

/**
 * Maximum number of attempts. Each attempt after the first ignores a cached copy that turned out to
 * be damaged.
 */
const MOST_TRIES = 8;
/** Maximum number of workers: more than any machine has cores for. */
const MOST_WORKERS = 256;

/** Loads from any source. */
export async function loadModel(host: Host, source: ModelSource, all: WrapOptions): Promise<Embedder> {
  const given = checkLoadOptions(all);
  const options = { ...given, device: alias(given.device), dtype: alias(given.dtype) } as Options;
  const { signal } = options;
  const onWarning = careful(options.onWarning);
  checkAborted(signal);
  checkWorkers(options.workers);
  checkDevice(options.device);
  const { [WRAP]: wrap = (place: Source) => place } = all;
  const base = wrap(resolveSource(source, { ...options, onWarning }, host));
  const place = adapted(base, { ...options, onWarning }, host);
  const offline =
    options.offline ?? isSet(host.variable?.("HF_HUB_OFFLINE") || host.variable?.("TRANSFORMERS_OFFLINE"));
  // A cached model is loaded without checking its kind again, so a model loaded with `kind` is not
  // cached.
  const cache = options.kind === undefined && place.identity ? cacheOf(host, options) : undefined;
  const dtype = options.dtype === "auto" ? undefined : options.dtype;
  const { sha256 = {}, file = place.file } = options;
  const damaged = new Set<string>();
  const wanted = { place, dtype, file, sha256, offline, signal, warn: onWarning, damaged };
  const onProgress = options.onProgress && reporter(options.onProgress, onWarning);
  // Compiles while the network and the cache respond.
  const hasAdapter = place !== base;
  const likely = chooseBuild({
    model: place.model,
    device: options.device,
    file,
    names: place.names,
    hasAdapter,
  });
  const isLikely = file !== undefined || hasAdapter || isUsual(place.model);
  const settle = isLikely ? foresee(host, likely, !options.workers) : () => {};
  for (let tries = 1; ; tries++) {
    const visit = cache ? await visited(cache.visit(wanted), signal) : passing(wanted);
    try {
      const engine = await new Loading(host, visit, { ...options, onProgress }, settle, onWarning).load();
      const { fallback, assumed, overridden } = engine.info;
      if (fallback !== undefined) onWarning(onCpuInstead(fallback));
      if (assumed !== undefined) onWarning(isAssumed(place.model, assumed));
      // Without the option the model would be of another kind, and need weights that this one does
      // not have.
      if (overridden?.kind !== undefined) visit.leave();
      const kept = overridden?.kind === undefined ? visit.keep(engine) : Promise.resolve(false);
      const start: Start = (isFull) => ensureStarted(host, isFull ? "full" : "common");
      return new Embedder(engine, kept, start, handlerOf(host, start));
    } catch (error) {
      const again = await visit.forget(error);
      visit.leave();
      checkAborted(signal);
      if (!again || tries === MOST_TRIES) throw error;
    }
  }
}

/**
 * The model with the adapter of the options. Those about the model's place are not about the
 * adapter's.
 */
function adapted(base: Source, options: Options, host: Host): Source {
  const { adapter, endpoint, token, stallTimeout, cache, onWarning } = options;
  if (adapter === undefined) return base;
  const own = ownAdapter(adapter);
  const common = { endpoint, token, stallTimeout, cache, onWarning };
  return new Adapted(base, own ?? resolveSource(adapter, common, host));
}

/**
 * Waits for a cache, whose store may never respond. After an abort, a visit that still begins is
 * left again.
 */
async function visited(visiting: Promise<Visit>, signal: AbortSignal | undefined): Promise<Visit> {
  try {
    return await orAborted(visiting, signal);
  } catch (error) {
    visiting.then((visit) => visit.leave()).catch(() => {});
    throw error;
  }
}

/** What loading a model needs, besides its source and the options. */
interface LoadTask {
  listing: Listing | undefined;
  loaderOptions: LoaderOptions;
  progress: ProgressReport;
  signal: AbortSignal | undefined;
  source: Source;
}

/** Loading a model from one source. */
class Loading {
  readonly #host: Host;
  readonly #source: Source;
  readonly #options: Options;
  readonly #sha256: Readonly<Record<string, string>>;
  /** The weight file that the options or the address name, if any. */
  readonly #file: string | undefined;
  readonly #saveable: boolean;
  readonly #warn: (warning: GossamerError) => void;
  /** The chosen file that could not be used, and why. */
  #refused: { file: string; error: unknown } | undefined;
  /** Is told the build that is needed; stops the download of another that was begun in case. */
  readonly #settle: (build: Build) => void;
  #build: Build = "common";
  /** Whether to take the full build in any case. */
  readonly #full: boolean;
  /** The adapter to merge. A model from the cache has it already. */
  readonly #adapter: AdapterFolder | undefined;

  constructor(
    host: Host,
    { source, sha256, file, adapter, full = false, saves = false }: Visit,
    options: Options,
    settle: (build: Build) => void,
    warn: (warning: GossamerError) => void,
  ) {
    this.#host = host;
    this.#settle = settle;
    this.#warn = warn;
    this.#full = full;
    this.#source = source;
    this.#options = options;
    this.#sha256 = sha256;
    this.#file = file;
    this.#adapter = adapter;
    this.#saveable = saves || options.saveable === true;
  }

  async load(): Promise<Engine> {
    const { signal, download } = this.#options;
    const listing = await this.#source.list?.(signal);
    if (listing) this.#checkPins([...listing.keys()], "has no such file");
    // The files that a choice would prefer may be ONNX files, into which nothing is merged.
    if (this.#file !== undefined || this.#adapter) return this.#attempt(listing, this.#file);
    if (!listing) return download === "small" ? this.#smallest() : this.#attempt(listing, undefined);
    const files = choices(listing, this.#options);
    for (let at = 0; ; at++) {
      try {
        const engine = await this.#attempt(listing, files[at]);
        if (this.#refused) this.#warn(otherFile(this.#source.model, engine.info.files, this.#refused));
        return engine;
      } catch (error) {
        if (at + 1 >= files.length || !isRefusal(error)) throw error;
        this.#refused ??= { file: files[at] as string, error };
      }
    }
  }

  /**
   * Loads the first file in 8 bits of a place that cannot list its files, or else the usual ones.
   */
  async #smallest(): Promise<Engine> {
    const { signal } = this.#options;
    for (const name of EIGHTHS) {
      const file = await orAborted(this.#source.open(name, signal), signal);
      if ("chunks" in file) return this.#attempt(undefined, name, file);
    }
    return this.#attempt(undefined, undefined);
  }

  /** Loads with `file` as the weights, which may have been opened. */
  async #attempt(listing: Listing | undefined, file: string | undefined, opened?: OpenFile): Promise<Engine> {
    const { workers = 0, signal, onProgress } = this.#options;
    const progress = new ProgressReport(this.#source.model, onProgress, listing);
    const source = new Ahead(this.#source, signal);
    try {
      if (opened) source.adopt(file as string, opened);
      if (file !== undefined && listing?.has(file)) progress.initiate(file);
      if (this.#source.isRemote) source.start(listing, file);
      const loaderOptions = this.#loaderOptions(listing, file);
      const { device, model } = loaderOptions;
      const names = listing?.keys() ?? this.#source.names;
      const hasAdapter = this.#adapter !== undefined;
      this.#build = this.#full ? "full" : chooseBuild({ model, device, file, names, hasAdapter });
      this.#settle(this.#build);
      const task = { listing, loaderOptions, progress, signal, source };
      const engine = workers > 0 ? await this.#pool(workers, task) : await this.#local(task);
      try {
        if (!listing) this.#checkPins([...progress.started], "has no such file, or none that is loaded");
      } catch (error) {
        engine.dispose();
        throw error;
      }
      progress.ready(engine.info.kind);
      return engine;
    } finally {
      source.close();
    }
  }

  /** Throws if the option `sha256` names a file that the model does not have. */
  #checkPins(files: readonly string[], lacks: string): void {
    const name = Object.keys(this.#sha256).find((name) => !files.includes(name));
    if (name === undefined) return;
    const meant = nearest(name, files);
    const hint = meant === undefined ? "correct the name, or leave it out" : `perhaps ${meant} was meant`;
    const what = `sha256 has a hash for ${JSON.stringify(name)}, and ${this.#source.model} ${lacks}`;
    throw new GossamerError("invalid_input", `${what}; ${hint}.`, { status: 400 });
  }

  #loaderOptions(listing: Listing | undefined, file: string | undefined): LoaderOptions {
    const { dtype, kind, normalize, prompts, maxTokens, device = "cpu" } = this.#options;
    const { pooling: modes } = this.#options;
    const pooling = typeof modes === "string" ? [modes] : modes;
    const { model, revision } = this.#source;
    const hashes = [...(listing ?? [])].flatMap(([name, { sha256 }]) =>
      sha256 === undefined ? [] : [[name, sha256]],
    );
    const sha256 = { ...Object.fromEntries(hashes), ...this.#sha256 };
    const stated = { pooling, normalize, prompts, maxTokens };
    const adapter = this.#adapter;
    return {
      model,
      revision,
      dtype,
      file,
      kind,
      adapter,
      ...stated,
      sha256,
      saveable: this.#saveable,
      device,
    };
  }

  /**
   * Loads into this thread. Loads again, without progress events, after a trap or the loss of a
   * GPU.
   */
  async #local(task: LoadTask): Promise<LocalEngine> {
    const start = async (build: Build) => {
      const wasm = await ensureStarted(this.#host, build);
      return LocalLoader.start(task.loaderOptions, wasm, () => this.#local(this.#again(task)));
    };
    return this.#into(start, task);
  }

  /**
   * Loads into workers. Loads a pool of one worker, without progress events, to replace one that
   * failed.
   */
  async #pool(workers: number, task: LoadTask): Promise<Pool> {
    const reload = () => this.#pool(1, this.#again(task));
    const start = (build: Build) => {
      // Workers load their script while the module is compiled.
      const module = ensureCompiled(this.#host, build);
      module.catch(() => {});
      return startPool(this.#host, module, workers, this.#options, task, reload);
    };
    return this.#into(start, task);
  }

  /** The same task again, without progress events and signal. */
  #again(task: LoadTask): LoadTask {
    const progress = new ProgressReport(this.#source.model, undefined);
    return { ...task, progress, signal: undefined, source: this.#source };
  }

  /**
   * Loads in the chosen build, and goes over to the full one if that turns out to be needed: with
   * what has been read by then, or else from the start.
   */
  async #into<E extends Engine>(
    start: (build: Build) => Promise<EngineLoader<E>>,
    task: LoadTask,
  ): Promise<E> {
    const { listing, loaderOptions, progress, signal, source } = task;
    const begin = async (build: Build) => {
      const starting = start(build);
      return orAborted(starting, signal).catch((error: unknown) => {
        starting.then((loader) => loader.free()).catch(() => {});
        checkAborted(signal);
        throw error;
      });
    };
    const full = () => {
      this.#build = "full";
      return begin("full");
    };
    const chosen = this.#build;
    const loader = await begin(chosen);
    const { file } = loaderOptions;
    const transfer = new Transfer({ source, listing, progress, signal, file }, loader, full);
    try {
      return await transfer.run();
    } catch (error) {
      checkAborted(signal);
      if (chosen === "full" || !needsFull(error)) throw transfer.explain(error);
      this.#build = "full";
      return this.#into(start, task);
    }
  }
}

/** Makes handlers of embedders, where the host has them. */
function handlerOf({ handler }: Host, start: Start): ConstructorParameters<typeof Embedder>[3] {
  return handler && ((run, options) => handler("handler", run, options, start));
}

/** The cache to use, if any. */
function cacheOf(host: Host, { cache = true }: LoadOptions): LoadCache | undefined {
  if (typeof cache !== "object") return cache ? host.cache?.() : undefined;
  if (host.storeCache) return host.storeCache(cache);
  throw new GossamerError(
    "invalid_input",
    "gossamer-embed/lean has no cache: leave `cache` out, or import gossamer-embed.",
    { status: 400 },
  );
}

/** Whether an environment variable is true, by the rules of Python's huggingface_hub. */
function isSet(variable: string | undefined): boolean {
  return /^(1|on|yes|true)$/i.test(variable ?? "");
}

async function startPool(
  host: Host,
  module: Promise<WebAssembly.Module>,
  workers: number,
  { createWorker }: LoadOptions,
  { loaderOptions, signal }: LoadTask,
  reload: () => Promise<Pool>,
): Promise<PoolLoader> {
  const { thread } = host;
  if (!thread) {
    throw new GossamerError(
      "unsupported_runtime",
      "This runtime has no worker threads: leave `workers` out.",
      {
        status: 501,
      },
    );
  }
  const create = () => {
    const worker = createWorker?.();
    if (typeof worker?.postMessage === "function") return worker;
    throw new TypeError("createWorker must return a Worker");
  };
  const start = () => new Remote(thread(createWorker && create));
  return PoolLoader.start(start, workers, module, loaderOptions, reload, signal);
}

function alias(name: string | undefined): string | undefined {
  return name !== undefined && Object.hasOwn(ALIASES, name) ? ALIASES[name] : name;
}

function checkWorkers(workers = 0): void {
  if (Number.isInteger(workers) && workers >= 0 && workers <= MOST_WORKERS) return;
  throw new GossamerError(
    "invalid_input",
    `workers is ${String(workers)}; it must be a whole number from 0 (this thread) to ${MOST_WORKERS}, best no more than the machine has cores.`,
    { status: 400 },
  );
}

function checkDevice(device = "cpu"): void {
  if (["cpu", "webgpu", "auto"].includes(device)) return;
  throw new GossamerError(
    "invalid_input",
    `device is ${JSON.stringify(device)}; it must be "cpu", "webgpu" or "auto".`,
    { status: 400 },
  );
}

/** The warning about a model that does not say how it pools. */
function isAssumed(model: string, assumed: string): GossamerError {
  const how =
    assumed === "splade"
      ? 'it is taken for a SPLADE model, because its architecture has a head for masked language modelling. State it with kind: "sparse", or for dense vectors with'
      : `its vectors are pooled by ${assumed} and not normalised, as sentence-transformers assumes. State it with`;
  const mode = assumed === "splade" ? "mean" : assumed;
  const call = `load(${JSON.stringify(model)}, { pooling: "${mode}", normalize: true })`;
  return new GossamerError("pooling_assumed", `${model} has no modules.json; ${how} ${call}.`, {
    status: 400,
  });
}

/** Codes of errors that another weight file of the same model may not have. */
const REFUSALS: ErrorCode[] = [
  "unsupported_model",
  "invalid_safetensors",
  "invalid_gguf",
  "invalid_onnx",
  "missing_tensor",
  "unexpected_tensor",
  "wrong_shape",
  "wrong_dtype",
];

function isRefusal(error: unknown): boolean {
  return error instanceof GossamerError && REFUSALS.includes(error.code);
}

/** The warning about a chosen file that could not be used. */
function otherFile(
  model: string,
  files: readonly string[],
  { file, error }: { file: string; error: unknown },
): GossamerError {
  const why = `${model}: ${file} cannot be used, and ${files.join(", ")} is loaded instead. ${reason(error)}`;
  return new GossamerError("other_file", why, { status: 422, cause: error });
}

function onCpuInstead(reason: string): GossamerError {
  return new GossamerError("gpu_unused", `The model runs on the CPU. ${reason}`, { status: 503 });
}
