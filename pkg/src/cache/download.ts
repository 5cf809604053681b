/** A model's files on their way here, kept as they arrive, so that a download that breaks off goes on the next time. */

import { GossamerError } from "../errors.js";
import type { Absent, Identity, Listing, OpenFile, Source } from "../sources/source.js";
import type { ModelStore } from "../types.js";
import type { Wanted } from "./cache.js";
import { type Entry, entryId, fileName, type Index, isSame } from "./index.js";
import { getPiece, type KeptFile, PIECE, type Piece, putPiece } from "./pieces.js";
import { gone } from "./visit.js";

/** Milliseconds after which what has arrived of a piece is kept as one. */
const LATEST = 5000;
/** Bytes a millisecond that arrive as fast as they would be written: they are fetched again rather than kept. */
const FAST = 64_000;
/** Bytes that are sooner fetched than kept. */
const SMALL = 1 << 16;
/** Pieces that may wait to be written. */
const WAITING = 2;

/** The parts of a cache that a download uses. */
interface Storage {
  readonly store: ModelStore;
  readonly index: Index;
  hasRoom(bytes: number): Promise<boolean>;
}

/** Where a model comes from, and what is here of it. */
export class Download implements Source {
  /** Whether bytes were taken from an earlier download. */
  resumed = false;
  readonly #cache: Storage;
  readonly #place: Source;
  readonly #sha256: Wanted["sha256"];
  readonly #entry: Entry;
  #keeps = true;
  #writes: Promise<void> = Promise.resolve();
  #waiting = 0;

  /** Finds what is here already. */
  static async resume(cache: Storage, wanted: Wanted): Promise<Download> {
    const { place, damaged } = wanted;
    const { key, version, ref } = place.identity as Identity & { version: string };
    const fresh: Entry = {
      model: place.model,
      key,
      version,
      refs: ref === undefined ? [] : [ref],
      sha256: {},
      files: {},
      used: Date.now(),
    };
    const isKept = !damaged.has(entryId(fresh));
    const found = isKept && (await cache.index.entries()).find((entry) => isSame(entry, fresh));
    return new Download(cache, wanted, found || fresh);
  }

  private constructor(cache: Storage, { place, sha256 }: Wanted, entry: Entry) {
    this.#cache = cache;
    this.#place = place;
    this.#sha256 = sha256;
    this.#entry = entry;
  }

