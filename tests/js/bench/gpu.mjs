/** Time per text of this package and of transformers.js, both on WebGPU, by turns in one page of one Chromium. */

import { introduce, table, texts, withPages } from "./pages.mjs";

const CASES = {
  "256 texts of about 32 tokens": { texts: texts(Array(256).fill(32)), rounds: 7, calls: 1 },
  "32 texts of about 250 tokens": { texts: texts(Array(32).fill(250)), rounds: 7, calls: 1 },
  "one text of about 32 tokens": { texts: texts([32]), rounds: 9, calls: 8 },
};
/** Linux has WebGPU behind flags. */
const FLAGS = ["--enable-unsafe-webgpu", "--enable-features=Vulkan"];

await withPages(async (inFreshPage) => {
  for (const dtype of ["f32", "q8"]) {
    const compared = await inFreshPage("compare", "gpu", dtype, CASES);
    introduce(compared);
    table(compared.results);
  }
}, FLAGS);
