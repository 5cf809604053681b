#!/usr/bin/env node
/** Finds the lines of a text file that mean what a query says: find-lines.js FILE QUERY */

import { readFile } from "node:fs/promises";
import { load, topK } from "gossamer-embed";

const [file, ...words] = process.argv.slice(2);
if (!file || words.length === 0) {
  console.error('usage: find-lines.js FILE "what to look for"');
  process.exit(2);
}

const lines = (await readFile(file, "utf8")).split("\n").filter((line) => line.trim() !== "");
const embedder = await load("sentence-transformers/all-MiniLM-L6-v2", {
  onProgress: ({ status, progress }) => {
    if (status === "progress_total")
      process.stderr.write(`\rloading the model: ${Math.round(progress ?? 0)} %`);
    if (status === "ready") process.stderr.write("\n");
  },
});
const query = await embedder.encode(words.join(" "), { task: "query" });
const documents = await embedder.encode(lines, { task: "document" });
for (const { index, score } of topK(query, documents, 5)) console.log(score.toFixed(2), lines[index]);
embedder.dispose();
