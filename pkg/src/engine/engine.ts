/**
 * The interface of loaded models and of models that are being loaded, in this thread or in a pool
 * of workers.
 */

import type { Device, ModelInfo } from "../types.js";
import type { Call, Results } from "./call.js";

type Awaitable<T> = T | Promise<T>;

/** A loaded model. */
export interface Engine {
  /** A description of the model. Throws after `dispose`. */
  readonly info: ModelInfo;
  run<Name extends keyof Results>(call: Call<Name>, signal: AbortSignal | undefined): Promise<Results[Name]>;
  dispose(): void;
}

/** Options of a loader. */
export interface LoaderOptions {
  model: string;
  revision: string | undefined;
  dtype: string | undefined;
  file: string | undefined;
  kind: string | undefined;
  sha256: Readonly<Record<string, string>>;
  saveable: boolean;
  device: Device;
}

/**
 * A model that is being loaded. It says which files it needs next, and the caller passes them to
 * it.
 */
export interface EngineLoader<E extends Engine = Engine> {
  /** Names of the small files that are needed next. */
  wanted(): Awaitable<string[]>;
  /** Passes a small file to the loader; `undefined` if it does not exist. */
  provide(name: string, bytes: Uint8Array | undefined): Awaitable<void>;
  /** Names of the remaining weight files, in the order in which they must be streamed. */
  weights(): Awaitable<string[]>;
  /**
   * Tells the loader that the next weight file does not exist. Returns the name of the missing file
   * if nothing can replace it. Otherwise call `wanted` and `weights` again.
   */
  absent(): Awaitable<string | undefined>;
  beginWeights(name: string): Awaitable<void>;
  /**
   * Passes the next bytes to the loader. Returns the size of the file once its header has arrived.
   */
  pushWeights(bytes: Uint8Array): Awaitable<number | undefined>;
  endWeights(): Awaitable<void>;
  finish(): Awaitable<E>;
  /** Frees everything after a failure. */
  free(): void;
}
