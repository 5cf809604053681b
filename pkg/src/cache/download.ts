/**
 * Stores a model's files as they arrive, so that an interrupted download continues in the next
 * load.
 */

import { GossamerError } from "../errors.js";
import {
  type Absent,
  gone,
  type Identity,
  type Listing,
  type OpenFile,
  type Source,
} from "../sources/source.js";
import type { ModelStore } from "../types.js";
import type { Wanted } from "./cache.js";
import { type Entry, entryId, fileName, type Index, isSame } from "./index.js";
import { getPiece, type KeptFile, PIECE, type Piece, putPiece } from "./pieces.js";

/** Milliseconds after which an incomplete piece is stored. */
const LATEST = 5000;
/**
 * Download speed, in bytes per millisecond, above which pieces are not stored: fetching them again
 * is as fast as reading them.
 */
const FAST = 64_000;
/** Pieces with fewer bytes are not stored: fetching them again is faster. */
const SMALL = 1 << 16;
/** Maximum number of pieces that wait to be written. */
const WAITING = 2;

/** The parts of a cache that a download uses. */
interface Storage {
  readonly store: ModelStore;
  readonly index: Index;
  hasRoom(bytes: number): Promise<boolean>;
}

/** The source of a model together with the stored parts of its files. */
export class Download implements Source {
  /** Whether bytes of an earlier download were used. */
  resumed = false;
  readonly #cache: Storage;
  readonly #place: Source;
  readonly #sha256: Wanted["sha256"];
  readonly #entry: Entry;
  #keeps = true;
  #writes: Promise<void> = Promise.resolve();
  #waiting = 0;

  /** Finds the stored parts. */
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

  /** Id of the entry in the index. */
  get id(): string {
    return entryId(this.#entry);
  }

  get model(): string {
    return this.#place.model;
  }

  get isRemote(): boolean | undefined {
    return this.#place.isRemote;
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
    // Without a size it is unknown what is missing. Without ETag, date and hash it is unknown
    // whether the rest belongs to the same file.
    if (total === undefined || !(isHashed || validator)) {
      delete this.#entry.files[name];
      return file;
    }
    const fresh: KeptFile = { pieces: [], size: total, ...(validator && { validator }) };
    this.#entry.files[name] = fresh;
    return { ...file, chunks: this.#keep(name, fresh, 0, chunks) };
  }

  /** Waits until all pieces are written. */
  async settle(): Promise<void> {
    await this.#writes;
  }

  /** Deletes the stored parts. */
  async discard(): Promise<void> {
    this.#keeps = false;
    await this.settle();
    await this.#cache.index.remove((entry) => isSame(entry, this.#entry));
  }

  /** Yields the stored pieces of a file, and fetches what is missing. */
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
      // Pieces that the store has lost are fetched like those that were never stored.
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

  /** Passes chunks on and stores them. */
  async *#keep(
    name: string,
    file: KeptFile,
    start: number,
    chunks: AsyncIterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array> {
    const size = file.size as number;
    const begun = performance.now();
    // The speed is measured over the whole stream, since chunks come in bursts.
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
      // If the download was interrupted, this is the start of a piece.
      await put(gathered);
    }
  }

  /** Queues a piece for writing. Waits while too many are queued. */
  async #put(name: string, file: KeptFile, { start, bytes }: Gathered): Promise<void> {
    if (bytes.byteLength < SMALL || !this.#keeps) return;
    this.#waiting++;
    this.#writes = this.#writes.then(async () => {
      try {
        // Leaves room for the rest of the file and for the quantised model.
        const size = file.size as number;
        if (!this.#keeps || !(await this.#cache.hasRoom(1.5 * size - start))) return;
        const piece = await putPiece(this.#cache.store, fileName(this.#entry, name), start, bytes);
        file.pieces = [...file.pieces, piece].sort((a, b) => a.start - b.start);
        await this.#cache.index.put({ ...this.#entry, used: Date.now() });
      } catch {
        // The piece will be fetched again.
        this.#keeps = false;
      } finally {
        this.#waiting--;
      }
    });
    if (this.#waiting > WAITING) await this.#writes;
  }
}

/**
 * The error for a file that has changed since its parts were stored. The load starts again without
 * them.
 */
function exchanged(name: string): GossamerError {
  return new GossamerError(
    "wrong_hash",
    `${name} is another file than the one of which a part is in the cache. Load the model again.`,
    { status: 502 },
  );
}

/** A piece that is being assembled. */
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

  /** Whether it is complete or old enough to be stored. */
  get isDue(): boolean {
    return this.length === this.#bytes.byteLength || performance.now() - this.#since > LATEST;
  }

  /** Appends the start of a chunk, as much as fits. Returns the number of bytes taken. */
  add(chunk: Uint8Array): number {
    const taken = chunk.subarray(0, this.#bytes.byteLength - this.length);
    this.#bytes.set(taken, this.length);
    this.length += taken.byteLength;
    return taken.byteLength;
  }
}

/** The first `length` bytes of a stream. */
async function* until(chunks: AsyncIterable<Uint8Array>, length: number): AsyncGenerator<Uint8Array> {
  let left = length;
  for await (const chunk of chunks) {
    yield chunk.subarray(0, left);
    left -= chunk.byteLength;
    if (left <= 0) return;
  }
}
