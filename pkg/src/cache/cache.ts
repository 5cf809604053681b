/** The interface between `load` and a cache of models. */

import type { Engine } from "../engine/engine.js";
import type { GossamerError } from "../errors.js";
import type { AdapterFolder, Source } from "../sources/source.js";
import type { ModelCache } from "../types.js";

/** A model to load, and how. */
export interface Wanted {
  place: Source;
  /** Undefined means the dtype that the model was saved in, otherwise q8. */
  dtype: string | undefined;
  /** The weight file to load, if the options or the address name one. */
  file: string | undefined;
  /** The hashes that the user gave, by file name. */
  sha256: Readonly<Record<string, string>>;
  offline: boolean;
  signal: AbortSignal | undefined;
  /** Never throws. */
  warn(warning: GossamerError): void;
  /**
   * Copies that turned out to be damaged in this load. They are not read again, even if they could
   * not be deleted.
   */
  damaged: Set<string>;
  /** Whether the place is a part of what is loaded: a model without its adapter, or an adapter. */
  isPart?: boolean;
}

/** One attempt to load a model by way of a cache. */
export interface Visit {
  /** The source to load from. */
  readonly source: Source;
  /** The hashes to check, by file name. */
  readonly sha256: Wanted["sha256"];
  /** The weight file to load, if one is named. */
  readonly file?: string | undefined;
  /** The adapter to merge into it. */
  readonly adapter?: AdapterFolder | undefined;
  /** Whether to load it in the full build of the wasm, though the common one would do. */
  readonly full?: boolean;
  /** Whether storing the model requires that it can be saved. */
  readonly saves?: boolean;
  /** Stores the loaded model. Resolves to whether it is in the cache afterwards. Never rejects. */
  keep(engine: Engine): Promise<boolean>;
  /**
   * Handles a failed load: deletes damaged copies. Resolves to whether to try again without them.
   */
  forget(error: unknown): Promise<boolean>;
  /** Releases the model for other loads. */
  leave(): void;
}

/** A cache as `load` uses it. */
export interface LoadCache extends ModelCache {
  visit(wanted: Wanted): Promise<Visit>;
}
