/** A cache in a store: models as they were quantised in the first load, and partial downloads. */

import type { Engine } from "../engine/engine.js";
import { GossamerError, reason } from "../errors.js";
import { save } from "../save.js";
import { type Identity, type Listing, type OpenFile, type Source, streamChunks } from "../sources/source.js";
import type { CachedModel, ModelCache, ModelStore } from "../types.js";
import type { LoadCache, Visit, Wanted } from "./cache.js";
import { Download } from "./download.js";
import { type Entry, entryBytes, entryId, fileName, Index, isSame } from "./index.js";
import { acquire, type Release } from "./locks.js";
import { passing } from "./passing.js";
import { getPiece, type KeptFile, putPiece } from "./pieces.js";
import { isOfFiles, notCached, notReplaced, offline, waiting } from "./visit.js";

/** The cache in a store. `room` returns how many bytes can be added, where that is known. */
export class StoreCache implements LoadCache {
  readonly store: ModelStore;
  readonly index: Index;
  readonly #room: (() => Promise<number>) | undefined;

  constructor(store: ModelStore, room?: () => Promise<number>) {
    this.store = inWords(store);
    this.index = new Index(this.store);
    this.#room = room;
  }

  async list(): Promise<CachedModel[]> {
    const entries = await this.index.entries();
    return entries.map((entry) => ({
      model: entry.model,
      revision: entry.version,
      ...(entry.dtype && { dtype: entry.dtype }),
      size: entryBytes(entry),
      lastUsed: new Date(entry.used),
    }));
  }

  async delete(model: string): Promise<boolean> {
    return (await this.index.remove((entry) => entry.model === model)).length > 0;
  }

  async clear(): Promise<void> {
    await this.index.remove(() => true);
  }

  async size(): Promise<number> {
    return (await this.index.entries()).reduce((sum, entry) => sum + entryBytes(entry), 0);
  }

  async visit(wanted: Wanted): Promise<Visit> {
    const { place, signal } = wanted;
    const kept = await this.find(wanted);
    if (kept) return kept;
    if (wanted.offline) {
      throw offline(place.model);
    }
    // The listing tells which commit a branch is at.
    await place.list?.(signal);
    const { version, away } = place.identity ?? {};
    // There is no network, or a mirror that does not list its files.
    if (version === undefined)
      return (away && (await this.find({ ...wanted, offline: true }))) || passing(wanted);
    const lock = acquire(`gossamer-embed ${place.identity?.key} ${version}`, signal);
    const release = await waiting(wanted, "another load", lock);
    try {
      const kept = await this.find(wanted);
      if (kept) {
        release();
        return kept;
      }
      return await Fetching.start(this, wanted, release);
    } catch (error) {
      release();
      throw error;
    }
  }

  /**
   * Stores a loaded model. If that fails, it calls `spare` to free space and tries again, then
   * deletes other models one by one, the least recently used first.
   */
  async add(
    engine: Engine,
    wanted: Wanted,
    version: string,
    spare: () => Promise<void> = async () => {},
  ): Promise<void> {
    const entry = await this.#entry(engine, wanted, version);
    // Each model is deleted only once, even if the store still returns an outdated index.
    let others: Entry[] | undefined;
    for (let attempt = 0; ; attempt++) {
      try {
        await this.#write(engine, entry);
        return await this.index.put(entry);
      } catch (error) {
        // Nothing refers to the pieces written so far, but they take space.
        await this.index.discard(entry).catch(() => {});
        entry.files = {};
        if (error instanceof GossamerError && error.code !== STORE) throw error;
        if (attempt === 0) {
          await spare();
          continue;
        }
        others ??= (await this.index.entries()).filter(
          ({ key, version }) => key !== entry.key || version !== entry.version,
        );
        const oldest = others.pop();
        if (!oldest) throw error;
        await this.index.remove((other) => isSame(other, oldest));
      }
    }
  }

