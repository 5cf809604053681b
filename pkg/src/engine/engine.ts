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

/** What the loader is told at its start. */
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

/** A model that is being loaded: it says which files it wants, and is handed them. */
export interface EngineLoader<E extends Engine = Engine> {
  /** Small files to hand over next. */
  wanted(): Awaitable<string[]>;
  /** Hands a small file over, or the news that there is none. */
  provide(name: string, bytes: Uint8Array | undefined): Awaitable<void>;
  /** Weight files that are left, in the order to be streamed. */
  weights(): Awaitable<string[]>;
  /**
   * Hands over the news that the source has not the next weight file. Answers with the file that is missing then; without
   * one, another may stand in: small files and weights are to be asked for again.
   */
  absent(): Awaitable<string | undefined>;
  beginWeights(name: string): Awaitable<void>;
  /** Hands the next bytes over; answers with the file's size once its header has arrived. */
  pushWeights(bytes: Uint8Array): Awaitable<number | undefined>;
  endWeights(): Awaitable<void>;
  finish(): Awaitable<E>;
  /** Gives everything back, when loading has failed. */
  free(): void;
}
