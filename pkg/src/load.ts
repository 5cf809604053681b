/** Loads a model: small files side by side, then the weights in a stream, chunk by chunk into wasm. */

import { breatheIfDue } from "./breathe.js";
import { Embedder } from "./embedder.js";
import { checkAborted, GossamerError, guard, release } from "./errors.js";
import type { Host } from "./host.js";
import { ensureStarted } from "./init.js";
import { ProgressReport } from "./progress.js";
import { resolveSource } from "./sources/resolve.js";
import { type OpenFile, readAll, type Source } from "./sources/source.js";
import type { LoadOptions, ModelSource } from "./types.js";
import { Loader } from "./wasm/gossamer.js";

/** The most bytes handed to wasm at once. */
const SLICE = 1 << 20;

/** Loads from any source. */
export async function loadModel(host: Host, source: ModelSource, options: LoadOptions): Promise<Embedder> {
  checkAborted(options.signal);
  const place = resolveSource(source, options, host);
  const memory = await ensureStarted(host);
  checkAborted(options.signal);
  const { model, revision } = place;
  const loader = guard(() => new Loader({ model, revision, dtype: options.dtype }));
  const load = new Load(place, loader, options);
  try {
    await load.smallFiles();
    await load.weights();
  } catch (error) {
    release(loader);
    checkAborted(options.signal);
    throw load.explain(error);
  }
  const embedder = new Embedder(
    guard(() => loader.finish()),
    memory,
  );
  load.progress.ready(embedder.info.kind);
  return embedder;
}

class Load {
  readonly progress: ProgressReport;
  readonly #place: Source;
  readonly #loader: Loader;
  readonly #signal: AbortSignal | undefined;
  /** Where files were looked for in vain. */
  readonly #absent = new Map<string, string>();

  constructor(place: Source, loader: Loader, options: LoadOptions) {
    this.#place = place;
    this.#loader = loader;
    this.#signal = options.signal;
    this.progress = new ProgressReport(place.model, options.onProgress);
  }

  /** Everything but the weights. What is in one file may make another wanted. */
  async smallFiles(): Promise<void> {
    const loader = this.#loader;
    for (;;) {
      const names = guard(() => loader.wanted());
      if (names.length === 0) return;
      const files = await allOf(names.map((name) => this.#small(name)));
      checkAborted(this.#signal);
      for (const [index, name] of names.entries()) guard(() => loader.provide(name, files[index]));
    }
  }

  async #small(name: string): Promise<Uint8Array | undefined> {
    const file = await this.#open(name);
    if (!file) return undefined;
    this.progress.start(name);
    const bytes = await readAll(file);
    // A cancelled stream looks like one that ended.
    checkAborted(this.#signal);
    this.progress.finish(name, bytes.byteLength);
    return bytes;
  }

  /** The weight files, one after the other; no more than a chunk is held. */
  async weights(): Promise<void> {
    const loader = this.#loader;
    const names = guard(() => loader.weights());
    this.progress.expect(names);
    for (const name of names) {
      guard(() => loader.beginWeights(name));
      const file = await this.#open(name);
      if (!file) throw this.#missing([name]);
      this.progress.start(name);
      let loaded = 0;
      for await (const chunk of file.chunks) {
        for (let at = 0; at < chunk.byteLength; at += SLICE) {
          checkAborted(this.#signal);
          const slice = chunk.subarray(at, at + SLICE);
          guard(() => loader.pushWeights(slice));
          loaded += slice.byteLength;
          this.progress.advance(name, loaded, loader.weightsSize() ?? file.size);
          await breatheIfDue();
        }
      }
      checkAborted(this.#signal);
      guard(() => loader.endWeights());
      this.progress.finish(name, loaded);
    }
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
      "Check the model's name or address: a complete model has config.json, tokenizer.json and model.safetensors";
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
