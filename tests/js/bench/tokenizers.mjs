/**
 * Load, memory and time per text of the three kinds of tokenizers, at the sizes of real models, in
 * this Node.
 */

import { KINDS, measureTokenizer } from "../support/tokenizer-load.mjs";

const RUNS = 5;

const rows = [];
for (const kind of Object.keys(KINDS)) {
  const { fileBytes, loadMilliseconds, memoryBytes, microsecondsPerText, tokensPerText } =
    await measureTokenizer(kind, RUNS);
  rows.push({
    kind,
    "file, MB": Number((fileBytes / 1e6).toFixed(1)),
    "load, ms": Math.round(loadMilliseconds),
    "memory, MB": Number((memoryBytes / 1e6).toFixed(1)),
    "µs per text": Math.round(microsecondsPerText),
    "tokens per text": Math.round(tokensPerText),
  });
}
console.table(rows);
