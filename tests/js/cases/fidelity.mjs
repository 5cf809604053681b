/** How near integers come to f32 in all-MiniLM-L6-v2, on more texts than there are references for. */

import { assert } from "chai";
import { embedder, MINILM, rows, texts } from "../support/models.mjs";
import { dot } from "../support/numbers.mjs";
import { sentences } from "../support/sentences.mjs";

/** Rows of normalised vectors, of which a text without tokens has none. */
async function vectors(origin, dtype, inputs) {
  const model = await embedder(origin, MINILM, dtype);
  return rows(await model.encode(inputs));
}

/** The ten nearest of each vector, itself aside. */
function neighbours(all) {
  return all.map((vector, i) => {
    const near = all.map((other, j) => ({ j, score: i === j ? -2 : dot(vector, other) }));
    near.sort((a, b) => b.score - a.score);
    return new Set(near.slice(0, 10).map(({ j }) => j));
  });
}

export const fidelity = {
  "q8 and q4 stay near f32 on 443 texts of many languages and kinds": async ({ origin }) => {
    const inputs = [...(await texts(origin, "texts.json")), ...(await texts(origin, "nasty.json"))];
    assert.isAtLeast(inputs.length, 400);
    const exact = await vectors(origin, "f32", inputs);
    for (const [dtype, least, mean] of [
      ["q8", 0.999, 0.9995],
      ["q4", 0.9, 0.97],
    ]) {
      const cosines = (await vectors(origin, dtype, inputs)).map((vector, i) => dot(vector, exact[i]));
      assert.isAtLeast(Math.min(...cosines), least, `${dtype}, smallest`);
      assert.isAtLeast(cosines.reduce((sum, value) => sum + value) / cosines.length, mean, `${dtype}, mean`);
    }
  },

  "q8 finds f32's neighbours among 1,000 sentences": async ({ origin }) => {
    const inputs = sentences(1000);
    const exact = neighbours(await vectors(origin, "f32", inputs));
    const ours = neighbours(await vectors(origin, "q8", inputs));
    let shared = 0;
    for (const [i, near] of ours.entries()) for (const j of near) shared += exact[i].has(j) ? 1 : 0;
    assert.isAtLeast(shared / (10 * inputs.length), 0.98);
  },
};
