/** What a store has: one list of all models, which every change writes anew. */

import { isHash, isPath, isSize } from "../sources/trust.js";
import type { ModelStore, WeightDtype } from "../types.js";
import { exclusive } from "./locks.js";
import { getValue, type KeptFile, keptBytes, pieceName } from "./pieces.js";

const NAME = "index.json";
const VERSION = 1;

/** A model that is kept. */
export interface Entry {
  model: string;
  /** Its place (`Identity.key`) and version. */
  key: string;
  version: string;
  /** Branches and tags that have led here. */
  refs: string[];
  /** As what it was loaded; none for files as they were downloaded. */
  dtype?: WeightDtype;
  /** Whether that is what it is loaded as unless told otherwise. */
  standard?: boolean;
  /** Hashes that the downloaded files were found to have. */
  sha256: Record<string, string>;
  files: Record<string, KeptFile>;
  /** When it was last loaded, in milliseconds since 1970. */
  used: number;
}

export const entryBytes = ({ files }: Entry): number =>
  Object.values(files).reduce((sum, file) => sum + keptBytes(file), 0);

/** Where a store has a file of an entry. */
export function fileName({ key, version, dtype }: Pick<Entry, "key" | "version" | "dtype">, file: string) {
  const parts = [...key.split("/"), version, dtype ?? "downloaded", ...file.split("/")];
  return parts.map(encodePart).join("/");
}

/** What `ModelStore` says that names are made of; no part leads out of a folder. */
function encodePart(part: string): string {
  const hexadecimal = (character: string) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
  return encodeURIComponent(part).replace(/[!'()*]|^\.+$/g, (found) => [...found].map(hexadecimal).join(""));
}

/** The same for entries of the same files. */
export const entryId = ({ key, version, dtype }: Pick<Entry, "key" | "version" | "dtype">): string =>
  JSON.stringify([key, version, dtype]);

/** Whether two entries are of the same files. */
export const isSame = (a: Entry, b: Entry): boolean => entryId(a) === entryId(b);

const isText = (value: unknown) => typeof value === "string";
/** An object's values; nothing of what is none. */
const valuesOf = (value: unknown): unknown[] | undefined =>
  typeof value === "object" && value !== null ? Object.values(value) : undefined;

/** Whether a list has an entry as they are written: whoever can write to a store may have changed it. */
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

  /** The last used first. */
  async entries(): Promise<Entry[]> {
    const bytes = await getValue(this.#store, NAME);
    try {
      const { version, entries } = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
      if (version !== VERSION) return [];
      return (entries as Partial<Entry>[]).filter(isEntry).sort((a, b) => b.used - a.used);
    } catch {
      // There is none yet, or it is damaged: what it listed is downloaded anew.
      return [];
    }
  }

  /** Changes the list, while no other does. */
  update(change: (entries: Entry[]) => Entry[]): Promise<void> {
    return exclusive("gossamer-embed index", async () => {
      const entries = change(await this.entries());
      const json = JSON.stringify({ version: VERSION, entries });
      await this.#store.put(NAME, new TextEncoder().encode(json));
    });
  }

  /** Adds an entry, in place of one of the same files. */
  put(entry: Entry): Promise<void> {
    return this.update((entries) => [...entries.filter((other) => !isSame(other, entry)), entry]);
  }

  /** Forgets entries: first that they are there, then their bytes. */
  async remove(isGone: (entry: Entry) => boolean): Promise<Entry[]> {
    let gone: Entry[] = [];
    await this.update((entries) => {
      gone = entries.filter(isGone);
      return entries.filter((entry) => !isGone(entry));
    });
    for (const entry of gone) await this.discard(entry);
    return gone;
  }

  /** Deletes the bytes of an entry that is not listed. */
  async discard(entry: Entry): Promise<void> {
    for (const [file, { pieces }] of Object.entries(entry.files)) {
      for (const piece of pieces) await this.#store.delete(pieceName(fileName(entry, file), piece));
    }
  }
}
