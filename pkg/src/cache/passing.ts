/** Loading without a cache. */

import type { Visit, Wanted } from "./cache.js";

/** Loads a model that is not to be cached. */
export function passing({ place, sha256, file }: Wanted): Visit {
  const { adapter } = place;
  return {
    source: place,
    sha256,
    file,
    adapter,
    keep: async () => false,
    forget: async () => false,
    leave() {},
  };
}
