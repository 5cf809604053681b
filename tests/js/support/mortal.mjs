/** Workers that run the package's own, and fail when they are told to. */

/** Node, Deno and Bun, of which two have browsers' workers too. */
const inNode = "process" in globalThis;

/** Makes workers that run a script: one of this folder, or one of the package. */
async function runs(browserUrl, nodeUrl) {
  if (!inNode) return () => new Worker(browserUrl, { type: "module" });
  const { Worker: NodeWorker } = await import("node:worker_threads");
  return () => new NodeWorker(nodeUrl());
}

/** The package's own. */
export const healthyWorker = (origin) =>
  runs(`${origin}/pkg/dist/worker.js`, () => new URL(import.meta.resolve("gossamer-embed/node-worker")));

/**
 * Fails when a call has the word "poison" in it, by an error that nobody catches; or, if it has the
 * word "trap", as wasm does.
 */
export const mortalWorker = (origin) =>
  runs(
    `${origin}/tests/js/support/mortal-worker.mjs`,
    () => new URL("mortal-node-worker.mjs", import.meta.url),
  );

/** One whose script does not exist. */
export const absentWorker = (origin) =>
  runs(`${origin}/nowhere.js`, () => new URL("nowhere.mjs", import.meta.url));

/** One that runs another script, which answers nothing. */
export const otherWorker = (origin) =>
  runs(`${origin}/tests/js/support/other-worker.mjs`, () => new URL("other-worker.mjs", import.meta.url));

/** What is done with a message before the package's worker sees it. */
export function mishap(message) {
  const text = JSON.stringify(message);
  if (text.includes("poison")) throw new Error("it was poisoned");
  if (text.includes("trap")) {
    // The first thing that a call does in a worker is to look at the clock.
    performance.now = () => {
      throw new WebAssembly.RuntimeError("unreachable");
    };
  }
}
