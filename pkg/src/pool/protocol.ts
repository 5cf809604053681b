/** The messages between a pool and its workers. */

import type { Call, Results } from "../engine/call.js";
import type { LoaderOptions, LoadStep } from "../engine/engine.js";
import type { ErrorCode } from "../errors.js";
import type { ModelInfo } from "../types.js";

/**
 * The requests to a worker: it starts, loads one model, and runs calls. Bytes are sent as
 * `ArrayBuffer`, since Deno visits every element of a typed array that is posted.
 */
export interface Service {
  start(module: WebAssembly.Module, options: LoaderOptions): Promise<void>;
  next(): LoadStep;
  provide(name: string, bytes: ArrayBuffer | undefined): void;
  push(bytes: ArrayBuffer): number | undefined;
  end(): void;
  finish(): Promise<ModelInfo>;
  /** Throws the errors of a call that can be found before the work starts. */
  check(call: Call): void;
  /** Runs a call. `first` is the index of its first input in the whole call. */
  run(call: Call, first: number): Promise<Results[keyof Results]>;
}

export type Method = keyof Service;
export type Arguments<M extends Method> = Parameters<Service[M]>;
export type Answer<M extends Method> = Awaited<ReturnType<Service[M]>>;

/** A message to a worker: a request, or the abort of one. */
export type Request = { id: number; method: Method; args: unknown[] } | { id: number; abort: true };

/** A message from a worker. */
export type Reply =
  /** The immediate reply to the first request: the script is running. */
  | { id: number; begun: true }
  | ({ id: number; memoryBytes: number } & ({ value: unknown } | { failure: Failure }));

/** A `GossamerError` as a message, since structured clones lose the class. */
export interface Failure {
  code: ErrorCode;
  status: number;
  message: string;
}