  async #entry({ info, isFull }: Engine, wanted: Wanted, version: string): Promise<Entry> {
    const { place, dtype: asked, sha256 } = wanted;
    const { key, ref } = place.identity as Identity;
    const listed = [...((await place.list?.(undefined)) ?? [])].flatMap(([name, file]) =>
      file.sha256 === undefined ? [] : [[name, file.sha256] as const],
    );
    return {
      model: place.model,
      key,
      version,
      refs: ref === undefined ? [] : [ref],
      dtype: info.dtype,
      ...(isFull && { full: true }),
      // Models that were not saved in another dtype load in q8 by default.
      standard: asked === undefined || (info.dtype === "q8" && info.stored === undefined),
      sha256: Object.fromEntries([
        ...listed,
        ...Object.entries(sha256).map(([name, hash]) => [name, hash.toLowerCase()]),
      ]),
      files: {},
      used: Date.now(),
    };
  }

  async #write(engine: Engine, entry: Entry): Promise<void> {
    const files = await save((call, signal) => engine.run(call, signal), { original: true });
    const size = files.reduce((sum, file) => sum + file.size, 0);
    if (!(await this.hasRoom(size))) {
      throw new Error(`its ${Math.ceil(size / 1e6)} MB are more than there is room for`);
    }
    for (const { path, size, stream } of files) {
      const file: KeptFile = { size, pieces: [] };
      entry.files[path] = file;
      let start = 0;
      for await (const chunk of streamChunks(stream(), undefined)) {
        const bytes = chunk as Uint8Array<ArrayBuffer>;
        file.pieces.push(await putPiece(this.store, fileName(entry, path), start, bytes));
        start += chunk.byteLength;
      }
    }
  }

  /**
   * Whether `bytes` can be added, as far as the host knows. Chromium reports more space than there
   * is.
   */
  async hasRoom(bytes: number): Promise<boolean> {
    return !this.#room || (await this.#room()) >= bytes;
  }

  /**
   * Finds the complete model in the store. Without a network it is found by the branch or tag that
   * resolved to it.
   */
  async find(wanted: Wanted, version = wanted.place.identity?.version): Promise<Visit | undefined> {
    const { identity } = wanted.place;
    if (!identity) return undefined;
    const { key, ref } = identity;
    const entry = (await this.index.entries()).find(
      (entry) =>
        entry.key === key &&
        !wanted.damaged.has(entryId(entry)) &&
        (version === undefined
          ? wanted.offline && ref !== undefined && entry.refs.includes(ref)
          : entry.version === version) &&
        (wanted.dtype === undefined ? entry.standard : entry.dtype === wanted.dtype) &&
        Object.entries(wanted.sha256).every(([name, hash]) => entry.sha256[name] === hash.toLowerCase()),
    );
    return entry && new Kept(this, entry, wanted);
  }
}

/** The models in a store of your own, to list and to delete. */
export function modelCache(store: ModelStore): ModelCache {
  return new StoreCache(store);
}

/** Code of the errors that a store has thrown. */
const STORE = "network";

/** Wraps a store so that its errors say which operation failed. */
function inWords(store: ModelStore): ModelStore {
  const told = async <T>(what: string, name: string, call: () => T | Promise<T>): Promise<T> => {
    try {
      return await call();
    } catch (cause) {
      throw new GossamerError(
        STORE,
        `The cache could not ${what} ${name}: ${reason(cause)}. See to the store, or pass \`cache: false\`.`,
        { status: 502, cause },
      );
    }
  };
  return {
    get: (name) => told("get", name, () => store.get(name)),
    put: (name, value) => told("put", name, () => store.put(name, value)),
    delete: (name) => told("delete", name, () => store.delete(name)),
  };
}

/** Loads a model from the store. */
class Kept implements Visit {
  /**
   * Empty: the user's hashes are those of the downloaded files, which were checked before these
   * files were made of them.
   */
  readonly sha256 = {};
  readonly #cache: StoreCache;
  readonly #entry: Entry;
  readonly #wanted: Wanted;

  constructor(cache: StoreCache, entry: Entry, wanted: Wanted) {
    this.#cache = cache;
    this.#entry = entry;
    this.#wanted = wanted;
  }

  /**
   * A page that has the full build, cached too, need not download the common one for the next
   * visit.
   */
  get full(): boolean {
    return this.#entry.full === true;
  }

