/** What all ways to load by a cache have in common. */

import { type ErrorCode, GossamerError, reason } from "../errors.js";
import type { Absent } from "../sources/source.js";
import type { Visit, Wanted } from "./cache.js";

/** Loading what is not to be kept. */
export function passing({ place, sha256, file }: Wanted): Visit {
  return { source: place, sha256, file, keep: async () => false, forget: async () => false, leave() {} };
}

/** Errors that say nothing of what the files are. */
const OTHERS: ErrorCode[] = [
  "aborted",
  "disposed",
  "invalid_input",
  "worker_failed",
  "unsupported_runtime",
  "out_of_memory",
  "not_found",
  "http",
  "network",
  "offline",
];

/** Whether a load failed for what the files are. */
export function isOfFiles(error: unknown): boolean {
  return error instanceof GossamerError && !OTHERS.includes(error.code);
}

/** What is warned of. */
export function notCached(model: string, cause: unknown): GossamerError {
  return new GossamerError(
    "not_cached",
    `${model} is loaded, but could not be kept for the next time: ${reason(cause)}. Free some storage, or pass \`cache: false\`.`,
    { status: 507, cause },
  );
}

/** What is warned of where a damaged copy cannot be deleted. */
export function notReplaced(model: string, what: string, cause: unknown): GossamerError {
  return new GossamerError(
    "not_cached",
    `${model} is loaded without ${what} in the cache, which is damaged and could not be deleted: ${reason(cause)}.`,
    { status: 507, cause },
  );
}

/** Milliseconds after which a load that waits says so. */
const LATE = 3000;

/** Waits for another load's lock, and says so if that takes long. */
export async function waiting<T>({ place, warn }: Wanted, who: string, lock: Promise<T>): Promise<T> {
  const late = () =>
    warn(
      new GossamerError("cache_busy", `${place.model} is being downloaded by ${who}: this load waits.`, {
        status: 503,
      }),
    );
  const timer = setTimeout(late, LATE);
  try {
    return await lock;
  } finally {
    clearTimeout(timer);
  }
}

export function offline(model: string): GossamerError {
  return new GossamerError(
    "offline",
    `${model} is not in the cache, and the network is not to be asked. Load it once without \`offline\`.`,
    { status: 503 },
  );
}

/** A file that was there before. */
export function gone(name: string, { absent }: Absent): GossamerError {
  return new GossamerError("network", `${name} is no longer there: ${absent}. Try again later.`, {
    status: 502,
  });
}
