/** One text, one vector: the same bits wherever and however it is computed. */

import { assert } from "chai";
import { digest } from "../support/digest.mjs";
import { embedder, MINILM, rows, TINY, texts } from "../support/models.mjs";

/** A fixed shuffle: odd steps through a list whose length they do not divide. */
const shuffled = (list) => list.map((_, i) => (i * 89 + 7) % list.length);

async function alone(origin, folder, list, dtype) {
  const model = await embedder(origin, folder, dtype);
  const inputs = await texts(origin, list);
  const together = rows(await model.encode(inputs));
  const order = shuffled(inputs);
  assert.equal(new Set(order).size, inputs.length, "the shuffle is one");
  const other = rows(await model.encode(order.map((i) => inputs[i])));
  for (const [at, i] of order.entries()) {
    assert.deepEqual(other[at], together[i], `text ${i}, shuffled`);
  }
  for (const [i, text] of inputs.entries()) {
    // Long ones are alike, and take their time.
    if (i % 5 !== 0 && text.length > 200) continue;
    assert.deepEqual((await model.encode(text)).data, together[i], `text ${i}, alone`);
  }
}

/** In one engine: all of them do this in q8, and in f32 with the tiny model. */
export const once = {
  "alone, in a batch and shuffled: all-MiniLM-L6-v2 in f32": ({ origin }) =>
    alone(origin, MINILM, "texts.json", "f32"),
};

export const cases = {
  "alone, in a batch and shuffled: all-MiniLM-L6-v2 in q8": ({ origin }) =>
    alone(origin, MINILM, "texts.json", "q8"),

  "alone, in a batch and shuffled: a tiny model": async ({ origin }) => {
    for (const dtype of ["q8", "f32"]) await alone(origin, TINY, "tiny-texts.json", dtype);
  },

  "two calls at once do not disturb each other": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    const inputs = (await texts(origin, "tiny-texts.json")).flatMap((text) => Array(30).fill(text));
    const expected = await model.encode(inputs);
    const reversed = await model.encode([...inputs].reverse());
    const both = await Promise.all([
      model.encode(inputs),
      model.encode([...inputs].reverse()),
      model.embeddings.create({ input: "a cat" }),
    ]);
    assert.deepEqual(both[0], expected);
    assert.deepEqual(both[1], reversed);
  },
};

/** What engines and builds must agree about. */
export async function digests({ origin }) {
  const result = {};
  for (const dtype of ["q8", "f32"]) {
    const model = await embedder(origin, MINILM, dtype);
    const { data } = await model.encode(await texts(origin, "texts.json"));
    result[dtype] = await digest(data);
  }
  return result;
}
