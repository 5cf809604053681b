/**
 * Brings a model's files from a source into a loader: small files in parallel, weights one file
 * after the other, in chunks.
 */

import { orAborted } from "./abort.js";
import { needsFull } from "./build.js";
import type { Engine, EngineLoader, LoadStep } from "./engine/engine.js";
import { checkAborted, GossamerError } from "./errors.js";
import { yieldIfDue } from "./event-loop.js";
import type { ProgressReport } from "./progress.js";
import { gone, type Listing, type OpenFile, readAll, type Source } from "./sources/source.js";
import { isPath } from "./sources/trust.js";
import { checkListed, withoutPointer } from "./sources/verify.js";

/** The most bytes that are pushed at once. */
const SLICE = 1 << 20;

/** What is transferred. */
export interface Cargo {
  source: Source;
  listing: Listing | undefined;
  progress: ProgressReport;
  signal: AbortSignal | undefined;
  /** The weight file that was asked for, or chosen. */
  file: string | undefined;
}

/** Gives a loader what it needs until the model is complete. */
export class Transfer<E extends Engine> {
  readonly #progress: ProgressReport;
  readonly #source: Source;
  readonly #listing: Listing | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #file: string | undefined;
  #loader: EngineLoader<E>;
  /**
   * Starts a loader in the full build of the wasm. It takes over if the loader cannot go on without
   * what that build has. Undefined from where on what was read cannot be repeated, and if the
   * loader is in the full build.
   */
  #full: (() => Promise<EngineLoader<E>>) | undefined;
  /** The small files that were provided, as long as another loader may take over. */
  readonly #small = new Map<string, Uint8Array | undefined>();
  /** The beginning of the weight file, as long as another loader may take over. */
  #head: Uint8Array[] = [];
  /** Files that the source does not have, and where it looked for each. */
  readonly #absent = new Map<string, string>();
  /** The weight file that was found to be absent first, since a file was last found. */
  #missing: string | undefined;

  constructor(
    { source, listing, progress, signal, file }: Cargo,
    loader: EngineLoader<E>,
    full: () => Promise<EngineLoader<E>>,
  ) {
    this.#source = source;
    this.#listing = listing;
    this.#loader = loader;
    if (!loader.isFull) this.#full = full;
    this.#progress = progress;
    this.#signal = signal;
    this.#file = file;
  }

  /** Loads the model. Frees the loader if that fails. */
  async run(): Promise<E> {
    try {
      for (;;) {
        const step = await this.#next();
        if (step.need === "ready") return await this.#loader.finish();
        if (step.need === "small") await this.#smallFiles(step.files);
        else await this.#weights(step.file, step.files);
      }
    } catch (error) {
      this.#loader.free();
      throw error;
    }
  }

  /** The next step. Before any weights, another loader can take over here. */
  async #next(): Promise<LoadStep> {
    try {
      return await this.#loader.next();
    } catch (error) {
      await this.#takeOver(error);
      return this.#loader.next();
    }
  }

  async #smallFiles(names: string[]): Promise<void> {
    const files = await allOf(names.map((name) => this.#read(name)));
    checkAborted(this.#signal);
    for (const [index, name] of names.entries()) await this.#loader.provide(name, files[index]);
  }

  async #read(name: string): Promise<Uint8Array | undefined> {
    if (this.#small.has(name)) return this.#small.get(name);
    const bytes = await this.#download(name);
    if (this.#full) this.#small.set(name, bytes);
    return bytes;
  }

  async #download(name: string): Promise<Uint8Array | undefined> {
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
    const file = await this.#open(name);
    if (!file) {
      this.#missing ??= name;
      // Another file may be read instead.
      await this.#loader.provide(name, undefined);
      return;
    }
    this.#progress.expect(files);
    this.#progress.start(name, file.size);
    let loaded = 0;
    for await (const chunk of file.chunks) {
      for (let at = 0; at < chunk.byteLength; at += SLICE) {
        checkAborted(this.#signal);
        const slice = chunk.subarray(at, at + SLICE);
        const size = await this.#push(name, slice);
        loaded += slice.byteLength;
        this.#progress.advance(name, loaded, size ?? file.size);
        await yieldIfDue();
      }
    }
    checkAborted(this.#signal);
    await this.#end(name);
    this.#progress.finish(name, loaded);
  }

  async #push(name: string, bytes: Uint8Array): Promise<number | undefined> {
    // A chunk is valid until the next one is asked for.
    if (this.#full) this.#head.push(bytes.slice());
    try {
      const size = await this.#loader.push(bytes);
      if (size !== undefined) this.#commit();
      return size;
    } catch (error) {
      return this.#repeat(name, error);
    }
  }

  async #end(name: string): Promise<void> {
    try {
      await this.#loader.end();
    } catch (error) {
      await this.#repeat(name, error);
      await this.#loader.end();
    }
    this.#commit();
  }

  /** From here on no other loader can take over: the header of the weights has been accepted. */
  #commit(): void {
    this.#full = undefined;
    this.#small.clear();
    this.#head = [];
  }

  /** Lets another loader take over in the middle of the first weight file. */
  async #repeat(name: string, error: unknown): Promise<number | undefined> {
    const head = this.#head;
    await this.#takeOver(error);
    for (;;) {
      const step = await this.#loader.next();
      if (step.need === "small") await this.#smallFiles(step.files);
      else if (step.need === "stream" && step.file === name) break;
      else if (step.need === "stream" && this.#absent.has(step.file)) {
        await this.#loader.provide(step.file, undefined);
      } else throw error;
    }
    let size: number | undefined;
    for (const bytes of head) size = await this.#loader.push(bytes);
    this.#commit();
    return size;
  }

  /** Goes on with a loader in the full build, if that is what the error asks for. */
  async #takeOver(error: unknown): Promise<void> {
    const full = this.#full;
    if (!full || !needsFull(error)) throw error;
    this.#full = undefined;
    const loader = await full();
    this.#loader.free();
    this.#loader = loader;
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
