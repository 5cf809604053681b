/** What differs between JavaScript hosts. Each entry point of the package creates a `Host`. */

import type { LoadCache } from "./cache/cache.js";
import type { handler } from "./handler.js";
import type { Thread } from "./pool/remote.js";
import type { HubModel, Source } from "./sources/source.js";
import type { LoadOptions, ModelStore, WorkerLike } from "./types.js";

/**
 * A build of the wasm. `common` is what most models need; `full` also has what reads other formats
 * than safetensors, and GPUs (src/full.rs).
 */
export type Build = "common" | "full";

/** The abilities of a host. Optional members are absent where the host lacks the ability. */
export interface Host {
  /**
   * Whether the host has the common build beside the full one. Otherwise every model takes the full
   * one: where nothing is downloaded, or the wasm is chosen when the program is bundled.
   */
  readonly isDivided: boolean;
  /** Gets a build for this engine. The signal stops the download. */
  wasm(build: Build, signal: AbortSignal): Promise<WebAssembly.Module | Response | BufferSource>;
  /** Gets the wasm from an address that the user gave. */
  wasmAt(url: string | URL): Promise<Response | BufferSource>;
  /** A source of files in a local folder. */
  directory?(folder: string | URL): Source;
  /** Reads an environment variable; undefined if it is not set or may not be read. */
  variable?(name: string): string | undefined;
  /** Models of the Hub. */
  readonly hub?: {
    /** The model that an address on the Hub refers to. */
    address(url: URL, options: LoadOptions, host: Host): HubModel | undefined;
    source(model: HubModel, options: LoadOptions, host: Host): Source;
  };
  /** Answers requests of several APIs. */
  readonly handler?: typeof handler;
  /** A cache in a store of the caller's. */
  storeCache?(store: ModelStore): LoadCache;
  /** The cache of this host; undefined if it may not be used. */
  cache?(): LoadCache | undefined;
  /** Starts a thread that runs the package's worker script, or the worker that `create` returns. */
  thread?(create: (() => WorkerLike) | undefined): Thread;
}
