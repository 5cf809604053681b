/** Loads a model: from its source or the cache, into this thread or a pool of workers. */

import { orAborted } from "./abort.js";
import type { LoadCache, Visit } from "./cache/cache.js";
import { StoreCache } from "./cache/store.js";
import { passing } from "./cache/visit.js";
import { Embedder } from "./embedder.js";
import type { Engine, EngineLoader, LoaderOptions } from "./engine/engine.js";
import { type LocalEngine, LocalLoader } from "./engine/local.js";
import { checkAborted, GossamerError } from "./errors.js";
import type { Host } from "./host.js";
import { ensureCompiled, ensureStarted } from "./init.js";
import { checkLoadOptions } from "./options.js";
import { PoolLoader } from "./pool/loader.js";
import type { Pool } from "./pool/pool.js";
import { Remote } from "./pool/remote.js";
import { careful, ProgressReport, reporter } from "./progress.js";
import { chooseFile } from "./sources/hub.js";
import { resolveSource } from "./sources/resolve.js";
import type { Listing, Source } from "./sources/source.js";
import { Transfer } from "./transfer.js";
import type { Device, LoadOptions, ModelSource, WeightDtype } from "./types.js";

/** `load`'s options, with our own names of devices and dtypes. */
type Options = LoadOptions & { device: Device | undefined; dtype: "auto" | WeightDtype | undefined };

/** transformers.js' names → ours. */
const ALIASES: Readonly<Record<string, string>> = { wasm: "cpu", fp32: "f32", fp16: "f16", int8: "q8" };

/** Times that a load begins anew without what turned out damaged: there are fewer kinds of copies. */
const MOST_TRIES = 8;
/** More workers than any machine has cores for. */
const MOST_WORKERS = 256;

/** Loads from any source. */
export async function loadModel(host: Host, source: ModelSource, all: LoadOptions): Promise<Embedder> {
  const given = checkLoadOptions(all);
  const options = { ...given, device: alias(given.device), dtype: alias(given.dtype) } as Options;
  const { signal } = options;
  const onWarning = careful(options.onWarning);
  checkAborted(signal);
  checkWorkers(options.workers);
  checkDevice(options.device);
  const place = resolveSource(source, { ...options, onWarning }, host);
  const offline =
    options.offline ?? isSet(host.variable?.("HF_HUB_OFFLINE") || host.variable?.("TRANSFORMERS_OFFLINE"));
  // What is kept is loaded without asking what it is: a model that was insisted on must be insisted on each time.
  const cache = options.kind === undefined && place.identity ? cacheOf(host, options) : undefined;
  const dtype = options.dtype === "auto" ? undefined : options.dtype;
  const { sha256 = {}, file = place.file } = options;
  const damaged = new Set<string>();
  const wanted = { place, dtype, file, sha256, offline, signal, warn: onWarning, damaged };
  const onProgress = options.onProgress && reporter(options.onProgress, onWarning);
  // Compiles while the network and the cache answer; whoever needs it hears what went wrong.
  (options.workers ? ensureCompiled(host) : ensureStarted(host)).catch(() => {});
  for (let tries = 1; ; tries++) {
    const visit = cache ? await visited(cache.visit(wanted), signal) : passing(wanted);
    try {
      const engine = await new Loading(host, visit, { ...options, onProgress }).load();
      const { fallback, assumed, overridden } = engine.info;
      if (fallback !== undefined) onWarning(onCpuInstead(fallback));
      if (assumed !== undefined) onWarning(isAssumed(place.model, assumed));
      // Without the option the model would be of another kind, and need weights that this one does not have.
      if (overridden?.kind !== undefined) visit.leave();
      const kept = overridden?.kind === undefined ? visit.keep(engine) : Promise.resolve(false);
      return new Embedder(engine, kept, () => ensureStarted(host));
    } catch (error) {
      const again = await visit.forget(error);
      visit.leave();
      checkAborted(signal);
      if (!again || tries === MOST_TRIES) throw error;
    }
  }
}

/** A visit of a cache, whose store may not answer at all. */
async function visited(visiting: Promise<Visit>, signal: AbortSignal | undefined): Promise<Visit> {
  try {
    return await orAborted(visiting, signal);
  } catch (error) {
    visiting.then((visit) => visit.leave()).catch(() => {});
    checkAborted(signal);
    throw error;
  }
}

