/**
 * Time per text of this package and of transformers.js, both with 8-bit weights and one thread, by turns in one page of one
 * Chromium; then, in fresh pages, the time from nothing to the first vector.
 */

import { browsers } from "../support/browsers.mjs";
import { sentences } from "../support/sentences.mjs";
import { serve } from "../support/server.mjs";

const BENCH = /^(pkg\/dist|models|target\/bench\/models|tests\/js\/bench)\//;
const STARTS = 5;

const words = sentences(400).join(" ").split(" ");
/** Words make about as many tokens, and two more. */
const text = (tokens, first) => words.slice(first, first + tokens - 3).join(" ");
const CASES = {
  "32 texts of about 32 tokens": {
    texts: Array.from({ length: 32 }, (_, i) => text(32, i * 29)),
    rounds: 7,
    calls: 1,
  },
  "one text of about 32 tokens": { texts: [text(32, 0)], rounds: 9, calls: 8 },
  "30 texts of 5 to 130 tokens": {
    texts: Array.from({ length: 30 }, (_, i) => text(5 + Math.round((i * 125) / 29), i * 29)),
    rounds: 7,
    calls: 1,
  },
};

const server = await serve({ open: BENCH });
const url = `${server.origin}/tests/js/bench/page.html`;

async function inFreshPage(run) {
  const { page, close } = await browsers.Chromium.open(url);
  await page.waitForFunction("globalThis.ready");
  const result = await run(page);
  await close();
  return result;
}

const { about, results, cosine } = await inFreshPage((page) =>
  page.evaluate((cases) => globalThis.cpu(cases), CASES),
);
console.log(
  `ours:   ${about[0]}\ntheirs: ${about[1]}\ncosine of the two for one text: ${cosine.toFixed(4)}\n`,
);

const starts = { ours: [], theirs: [] };
for (let i = 0; i < STARTS; i++) {
  for (const name of Object.keys(starts)) {
    starts[name].push(await inFreshPage((page) => page.evaluate((name) => globalThis.start(name), name)));
  }
}
const [ours, theirs] = Object.values(starts).map((times) => times.sort((a, b) => a - b)[times.length >> 1]);
await server.close();

const table = Object.entries({ ...results, "start to first vector": { ours, theirs, ratio: theirs / ours } });
console.table(
  table.map(([name, { ours, theirs, ratio }]) => ({
    case: name,
    "ours, ms": Number(ours.toFixed(2)),
    "theirs, ms": Number(theirs.toFixed(2)),
    ratio: Number(ratio.toFixed(2)),
  })),
);
