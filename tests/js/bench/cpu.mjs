/** Time per text of this package and of transformers.js, both with 8-bit weights, by turns in one page of one Chromium. */

import { introduce, table, texts, withPages } from "./pages.mjs";

const batch = { texts: texts(Array(32).fill(32)), rounds: 7, calls: 1 };
const lengths = Array.from({ length: 30 }, (_, i) => 5 + Math.round((i * 125) / 29));
const CASES = {
  "32 texts of about 32 tokens": batch,
  "one text of about 32 tokens": { texts: texts([32]), rounds: 9, calls: 8 },
  "30 texts of 5 to 130 tokens": { texts: texts(lengths), rounds: 7, calls: 1 },
};

await withPages(async (inFreshPage) => {
  const one = await inFreshPage("compare", "dense", 1, CASES);
  introduce(one);
  const two = await inFreshPage("compare", "dense", 2, { "32 texts, two threads each": batch });
  introduce(two);
  table({ ...one.results, ...two.results });
});