  get source(): Source {
    const { model, version, files } = this.#entry;
    const list = Object.entries(files).map(([name, { size }]) => [name, { size }] as const);
    const listing: Listing = new Map(list);
    return {
      model,
      revision: version,
      list: async () => listing,
      open: async (name) => {
        const file = files[name];
        return file ? this.#open(name, file) : { absent: name };
      },
    };
  }

  async keep(): Promise<boolean> {
    const { refs } = this.#entry;
    const { ref } = this.#wanted.place.identity ?? {};
    const known = ref === undefined ? refs : [...new Set([...refs, ref])];
    await this.#cache.index
      .update((entries) =>
        entries.map((entry) =>
          isSame(entry, this.#entry) ? { ...entry, refs: known, used: Date.now() } : entry,
        ),
      )
      // The time of use only decides which model is deleted first.
      .catch(() => {});
    return true;
  }

  /** The files loaded when they were stored, so they have been damaged since. */
  async forget(error: unknown): Promise<boolean> {
    if (!isOfFiles(error)) return false;
    const { damaged, place, warn } = this.#wanted;
    damaged.add(entryId(this.#entry));
    await this.#cache.index
      .remove((entry) => isSame(entry, this.#entry))
      .catch((cause) => warn(notReplaced(place.model, "its copy", cause)));
    return true;
  }

  leave(): void {}

  #open(name: string, { size, pieces }: KeptFile): OpenFile {
    const { store } = this.#cache;
    const get = (at: number) => {
      const piece = pieces[at];
      return piece && getPiece(store, fileName(this.#entry, name), piece);
    };
    async function* chunks() {
      let next = get(0);
      for (const at of pieces.keys()) {
        const bytes = await next;
        if (!bytes) throw damaged(name);
        next = get(at + 1);
        // If the reader stops early, nobody awaits this promise.
        next?.catch(() => {});
        yield bytes;
      }
    }
    return { chunks: chunks(), size };
  }
}

function damaged(name: string): GossamerError {
  return new GossamerError("truncated_stream", `The cache has lost a part of ${name}; load the model anew.`, {
    status: 502,
  });
}

/** Downloads a model that is not in the store. Other loads of the same model wait for it. */
class Fetching implements Visit {
  readonly saves = true;
  readonly source: Download;
  readonly #cache: StoreCache;
  readonly #wanted: Wanted;
  readonly #release: Release;

  static async start(cache: StoreCache, wanted: Wanted, release: Release): Promise<Fetching> {
    return new Fetching(cache, wanted, release, await Download.resume(cache, wanted));
  }

  private constructor(cache: StoreCache, wanted: Wanted, release: Release, source: Download) {
    this.source = source;
    this.#cache = cache;
    this.#wanted = wanted;
    this.#release = release;
  }

  get sha256(): Wanted["sha256"] {
    return this.#wanted.sha256;
  }

  get file(): string | undefined {
    return this.#wanted.file;
  }

  get adapter(): Visit["adapter"] {
    return this.#wanted.place.adapter;
  }

  async keep(engine: Engine): Promise<boolean> {
    try {
      await this.source.settle();
      // To free space, the download is deleted first: the model has been made of it.
      const { version } = this.#wanted.place.identity as Identity & { version: string };
      await this.#cache.add(engine, this.#wanted, version, () => this.source.discard());
      await this.source.discard();
      return true;
    } catch (error) {
      const isDisposed = error instanceof GossamerError && error.code === "disposed";
      if (isDisposed) return false;
      await this.source.discard().catch(() => {});
      this.#wanted.warn(notCached(this.#wanted.place.model, error));
      return false;
    } finally {
      this.#release();
    }
  }

  /** Tries again without the stored parts of an earlier download, which may be damaged. */
  async forget(error: unknown): Promise<boolean> {
    await this.source.settle();
    if (!isOfFiles(error)) return false;
    const { resumed, id } = this.source;
    this.#wanted.damaged.add(id);
    await this.source.discard().catch(() => {});
    return resumed;
  }

  leave(): void {
    this.#release();
  }
}
