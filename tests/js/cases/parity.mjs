/** Vectors against sentence-transformers' own. */

import { assert } from "chai";
import { load } from "gossamer-embed";
import { embedder, fetchBytes, MINILM, reference, rows, SPLADE, TINY, texts } from "../support/models.mjs";
import { dot } from "../support/numbers.mjs";

const cosine = (a, b) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
const largest = (a, b) => a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);

/** Every row against the reference's. */
async function compare(
  origin,
  { folder, dtype, list, file, tensor = "embeddings", options, least, mean = least, most },
) {
  const model = await embedder(origin, folder, dtype);
  const expected = rows((await reference(origin, file))[tensor]);
  const actual = rows(await model.encode(await texts(origin, list), options));
  assert.equal(actual.length, expected.length);
  const cosines = actual.map((row, i) => cosine(row, expected[i]));
  for (const [i, row] of actual.entries()) {
    assert.isAtLeast(cosines[i], least, `cosine of text ${i}`);
    assert.isAtMost(largest(row, expected[i]), most, `largest difference of text ${i}`);
  }
  assert.isAtLeast(cosines.reduce((sum, value) => sum + value) / cosines.length, mean, "mean cosine");
}

const minilm = { folder: MINILM, list: "texts.json", file: "minilm.safetensors" };
const tiny = { folder: TINY, list: "tiny-texts.json", file: "tiny-bert/reference.safetensors" };

/** In one engine: the others have the same bits, for these very texts (`digests` of bits.mjs). */
export const once = {
  "all-MiniLM-L6-v2 in f32 gives sentence-transformers' vectors": ({ origin }) =>
    compare(origin, { ...minilm, dtype: "f32", least: 0.99999, most: 2e-5 }),

  "all-MiniLM-L6-v2 in q8 stays near them": ({ origin }) =>
    compare(origin, { ...minilm, dtype: "q8", least: 0.999, mean: 0.9995, most: 0.05 }),

  "all-MiniLM-L6-v2's tokens are the reference's": async ({ origin }) => {
    const model = await embedder(origin, MINILM, "q8");
    const { ids, offsets } = await reference(origin, "minilm.safetensors");
    const { tokens, truncated } = await model.encode(await texts(origin, "texts.json"));
    for (const [i, count] of tokens.entries()) {
      assert.equal(count, offsets.data[i + 1] - offsets.data[i], `tokens of text ${i}`);
    }
    const all = await model.tokenize(await texts(origin, "texts.json"));
    for (const [i, list] of all.entries()) {
      assert.equal(list.length > 256, truncated[i], `whether text ${i} is truncated`);
      if (truncated[i]) continue;
      assert.deepEqual(
        list.map((token) => token.id),
        Array.from(ids.data.subarray(offsets.data[i], offsets.data[i + 1])),
        `ids of text ${i}`,
      );
    }
  },
};

/** Mean cosine of a model's vectors to sentence-transformers'. */
async function meanCosine(origin, options) {
  const model = await load("org/minilm-onnx", { endpoint: `${origin}/hub`, cache: false, ...options });
  const inputs = await texts(origin, "texts.json");
  const expected = rows((await reference(origin, "minilm.safetensors")).embeddings);
  const { data, shape } = await model.encode(inputs);
  const { files, stored } = model.info;
  model.dispose();
  const cosines = rows({ data, shape }).map((row, i) => dot(row, expected[i]));
  return {
    files,
    stored,
    least: Math.min(...cosines),
    mean: cosines.reduce((sum, cosine) => sum + cosine) / cosines.length,
  };
}

export const cases = {
  "all-MiniLM-L6-v2 as ONNX files, by the id of a repository of transformers.js": async ({ origin }) => {
    // 16 bits by default, 8 for the smallest download, 32 where they are asked for.
    const half = await meanCosine(origin, {});
    assert.deepEqual(half.files, ["onnx/model_fp16.onnx"]);
    assert.isAbove(half.least, 0.999);
    const small = await meanCosine(origin, { download: "small" });
    assert.deepEqual(small.files, ["onnx/model_quantized.onnx"]);
    assert.equal(small.stored.layout, "ONNX, 8 bits");
    assert.isAbove(small.mean, 0.996);
    assert.isAbove(small.least, 0.99);
    const whole = await meanCosine(origin, { dtype: "f32" });
    assert.deepEqual(whole.files, ["onnx/model.onnx"]);
    assert.isAbove(whole.least, 0.99999);
  },

  "all-MiniLM-L6-v2 in q4 stays within sight of sentence-transformers' vectors": ({ origin }) =>
    compare(origin, { ...minilm, dtype: "q4", least: 0.9, mean: 0.97, most: 0.2 }),

  "checkpoints that are quantised already, as their libraries read them": async ({ origin }) => {
    const folder = `${origin}/tests/fixtures/quantized/`;
    const names = ["config.json", "modules.json", "1_Pooling/config.json", "tokenizer.json"];
    const small = Object.fromEntries(
      await Promise.all(names.map(async (name) => [name, await fetchBytes(folder + name)])),
    );
    const references = await reference(origin, "quantized/references.safetensors");
    const layouts = Object.keys(references).filter((layout) => !layout.endsWith("v2"));
    assert.isAtLeast(layouts.length, 17);
    for (const layout of layouts) {
      const weights = await fetchBytes(`${folder}${layout}.safetensors`);
      const model = await load({ ...small, "model.safetensors": weights }, { dtype: "f32" });
      const expected = rows(references[layout]);
      const inputs = (await texts(origin, "tiny-texts.json")).slice(0, expected.length);
      assert.match(model.info.stored.layout, /bits|FP8/);
      assert.equal(model.info.stored.outcome, "widened");
      for (const [i, row] of rows(await model.encode(inputs)).entries()) {
        assert.isAtLeast(cosine(row, expected[i]), 0.99999, `${layout}, text ${i}`);
      }
      model.dispose();
    }
    assert.isUndefined((await embedder(origin, TINY, "q8")).info.stored);
  },

  "a prompt is put in front": ({ origin }) =>
    compare(origin, {
      ...tiny,
      dtype: "f32",
      tensor: "query_embeddings",
      options: { promptName: "query" },
      least: 0.99999,
      most: 2e-5,
    }),

  "a SPLADE model gives its weights, as TEI's and as typed arrays": async ({ origin }) => {
    const model = await embedder(origin, SPLADE, "f32");
    const inputs = await texts(origin, "tiny-texts.json");
    const expected = rows((await reference(origin, "tiny-splade/reference.safetensors")).embeddings);
    const vectors = await model.encodeSparse(inputs, { labels: true });
    const entries = await model.embedSparse({ inputs, truncate: true });
    for (const [i, { indices, values, labels }] of vectors.entries()) {
      const dense = new Float32Array(expected[i].length);
      for (const [at, index] of indices.entries()) dense[index] = values[at];
      assert.isAtMost(largest(dense, expected[i]), 1e-4, `text ${i}`);
      assert.isTrue(
        indices.every((index, at) => at === 0 || index > indices[at - 1]),
        "indices ascend",
      );
      assert.equal(labels.length, indices.length);
      assert.deepEqual(
        entries[i].map(({ index, value }) => [index, value]),
        Array.from(indices, (index, at) => [index, values[at]]),
      );
    }
    assert.closeTo(
      model.similarity(vectors[2], vectors[3]),
      dot(expected[2], expected[3]),
      1e-3,
      "the dot product of two sparse vectors",
    );
  },
};
