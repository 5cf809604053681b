/** What a pool and its workers say to each other. */

import type { Call, Results } from "../engine/call.js";
import type { LoaderOptions, LoadStep } from "../engine/engine.js";
import type { ErrorCode } from "../errors.js";
import type { ModelInfo } from "../types.js";

/**
 * What a worker does: it starts, loads one model, and answers calls. Bytes travel as `ArrayBuffer`: Deno looks at every
 * element of a typed array that is posted.
 */
export interface Service {
  start(module: WebAssembly.Module, options: LoaderOptions): Promise<void>;
  next(): LoadStep;
  provide(name: string, bytes: ArrayBuffer | undefined): void;
  push(bytes: ArrayBuffer): number | undefined;
  end(): void;
  finish(): Promise<ModelInfo>;
  /** Throws what is wrong with a call, as far as that shows before the work. */
  check(call: Call): void;
  /** Answers a call; `first` is the number of its first input in the whole call. */
  run(call: Call, first: number): Promise<Results[keyof Results]>;
}

export type Method = keyof Service;
export type Arguments<M extends Method> = Parameters<Service[M]>;
export type Answer<M extends Method> = Awaited<ReturnType<Service[M]>>;

/** To a worker: do this, or stop doing it. */
export type Request = { id: number; method: Method; args: unknown[] } | { id: number; abort: true };

/** From a worker. */
export type Reply =
  /** Of the first request, at once: the script runs. */
  | { id: number; begun: true }
  | ({ id: number; memoryBytes: number } & ({ value: unknown } | { failure: Failure }));

/** A `GossamerError` on its way. Classes do not survive it. */
export interface Failure {
  code: ErrorCode;
  status: number;
  message: string;
}
