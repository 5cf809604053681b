/**
 * The Hugging Face cache folder, shared with Python's huggingface_hub and others.
 * `models--org--name/` has files named by their hashes in `blobs`, links to them by commit and name
 * in `snapshots`, and the commits of branches and tags in `refs`. This package adds the folder
 * `gossamer` with the quantised model, which has a quarter of the bytes and loads without
 * computation.
 */

import { createHash, type Hash, randomUUID } from "node:crypto";
import type { Stats } from "node:fs";
import {
  copyFile,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { basename, dirname, join, relative, sep } from "node:path";
import type { Engine } from "../engine/engine.js";
import { checkAborted, GossamerError } from "../errors.js";
import { Adapted } from "../sources/adapter.js";
import { directorySource } from "../sources/directory.js";
import {
  gone,
  type Identity,
  type ListedFile,
  type Listing,
  type OpenFile,
  type Source,
} from "../sources/source.js";
import { isHash } from "../sources/trust.js";
import type { CachedModel } from "../types.js";
import type { LoadCache, Visit, Wanted } from "./cache.js";
import { folderStore } from "./folder-store.js";
import { entryBytes } from "./index.js";
import { exists, type FileLock, lockFile } from "./lock-file.js";
import { forgetMeasurements } from "./measurements.js";
import { passing } from "./passing.js";
import { StoreCache } from "./store.js";
import { isOfFiles, notCached, notReplaced, offline, waiting } from "./visit.js";
import { writeAt } from "./write-at.js";

/** A file that marks the folder of a model downloaded by this package. */
const MARKER = ".gossamer";
/** Folder of the quantised model. */
const QUANTIZED = "gossamer";
/**
 * Folder of the hashes that the Hub listed. They are needed for files that are not links, whose
 * name is not a hash.
 */
const HASHES = ".gossamer-hashes";
/** Suffix of files that are incomplete. Python uses another suffix. */
const INCOMPLETE = ".gossamer.incomplete";

/** The cache in the Hugging Face cache folder. */
export class HubFolder implements LoadCache {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** All models in the folder, including those that other programs have put there. */
  async list(): Promise<CachedModel[]> {
    const found = await Promise.all(
      (await this.#models()).map(async ([name, model]) => {
        const snapshots = join(this.#folder, name, "snapshots");
        const quantized = await quantizedOf(join(this.#folder, name)).index.entries();
        const revisions = (await names(snapshots)).map(async (revision) => {
          const { size, lastUsed } = await measure(join(snapshots, revision));
          const ours = quantized.filter(({ version }) => version === revision);
          return {
            model,
            revision,
            size: ours.reduce((sum, entry) => sum + entryBytes(entry), size),
            lastUsed: new Date(Math.max(lastUsed.getTime(), ...ours.map(({ used }) => used))),
          };
        });
        return Promise.all(revisions);
      }),
    );
    return found.flat().sort((a, b) => b.lastUsed.getTime() - a.lastUsed.getTime());
  }

  async delete(model: string): Promise<boolean> {
    // The name is not trusted: only a folder that was listed is deleted.
    const [found] = (await this.#models()).find(([, name]) => name === model) ?? [];
    if (found === undefined) return false;
    const folder = join(this.#folder, found);
    const isThere = (await names(folder)).length > 0;
    await rm(folder, { recursive: true, force: true });
    return isThere;
  }

  /** Keeps the models that other programs have put there. */
  async clear(): Promise<void> {
    await forgetMeasurements();
    for (const [name] of await this.#models()) {
      const folder = join(this.#folder, name);
      const ours = (await names(folder)).includes(MARKER)
        ? [folder]
        : [QUANTIZED, HASHES].map((name) => join(folder, name));
      for (const path of ours) await rm(path, { recursive: true, force: true });
    }
  }

  async size(): Promise<number> {
    return (await this.list()).reduce((sum, { size }) => sum + size, 0);
  }

  async visit(wanted: Wanted): Promise<Visit> {
    const { place, signal } = wanted;
    if (place instanceof Adapted && place.other) return this.#both(wanted, place, place.other);
    const listing = wanted.offline ? undefined : await place.list?.(signal);
    const { hub, ref, version, away } = place.identity ?? {};
    if (!hub) return passing(wanted);
    const folder = this.#of(hub.id);
    const named = ref === undefined ? undefined : join(folder, "refs", ref);
    const found = named && (await readFile(named, "utf8").catch(() => undefined))?.trim();
    const known = isHash(found) ? found : undefined;
    // Without a network, use the last known commit of the branch.
    const isAway = wanted.offline || away;
    const commit = version ?? (isAway ? known : undefined);
    if (listing && named !== undefined && ref !== commit && known !== commit) {
      // If the folder is not writable, there is a warning when files are written.
      await write(named, commit as string).catch(() => {});
    }
    const quantized = quantizedOf(folder);
    const isKnown = commit !== undefined && !wanted.isPart;
    const kept = isKnown ? await quantized.find(wanted, commit) : undefined;
    if (kept) return kept;
    const isHere = commit !== undefined && (await names(join(folder, "snapshots", commit))).length > 0;
    if (commit === undefined || !(listing || (isAway && isHere))) {
      if (wanted.offline) throw offline(place.model);
      return passing(wanted);
    }
    const hashes = join(folder, HASHES, commit, hub.folder, "hashes.json");
    if (listing) await keepHashes(hashes, listing).catch(() => {});
    return new Snapshot(wanted, folder, commit, listing, listing ?? (await keptHashes(hashes)), quantized);
  }

  /**
   * A model and an adapter of another place: the files of each are kept as those of a model are.
   */
  async #both(wanted: Wanted, place: Adapted, other: Source): Promise<Visit> {
    const part = (place: Source) => this.visit({ ...wanted, place, isPart: true });
    const visits = await Promise.all([part(place.base), part(other)]);
    const [base, adapter] = visits;
    const source = new Adapted(base.source, adapter.source);
    return {
      source,
      sha256: wanted.sha256,
      file: wanted.file,
      adapter: place.adapter,
      keep: async (engine) => (await Promise.all(visits.map((visit) => visit.keep(engine)))).every(Boolean),
      forget: async (error) => (await Promise.all(visits.map((visit) => visit.forget(error)))).some(Boolean),
      leave: () => {
        for (const visit of visits) visit.leave();
      },
    };
  }

  /** [folder, model name] of each model. */
  async #models(): Promise<[string, string][]> {
    return (await names(this.#folder)).flatMap((name) => {
      const [, model] = /^models--(.+)$/.exec(name) ?? [];
      return model === undefined ? [] : [[name, model.replaceAll("--", "/")]];
    });
  }

  #of(id: string): string {
    return join(this.#folder, `models--${id.replaceAll("/", "--")}`);
  }
}

/** A model at a commit. Existing files are read, missing ones fetched. */
class Snapshot implements Visit {
  readonly sha256: Wanted["sha256"];
  readonly #wanted: Wanted;
  readonly #folder: string;
  readonly #commit: string;
  readonly #listing: Listing | undefined;
  /** The listing, or the stored hashes of an earlier one. */
  readonly #hashes: Listing;
  readonly #quantized: StoreCache;
  /** Existing files that were read, with their hashes; undefined for incomplete ones. */
  readonly #read = new Map<string, string | undefined>();
  readonly #fetched = new Set<string>();
  /** Files whose download another process has taken over, since this one was suspended. */
  readonly #lost = new Set<string>();
  #unkept: unknown;

  constructor(
    wanted: Wanted,
    folder: string,
    commit: string,
    listing: Listing | undefined,
    hashes: Listing,
    quantized: StoreCache,
  ) {
    this.sha256 = wanted.sha256;
    this.#wanted = wanted;
    this.#folder = folder;
    this.#commit = commit;
    this.#listing = listing;
    this.#hashes = hashes;
    this.#quantized = quantized;
  }

  /** A quantised copy is stored. For f32 there would be no gain. */
  get saves(): boolean {
    return this.#wanted.dtype !== "f32" && !this.#wanted.isPart;
  }

  get file(): string | undefined {
    return this.#wanted.file;
  }

  get adapter(): Visit["adapter"] {
    return this.#wanted.place.adapter;
  }

  get source(): Source {
    const { place } = this.#wanted;
    const path = join(
      this.#folder,
      "snapshots",
      this.#commit,
      (place.identity as Required<Identity>).hub.folder,
    );
    return {
      model: place.model,
      isRemote: this.#listing !== undefined,
      revision: this.#commit,
      // Without hashes: they are checked in this class.
      list: async () =>
        this.#listing
          ? new Map([...this.#listing].map(([name, { size }]) => [name, { size }]))
          : new Map(await filesIn(path)),
      open: async (name, signal) => {
        const local = join(path, name);
        const kept = await this.#local(local, name);
        if (kept) return kept;
        if (!this.#listing) return { absent: local };
        const hash = this.#hash(name);
        const size = this.#listing.get(name)?.size;
        if (hash === undefined || size === undefined) return place.open(name, signal);
        return { chunks: this.#fetch(name, local, hash, size), size };
      },
    };
  }

  async keep(engine: Engine): Promise<boolean> {
    if (this.#unkept !== undefined) {
      this.#wanted.warn(notCached(this.#wanted.place.model, this.#unkept));
      return false;
    }
    const { dtype, stored } = engine.info;
    if (!this.#wanted.isPart && dtype !== "f32" && stored?.outcome !== "kept") {
      // Without it the next start takes longer, and no more.
      await this.#quantized.add(engine, this.#wanted, this.#commit).catch(() => {});
    }
    return (await Promise.all([...this.#lost].map(exists))).every((isThere) => isThere);
  }

  /** Deletes files whose contents do not match their hash. */
  async forget(error: unknown): Promise<boolean> {
    if (!isOfFiles(error)) return false;
    const wrong: string[] = [];
    for (const [file, hash] of this.#read) {
      if (hash !== undefined && (await isWhole(file, hash))) continue;
      wrong.push(file);
      this.#wanted.damaged.add(file);
      await rm(file, { force: true }).catch((cause) =>
        this.#wanted.warn(notReplaced(this.#wanted.place.model, file, cause)),
      );
    }
    for (const file of this.#fetched) await rm(file, { force: true }).catch(() => {});
    return wrong.length > 0 && this.#listing !== undefined;
  }

  leave(): void {}

  /** The hash of a file in the Hub's listing. */
  #hash(name: string): string | undefined {
    const { oid, sha256 = oid } = this.#hashes.get(name) ?? {};
    return sha256;
  }

  /** Opens an existing file. */
  async #local(path: string, name: string): Promise<OpenFile | undefined> {
    const target = await readlink(path).catch(() => undefined);
    const bytes = target === undefined ? path : join(dirname(path), target);
    if (this.#wanted.damaged.has(bytes)) return undefined;
    const file = await openFile(path);
    if (!file) return undefined;
    // The name of a link's target is the hash. A file that is not a link has no such name.
    const named = basename(target ?? "");
    const hash = isHash(named) ? named : this.#hash(name);
    if (hash === undefined) return file;
    this.#read.set(bytes, hash);
    return { ...file, chunks: checked(file.chunks, name, hash, file.size as number) };
  }

  /**
   * Yields a file's bytes while they are written to disk: first those of an incomplete download,
   * then the rest.
   */
  async *#fetch(name: string, local: string, hash: string, size: number): AsyncGenerator<Uint8Array> {
    const blob = join(this.#folder, "blobs", hash);
    const lock = await this.#lock(blob);
    try {
      // Another process has fetched it meanwhile.
      const kept = await this.#local(local, name);
      if (kept) {
        yield* kept.chunks;
        return;
      }
      // Another commit has the same file.
      const whole = this.#wanted.damaged.has(blob) ? undefined : await openFile(blob);
      if (whole) {
        this.#read.set(blob, hash);
        yield* checked(whole.chunks, name, hash, size);
        await this.#named(blob, local, copyFile);
        return;
      }
      // The name is unique to this process. A process that takes the download over renames the
      // file.
      const draft = lock && new Draft(`${blob}.${randomUUID()}${INCOMPLETE}`, lock);
      yield* checked(this.#rest(name, blob, draft, size), name, hash, size);
      if (draft) await this.#finish(draft, blob, local, hash);
    } finally {
      await lock?.release();
    }
  }

  /** Locks a blob. Undefined if the folder is not writable. */
  async #lock(blob: string): Promise<FileLock | undefined> {
    const { signal } = this.#wanted;
    try {
      await write(join(this.#folder, MARKER), "");
      await mkdir(dirname(blob), { recursive: true });
      const path = `${blob}.gossamer.lock`;
      return await waiting(this.#wanted, `another process (it has ${path})`, lockFile(path, signal));
    } catch (error) {
      checkAborted(signal);
      this.#unkept = error;
      return undefined;
    }
  }

  async *#rest(
    name: string,
    blob: string,
    draft: Draft | undefined,
    size: number,
  ): AsyncGenerator<Uint8Array> {
    const { place, signal } = this.#wanted;
    let start = 0;
    if (draft) {
      this.#fetched.add(draft.path);
      const here = await this.#attempt(draft, () => draft.begin(blob));
      if (here) {
        this.#read.set(draft.path, undefined);
        for await (const chunk of here.chunks) {
          start += chunk.byteLength;
          yield chunk;
        }
      }
    }
    if (start >= size) return;
    const rest = await place.open(name, signal, start);
    if ("absent" in rest) throw gone(name, rest);
    for await (const chunk of rest.chunks) {
      if (draft) {
        const at = start;
        await this.#attempt(draft, () => draft.write(chunk, at));
      }
      start += chunk.byteLength;
      yield chunk;
    }
  }

  /**
   * Runs an operation on a draft. After a failure the draft is abandoned, and the load goes on
   * without it.
   */
  async #attempt<T>(draft: Draft, work: () => Promise<T>): Promise<T | undefined> {
    if (draft.isOver) return undefined;
    try {
      return await work();
    } catch (error) {
      draft.isOver = true;
      // If the lock is lost, its new owner stores the file: no warning is needed.
      if (error !== LOST) this.#unkept = error;
      await rm(draft.path, { force: true }).catch(() => {});
      return undefined;
    }
  }

  /** Renames a complete file to its final name. */
  async #finish(draft: Draft, blob: string, local: string, hash: string): Promise<void> {
    await this.#attempt(draft, async () => {
      await draft.check();
      // Checks the bytes on the disk, not those that were passed on.
      if (!(await isWhole(draft.path, hash))) throw new Error(`${draft.path} is not what was written there`);
      await draft.check();
      await rename(draft.path, blob);
      draft.isDone = true;
    });
    if (!draft.isDone) {
      this.#lost.add(local);
      return;
    }
    this.#fetched.delete(draft.path);
    await this.#named(blob, local, rename);
  }

  async #named(blob: string, local: string, otherwise: typeof rename): Promise<void> {
    try {
      await link(blob, local, otherwise);
    } catch (error) {
      this.#unkept = error;
    }
  }
}

/** The error if another process has taken over the lock while this one was suspended. */
const LOST = new Error("another process has taken this download over");

/** An incomplete file that belongs to this process. */
class Draft {
  readonly path: string;
  /** Whether it was abandoned. */
  isOver = false;
  /** Whether it was renamed to the final name. */
  isDone = false;
  readonly #lock: FileLock;

  constructor(path: string, lock: FileLock) {
    this.path = path;
    this.#lock = lock;
  }

  /**
   * Creates the draft from the largest incomplete file that others have left, and returns that
   * file's contents.
   */
  async begin(blob: string): Promise<OpenFile | undefined> {
    const folder = dirname(blob);
    const left = (await names(folder))
      .filter((name) => name.startsWith(basename(blob)) && name.endsWith(INCOMPLETE))
      .map(async (name) => {
        const path = join(folder, name);
        return {
          path,
          size: await stat(path).then(
            ({ size }) => size,
            () => -1,
          ),
        };
      });
    const [largest, ...others] = (await Promise.all(left)).sort((a, b) => b.size - a.size);
    await this.check();
    for (const { path } of others) await rm(path, { force: true });
    if (!largest) {
      await writeFile(this.path, "", { flag: "wx" });
      return undefined;
    }
    await rename(largest.path, this.path);
    return openFile(this.path);
  }

  /**
   * Writes a chunk at a position. It does not create the file again if another process has taken
   * it.
   */
  async write(chunk: Uint8Array, at: number): Promise<void> {
    await this.check();
    const file = await open(this.path, "r+");
    try {
      await writeAt(file, chunk, at);
    } finally {
      await file.close();
    }
  }

  /** Throws if another process holds the lock. */
  async check(): Promise<void> {
    if (!(await this.#lock.isHeld())) throw LOST;
  }
}

/** Stores the hashes of a listing for loads without a network. */
async function keepHashes(path: string, listing: Listing): Promise<void> {
  if (await exists(path)) return;
  await write(path, JSON.stringify(Object.fromEntries(listing)));
}

async function keptHashes(path: string): Promise<Listing> {
  try {
    const files: Record<string, ListedFile> = JSON.parse(await readFile(path, "utf8"));
    return new Map(
      Object.entries(files).filter(([, { oid, sha256 = oid }]) => sha256 === undefined || isHash(sha256)),
    );
  } catch {
    return new Map();
  }
}

/** The quantised models in a model's folder. */
function quantizedOf(folder: string): StoreCache {
  return new StoreCache(folderStore(join(folder, QUANTIZED)));
}

/**
 * Passes a file's bytes on, and throws at the end if their hash (SHA-256 or git's SHA-1) is wrong.
 */
async function* checked(
  chunks: AsyncIterable<Uint8Array>,
  name: string,
  hash: string,
  size: number,
): AsyncGenerator<Uint8Array> {
  const hasher = hasherOf(hash, size);
  for await (const chunk of chunks) {
    hasher?.update(chunk);
    yield chunk;
  }
  const found = hasher?.digest("hex");
  if (found === undefined || found === hash) return;
  throw new GossamerError(
    "wrong_hash",
    `${name} has the hash ${found}, and should have ${hash}: it was damaged on the way, or on the disk. Load the model again.`,
    { status: 502 },
  );
}

function hasherOf(hash: string, size: number): Hash | undefined {
  if (/^[0-9a-f]{64}$/.test(hash)) return createHash("sha256");
  return /^[0-9a-f]{40}$/.test(hash) ? createHash("sha1").update(`blob ${size}\0`) : undefined;
}

/** Whether the contents of a file have the given hash. */
async function isWhole(path: string, hash: string): Promise<boolean> {
  const file = await openFile(path);
  if (!file) return false;
  try {
    for await (const _ of checked(file.chunks, path, hash, file.size as number));
    return true;
  } catch {
    return false;
  }
}

async function openFile(path: string): Promise<OpenFile | undefined> {
  const file = await directorySource(dirname(path)).open(basename(path), undefined);
  return "absent" in file ? undefined : file;
}

/**
 * Adds a blob to a snapshot as a link. Where links are not permitted (Windows, Deno) it uses
 * `otherwise`.
 */
async function link(blob: string, local: string, otherwise: typeof rename): Promise<void> {
  await mkdir(dirname(local), { recursive: true });
  await rm(local, { force: true });
  try {
    await symlink(relative(dirname(local), blob), local);
  } catch {
    // Like huggingface_hub: a new file is moved, one that others link to is copied.
    await otherwise(blob, local);
  }
}

async function write(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
}

/** The names in a folder; empty if it does not exist. */
function names(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
}

/** Size of a snapshot's files in bytes, and when one of them was last read. */
async function measure(folder: string): Promise<{ size: number; lastUsed: Date }> {
  let size = 0;
  let lastUsed = new Date(0);
  for (const [, file] of await filesIn(folder)) {
    size += file.size;
    if (file.atime > lastUsed) lastUsed = file.atime;
  }
  return { size, lastUsed };
}

/** All files in a folder and its subfolders, by their paths. */
async function filesIn(folder: string): Promise<[string, Stats][]> {
  const files: [string, Stats][] = [];
  for (const path of await readdir(folder, { recursive: true }).catch(() => [])) {
    const file = await stat(join(folder, path)).catch(() => undefined);
    if (file?.isFile()) files.push([path.replaceAll(sep, "/"), file]);
  }
  return files;
}
