/** What the visitor's machine offers. */

/** WebGPU's adapter, which the libraries of TypeScript do not have everywhere. */
interface Gpu {
  requestAdapter(): Promise<{
    info?: { vendor?: string; architecture?: string; description?: string };
  } | null>;
}

/** In words, whether there is a GPU to be had. */
export async function describeGpu(): Promise<string> {
  const { gpu } = navigator as { gpu?: Gpu };
  if (!gpu) return "none: this browser has no WebGPU";
  const adapter = await gpu.requestAdapter().catch(() => null);
  if (!adapter) return "none: WebGPU finds no adapter";
  const { description, vendor, architecture } = adapter.info ?? {};
  return description || [vendor, architecture].filter(Boolean).join(" ") || "one that does not say its name";
}

/** Workers to begin with: two already run at twice the speed, and each has the model in memory of its own. */
export const DEFAULT_WORKERS = Math.min(2, navigator.hardwareConcurrency);
