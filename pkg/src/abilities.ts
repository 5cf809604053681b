/**
 * What every entry point but `lean` can do, on every host: read models of the Hub, keep them, and
 * answer requests.
 */

import { StoreCache } from "./cache/store.js";
import { handler } from "./handler.js";
import type { Host } from "./host.js";
import { HubSource, hubAddress } from "./sources/hub.js";

/** The abilities. */
export const ABILITIES = {
  hub: {
    address: hubAddress,
    source: (model, options, host) => new HubSource(model, options, host),
  },
  handler,
  storeCache: (store) => new StoreCache(store),
} satisfies Partial<Host>;
