/**
 * Time from the import of the library to the first vector, in fresh browsers with nothing cached,
 * the model on a server on the same machine. Theirs reads 8 bits; ours a checkpoint in f32, which
 * it quantises, or what it has saved in 8 bits.
 */

import { load } from "gossamer-embed";
import { median } from "../support/numbers.mjs";
import { saveInto } from "../support/save.mjs";
import { root } from "../support/server.mjs";
import { table, withPages } from "./pages.mjs";

const STARTS = 5;
const SAVED = "target/bench/models/minilm-q8/";

const model = await load(`${root}models/sentence-transformers/all-MiniLM-L6-v2`, { saveable: true });
await saveInto(root + SAVED, model);

await withPages(async (inFreshPage) => {
  const kinds = { f32: ["ours"], saved: ["ours", SAVED], theirs: ["theirs"] };
  const times = { f32: [], saved: [], theirs: [] };
  for (let i = 0; i < STARTS; i++) {
    for (const [name, kind] of Object.entries(kinds)) times[name].push(await inFreshPage("start", ...kind));
  }
  const [f32, saved, theirs] = Object.values(times).map(median);
  table({
    "start to first vector, ours from f32": { ours: f32, theirs, ratio: theirs / f32 },
    "start to first vector, ours saved in 8 bits": { ours: saved, theirs, ratio: theirs / saved },
  });
});
