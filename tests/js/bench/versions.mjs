/**
 * Time of two or more built packages by turns in one Node process, with all-MiniLM-L6-v2 in 8 bits: this one, and others by their `dist`
 * folders, as arguments. A folder with `=` and a name of a wasm file behind it takes that file (`pkg/dist=common-relaxed`).
 */

import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { median } from "../support/numbers.mjs";
import { root } from "../support/server.mjs";
import { text, texts } from "./pages.mjs";

const ROUNDS = 25;
const CASES = {
  "32 texts of about 32 tokens": { inputs: texts(Array(32).fill(32)), calls: 1 },
  "one text of about 32 tokens": { inputs: [text(32)], calls: 8 },
};

/** Where several copies of one `dist` are to be modules of their own, each needs an address of its own. */
async function open(argument, number) {
  const [folder, wasm] = argument.split("=");
  const dist = resolve(folder);
  const { init, load } = await import(`${pathToFileURL(join(dist, "node.js"))}`);
  if (wasm && number === 0) throw new Error("the first package has to take its own choice");
  if (wasm) await init({ bytes: await readFile(join(dist, `wasm/${wasm}.wasm`)) });
  return load(`${root}models/sentence-transformers/all-MiniLM-L6-v2`, { dtype: "q8", cache: false });
}

const arguments_ = [join(root, "pkg/dist"), ...process.argv.slice(2)];
const models = [];
for (const [number, argument] of arguments_.entries()) models.push(await open(argument, number));

async function time(model, { inputs, calls }) {
  const start = performance.now();
  for (let i = 0; i < calls; i++) await model.encode(inputs);
  return (performance.now() - start) / calls / inputs.length;
}

const rows = [];
for (const [name, one] of Object.entries(CASES)) {
  for (const model of models) await time(model, one);
  const times = models.map(() => []);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [index, model] of models.entries()) times[index].push(await time(model, one));
  }
  for (const [index, argument] of arguments_.entries()) {
    rows.push({
      case: name,
      package: argument,
      "ms per text": Number(median(times[index]).toFixed(3)),
      "time, the first is 1": Number(
        median(times[index].map((ms, round) => ms / times[0][round])).toFixed(3),
      ),
    });
  }
}
console.table(rows);
