/**
 * The same for a reranker of ms-marco-MiniLM-L6's size, random weights: one query, 50 documents.
 * Then without AVX-VNNI, as on machines that lack it.
 */

import { introduce, table, texts, withPages } from "./pages.mjs";

const CASES = { "50 documents of 64 tokens": { texts: texts(Array(50).fill(64)), rounds: 5, calls: 1 } };

for (const flags of [[], ["--js-flags=--no-enable-avx-vnni"]]) {
  await withPages(async (inFreshPage) => {
    const compared = await inFreshPage("compare", "rerank", 1, CASES);
    if (flags.length > 0) console.log(`with ${flags}:`);
    introduce(compared);
    table(compared.results);
  }, flags);
}
