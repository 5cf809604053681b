/** From how many tokens on GPUs are faster, as was measured: by adapter and model, where there is a Cache API. */

const NAME = "gossamer-embed-gpu";

/** Where it is kept. */
export async function measurements(): Promise<Cache | undefined> {
  // Some say no to pages that did not come by https.
  return globalThis.caches?.open(NAME).catch(() => undefined);
}

/** Forgets all. */
export async function forgetMeasurements(): Promise<void> {
  // Cloudflare's has no such method.
  await globalThis.caches?.delete?.(NAME).catch(() => undefined);
}
