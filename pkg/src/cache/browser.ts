/**
 * The cache in a browser. It uses the Cache API, which is as fast as the private file system
 * (`tests/js/bench/stores.mjs`) and exists in pages, workers and service workers of every browser.
 */

import type { ModelStore } from "../types.js";
import type { LoadCache } from "./cache.js";
import { forgetMeasurements } from "./measurements.js";
import { StoreCache } from "./store.js";

const NAME = "gossamer-embed";
/** The keys of the Cache API are addresses. This host does not exist. */
const BASE = "https://gossamer-embed.invalid/";

const store: ModelStore = {
  get: async (name) => (await open())?.match(BASE + name),
  async put(name, value) {
    await (await open())?.put(BASE + name, new Response(value));
    persist();
  },
  delete: async (name) => (await open())?.delete(BASE + name),
};

class BrowserCache extends StoreCache {
  /** Also deletes the measurements of this browser's GPU. */
  override async clear(): Promise<void> {
    await forgetMeasurements();
    await super.clear();
  }
}

/** The cache of all models. */
export const cache: LoadCache = new BrowserCache(store, room);

/** The cache, if the page has one. Pages that were not loaded by https do not. */
export function browserCache(): LoadCache | undefined {
  return globalThis.caches && globalThis.crypto?.subtle ? cache : undefined;
}

async function open(): Promise<Cache | undefined> {
  return globalThis.caches?.open(NAME);
}

async function room(): Promise<number> {
  const { quota = Number.POSITIVE_INFINITY, usage = 0 } = (await navigator.storage?.estimate?.()) ?? {};
  return quota - usage;
}

let asked = false;

/** Asks the browser, once, to keep the origin's storage until the user clears it. */
function persist(): void {
  if (asked) return;
  asked = true;
  // In some browsers workers cannot ask, and the user may refuse.
  void navigator.storage?.persist?.().catch(() => {});
}
