/** Memory stays where it is. */

import { assert } from "chai";
import { load } from "gossamer-embed";
import { disposeAll, fetchBytes, MINILM, TINY } from "../support/models.mjs";

const MIB = 1 << 20;

/**
 * Embeds one text so many times, one call after the other; memory must not grow after the first
 * hundred.
 */
async function flat(source, times) {
  const model = await load(source, { dtype: "q8" });
  const first = await model.encode("Ships at night");
  for (let i = 1; i < 100; i++) await model.encode("Ships at night");
  const { memoryBytes } = model.info;
  let last = first;
  for (let i = 100; i < times; i++) last = await model.encode("Ships at night");
  assert.equal(model.info.memoryBytes, memoryBytes);
  assert.deepEqual(last, first);
  model.dispose();
}

export const cases = {
  // Goes first: wasm memory never shrinks, so this must be the instance's first large model.
  "all-MiniLM-L6-v2 is loaded as q8 within 64 MiB of wasm memory": async ({ origin }) => {
    await disposeAll();
    const model = await load(`${origin}/${MINILM}`, { dtype: "q8" });
    assert.isAtMost(model.info.memoryBytes, 64 * MIB);
    await model.encode("Ships at night");
    assert.isAtMost(model.info.memoryBytes, 64 * MIB);
    model.dispose();
  },

  "so it is from bytes in one piece": async ({ origin }) => {
    const names = [
      "config.json",
      "tokenizer.json",
      "modules.json",
      "1_Pooling/config.json",
      "model.safetensors",
    ];
    const entries = names.map(async (name) => [name, await fetchBytes(`${origin}/${MINILM}${name}`)]);
    const model = await load(new Map(await Promise.all(entries)));
    assert.isAtMost(model.info.memoryBytes, 64 * MIB);
    model.dispose();
  },

  "10,000 calls of a tiny model leave memory as it was": ({ origin }) => flat(`${origin}/${TINY}`, 10_000),
};

/** Takes a while, so it runs in Node only. */
export const slow = {
  "10,000 calls of all-MiniLM-L6-v2 leave memory as it was": ({ origin }) =>
    flat(`${origin}/${MINILM}`, 10_000),
};
