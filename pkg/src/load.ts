/** Loads a model: small files side by side, then the weights in a stream, chunk by chunk into wasm. */

import { breatheIfDue } from "./breathe.js";
import { Embedder } from "./embedder.js";
import type { Engine, EngineLoader, LoaderOptions } from "./engine/engine.js";
import { LocalLoader } from "./engine/local.js";
import { checkAborted, GossamerError } from "./errors.js";
import type { Host } from "./host.js";
import { ensureCompiled, ensureStarted } from "./init.js";
import { PoolLoader } from "./pool/loader.js";
import type { Pool } from "./pool/pool.js";
import { Remote } from "./pool/remote.js";
import { ProgressReport } from "./progress.js";
import { onlyGguf } from "./sources/hub.js";
import { resolveSource } from "./sources/resolve.js";
import { type OpenFile, readAll, type Source } from "./sources/source.js";
import type { LoadOptions, ModelSource } from "./types.js";

/** The most bytes handed to wasm at once. */
const SLICE = 1 << 20;

/** More workers than any machine has cores for. */
const MOST_WORKERS = 256;

/** Loads from any source. */
export async function loadModel(host: Host, source: ModelSource, options: LoadOptions): Promise<Embedder> {
  const { signal, workers = 0 } = options;
  checkAborted(signal);
  const place = resolveSource(source, options, host);
  const listing = await place.list?.(signal);
  const progress = new ProgressReport(place.model, options.onProgress, listing);
  const { dtype, file = listing && onlyGguf(listing), saveable = false } = options;
  const hashes = [...(listing ?? [])].flatMap(([name, { sha256 }]) =>
    sha256 === undefined ? [] : [[name, sha256]],
  );
  const sha256 = { ...Object.fromEntries(hashes), ...options.sha256 };
  const loaderOptions = { model: place.model, revision: place.revision, dtype, file, sha256, saveable };
  const engine = checkWorkers(workers)
    ? await pool(workers, progress, signal)
    : await into(async () => new LocalLoader(loaderOptions, await ensureStarted(host)), progress, signal);
  progress.ready(engine.info.kind);
  return new Embedder(engine);

  function pool(workers: number, progress: ProgressReport, signal: AbortSignal | undefined): Promise<Pool> {
    // In place of a worker that fails, a pool of one is loaded, without a word.
    const reload = () => pool(1, new ProgressReport(place.model, undefined), undefined);
    return into(() => startPool(host, workers, options, loaderOptions, reload), progress, signal);
  }

  async function into<E extends Engine>(
    start: () => Promise<EngineLoader<E>>,
    progress: ProgressReport,
    signal: AbortSignal | undefined,
  ): Promise<E> {
    const loader = await start();
    const load = new Load(place, loader, progress, signal, file);
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

/** Whether there are to be workers. */
function checkWorkers(workers: number): boolean {
  if (Number.isInteger(workers) && workers >= 0 && workers <= MOST_WORKERS) return workers > 0;
  throw new GossamerError(
    "invalid_input",
    `workers is ${String(workers)}; it must be a whole number from 0 (this thread) to ${MOST_WORKERS}, best no more than the machine has cores.`,
    { status: 400 },
  );
}

class Load {
  readonly #progress: ProgressReport;
  readonly #place: Source;
  readonly #loader: EngineLoader;
  readonly #signal: AbortSignal | undefined;
  /** The GGUF file that was asked for. */
  readonly #file: string | undefined;
  /** Where files were looked for in vain. */
  readonly #absent = new Map<string, string>();

  constructor(
    place: Source,
    loader: EngineLoader,
    progress: ProgressReport,
    signal: AbortSignal | undefined,
    file: string | undefined,
  ) {
    this.#place = place;
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
