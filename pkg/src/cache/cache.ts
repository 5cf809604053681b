/** What a cache of models is, to users and to `load`. */

import type { Engine } from "../engine/engine.js";
import type { GossamerError } from "../errors.js";
import type { Source } from "../sources/source.js";
import type { ModelCache } from "../types.js";

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