/** Loading a model from one source. */
class Loading {
  readonly #host: Host;
  readonly #source: Source;
  readonly #options: Options;
  readonly #sha256: Readonly<Record<string, string>>;
  /** The weight file that is named, if one is. */
  readonly #file: string | undefined;
  readonly #saveable: boolean;

  constructor(host: Host, { source, sha256, file, saves = false }: Visit, options: Options) {
    this.#host = host;
    this.#source = source;
    this.#options = options;
    this.#sha256 = sha256;
    this.#file = file;
    this.#saveable = saves || options.saveable === true;
  }

  async load(): Promise<Engine> {
    const { workers = 0, signal, onProgress } = this.#options;
    const listing = await this.#source.list?.(signal);
    const progress = new ProgressReport(this.#source.model, onProgress, listing);
    const loaderOptions = this.#loaderOptions(listing);
    const engine =
      workers > 0
        ? await this.#pool(workers, loaderOptions, progress, signal)
        : await this.#local(loaderOptions, progress, signal);
    progress.ready(engine.info.kind);
    return engine;
  }

  #loaderOptions(listing: Listing | undefined): LoaderOptions {
    const { dtype, kind, normalize, prompts, maxTokens, device = "cpu" } = this.#options;
    const { pooling: modes } = this.#options;
    const pooling = typeof modes === "string" ? [modes] : modes;
    const file = this.#file ?? (listing && chooseFile(listing, dtype));
    const { model, revision } = this.#source;
    const hashes = [...(listing ?? [])].flatMap(([name, { sha256 }]) =>
      sha256 === undefined ? [] : [[name, sha256]],
    );
    const sha256 = { ...Object.fromEntries(hashes), ...this.#sha256 };
    const stated = { pooling, normalize, prompts, maxTokens };
    return { model, revision, dtype, file, kind, ...stated, sha256, saveable: this.#saveable, device };
  }

  #local(
    loaderOptions: LoaderOptions,
    progress: ProgressReport,
    signal: AbortSignal | undefined,
  ): Promise<LocalEngine> {
    // When the wasm has trapped or a GPU is lost, without a word.
    const reload = () =>
      this.#local(loaderOptions, new ProgressReport(this.#source.model, undefined), undefined);
    const start = async () => LocalLoader.start(loaderOptions, await ensureStarted(this.#host), reload);
    return this.#into(start, loaderOptions, progress, signal);
  }

  #pool(
    workers: number,
    loaderOptions: LoaderOptions,
    progress: ProgressReport,
    signal: AbortSignal | undefined,
  ): Promise<Pool> {
    // In place of a worker that fails, a pool of one is loaded, without a word.
    const reload = () =>
      this.#pool(1, loaderOptions, new ProgressReport(this.#source.model, undefined), undefined);
    const start = () => startPool(this.#host, workers, this.#options, loaderOptions, reload);
    return this.#into(start, loaderOptions, progress, signal);
  }

  async #into<E extends Engine>(
    start: () => Promise<EngineLoader<E>>,
    { file }: LoaderOptions,
    progress: ProgressReport,
    signal: AbortSignal | undefined,
  ): Promise<E> {
    const listing = await this.#source.list?.(signal);
    const loader = await start();
    const transfer = new Transfer(this.#source, listing, loader, progress, signal, file);
    try {
      checkAborted(signal);
      await transfer.run();
      return await loader.finish();
    } catch (error) {
      loader.free();
      checkAborted(signal);
      throw transfer.explain(error);
    }
  }
}

/** The cache to use, if any. */
function cacheOf(host: Host, { cache = true }: LoadOptions): LoadCache | undefined {
  if (typeof cache === "object") return new StoreCache(cache);
  return cache ? host.cache?.() : undefined;
}

/** As Python's huggingface_hub reads its environment. */
function isSet(variable: string | undefined): boolean {
  return /^(1|on|yes|true)$/i.test(variable ?? "");
}

async function startPool(
  host: Host,
  workers: number,
  { createWorker }: LoadOptions,
  loaderOptions: LoaderOptions,
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
  const module = await ensureCompiled(host);
  const create = () => {
    const worker = createWorker?.();
    if (typeof worker?.postMessage === "function") return worker;
    throw new TypeError("createWorker must return a Worker");
  };
  const start = () => new Remote(thread(createWorker && create));
  return PoolLoader.start(start, workers, module, loaderOptions, reload);
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

function onCpuInstead(reason: string): GossamerError {
  return new GossamerError("gpu_unused", `The model runs on the CPU. ${reason}`, { status: 503 });
}
