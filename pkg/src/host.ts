/** What differs between JavaScript hosts; each entry point of the package makes one. */

import type { LoadCache } from "./cache/cache.js";
import type { Thread } from "./pool/remote.js";
import type { Source } from "./sources/source.js";
import type { WorkerLike } from "./types.js";

export interface Host {
  /** The wasm build that suits this engine. */
  wasm(): Promise<WebAssembly.Module | Response | BufferSource>;
  /** The wasm at an address that the user gave. */
  wasmAt(url: string | URL): Promise<Response | BufferSource>;
  /** A local folder, where the host has a file system. */
  directory?(folder: string | URL): Source;
  /** A variable of the environment, where there is one that may be read. */
  variable?(name: string): string | undefined;
  /** The cache of this host, where it has one that may be used. */
  cache?(): LoadCache | undefined;
  /** A thread that runs the package's worker, or the user's own; absent where there are none. */
  thread?(create: (() => WorkerLike) | undefined): Thread;
}
