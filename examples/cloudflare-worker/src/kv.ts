/**
 * Workers KV as a place to keep models: they come in values of 4 MiB, of the 25 that one may have.
 */

import type { ModelStore } from "gossamer-embed";

/** What is asked of a namespace. */
export interface Namespace {
  get(key: string, type: "stream"): Promise<ReadableStream<Uint8Array> | null>;
  put(key: string, value: Uint8Array<ArrayBuffer>): Promise<void>;
  delete(key: string): Promise<void>;
}

export function kvStore(namespace: Namespace): ModelStore {
  return {
    get: (name) => namespace.get(name, "stream"),
    put: (name, value) => namespace.put(name, value),
    delete: (name) => namespace.delete(name),
  };
}
