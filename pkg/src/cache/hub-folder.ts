/**
 * The Hugging Face cache folder, which Python's huggingface_hub and others share: `models--org--name/` has files by their hashes
 * in `blobs`, links to them by commit and name in `snapshots`, and the commits of branches and tags in `refs`. Beside them, in
 * `gossamer`, is what was quantised: a quarter of the bytes, of which nothing is left to be computed.
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
import { directorySource } from "../sources/directory.js";
import type { Identity, ListedFile, Listing, OpenFile, Source } from "../sources/source.js";
import { isHash } from "../sources/trust.js";
import type { CachedModel, LoadCache, Visit, Wanted } from "./cache.js";
import { folderStore } from "./folder-store.js";
import { entryBytes } from "./index.js";
import { exists, type FileLock, lockFile } from "./lock-file.js";
import { forgetMeasurements } from "./measurements.js";
import { StoreCache } from "./store.js";
import { gone, isOfFiles, notCached, notReplaced, offline, passing, waiting } from "./visit.js";

/** In the folder of a model that was downloaded by this package. */
const MARKER = ".gossamer";
/** Folder of the models that were quantised. */
const QUANTIZED = "gossamer";
/** Folder of the hashes that the Hub has listed: a file that is no link has no name that says its hash. */
const HASHES = ".gossamer-hashes";
/** End of the name of a file that is not whole yet. Python has names of its own. */
const INCOMPLETE = ".gossamer.incomplete";

