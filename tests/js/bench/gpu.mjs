/**
 * WebGPU in one Chromium: time per text of this package and of transformers.js, by turns in one
 * page; and for a model that theirs has not, tokens a second, with the share of what the card does
 * in f32 at most. Then what `"auto"` measures.
 */

import { introduce, table, texts, withPages } from "./pages.mjs";
import { make, PRODUCTS } from "./qwen3.mjs";

const DENSE = {
  "256 texts of about 32 tokens": { texts: texts(Array(256).fill(32)), rounds: 7, calls: 1 },
  "32 texts of about 250 tokens": { texts: texts(Array(32).fill(250)), rounds: 7, calls: 1 },
  "one text of about 32 tokens": { texts: texts([32]), rounds: 9, calls: 8 },
};
const SPARSE = { "32 texts of 64 tokens": { texts: texts(Array(32).fill(64)), rounds: 7, calls: 1 } };
/** The sizes that `"auto"` measures itself. */
const AUTO = {
  "16 tokens": texts([16]),
  "64 tokens": texts([64]),
  "256 tokens": texts([250]),
  "512 tokens": texts([250, 250]),
};
const LARGE = { texts: texts(Array(16).fill(256)), rounds: 5 };
/** Linux has WebGPU behind flags. */
const FLAGS = ["--enable-unsafe-webgpu", "--enable-features=Vulkan"];

/** What to measure: all, or the parts that are named as arguments. */
const PARTS = {
  dense: (inFreshPage) => compare(inFreshPage, "gpu", DENSE),
  sparse: (inFreshPage) => compare(inFreshPage, "sparseGpu", SPARSE),
  large: throughput,
  auto,
};

async function compare(inFreshPage, kind, cases) {
  for (const dtype of ["f32", "f16", "q8"]) {
    const compared = await inFreshPage("compare", kind, dtype, cases);
    introduce(compared);
    table(compared.results);
  }
}

async function throughput(inFreshPage, peak) {
  await make();
  const rows = [];
  for (const dtype of ["f16", "q8", "q4"]) {
    const { about, tokensPerSecond } = await inFreshPage(
      "throughput",
      dtype,
      "target/bench/models/qwen3-0.6b",
      LARGE,
    );
    rows.push({
      "Qwen3-Embedding-0.6B's shapes": about,
      "tokens a second": Math.round(tokensPerSecond),
      "share of the peak": Number(((tokensPerSecond * PRODUCTS) / peak).toFixed(3)),
    });
  }
  console.table(rows);
}

async function auto(inFreshPage) {
  for (const dtype of ["f32", "q8"]) {
    const { about, gpuFrom, seconds, again, times } = await inFreshPage("auto", dtype, AUTO);
    console.log(`auto, ${dtype}: ${about}`);
    console.log(
      `from ${gpuFrom} tokens on the GPU; loaded in ${seconds.toFixed(2)} s, again in ${again.toFixed(2)} s`,
    );
    console.table(times);
  }
}

const asked = process.argv.slice(2);
await withPages(async (inFreshPage) => {
  const peak = await inFreshPage("peak");
  console.log(`${(peak / 1e9).toFixed(0)} GMAC/s in f32 at most`);
  for (const [name, measure] of Object.entries(PARTS)) {
    if (asked.length === 0 || asked.includes(name)) await measure(inFreshPage, peak);
  }
}, FLAGS);
