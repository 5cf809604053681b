/** Saving: files that load as the model that they were saved from. */

import { assert } from "chai";
import { load } from "gossamer-embed";
import { digest } from "../support/digest.mjs";
import { failure, MINILM, SPLADE, TINY, texts } from "../support/models.mjs";

/** The bytes of all files, by path. */
async function read(files) {
  const all = {};
  for (const file of files) {
    const bytes = new Uint8Array(await new Response(file.stream()).arrayBuffer());
    assert.equal(bytes.byteLength, file.size, file.path);
    all[file.path] = bytes;
  }
  return all;
}

/** Runs `use(model)` with a model that can be saved. */
async function using(origin, folder, options, use) {
  const model = await load(`${origin}/${folder}`, { ...options, saveable: true });
  try {
    return await use(model);
  } finally {
    model.dispose();
  }
}

/** Loads what a model is saved as, in the dtype that it says itself, and compares. */
async function compare(origin, model, options, workers) {
  const files = await read(await model.save(options));
  const again = await load(files, { workers });
  try {
    assert.equal(again.info.spaceId, model.info.spaceId);
    assert.equal(again.info.dtype, model.info.dtype);
    assert.equal(again.info.weightBytes, model.info.weightBytes);
    const inputs = await texts(origin, "tiny-texts.json");
    const kind = model.info.kind === "dense" ? "encode" : "encodeSparse";
    const hash = async (one) => {
      const vectors = await one[kind](inputs);
      const rows = Array.isArray(vectors) ? vectors.map(({ values }) => values) : [vectors.data];
      return Promise.all(rows.map(digest));
    };
    assert.deepEqual(await hash(again), await hash(model));
  } finally {
    again.dispose();
  }
  return files;
}

export const cases = {
  "a saved model gives the same bits": async ({ origin }) => {
    for (const folder of [TINY, SPLADE]) {
      for (const dtype of ["q8", "q6", "q4"])
        await using(origin, folder, { dtype }, (model) => compare(origin, model));
    }
  },

  "all-MiniLM-L6-v2 is a quarter of its size, and says how it was stored": ({ origin }) =>
    using(origin, MINILM, {}, async (model) => {
      const files = await compare(origin, model);
      assert.isBelow(files["model.safetensors"].byteLength, 25e6);
      const again = await load(files);
      assert.deepEqual(again.info.stored, { layout: "compressed-tensors, 8 bits, rotated", outcome: "kept" });
      again.dispose();
      const coarse = await load(files, { dtype: "q4" });
      assert.equal(coarse.info.stored.outcome, "requantized");
      coarse.dispose();
    }),

  "shards keep a limit": ({ origin }) =>
    using(origin, MINILM, {}, async (model) => {
      const shard = 12 * 2 ** 20;
      const files = await compare(origin, model, { shard });
      const sizes = Object.values(files).map(({ byteLength }) => byteLength);
      assert.isAtMost(Math.max(...sizes), shard);
      assert.include(Object.keys(files), "model.safetensors.index.json");
      for (const shard of [0, 2 ** 20]) {
        const error = await failure(() => model.save({ shard }));
        assert.equal(error.code, "invalid_input");
        assert.match(error.message, /limit/);
      }
      const error = await failure(() => model.save({ shard: "24MiB" }));
      assert.equal(error.code, "invalid_input");
    }),

  "a pool saves and loads as one": async ({ origin }) => {
    const alone = await using(origin, TINY, {}, async (model) => read(await model.save()));
    await using(origin, TINY, { workers: 2 }, async (pool) => {
      assert.deepEqual(await compare(origin, pool, undefined, 2), alone);
    });
  },

  "a model that is not to be saved says so": async ({ origin }) => {
    const model = await load(`${origin}/${TINY}`);
    const error = await failure(() => model.save());
    assert.equal(error.code, "invalid_input");
    assert.match(error.message, /saveable/);
    model.dispose();
  },

  "files are read as they are asked for, and not after dispose": async ({ origin }) => {
    const model = await load(`${origin}/${MINILM}`, { saveable: true });
    const before = model.info.memoryBytes;
    const files = await model.save();
    const weights = files.find(({ path }) => path === "model.safetensors");
    // Twice, side by side.
    const readers = [weights.stream().getReader(), weights.stream().getReader()];
    const [a, b] = await Promise.all(readers.map((reader) => reader.read()));
    assert.deepEqual(a.value, b.value);
    assert.isAtMost(model.info.memoryBytes - before, 16 * 2 ** 20);
    model.dispose();
    const error = await failure(() => readers[0].read());
    assert.equal(error.code, "disposed");
    assert.equal((await failure(() => model.save())).code, "disposed");
  },
};
