/** Opens a GPU, and measures from which batch size on it is faster than the CPU. */

import { measurements } from "../cache/measurements.js";
import { GossamerError } from "../errors.js";
import type { GpuDevice, Wasm } from "../instance.js";
import type { ModelInfo } from "../types.js";

/** The part of `navigator` that leads to a GPU. */
interface MayHaveGpu {
  gpu?: { requestAdapter(): Promise<{ info?: { vendor?: string; architecture?: string } } | null> };
}

/** Classes by which wgpu detects a window or a worker, where it looks for `navigator`. */
interface Scope {
  Window?: unknown;
  WorkerGlobalScope?: unknown;
}

/** Opens the GPU of this host for the models of a wasm instance. */
export async function openGpu(wasm: Wasm): Promise<GpuDevice> {
  const { gpu } = (globalThis.navigator ?? {}) as MayHaveGpu;
  if (!gpu) throw noGpu("this runtime has no WebGPU, or not on this page: it needs https");
  const adapter = await gpu.requestAdapter().catch(() => null);
  if (!adapter) throw noGpu("WebGPU offers no adapter");
  const scope = globalThis as Scope;
  // Deno's `node:worker_threads` have neither class, but they have a GPU.
  const isNeither = !scope.Window && !scope.WorkerGlobalScope;
  if (isNeither) scope.WorkerGlobalScope = Object;
  try {
    return await wasm.guard(() => wasm.classes.requestGpu());
  } catch (error) {
    throw wasm.explain(error);
  } finally {
    if (isNeither) delete scope.WorkerGlobalScope;
  }
}

/**
 * What a browser tells of its GPU: vendor and architecture, such as "nvidia hopper". Browsers keep
 * the name, which wgpu reports, to themselves.
 */
export async function describeGpu(): Promise<string> {
  const { gpu } = (globalThis.navigator ?? {}) as MayHaveGpu;
  const adapter = await gpu?.requestAdapter().catch(() => null);
  const { vendor = "", architecture = "" } = adapter?.info ?? {};
  return `${vendor} ${architecture}`.trim();
}

function noGpu(why: string): GossamerError {
  return new GossamerError(
    "no_gpu",
    `There is no GPU that can be used (${why}). Choose device "cpu", or "auto", which takes a GPU only where there is one.`,
    { status: 501 },
  );
}

/** Batch sizes to measure, in tokens. */
const SIZES = [16, 64, 256, 512];
/** If the GPU is this many times slower at one size, larger sizes are not measured. */
const HOPELESS = 8;

/**
 * The smallest of a few batch sizes, in tokens, at which the GPU is faster; Infinity if there is
 * none. It is measured once for an adapter and a model if the host can store the result.
 */
export async function fasterFrom(
  info: ModelInfo,
  answer: (inputs: string[], onGpu: boolean) => Promise<unknown>,
): Promise<number> {
  const notes = await measurements();
  const page = `https://gossamer-embed.invalid/gpu/${encodeURIComponent(`${info.adapter} ${info.spaceId}`)}`;
  const known = await (await notes?.match(page))?.text();
  if (known) return Number(known);
  const tokens = await measure(info, answer);
  // If the result cannot be stored, it is measured again next time.
  await notes?.put(page, new Response(String(tokens))).catch(() => {});
  return tokens;
}

async function measure(
  { maxTokens }: ModelInfo,
  answer: (inputs: string[], onGpu: boolean) => Promise<unknown>,
): Promise<number> {
  for (const tokens of SIZES) {
    const length = Math.min(tokens, maxTokens);
    // "a" is one token in nearly every vocabulary. Two special tokens are added.
    const text = "a ".repeat(Math.max(1, length - 2));
    const inputs = Array.from({ length: tokens / length }, () => text);
    const onCpu = await time(() => answer(inputs, false));
    const onGpu = await time(() => answer(inputs, true));
    if (onGpu < onCpu) return tokens;
    if (onGpu > HOPELESS * onCpu) break;
  }
  return Infinity;
}

/** The shorter of two runs, in milliseconds. */
async function time(work: () => Promise<unknown>): Promise<number> {
  let best = Infinity;
  for (let i = 0; i < 2; i++) {
    const start = performance.now();
    await work();
    best = Math.min(best, performance.now() - start);
  }
  return best;
}
