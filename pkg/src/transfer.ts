/**
 * Brings a model's files from a source into a loader: small files in parallel, weights one file
 * after the other, in chunks.
 */

import { orAborted } from "./abort.js";
import type { EngineLoader } from "./engine/engine.js";
import { checkAborted, GossamerError } from "./errors.js";
import { yieldIfDue } from "./event-loop.js";
import type { ProgressReport } from "./progress.js";
import { gone, type Listing, type OpenFile, readAll, type Source } from "./sources/source.js";
import { isPath } from "./sources/trust.js";
import { checkListed, withoutPointer } from "./sources/verify.js";

/** The most bytes that are pushed at once. */
const SLICE = 1 << 20;

/** Gives a loader what it needs until it is ready. */
export class Transfer {
  readonly #progress: ProgressReport;
  readonly #source: Source;
  readonly #listing: Listing | undefined;
  readonly #loader: EngineLoader;
  readonly #signal: AbortSignal | undefined;
  /** The weight file that was asked for, or chosen. */
  readonly #file: string | undefined;
  /** Files that the source does not have, and where it looked for each. */
  readonly #absent = new Map<string, string>();
  /** The weight file that was found to be absent first, since a file was last found. */
  #missing: string | undefined;

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

  async run(): Promise<void> {
    for (;;) {
      const step = await this.#loader.next();
      if (step.need === "ready") return;
      if (step.need === "small") await this.#smallFiles(step.files);
      else await this.#weights(step.file, step.files);
    }
  }

  async #smallFiles(names: string[]): Promise<void> {
    const files = await allOf(names.map((name) => this.#small(name)));
    checkAborted(this.#signal);
    for (const [index, name] of names.entries()) await this.#loader.provide(name, files[index]);
  }

  async #small(name: string): Promise<Uint8Array | undefined> {
    const file = await this.#open(name);
    if (!file) return undefined;
    this.#progress.start(name, file.size);
    const bytes = await readAll(file);
    // A cancelled stream ends like a complete one.
    checkAborted(this.#signal);
    await checkListed(name, bytes, this.#listing?.get(name) ?? {});
    this.#progress.finish(name, bytes.byteLength);
    return bytes;
  }

  /** Streams a weight file. No more than a chunk is held in memory. */
  async #weights(name: string, files: string[]): Promise<void> {
    const loader = this.#loader;
    const file = await this.#open(name);
    if (!file) {
      this.#missing ??= name;
      // Another file may be read instead.
      await loader.provide(name, undefined);
      return;
    }
    this.#progress.expect(files);
    this.#progress.start(name, file.size);
    let loaded = 0;
    for await (const chunk of file.chunks) {
      for (let at = 0; at < chunk.byteLength; at += SLICE) {
        checkAborted(this.#signal);
        const slice = chunk.subarray(at, at + SLICE);
        const size = await loader.push(slice);
        loaded += slice.byteLength;
        this.#progress.advance(name, loaded, size ?? file.size);
        await yieldIfDue();
      }
    }
    checkAborted(this.#signal);
    await loader.end();
    this.#progress.finish(name, loaded);
  }

  async #open(name: string): Promise<OpenFile | undefined> {
    // The name comes from the options or from the model's own files, so it is not trusted.
    if (!isPath(name)) {
      throw new GossamerError("invalid_input", `${JSON.stringify(name)} is no path in the model's folder.`, {
        status: 400,
      });
    }
    // A source that is a user's function may ignore the signal.
    const opening = this.#source.open(name, this.#signal);
    const file = await orAborted(opening, this.#signal).catch((error: unknown) => {
      checkAborted(this.#signal);
      throw error;
    });
    checkAborted(this.#signal);
    if ("chunks" in file) {
      this.#missing = undefined;
      return { ...file, chunks: withoutPointer(name, file.chunks) };
    }
    // Other weights would be another model than the one that was chosen.
    if (this.#listing?.has(name)) throw gone(name, file);
    this.#absent.set(name, file.absent);
    return undefined;
  }

  /**
   * Adds to an error about a missing file where the file was looked for, which only this side
   * knows.
   */
  explain(error: unknown): unknown {
    if (!(error instanceof GossamerError) || error.code !== "missing_file") return error;
    const weights = this.#missing === undefined ? [] : [this.#missing];
    const required = ["config.json", "tokenizer.json"].filter((name) => this.#absent.has(name));
    const names = weights.length > 0 ? weights : required;
    return names.length > 0 ? this.#notFound(names, error) : error;
  }

  #notFound(names: string[], cause: unknown): GossamerError {
    const places = names.map((name) => this.#absent.get(name));
    // In a map of files, the place is the name itself.
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

/**
 * As `Promise.all`, but rejects only once all promises have settled, so that nothing runs on
 * afterwards.
 */
async function allOf<T>(promises: Promise<T>[]): Promise<T[]> {
  const settled = await Promise.allSettled(promises);
  return settled.map((result) => {
    if (result.status === "rejected") throw result.reason;
    return result.value;
  });
}
