/**
 * Time per text of this package and of transformers.js, both with 8-bit weights, by turns in one
 * page of one Chromium; then of onnxruntime itself, natively.
 */

import { run } from "../support/child.mjs";
import { root } from "../support/server.mjs";
import { introduce, table, texts, withPages } from "./pages.mjs";

const batch = { texts: texts(Array(32).fill(32)), rounds: 7, calls: 1 };
const lengths = Array.from({ length: 30 }, (_, i) => 5 + Math.round((i * 125) / 29));
const CASES = {
  "32 texts of about 32 tokens": batch,
  "one text of about 32 tokens": { texts: texts([32]), rounds: 9, calls: 8 },
  "30 texts of 5 to 130 tokens": { texts: texts(lengths), rounds: 7, calls: 1 },
};

let one;
await withPages(async (inFreshPage) => {
  one = await inFreshPage("compare", "dense", 1, CASES);
  introduce(one);
  const two = await inFreshPage("compare", "dense", 2, { "32 texts, two threads each": batch });
  introduce(two);
  table({ ...one.results, ...two.results });
});

const python = `${root}target/bench/python/bin/python`;
const args = [
  `${root}tests/js/bench/peers/native.py`,
  `${root}target/bench/models/sentence-transformers/all-MiniLM-L6-v2`,
];
const native = Number((await run(python, args, { input: JSON.stringify(batch.texts) })).stdout);
const { ours } = one.results["32 texts of about 32 tokens"];
console.log(
  `native onnxruntime, one thread: ${native.toFixed(2)} ms; ours takes ${(ours / native).toFixed(2)} times as long`,
);
