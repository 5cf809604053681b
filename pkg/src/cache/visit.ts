/** What all ways to load by way of a cache share. */

import { type ErrorCode, GossamerError, reason } from "../errors.js";
import type { Wanted } from "./cache.js";

/** Codes of errors that do not mean that the files are damaged. */
const OTHERS: ErrorCode[] = [
  "aborted",
  "disposed",
  "invalid_input",
  "worker_failed",
  "unsupported_runtime",
  "needs_full_build",
  "out_of_memory",
  "not_found",
  "http",
  "network",
  "offline",
];

/** Whether a load failed because of the contents of the files. */
export function isOfFiles(error: unknown): boolean {
  return error instanceof GossamerError && !OTHERS.includes(error.code);
}

/** The warning that a model could not be cached. */
export function notCached(model: string, cause: unknown): GossamerError {
  return new GossamerError(
    "not_cached",
    `${model} is loaded, but could not be kept for the next time: ${reason(cause)}. Free some storage, or pass \`cache: false\`.`,
    { status: 507, cause },
  );
}

/** The warning that a damaged copy cannot be deleted. */
export function notReplaced(model: string, what: string, cause: unknown): GossamerError {
  return new GossamerError(
    "not_cached",
    `${model} is loaded without ${what} in the cache, which is damaged and could not be deleted: ${reason(cause)}.`,
    { status: 507, cause },
  );
}

/** Milliseconds after which a waiting load warns. */
const LATE = 3000;

/** Waits for the lock of another load. Warns if that takes long. */
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
