/**
 * CPU time of two or more built packages by turns in one Node process, with all-MiniLM-L6-v2 in 8
 * bits: this one, and others by their `dist` folders, as arguments. CPU time is disturbed less by
 * other programs than time on the clock.
 */

import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { median } from "../support/numbers.mjs";
import { root } from "../support/server.mjs";
import { text, texts } from "./pages.mjs";

const ROUNDS = 41;
/** Milliseconds of CPU time after which an engine has long optimised its code. */
const WARM = 6000;
const CASES = {
  "32 texts of about 32 tokens": { inputs: texts(Array(32).fill(32)), calls: 1 },
  "one text of about 32 tokens": { inputs: [text(32)], calls: 16 },
};

const folders = [join(root, "pkg/dist"), ...process.argv.slice(2)];
const models = [];
for (const folder of folders) {
  const { load } = await import(pathToFileURL(join(resolve(folder), "node.js")));
  models.push(await load(`${root}models/sentence-transformers/all-MiniLM-L6-v2`, { dtype: "q8" }));
}

/** Milliseconds of CPU time for each text. */
async function time(model, { inputs, calls }) {
  const start = process.cpuUsage();
  for (let i = 0; i < calls; i++) await model.encode(inputs);
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000 / calls / inputs.length;
}

const rows = [];
for (const [name, one] of Object.entries(CASES)) {
  for (const model of models) {
    const texts = one.calls * one.inputs.length;
    for (let spent = 0; spent < WARM; ) spent += texts * (await time(model, one));
  }
  const times = models.map(() => []);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [index, model] of models.entries()) times[index].push(await time(model, one));
  }
  for (const [index, folder] of folders.entries()) {
    const ratios = times[index].map((ms, round) => ms / times[0][round]);
    rows.push({
      case: name,
      package: folder,
      "ms per text": Number(median(times[index]).toFixed(3)),
      "least ms per text": Number(Math.min(...times[index]).toFixed(3)),
      "CPU time, the first is 1": Number(median(ratios).toFixed(3)),
    });
  }
}
console.table(rows);
