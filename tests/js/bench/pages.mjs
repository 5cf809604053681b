/** Pages of a fresh Chromium each, on a server that isolates them: theirs has threads only so. */

import { browsers } from "../support/browsers.mjs";
import { sentences } from "../support/sentences.mjs";
import { serve } from "../support/server.mjs";

const BENCH =
  /^(pkg\/dist|models|target\/bench\/models|tests\/fixtures\/(sized-\w+-\w+|rerankers)|tests\/js\/(bench|support))\//;
const ISOLATED = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
};

const words = sentences(400).join(" ").split(" ");
/** A text of about so many tokens. Words make about as many, and two more are special. */
export const text = (tokens, first = 0) =>
  Array.from({ length: tokens - 2 }, (_, i) => words[(first + i) % words.length]).join(" ");
/** Texts of such lengths, all different. */
export const texts = (lengths) => lengths.map((tokens, i) => text(tokens, i * 29));

/**
 * Runs `use(inFreshPage)`, where `inFreshPage(call, ...args)` calls one of the page's functions, in
 * a Chromium with `flags`.
 */
export async function withPages(use, flags = []) {
  const server = await serve({ open: BENCH, headers: ISOLATED });
  try {
    await use(async (name, ...args) => {
      const { page, close } = await browsers.Chromium.open(
        `${server.origin}/tests/js/bench/page.html`,
        flags,
      );
      await page.waitForFunction("globalThis.ready");
      const result = await page.evaluate(([name, args]) => globalThis[name](...args), [name, args]);
      await close();
      return result;
    });
  } finally {
    await server.close();
  }
}

/** Prints what ran. */
export function introduce({ about: [ours, theirs], cosine }) {
  console.log(`ours:   ${ours}\ntheirs: ${theirs}`);
  if (cosine !== undefined) console.log(`cosine of the two for one text: ${cosine.toFixed(4)}`);
}

/** Prints `{ case: { ours, theirs, ratio } }`, in milliseconds. */
export function table(results) {
  const rows = Object.entries(results).map(([name, { ours, theirs, ratio }]) => ({
    case: name,
    "ours, ms": Number(ours.toFixed(2)),
    "theirs, ms": Number(theirs.toFixed(2)),
    ratio: Number(ratio.toFixed(2)),
  }));
  console.table(rows);
}
