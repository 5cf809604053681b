/** What differs between JavaScript hosts. Each entry point of the package creates a `Host`. */

import type { LoadCache } from "./cache/cache.js";
import type { Thread } from "./pool/remote.js";
import type { Source } from "./sources/source.js";
import type { WorkerLike } from "./types.js";

/** The abilities of a host. Optional members are absent where the host lacks the ability. */
export interface Host {
  /** Gets the wasm build for this engine. */
  wasm(): Promise<WebAssembly.Module | Response | BufferSource>;
  /** Gets the wasm from an address that the user gave. */
  wasmAt(url: string | URL): Promise<Response | BufferSource>;
  /** A source of files in a local folder. */
  directory?(folder: string | URL): Source;
  /** Reads an environment variable; undefined if it is not set or may not be read. */
  variable?(name: string): string | undefined;
  /** The cache of this host; undefined if it may not be used. */
  cache?(): LoadCache | undefined;
  /** Starts a thread that runs the package's worker script, or the worker that `create` returns. */
  thread?(create: (() => WorkerLike) | undefined): Thread;
}
