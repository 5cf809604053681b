/**
 * The same for SPLADE at BERT-base's size, random weights: their masked language model in 8 bits,
 * and the maximum in JavaScript.
 */

import { introduce, table, texts, withPages } from "./pages.mjs";

const CASES = { "8 texts of 64 tokens": { texts: texts(Array(8).fill(64)), rounds: 5, calls: 1 } };

await withPages(async (inFreshPage) => {
  const compared = await inFreshPage("compare", "sparse", 1, CASES);
  introduce(compared);
  table(compared.results);
});
