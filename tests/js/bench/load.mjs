/**
 * Time from the import of the library to the first vector, in fresh browsers with nothing cached, the model on a server on
 * the same machine. Ours reads a checkpoint in f32 and quantises it, theirs reads 8 bits.
 */

import { median } from "../support/numbers.mjs";
import { table, withPages } from "./pages.mjs";

const STARTS = 5;

await withPages(async (inFreshPage) => {
  const times = { ours: [], theirs: [] };
  for (let i = 0; i < STARTS; i++) {
    for (const name of Object.keys(times)) times[name].push(await inFreshPage("start", name));
  }
  const [ours, theirs] = Object.values(times).map(median);
  table({ "start to first vector": { ours, theirs, ratio: theirs / ours } });
});
