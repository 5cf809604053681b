/** OpenAI's format, by hand. (`tests/js/node/clients.test.mjs` uses the official client.) */

import { assert } from "chai";
import { embedder, rows, TINY } from "../support/models.mjs";

export const cases = {
  "an answer has OpenAI's fields, and real token counts": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    const answer = await model.embeddings.create({ model: "my-name", input: ["a cat", "the dog sat"] });
    const { data, tokens } = await model.encode(["a cat", "the dog sat"]);
    assert.equal(answer.object, "list");
    assert.equal(answer.model, "my-name");
    assert.deepEqual(Object.keys(answer).sort(), ["data", "model", "object", "usage"]);
    const sum = tokens[0] + tokens[1];
    assert.deepEqual(answer.usage, { prompt_tokens: sum, total_tokens: sum });
    for (const [index, entry] of answer.data.entries()) {
      assert.include(entry, { object: "embedding", index });
      assert.deepEqual(Float32Array.from(entry.embedding), data.subarray(index * 48, index * 48 + 48));
    }
  },

  "base64 is the same numbers": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    const { data } = await model.embeddings.create({ input: "a cat", encoding_format: "base64" });
    const bytes = Uint8Array.from(atob(data[0].embedding), (letter) => letter.charCodeAt(0));
    assert.deepEqual(new Float32Array(bytes.buffer), (await model.encode("a cat")).data);
  },

  "token ids, one list and several, are embedded as their text is": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    // As the model sees them: ids are used as they are, [CLS] and [SEP] included.
    const [tokens] = await model.tokenize("a cat");
    const ids = tokens.map((token) => token.id);
    const text = await model.embeddings.create({ model: "m", input: "a cat" });
    assert.deepEqual(await model.embeddings.create({ model: "m", input: ids }), text);
    assert.deepEqual(
      (await model.embeddings.create({ model: "m", input: [ids, ids] })).data[1].embedding,
      text.data[0].embedding,
    );
  },

  "fewer dimensions are the first ones, scaled to length 1": async ({ origin }) => {
    const model = await embedder(origin, TINY, "f32");
    const { data } = await model.embeddings.create({ input: "a cat", dimensions: 8 });
    const [whole] = rows(await model.encode("a cat"));
    const first = Array.from(whole.subarray(0, 8));
    const length = Math.hypot(...first);
    assert.equal(data[0].embedding.length, 8);
    for (const [i, value] of data[0].embedding.entries()) assert.closeTo(value, first[i] / length, 1e-6);
  },

  "undefined fields are as good as absent ones": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    const none = undefined;
    const body = { input: "a cat", model: none, dimensions: none, encoding_format: none, user: none };
    const plain = await model.embeddings.create({ input: "a cat" });
    assert.deepEqual(await model.embeddings.create(body), plain);
    const options = {
      normalize: none,
      promptName: none,
      truncate: none,
      truncationDirection: none,
      signal: none,
    };
    assert.deepEqual(await model.encode("a cat", options), await model.encode("a cat"));
  },

  "2,048 texts in one request": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    const { data } = await model.embeddings.create({ input: Array(2048).fill("a") });
    assert.equal(data.length, 2048);
  },
};
