/**
 * The interface of loaded models and of models that are being loaded, in this thread or in a pool
 * of workers.
 */

import type { AdapterFolder } from "../sources/source.js";
import type { Device, ModelInfo } from "../types.js";
import type { Call, Results } from "./call.js";

type Awaitable<T> = T | Promise<T>;

/** A loaded model. */
export interface Engine {
  /** Whether it is in the full build of the wasm. */
  readonly isFull: boolean;
  /** A description of the model. Throws after `dispose`. */
  readonly info: ModelInfo;
  run<Name extends keyof Results>(call: Call<Name>, signal: AbortSignal | undefined): Promise<Results[Name]>;
  dispose(): void;
}

/** What a loader is told at its start. */
export interface LoaderOptions {
  model: string;
  revision: string | undefined;
  dtype: string | undefined;
  file: string | undefined;
  kind: string | undefined;
  adapter: AdapterFolder | undefined;
  pooling: readonly string[] | undefined;
  normalize: boolean | undefined;
  prompts: Readonly<Record<string, string>> | undefined;
  maxTokens: number | undefined;
  sha256: Readonly<Record<string, string>>;
  saveable: boolean;
  device: Device;
}

/** What a loader needs next; see `Step` in src/model/load/step.rs. */
export type LoadStep =
  /** Small files: provide each, or `undefined` if the source does not have it. */
  | { need: "small"; files: string[] }
  /**
   * A weight file: push its bytes and end it, or provide `undefined` if the source does not have
   * it. `files` are all weight files that are known so far.
   */
  | { need: "stream"; file: string; files: string[] }
  /** Nothing: the model can be finished. */
  | { need: "ready" };

/** A model that is being loaded. The Rust loader says what it needs, one step after the other. */
export interface EngineLoader<E extends Engine = Engine> {
  /** Whether it is in the full build of the wasm. */
  readonly isFull: boolean;
  next(): Awaitable<LoadStep>;
  /**
   * Hands over a small file, or with `undefined` that the source does not have a file that was
   * asked for.
   */
  provide(name: string, bytes: Uint8Array | undefined): Awaitable<void>;
  /**
   * Hands over the next bytes of the weight file. Returns the file's size once its header has
   * arrived.
   */
  push(bytes: Uint8Array): Awaitable<number | undefined>;
  /** Ends the weight file. */
  end(): Awaitable<void>;
  finish(): Awaitable<E>;
  /** Frees everything, after loading has failed. */
  free(): void;
}