  /** What an index calls it. */
  get id(): string {
    return entryId(this.#entry);
  }

  get model(): string {
    return this.#place.model;
  }

  get revision(): string | undefined {
    return this.#place.revision;
  }

  list(signal: AbortSignal | undefined): Promise<Listing | undefined> {
    return this.#place.list?.(signal) ?? Promise.resolve(undefined);
  }

  async open(name: string, signal: AbortSignal | undefined): Promise<OpenFile | Absent> {
    const listing = await this.list(signal);
    const { oid, sha256 = oid } = listing?.get(name) ?? {};
    const isHashed = (sha256 ?? this.#sha256[name]) !== undefined;
    const kept = this.#entry.files[name];
    const size = kept?.size;
    if (kept && size !== undefined && kept.pieces.length > 0) {
      const known = listing?.get(name)?.size ?? size;
      if (known === size) return { chunks: this.#rest(name, kept, size, isHashed, signal), size };
    }
    const file = await this.#place.open(name, signal);
    if ("absent" in file) return file;
    const { size: total, validator, chunks } = file;
    // Without a size there is no telling what is missing; without ETag, date and hash, whether the rest is of the same file.
    if (total === undefined || !(isHashed || validator)) {
      delete this.#entry.files[name];
      return file;
    }
    const fresh: KeptFile = { pieces: [], size: total, ...(validator && { validator }) };
    this.#entry.files[name] = fresh;
    return { ...file, chunks: this.#keep(name, fresh, 0, chunks) };
  }

  /** Waits until all is written. */
  async settle(): Promise<void> {
    await this.#writes;
  }

  /** Forgets what is here. */
  async discard(): Promise<void> {
    this.#keeps = false;
    await this.settle();
    await this.#cache.index.remove((entry) => isSame(entry, this.#entry));
  }

  /** What is here of a file, and the rest from where it was. */
  async *#rest(
    name: string,
    file: KeptFile,
    size: number,
    isHashed: boolean,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Uint8Array> {
    const kept = new Map(file.pieces.map((piece) => [piece.start, piece]));
    let position = 0;
    while (position < size) {
      const bytes = await this.#piece(name, kept.get(position));
      if (bytes) {
        this.resumed = true;
        position += bytes.byteLength;
        yield bytes;
        continue;
      }
      // What the store has lost is fetched with what was never here.
      file.pieces = file.pieces.filter(({ start }) => start !== position);
      const end = Math.min(size, ...file.pieces.flatMap(({ start }) => (start > position ? [start] : [])));
      const opened = await this.#place.open(name, signal, position);
      if ("absent" in opened) throw gone(name, opened);
      if (!isHashed && (opened.validator === undefined || opened.validator !== file.validator)) {
        for await (const _ of opened.chunks) break;
        this.resumed = true;
        throw exchanged(name);
      }
      for await (const chunk of this.#keep(name, file, position, until(opened.chunks, end - position))) {
        position += chunk.byteLength;
        yield chunk;
      }
      if (position < end) return;
    }
  }

  async #piece(name: string, piece: Piece | undefined): Promise<Uint8Array | undefined> {
    return piece && getPiece(this.#cache.store, fileName(this.#entry, name), piece);
  }

  /** Passes chunks on, and keeps them. */
  async *#keep(
    name: string,
    file: KeptFile,
    start: number,
    chunks: AsyncIterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array> {
    const size = file.size as number;
    const begun = performance.now();
    // Of the whole stream: chunks come in bursts.
    const put = async (gathered: Gathered) => {
      const isFast = gathered.end - start > FAST * (performance.now() - begun);
      if (!isFast) await this.#put(name, file, gathered);
    };
    let gathered = new Gathered(start, size);
    try {
      for await (const chunk of chunks) {
        for (let at = 0; at < chunk.byteLength && gathered.end < size; ) {
          at += gathered.add(chunk.subarray(at));
          if (!gathered.isDue) continue;
          await put(gathered);
          gathered = new Gathered(gathered.end, size);
        }
        yield chunk;
      }
    } finally {
      // The beginning of a piece, where the download has broken off.
      await put(gathered);
    }
  }

  /** Writes a piece, later; waits while several do. */
  async #put(name: string, file: KeptFile, { start, bytes }: Gathered): Promise<void> {
    if (bytes.byteLength < SMALL || !this.#keeps) return;
    this.#waiting++;
    this.#writes = this.#writes.then(async () => {
      try {
        // Beside the rest of it, what is made of it will want room.
        const size = file.size as number;
        if (!this.#keeps || !(await this.#cache.hasRoom(1.5 * size - start))) return;
        const piece = await putPiece(this.#cache.store, fileName(this.#entry, name), start, bytes);
        file.pieces = [...file.pieces, piece].sort((a, b) => a.start - b.start);
        await this.#cache.index.put({ ...this.#entry, used: Date.now() });
      } catch {
        // It will be fetched again.
        this.#keeps = false;
      } finally {
        this.#waiting--;
      }
    });
    if (this.#waiting > WAITING) await this.#writes;
  }
}

/** With what is here of it gone, the load begins anew. */
function exchanged(name: string): GossamerError {
  return new GossamerError(
    "wrong_hash",
    `${name} is another file than the one of which a part is in the cache. Load the model again.`,
    { status: 502 },
  );
}

/** A piece that is being put together. */
class Gathered {
  readonly start: number;
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #since = performance.now();
  length = 0;

  constructor(start: number, size: number) {
    this.start = start;
    this.#bytes = new Uint8Array(Math.min(PIECE, Math.max(0, size - start)));
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.length);
  }

  get end(): number {
    return this.start + this.length;
  }

  /** Whether it is whole, or has waited for long. */
  get isDue(): boolean {
    return this.length === this.#bytes.byteLength || performance.now() - this.#since > LATEST;
  }

  /** Takes what it can of a chunk. */
  add(chunk: Uint8Array): number {
    const taken = chunk.subarray(0, this.#bytes.byteLength - this.length);
    this.#bytes.set(taken, this.length);
    this.length += taken.byteLength;
    return taken.byteLength;
  }
}

/** The first bytes of a stream. */
async function* until(chunks: AsyncIterable<Uint8Array>, length: number): AsyncGenerator<Uint8Array> {
  let left = length;
  for await (const chunk of chunks) {
    yield chunk.subarray(0, left);
    left -= chunk.byteLength;
    if (left <= 0) return;
  }
}
