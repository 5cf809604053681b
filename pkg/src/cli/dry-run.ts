/**
 * A source that gives zeros for the weights of another one. A model loads from it like from that
 * one, so that all that is said of it is exact: its files, what it is, and the memory that it
 * takes.
 */

import type { Absent, Listing, OpenFile, Source } from "../sources/source.js";

/** Bytes of a GGUF file that are read: its header, which has the tokenizer, and some more. */
const GGUF_HEADER = 1 << 25;
const CHUNK = 1 << 20;

export class DryRun implements Source {
  readonly #place: Source;
  readonly #sizes: Map<string, number>;
  readonly #isWhole: boolean;
  /** Whether any bytes were zeros. */
  hasZeros = false;

  /** `sizes` gets the size of each file that is read. `isWhole`: give all bytes as they are. */
  constructor(place: Source, sizes: Map<string, number>, isWhole: boolean) {
    this.#place = place;
    this.#sizes = sizes;
    this.#isWhole = isWhole;
  }

  get model(): string {
    return this.#place.model;
  }

  get revision(): string | undefined {
    return this.#place.revision;
  }

  get file(): string | undefined {
    return this.#place.file;
  }

  /** Without the SHA-256 of files: zeros have another one. */
  async list(signal: AbortSignal | undefined): Promise<Listing | undefined> {
    const listing = await this.#place.list?.(signal);
    return listing && new Map(Array.from(listing, ([name, { size, oid }]) => [name, { size, oid }]));
  }

  async open(name: string, signal: AbortSignal | undefined): Promise<OpenFile | Absent> {
    const file = await this.#place.open(name, signal);
    if ("absent" in file) return file;
    return { ...file, chunks: this.#chunks(name, file) };
  }

  async *#chunks(name: string, { chunks, size }: OpenFile): AsyncGenerator<Uint8Array> {
    const isSafetensors = name.endsWith(".safetensors") && !this.#isWhole;
    let header = name.endsWith(".gguf") && !this.#isWhole ? GGUF_HEADER : Number.POSITIVE_INFINITY;
    let start = new Uint8Array();
    let at = 0;
    for await (const chunk of chunks) {
      if (isSafetensors && start.length < 8) {
        start = Uint8Array.from([...start, ...chunk.subarray(0, 8 - start.length)]);
        if (start.length === 8) header = 8 + Number(new DataView(start.buffer).getBigUint64(0, true));
      }
      at += chunk.byteLength;
      yield chunk;
      // Leaving the loop stops the download.
      if (at >= header && size !== undefined) break;
    }
    if (size !== undefined) {
      const zeros = new Uint8Array(CHUNK);
      for (; at < size && at >= header; at += CHUNK) {
        this.hasZeros = true;
        yield zeros.subarray(0, size - at);
      }
    }
    this.#sizes.set(name, size ?? at);
  }
}
