/**
 * The demo page's first minute: from opening it in a fresh Chromium to the first results of one
 * kind and of both, with nothing cached, from this machine itself and over a line of 20 Mbit/s.
 */

import { browsers } from "../support/browsers.mjs";
import { serveDemo } from "../support/demo.mjs";
import { median } from "../support/numbers.mjs";
import { slowLine } from "../support/slow.mjs";

const ROUNDS = 5;
const LINE = 20e6;

/** Milliseconds until a half's results, and until both halves', are on screen. */
async function visit(address) {
  const { page, close } = await browsers.Chromium.open("about:blank");
  try {
    const start = performance.now();
    const seen = async (selector) => {
      await page.waitForSelector(selector, { timeout: 120_000 });
      return performance.now() - start;
    };
    const [half, both] = [
      seen(".ranking:is(.dense, .sparse):not(.skeleton) li"),
      seen(".ranking.hybrid:not(.skeleton) li"),
    ];
    await page.goto(address);
    return [await half, await both];
  } finally {
    await close();
  }
}

const demo = await serveDemo();
const { port } = new URL(demo.address);
const line = await slowLine(Number(port), LINE);
const table = {};
for (const [name, address, rounds] of [
  ["this machine", demo.address, ROUNDS],
  [`${LINE / 1e6} Mbit/s`, `http://127.0.0.1:${line.port}/`, 3],
]) {
  const visits = [];
  const before = line.passed;
  for (let round = 0; round < rounds; round++) visits.push(await visit(address));
  table[name] = {
    "one half, s": median(visits.map(([half]) => half)) / 1000,
    "both, s": median(visits.map(([, both]) => both)) / 1000,
    "MB a visit": name === "this machine" ? "" : (line.passed - before) / rounds / 1e6,
  };
}
console.table(table);
await line.close();
await demo.close();
