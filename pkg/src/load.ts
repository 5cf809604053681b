/** Loads a model: small files side by side, then the weights in a stream, chunk by chunk into wasm. */

import { breatheIfDue } from "./breathe.js";
import type { LoadCache, Visit } from "./cache/cache.js";
import { StoreCache } from "./cache/store.js";
import { passing } from "./cache/visit.js";
import { Embedder } from "./embedder.js";
import type { Engine, EngineLoader, LoaderOptions } from "./engine/engine.js";
import { type LocalEngine, LocalLoader } from "./engine/local.js";
import { checkAborted, GossamerError } from "./errors.js";
import type { Host } from "./host.js";
import { ensureCompiled, ensureStarted } from "./init.js";
import { PoolLoader } from "./pool/loader.js";
import type { Pool } from "./pool/pool.js";
import { Remote } from "./pool/remote.js";
import { ProgressReport } from "./progress.js";
import { chooseFile } from "./sources/hub.js";
import { resolveSource } from "./sources/resolve.js";
import { type Listing, type OpenFile, readAll, type Source } from "./sources/source.js";
import { checkListed } from "./sources/verify.js";
import type { LoadOptions, ModelSource } from "./types.js";

/** The most bytes handed to wasm at once. */
const SLICE = 1 << 20;

/** More workers than any machine has cores for. */
const MOST_WORKERS = 256;

/** Loads from any source. */
export async function loadModel(host: Host, source: ModelSource, options: LoadOptions): Promise<Embedder> {
  const { signal, onWarning = (warning) => console.warn(warning.message) } = options;
  checkAborted(signal);
  checkWorkers(options.workers);
  checkDevice(options.device);
  const place = resolveSource(source, options, host);
  const offline = options.offline ?? isSet(host.variable?.("HF_HUB_OFFLINE"));
  const cache = place.identity && cacheOf(host, options);
  const dtype = options.dtype === "auto" ? undefined : options.dtype;
  const { sha256 = {}, file = place.file } = options;
  const wanted = { place, dtype, file, sha256, offline, signal, warn: onWarning };
  // Compiles while the network and the cache answer; whoever needs it hears what went wrong.
  (options.workers ? ensureCompiled(host) : ensureStarted(host)).catch(() => {});
  for (;;) {
    const visit = (await cache?.visit(wanted)) ?? passing(wanted);
    try {
      const engine = await new Loading(host, visit, options).load();
      const { fallback } = engine.info;
      if (fallback !== undefined) onWarning(onCpuInstead(fallback));
      return new Embedder(engine, visit.keep(engine));
    } catch (error) {
      const again = await visit.forget(error);
      visit.leave();
      checkAborted(signal);
      if (!again) throw error;
    }
  }
}

/** Loading a model from one source. */
class Loading {
  readonly #host: Host;
  readonly #source: Source;
  readonly #options: LoadOptions;
  readonly #sha256: Readonly<Record<string, string>>;
  /** The weight file that is named, if one is. */
  readonly #file: string | undefined;
  readonly #saveable: boolean;

