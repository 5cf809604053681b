/** Static embeddings, as sentence-transformers and model2vec read the same files. */

import { assert } from "chai";
import { load } from "gossamer-embed";
import { failure, reference, rows, texts } from "../support/models.mjs";
import { dot } from "../support/numbers.mjs";

const cosine = (a, b) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
const open = (origin, name, options) => load(`${origin}/tests/fixtures/static/${name}/`, options);
const references = (origin) => reference(origin, "static/references.safetensors");

export const cases = {
  "static embeddings of sentence-transformers and model2vec": async ({ origin }) => {
    const { query, ...all } = await references(origin);
    const inputs = await texts(origin, "tiny-texts.json");
    assert.isAtLeast(Object.keys(all).length, 8);
    for (const [name, tensor] of Object.entries(all)) {
      const model = await open(origin, name, { dtype: "f32" });
      assert.equal(model.info.family, "static");
      assert.deepEqual(model.info.outputs, ["dense"]);
      const expected = rows(tensor);
      let zeros = 0;
      for (const [i, row] of rows(await model.encode(inputs)).entries()) {
        if (expected[i].every((value) => value === 0)) {
          assert.isTrue(
            row.every((value) => value === 0),
            `${name}, text ${i}`,
          );
          zeros += 1;
        } else assert.isAtLeast(cosine(row, expected[i]), 0.99999, `${name}, text ${i}`);
      }
      // A Dense module makes something of zeros.
      assert.equal(zeros > 0, name !== "sentence-dense", name);
      model.dispose();
    }
    const model = await open(origin, "sentence", { dtype: "f32" });
    for (const [i, row] of rows(await model.encode(inputs, { promptName: "query" })).entries()) {
      assert.isAtLeast(cosine(row, rows(query)[i]), 0.99999, `query, text ${i}`);
    }
    model.dispose();
  },

  "a static table is held as it is stored, saved as it is held, and has no vectors of tokens": async ({
    origin,
  }) => {
    for (const [name, dtype, stored] of [
      ["model2vec", "q8", undefined],
      ["model2vec-f16", "f16", undefined],
      ["model2vec-int8", "q8", { layout: "model2vec, 8 bits", outcome: "kept" }],
    ]) {
      const model = await open(origin, name, { saveable: true });
      assert.equal(model.info.dtype, dtype);
      assert.deepEqual(model.info.stored, stored);
      const expected = await model.encode("The cat sat on the mat.");
      const files = {};
      for (const { path, stream } of await model.save()) {
        files[path] = new Uint8Array(await new Response(stream()).arrayBuffer());
      }
      const again = await load(files);
      assert.equal(again.info.spaceId, model.info.spaceId);
      assert.deepEqual(await again.encode("The cat sat on the mat."), expected);
      again.dispose();
      const error = await failure(() => model.encodeTokens("a cat"));
      assert.equal(error.code, "wrong_model_kind");
      assert.deepEqual(await model.encode("The cat sat on the mat."), expected);
      model.dispose();
    }
  },

  "a static table with fewer rows than the tokenizer has ids is refused": async ({ origin }) => {
    const folder = `${origin}/tests/fixtures/static/`;
    const get = async (path) => new Uint8Array(await (await fetch(folder + path)).arrayBuffer());
    const files = {
      "modules.json": await get("model2vec/modules.json"),
      "tokenizer.json": await get("sentence-dense/0_StaticEmbedding/tokenizer.json"),
      "model.safetensors": await get("model2vec/model.safetensors"),
    };
    const error = await failure(() => load(files));
    assert.equal(error.code, "invalid_safetensors");
    assert.match(error.message, /embeddings has \d+ rows, and the tokenizer has \d+ ids/);
  },
};
