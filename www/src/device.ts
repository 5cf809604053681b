/** The devices of the visitor's machine. */

/** WebGPU's types, which not every version of TypeScript's libraries has. */
interface Gpu {
  requestAdapter(): Promise<{
    info?: { vendor?: string; architecture?: string; description?: string };
  } | null>;
}

/** A GPU's name, or why there is none. */
export interface FoundGpu {
  found: boolean;
  name: string;
}

/** Looks for a GPU. */
export async function findGpu(): Promise<FoundGpu> {
  const { gpu } = navigator as { gpu?: Gpu };
  if (!gpu) return { found: false, name: "none: this browser has no WebGPU" };
  const adapter = await gpu.requestAdapter().catch(() => null);
  if (!adapter) return { found: false, name: "none: WebGPU finds no adapter" };
  const { description, vendor, architecture } = adapter.info ?? {};
  const name = description || [vendor, architecture].filter(Boolean).join(" ");
  return { found: true, name: name || "one that does not say its name" };
}

/**
 * Default number of workers: two run at twice the speed, and each needs memory for its own copy of
 * the model.
 */
export const DEFAULT_WORKERS = Math.min(2, navigator.hardwareConcurrency);
