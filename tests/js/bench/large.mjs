/**
 * Loading at a real size, as q8 in this Node and in a tab of Chromium. How fast the bytes come
 * without us is measured beside it.
 */

import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { load } from "gossamer-embed";
import { withPages } from "./pages.mjs";
import { CHUNK, FOLDER, header, make, randomWeights } from "./qwen3.mjs";

const row = (what, { seconds, weightBytes, memoryBytes }, bytes) => ({
  what,
  seconds: Number(seconds.toFixed(1)),
  "MB/s": Math.round(bytes / 1e6 / seconds),
  ...(weightBytes && {
    "weights, MB": Math.round(weightBytes / 1e6),
    "wasm memory, MB": Math.round(memoryBytes / 1e6),
    ratio: Number((memoryBytes / weightBytes).toFixed(3)),
  }),
});

async function timed(run) {
  const start = performance.now();
  const result = await run();
  return { ...result, seconds: (performance.now() - start) / 1000 };
}

/** The same files, whose weights cost nothing to come by: all the time is ours. */
async function fromMemory() {
  const [head, size] = header();
  const chunk = randomWeights();
  function* chunks() {
    yield head;
    for (let left = size; left > 0; left -= CHUNK) yield chunk.subarray(0, Math.min(CHUNK, left));
  }
  const get = async (name) =>
    name === "model.safetensors"
      ? ReadableStream.from(chunks())
      : await readFile(FOLDER + name).catch(() => null);
  const model = await load(get, { dtype: "q8" });
  const { weightBytes, memoryBytes } = model.info;
  model.dispose();
  return { weightBytes, memoryBytes };
}

async function fromDisk() {
  const model = await load(FOLDER, { dtype: "q8" });
  const { weightBytes, memoryBytes } = model.info;
  model.dispose();
  return { weightBytes, memoryBytes };
}

async function diskAlone() {
  for await (const _ of createReadStream(`${FOLDER}model.safetensors`, { highWaterMark: CHUNK })) {
  }
}

await make();
const { size } = await stat(`${FOLDER}model.safetensors`);
// The first reading fills the system's cache.
await diskAlone();
const rows = [
  row("Node: the file alone", await timed(diskAlone), size),
  row("Node: loaded from the file", await timed(fromDisk), size),
  row("Node: loaded from memory", await timed(fromMemory), size),
];
await withPages(async (inFreshPage) => {
  rows.push(row("Chromium: the file alone", await inFreshPage("fetchAlone", "qwen3-0.6b"), size));
  rows.push(row("Chromium: loaded from a local server", await inFreshPage("loadLarge", "qwen3-0.6b"), size));
});
console.table(rows);