  constructor(host: Host, { source, sha256, file, saves = false }: Visit, options: LoadOptions) {
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
    const { dtype, device = "cpu" } = this.#options;
    const file = this.#file ?? (listing && chooseFile(listing, dtype));
    const { model, revision } = this.#source;
    const hashes = [...(listing ?? [])].flatMap(([name, { sha256 }]) =>
      sha256 === undefined ? [] : [[name, sha256]],
    );
    const sha256 = { ...Object.fromEntries(hashes), ...this.#sha256 };
    return { model, revision, dtype, file, sha256, saveable: this.#saveable, device };
  }

  #local(
    loaderOptions: LoaderOptions,
    progress: ProgressReport,
    signal: AbortSignal | undefined,
  ): Promise<LocalEngine> {
    // When a GPU is lost, without a word.
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
    const loader = await start();
    const load = new Load(this.#source, await this.#source.list?.(signal), loader, progress, signal, file);
    try {
      checkAborted(signal);
      await load.smallFiles();
      await load.weights();
      return await loader.finish();
    } catch (error) {
      loader.free();
      checkAborted(signal);
      throw load.explain(error);
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
  const start = () => new Remote(thread(createWorker));
  return PoolLoader.start(start, workers, module, loaderOptions, reload);
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

function onCpuInstead(reason: string): GossamerError {
  return new GossamerError("gpu_unused", `The model runs on the CPU. ${reason}`, { status: 503 });
}

class Load {
  readonly #progress: ProgressReport;
  readonly #place: Source;
  readonly #listing: Listing | undefined;
  readonly #loader: EngineLoader;
  readonly #signal: AbortSignal | undefined;
  /** The weight file that was asked for, or chosen. */
  readonly #file: string | undefined;
  /** Where files were looked for in vain. */
  readonly #absent = new Map<string, string>();

  constructor(
    place: Source,
    listing: Listing | undefined,
    loader: EngineLoader,
    progress: ProgressReport,
    signal: AbortSignal | undefined,
    file: string | undefined,
  ) {
    this.#place = place;
    this.#listing = listing;
    this.#loader = loader;
    this.#progress = progress;
    this.#signal = signal;
    this.#file = file;
  }

  /** Everything but the weights. What is in one file may make another wanted. */
  async smallFiles(): Promise<void> {
    const loader = this.#loader;
    for (;;) {
      const names = await loader.wanted();
      if (names.length === 0) return;
      const files = await allOf(names.map((name) => this.#small(name)));
      checkAborted(this.#signal);
      for (const [index, name] of names.entries()) await loader.provide(name, files[index]);
    }
  }

  async #small(name: string): Promise<Uint8Array | undefined> {
    const file = await this.#open(name);
    if (!file) return undefined;
    this.#progress.start(name);
    const bytes = await readAll(file);
    // A cancelled stream looks like one that ended.
    checkAborted(this.#signal);
    await checkListed(name, bytes, this.#listing?.get(name) ?? {});
    this.#progress.finish(name, bytes.byteLength);
    return bytes;
  }

  /** The weight files, one after the other; no more than a chunk is held. */
  async weights(): Promise<void> {
    const loader = this.#loader;
    const done: string[] = [];
    for (;;) {
      const left = await loader.weights();
      const [name] = left;
      if (name === undefined) return;
      const file = await this.#open(name);
      if (!file) {
        const missing = await loader.absent();
        if (missing !== undefined) throw this.#missing([missing]);
        // An index of shards, perhaps.
        await this.smallFiles();
        continue;
      }
      this.#progress.expect([...done, ...left]);
      await this.#stream(name, file);
      done.push(name);
    }
  }

  async #stream(name: string, file: OpenFile): Promise<void> {
    const loader = this.#loader;
    await loader.beginWeights(name);
    this.#progress.start(name);
    let loaded = 0;
    for await (const chunk of file.chunks) {
      for (let at = 0; at < chunk.byteLength; at += SLICE) {
        checkAborted(this.#signal);
        const slice = chunk.subarray(at, at + SLICE);
        const size = await loader.pushWeights(slice);
        loaded += slice.byteLength;
        this.#progress.advance(name, loaded, size ?? file.size);
        await breatheIfDue();
      }
    }
    checkAborted(this.#signal);
    await loader.endWeights();
    this.#progress.finish(name, loaded);
  }

  async #open(name: string): Promise<OpenFile | undefined> {
    const file = await this.#place.open(name, this.#signal);
    checkAborted(this.#signal);
    if ("chunks" in file) return file;
    this.#absent.set(name, file.absent);
    return undefined;
  }

  /** Adds to an error what only this side knows: where the files were looked for. */
  explain(error: unknown): unknown {
    if (!(error instanceof GossamerError) || error.code !== "missing_file") return error;
    const required = ["config.json", "tokenizer.json"].filter((name) => this.#absent.has(name));
    return required.length > 0 ? this.#missing(required, error) : error;
  }

  #missing(names: string[], cause?: unknown): GossamerError {
    const places = names.map((name) => this.#absent.get(name));
    // A map of files has no places.
    const code = places.every((place, index) => place === names[index]) ? "missing_file" : "not_found";
    const advice =
      this.#file === undefined
        ? "Check the model's name or address: a complete model has config.json, tokenizer.json and model.safetensors"
        : "Check the model's name or address, and the option file";
    const hint = code === "not_found" ? " (a local folder is written ./folder)" : "";
    return new GossamerError(
      code,
      `${this.#place.model} has no ${names.join(" and no ")}: not found at ${places.join(", ")}. ${advice}${hint}.`,
      { status: 404, cause },
    );
  }
}

/** As `Promise.all`, but waits for the others before it rejects, so that nothing still runs afterwards. */
async function allOf<T>(promises: Promise<T>[]): Promise<T[]> {
  const settled = await Promise.allSettled(promises);
  return settled.map((result) => {
    if (result.status === "rejected") throw result.reason;
    return result.value;
  });
}
