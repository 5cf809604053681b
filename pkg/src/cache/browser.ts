/**
 * A browser's own store. The Cache API is as fast as the private file system (`tests/js/bench/stores.mjs`), and there is one in
 * every browser, in pages, workers and service workers alike.
 */

import type { ModelStore } from "../types.js";
import type { LoadCache } from "./cache.js";
import { forgetMeasurements } from "./measurements.js";
import { StoreCache } from "./store.js";

const NAME = "gossamer-embed";
/** Requests, which the Cache API goes by, have addresses; this one leads nowhere. */
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
  /** What was measured of this browser's GPU is a part of it. */
  override async clear(): Promise<void> {
    await forgetMeasurements();
    await super.clear();
  }
}

/** One cache for all models. */
export const cache: LoadCache = new BrowserCache(store, room);

/** The cache, for pages that have any: those that did not come by https have not. */
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

/** Asks the browser, once, not to clear the origin's storage of its own accord. */
function persist(): void {
  if (asked) return;
  asked = true;
  // Workers cannot ask everywhere, and the user may say no.
  void navigator.storage?.persist?.().catch(() => {});
}
