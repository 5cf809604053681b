/** What a cache of models is, to users and to `load`. */

import type { Engine } from "../engine/engine.js";
import type { GossamerError } from "../errors.js";
import type { Source } from "../sources/source.js";
import type { FileContents, WeightDtype } from "../types.js";

/**
 * A place of your own to keep models in: named values of at most 4 MiB. Cloudflare's R2 buckets are one as they are. Names
 * are paths of ASCII letters, digits, and `-_.~%/`.
 */
export interface ModelStore {
  /** A value, or nothing if there is none of that name. */
  get(name: string): Promise<FileContents | null | undefined> | FileContents | null | undefined;
  /** Keeps a value, in place of what may have had that name. */
  put(name: string, value: Uint8Array<ArrayBuffer>): unknown;
  /** Forgets a value. One that is not there is none to forget. */
  delete(name: string): unknown;
}

/** A model that can be loaded without a network. */
export interface CachedModel {
  /** Its name, or the address of its folder. */
  model: string;
  /** The commit, or the version that `load` was given. */
  revision: string;
  /** As what it is kept; nothing for what is kept as it was downloaded, whole or in part. */
  dtype?: WeightDtype;
  /** In bytes. */
  size: number;
  /** When it was last loaded. */
  lastUsed: Date;
}

/** Models that are kept on this machine. */
export interface ModelCache {
  /** Those that are kept, the last used first. */
  list(): Promise<CachedModel[]>;
  /** Forgets a model, with all of its versions; whether there was one. */
  delete(model: string): Promise<boolean>;
  /** Forgets all models. */
  clear(): Promise<void>;
  /** Bytes that all of them take. */
  size(): Promise<number>;
}

/** A model that is to be loaded. */
export interface Wanted {
  place: Source;
  /** Absent: what the model was saved as, or else 8 bits. */
  dtype: string | undefined;
  /** The weight file to load, if one is named. */
  file: string | undefined;
  /** What the user knows of the files. */
  sha256: Readonly<Record<string, string>>;
  offline: boolean;
  signal: AbortSignal | undefined;
  /** Never throws. */
  warn(warning: GossamerError): void;
  /** What turned out damaged in this load: not to be read again, even if it could not be deleted. */
  damaged: Set<string>;
}

/** One load by way of a cache. */
export interface Visit {
  /** To load from. */
  readonly source: Source;
  /** What the user knows of its files. */
  readonly sha256: Wanted["sha256"];
  /** The weight file to load, if one is named. */
  readonly file?: string | undefined;
  /** Whether the model that is loaded can only be kept if it can be saved. */
  readonly saves?: boolean;
  /** Keeps what was loaded; whether that is in the cache then. Never rejects. */
  keep(engine: Engine): Promise<boolean>;
  /** After a failure: whether to try again, without what was kept. */
  forget(error: unknown): Promise<boolean>;
  /** Lets others have the model. */
  leave(): void;
}

/** A cache, to `load`. */
export interface LoadCache extends ModelCache {
  visit(wanted: Wanted): Promise<Visit>;
}
