/**
 * Stores the measured batch sizes from which on GPUs are faster, by adapter and model, if there is
 * a Cache API.
 */

const NAME = "gossamer-embed-gpu";

/** The cache of the measurements. */
export async function measurements(): Promise<Cache | undefined> {
  // Some browsers refuse this for pages that were not loaded by https.
  return globalThis.caches?.open(NAME).catch(() => undefined);
}

/** Deletes all measurements. */
export async function forgetMeasurements(): Promise<void> {
  // Cloudflare's Cache API has no `delete`.
  await globalThis.caches?.delete?.(NAME).catch(() => undefined);
}
