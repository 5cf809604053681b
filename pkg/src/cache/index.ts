/** The index of a store: one list of all models. Every change rewrites it. */

import { isHash, isPath, isSize } from "../sources/trust.js";
import type { ModelStore, WeightDtype } from "../types.js";
import { exclusive } from "./locks.js";
import { getValue, type KeptFile, keptBytes, pieceName } from "./pieces.js";

const NAME = "index.json";
const VERSION = 1;

/** A stored model. */
export interface Entry {
  model: string;
  /** The source (`Identity.key`) and version. */
  key: string;
  version: string;
  /** Branches and tags that resolved to this version. */
  refs: string[];
  /** The dtype that it was loaded in; absent for downloaded files. */
  dtype?: WeightDtype;
  /** Whether it was made in the full build of the wasm, which this host has had since. */
  full?: boolean;
  /** Whether that is the dtype for loads that name none. */
  standard?: boolean;
  /** The verified hashes of the downloaded files. */
  sha256: Record<string, string>;
  files: Record<string, KeptFile>;
  /** When the model was last loaded, in milliseconds since 1970. */
  used: number;
}

export const entryBytes = ({ files }: Entry): number =>
  Object.values(files).reduce((sum, file) => sum + keptBytes(file), 0);

/** Name of an entry's file in the store. */
export function fileName({ key, version, dtype }: Pick<Entry, "key" | "version" | "dtype">, file: string) {
  const parts = [...key.split("/"), version, dtype ?? "downloaded", ...file.split("/")];
  return parts.map(encodePart).join("/");
}

/**
 * Encodes a part of a name with the characters that `ModelStore` promises. No part can lead out of
 * a folder.
 */
function encodePart(part: string): string {
  const hexadecimal = (character: string) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
  return encodeURIComponent(part).replace(/[!'()*]|^\.+$/g, (found) => [...found].map(hexadecimal).join(""));
}

/** An id that is equal for entries with the same files. */
export const entryId = ({ key, version, dtype }: Pick<Entry, "key" | "version" | "dtype">): string =>
  JSON.stringify([key, version, dtype]);

/** Whether two entries have the same files. */
export const isSame = (a: Entry, b: Entry): boolean => entryId(a) === entryId(b);

const isText = (value: unknown) => typeof value === "string";
/** The values of an object; undefined if it is not an object. */
const valuesOf = (value: unknown): unknown[] | undefined =>
  typeof value === "object" && value !== null ? Object.values(value) : undefined;

/**
 * Whether an entry of the list is valid. The list is not trusted, since others may be able to write
 * to the store.
 */
function isEntry(entry: Partial<Entry> | null): entry is Entry {
  const { model, key, version, dtype = "", refs, sha256, files, used } = entry ?? {};
  return (
    [model, key, version, dtype].every(isText) &&
    Number.isFinite(used) &&
    Array.isArray(refs) &&
    refs.every(isText) &&
    valuesOf(sha256)?.every(isText) === true &&
    valuesOf(files)?.every(isKeptFile) === true &&
    Object.keys(files ?? {}).every(isPath)
  );
}

function isKeptFile(file: unknown): boolean {
  const { size = 0, pieces, validator = "" } = (file ?? {}) as Partial<KeptFile>;
  return (
    isSize(size) &&
    isText(validator) &&
    Array.isArray(pieces) &&
    pieces.every((piece) => isSize(piece?.start) && isSize(piece.length) && isHash(piece.sha256, 64))
  );
}

export class Index {
  readonly #store: ModelStore;

  constructor(store: ModelStore) {
    this.#store = store;
  }

  /** All entries, the most recently used first. */
  async entries(): Promise<Entry[]> {
    const bytes = await getValue(this.#store, NAME);
    try {
      const { version, entries } = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
      if (version !== VERSION) return [];
      return (entries as Partial<Entry>[]).filter(isEntry).sort((a, b) => b.used - a.used);
    } catch {
      // There is no index yet, or it is damaged: its models are downloaded again.
      return [];
    }
  }

  /** Changes the list under a lock. */
  update(change: (entries: Entry[]) => Entry[]): Promise<void> {
    return exclusive("gossamer-embed index", async () => {
      const entries = change(await this.entries());
      const json = JSON.stringify({ version: VERSION, entries });
      await this.#store.put(NAME, new TextEncoder().encode(json));
    });
  }

  /** Adds an entry; replaces one with the same files. */
  put(entry: Entry): Promise<void> {
    return this.update((entries) => [...entries.filter((other) => !isSame(other, entry)), entry]);
  }

  /** Removes entries from the list, then deletes their bytes. */
  async remove(isGone: (entry: Entry) => boolean): Promise<Entry[]> {
    let gone: Entry[] = [];
    await this.update((entries) => {
      gone = entries.filter(isGone);
      return entries.filter((entry) => !isGone(entry));
    });
    for (const entry of gone) await this.discard(entry);
    return gone;
  }

  /** Deletes the bytes of an entry that is not in the list. */
  async discard(entry: Entry): Promise<void> {
    for (const [file, { pieces }] of Object.entries(entry.files)) {
      for (const piece of pieces) await this.#store.delete(pieceName(fileName(entry, file), piece));
    }
  }
}
