/** Texts per second of a static table of potion-base-8M's size, in one thread of this Node. */

import { readFile } from "node:fs/promises";
import { load } from "gossamer-embed";
import { median } from "../support/numbers.mjs";
import { root } from "../support/server.mjs";
import { staticFiles } from "../support/static-table.mjs";

const TEXTS = 20_000;
const RUNS = 5;
const SENTENCES = [
  "Ships at night",
  "where do the harbour lights go out?",
  "How to bake a loaf of rye bread at home",
  "The last ferry turned its bow to the north.",
  "best running shoes for flat feet",
  "reset password for a locked account",
  "What is the capital of New Zealand?",
  "A dog barked twice and then the street was quiet",
];

const tokenizer = await readFile(`${root}models/sentence-transformers/all-MiniLM-L6-v2/tokenizer.json`);
const files = staticFiles(tokenizer);
const texts = Array.from({ length: TEXTS }, (_, i) => `${SENTENCES[i % SENTENCES.length]} ${i % 97}`);

const table = [];
for (const dtype of ["q8", "f16", "f32"]) {
  const start = performance.now();
  const model = await load(files, { dtype });
  const loading = performance.now() - start;
  let tokens = 0;
  const times = [];
  for (let run = 0; run <= RUNS; run += 1) {
    const before = performance.now();
    const batch = await model.encode(texts);
    if (run > 0) times.push(performance.now() - before);
    tokens = batch.tokens.reduce((sum, count) => sum + count, 0);
  }
  const one = performance.now();
  for (const text of texts.slice(0, 1000)) await model.encode(text);
  const alone = performance.now() - one;
  table.push({
    dtype,
    "MB in memory": Number((model.info.weightBytes / 1e6).toFixed(1)),
    "load, ms": Math.round(loading),
    "tokens per text": Number((tokens / TEXTS).toFixed(1)),
    "texts per second": Math.round((TEXTS / median(times)) * 1000),
    "µs per call of one text": Math.round(alone),
  });
  model.dispose();
}
console.table(table);