/** The cache in a folder. */
export class HubFolder implements LoadCache {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** All models that are there, whoever has put them there. */
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
    // Only what is there by this name is deleted: the name may be anything.
    const [found] = (await this.#models()).find(([, name]) => name === model) ?? [];
    if (found === undefined) return false;
    const folder = join(this.#folder, found);
    const isThere = (await names(folder)).length > 0;
    await rm(folder, { recursive: true, force: true });
    return isThere;
  }

  /** Leaves the models that others have put there. */
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
    const listing = wanted.offline ? undefined : await place.list?.(signal);
    const { hub, ref, version, away } = place.identity ?? {};
    if (!hub) return passing(wanted);
    const folder = this.#of(hub.id);
    const named = ref === undefined ? undefined : join(folder, "refs", ref);
    const found = named && (await readFile(named, "utf8").catch(() => undefined))?.trim();
    const known = isHash(found) ? found : undefined;
    // Without a network, the commit that the branch was at.
    const isAway = wanted.offline || away;
    const commit = version ?? (isAway ? known : undefined);
    if (listing && named !== undefined && ref !== commit && known !== commit) {
      // A folder that cannot be written to is told of when files are.
      await write(named, commit as string).catch(() => {});
    }
    const quantized = quantizedOf(folder);
    const kept = commit === undefined ? undefined : await quantized.find(wanted, commit);
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

  /** Names of the folders of models, and of the models. */
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

/** A model at a commit: what is there is read, what is not is fetched. */
class Snapshot implements Visit {
  readonly sha256: Wanted["sha256"];
  readonly #wanted: Wanted;
  readonly #folder: string;
  readonly #commit: string;
  readonly #listing: Listing | undefined;
  /** The listing, or what was kept of it. */
  readonly #hashes: Listing;
  readonly #quantized: StoreCache;
  /** Files that were here, with their hashes; none for one that is not whole. */
  readonly #read = new Map<string, string | undefined>();
  readonly #fetched = new Set<string>();
  /** Files that another process downloads on, since this one has slept. */
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

  /** In 32 bits there is nothing to be gained. */
  get saves(): boolean {
    return this.#wanted.dtype !== "f32";
  }

  get file(): string | undefined {
    return this.#wanted.file;
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
      revision: this.#commit,
      // Hashes are checked here.
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
    if (dtype !== "f32" && stored?.outcome !== "kept") {
      // Without it the next start takes longer, and no more.
      await this.#quantized.add(engine, this.#wanted, this.#commit).catch(() => {});
    }
    return (await Promise.all([...this.#lost].map(exists))).every((isThere) => isThere);
  }

  /** Throws away what is not what its name says. */
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

  /** The hash that the Hub lists a file with. */
  #hash(name: string): string | undefined {
    const { oid, sha256 = oid } = this.#hashes.get(name) ?? {};
    return sha256;
  }

  /** A file that is here. */
  async #local(path: string, name: string): Promise<OpenFile | undefined> {
    const target = await readlink(path).catch(() => undefined);
    const bytes = target === undefined ? path : join(dirname(path), target);
    if (this.#wanted.damaged.has(bytes)) return undefined;
    const file = await openFile(path);
    if (!file) return undefined;
    // A file that is no link has no name that says what it is.
    const named = basename(target ?? "");
    const hash = isHash(named) ? named : this.#hash(name);
    if (hash === undefined) return file;
    this.#read.set(bytes, hash);
    return { ...file, chunks: checked(file.chunks, name, hash, file.size as number) };
  }

  /** Passes a file's bytes on while they are written: first what is here of them, then the rest. */
  async *#fetch(name: string, local: string, hash: string, size: number): AsyncGenerator<Uint8Array> {
    const blob = join(this.#folder, "blobs", hash);
    const lock = await this.#lock(blob);
    try {
      // Another has fetched it meanwhile.
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
      // Nobody else has a file of this name: whoever takes the download over gives it another.
      const draft = lock && new Draft(`${blob}.${randomUUID()}${INCOMPLETE}`, lock);
      yield* checked(this.#rest(name, blob, draft, size), name, hash, size);
      if (draft) await this.#finish(draft, blob, local, hash);
    } finally {
      await lock?.release();
    }
  }

  /** Nothing where the folder cannot be written to. */
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

  /** Does something to a draft; once it has failed, nothing is done any more, and the load goes on. */
  async #attempt<T>(draft: Draft, work: () => Promise<T>): Promise<T | undefined> {
    if (draft.isOver) return undefined;
    try {
      return await work();
    } catch (error) {
      draft.isOver = true;
      // Whoever has the lock now has the file, too.
      if (error !== LOST) this.#unkept = error;
      await rm(draft.path, { force: true }).catch(() => {});
      return undefined;
    }
  }

  /** Gives a file that is whole its name. */
  async #finish(draft: Draft, blob: string, local: string, hash: string): Promise<void> {
    await this.#attempt(draft, async () => {
      await draft.check();
      // What is on the disk counts, not what has passed.
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

/** What a draft's owner meets whose lock was taken over while it slept. */
const LOST = new Error("another process has taken this download over");

/** A file that is not whole yet, of one process. */
class Draft {
  readonly path: string;
  /** Whether it is not to be written to any more. */
  isOver = false;
  /** Whether it has become the file. */
  isDone = false;
  readonly #lock: FileLock;

  constructor(path: string, lock: FileLock) {
    this.path = path;
    this.#lock = lock;
  }

  /** Makes it, of the largest that others have left; gives what was in that. */
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

  /** Writes at a place of it. A file that another has taken is not made anew. */
  async write(chunk: Uint8Array, at: number): Promise<void> {
    await this.check();
    const file = await open(this.path, "r+");
    try {
      for (let done = 0; done < chunk.byteLength; ) {
        done += (await file.write(chunk, done, chunk.byteLength - done, at + done)).bytesWritten;
      }
    } finally {
      await file.close();
    }
  }

  /** Throws if the lock is another's. */
  async check(): Promise<void> {
    if (!(await this.#lock.isHeld())) throw LOST;
  }
}

/** Keeps the hashes of a listing, for when there is none. */
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

/** What was quantised of the models in a folder. */
function quantizedOf(folder: string): StoreCache {
  return new StoreCache(folderStore(join(folder, QUANTIZED)));
}

/** Passes a file's bytes on, and throws if they have not the hash that is its name: SHA-256, or git's. */
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

/** Whether a file has a hash. */
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

/** Names a blob in a snapshot: by a link, or where the system lets nobody make one (Windows, Deno), by `otherwise`. */
async function link(blob: string, local: string, otherwise: typeof rename): Promise<void> {
  await mkdir(dirname(local), { recursive: true });
  await rm(local, { force: true });
  try {
    await symlink(relative(dirname(local), blob), local);
  } catch {
    // As huggingface_hub does: what is new is moved, what others link to is copied.
    await otherwise(blob, local);
  }
}

async function write(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
}

/** What is in a folder, if there is one. */
function names(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
}

/** Bytes of a snapshot's files, and when one was last read. */
async function measure(folder: string): Promise<{ size: number; lastUsed: Date }> {
  let size = 0;
  let lastUsed = new Date(0);
  for (const [, file] of await filesIn(folder)) {
    size += file.size;
    if (file.atime > lastUsed) lastUsed = file.atime;
  }
  return { size, lastUsed };
}

/** Files of a folder and of those in it, by their paths. */
async function filesIn(folder: string): Promise<[string, Stats][]> {
  const files: [string, Stats][] = [];
  for (const path of await readdir(folder, { recursive: true }).catch(() => [])) {
    const file = await stat(join(folder, path)).catch(() => undefined);
    if (file?.isFile()) files.push([path.replaceAll(sep, "/"), file]);
  }
  return files;
}
