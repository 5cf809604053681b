/**
 * How time grows with the number of texts, and with their length, in this runtime. Attention's
 * square shows in the latter.
 */

import { readFile } from "node:fs/promises";
import { load } from "gossamer-embed";
import { median } from "../support/numbers.mjs";
import { root } from "../support/server.mjs";
import * as synthetic from "../support/synthetic.mjs";
import { text, texts } from "./pages.mjs";

const MINILM = `${root}models/sentence-transformers/all-MiniLM-L6-v2`;
const POSITIONS = 8192;

async function measure(model, inputs, rounds) {
  const times = [];
  for (let i = 0; i <= rounds; i++) {
    const start = performance.now();
    await model.encode(inputs);
    times.push(performance.now() - start);
  }
  return median(times.slice(1));
}

/** MiniLM's shapes with random weights and room for long texts. */
async function longModel() {
  const json = async (name) => JSON.parse(await readFile(name, "utf8"));
  const config = await json(`${MINILM}/config.json`);
  const rows = await json(`${root}tests/fixtures/sized-splade-minilm/model.safetensors.json`);
  const longer = rows.map(([name, shape, ...rest]) =>
    name.endsWith("position_embeddings.weight")
      ? [name, [POSITIONS, shape[1]], ...rest]
      : [name, shape, ...rest],
  );
  const model = {
    "config.json": new TextEncoder().encode(
      JSON.stringify({ ...config, max_position_embeddings: POSITIONS }),
    ),
    "tokenizer.json": await readFile(`${MINILM}/tokenizer.json`),
    "model.safetensors": new Blob([...synthetic.chunks(longer)]),
  };
  return load(model);
}

const model = await load(MINILM);
const byCount = [];
for (const count of [1, 10, 100, 1000, 10_000]) {
  const milliseconds = await measure(model, texts(Array(count).fill(32)), count > 500 ? 1 : 5);
  byCount.push({ texts: count, "ms per text": Number((milliseconds / count).toFixed(2)) });
}
console.table(byCount);
model.dispose();

const long = await longModel();
const byLength = [];
for (let tokens = 32; tokens <= POSITIONS; tokens *= 2) {
  const input = text(tokens);
  const { tokens: counted } = await long.encode(input);
  const milliseconds = await measure(long, input, 3);
  byLength.push({
    tokens: counted[0],
    ms: Number(milliseconds.toFixed(1)),
    "µs per token": Math.round((milliseconds / counted[0]) * 1000),
  });
}
console.table(byLength);
