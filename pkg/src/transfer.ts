/** A model's files on their way from a source into a loader: small ones side by side, then weights, chunk by chunk. */

import { orAborted } from "./abort.js";
import type { EngineLoader } from "./engine/engine.js";
import { checkAborted, GossamerError } from "./errors.js";
import { yieldIfDue } from "./event-loop.js";
import type { ProgressReport } from "./progress.js";
import { type Listing, type OpenFile, readAll, type Source } from "./sources/source.js";
import { isPath } from "./sources/trust.js";
import { checkListed, withoutPointer } from "./sources/verify.js";

/** The most bytes handed over at once. */
const SLICE = 1 << 20;

/** Hands a loader the files that it asks for. */
export class Transfer {
  readonly #progress: ProgressReport;
  readonly #source: Source;
  readonly #listing: Listing | undefined;
  readonly #loader: EngineLoader;
  readonly #signal: AbortSignal | undefined;
  /** The weight file that was asked for, or chosen. */
  readonly #file: string | undefined;
  /** Where files were looked for in vain. */
  readonly #absent = new Map<string, string>();

  constructor(
    source: Source,
    listing: Listing | undefined,
    loader: EngineLoader,
    progress: ProgressReport,
    signal: AbortSignal | undefined,
    file: string | undefined,
  ) {
    this.#source = source;
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
        await yieldIfDue();
      }
    }
    checkAborted(this.#signal);
    await loader.endWeights();
    this.#progress.finish(name, loaded);
  }

  async #open(name: string): Promise<OpenFile | undefined> {
    // Names come from the options and from the model's own files.
    if (!isPath(name)) {
      throw new GossamerError("invalid_input", `${JSON.stringify(name)} is no path in the model's folder.`, {
        status: 400,
      });
    }
    // A function that gets files may not listen to the signal.
    const opening = this.#source.open(name, this.#signal);
    const file = await orAborted(opening, this.#signal).catch((error: unknown) => {
      checkAborted(this.#signal);
      throw error;
    });
    checkAborted(this.#signal);
    if ("chunks" in file) return { ...file, chunks: withoutPointer(name, file.chunks) };
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
        ? "Check the model's name or address: a complete model has config.json, tokenizer.json and model.safetensors (or onnx/model.onnx)"
        : "Check the model's name or address, and the option file";
    const hint = code === "not_found" ? " (a local folder is written ./folder)" : "";
    return new GossamerError(
      code,
      `${this.#source.model} has no ${names.join(" and no ")}: not found at ${places.join(", ")}. ${advice}${hint}.`,
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
