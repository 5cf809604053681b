/** What the visitor's machine offers. */

/** WebGPU's adapter, which the libraries of TypeScript do not have everywhere. */
interface Gpu {
  requestAdapter(): Promise<{
    info?: { vendor?: string; architecture?: string; description?: string };
  } | null>;
}

/** A GPU, or why there is none. */
export interface FoundGpu {
  found: boolean;
  name: string;
}

/** Whether there is a GPU to be had. */
export async function findGpu(): Promise<FoundGpu> {
  const { gpu } = navigator as { gpu?: Gpu };
  if (!gpu) return { found: false, name: "none: this browser has no WebGPU" };
  const adapter = await gpu.requestAdapter().catch(() => null);
  if (!adapter) return { found: false, name: "none: WebGPU finds no adapter" };
  const { description, vendor, architecture } = adapter.info ?? {};
  const name = description || [vendor, architecture].filter(Boolean).join(" ");
  return { found: true, name: name || "one that does not say its name" };
}

/** Workers to begin with: two already run at twice the speed, and each has the model in memory of its own. */
export const DEFAULT_WORKERS = Math.min(2, navigator.hardwareConcurrency);
