/** Vectors in whole numbers and bits, and how they compare. */

import { assert } from "chai";
import { fuse } from "gossamer-embed";
import { embedder, failure, MINILM, rows, SPLADE, TINY, texts } from "../support/models.mjs";

const M3 = "tests/fixtures/tiny-m3/";
const numbers = (data) => Array.from(data);

/** As numpy.packbits(vector > 0). */
function packed(vector) {
  const bytes = new Uint8Array(Math.ceil(vector.length / 8));
  for (const [i, x] of vector.entries()) if (x > 0) bytes[i >> 3] |= 0x80 >> (i & 7);
  return bytes;
}

const near = (a, b, within) => {
  assert.deepEqual(a.shape, b.shape);
  for (const [i, x] of a.data.entries()) assert.closeTo(x, b.data[i], within);
};

export const cases = {
  "int8 and uint8 are the components divided by their scales": async ({ origin }) => {
    const list = (await texts(origin, "texts.json")).slice(0, 40);
    const model = await embedder(origin, MINILM, "q8");
    const float = await model.encode(list);
    const int8 = await model.encode(list, { output: "int8" });
    const uint8 = await model.encode(list, { output: "uint8" });
    assert.instanceOf(int8.data, Int8Array);
    assert.instanceOf(uint8.data, Uint8Array);
    assert.include(int8, { output: "int8", dimensions: 384 });
    assert.deepEqual(int8.shape, [40, 384]);
    assert.deepEqual(numbers(int8.tokens), numbers(float.tokens));
    assert.deepEqual(int8.truncated, float.truncated);
    assert.deepEqual(
      numbers(uint8.data),
      numbers(int8.data).map((code) => code + 128),
    );
    assert.deepEqual(uint8.scales, int8.scales);
    for (const [i, row] of rows(int8).entries()) {
      const scale = int8.scales[i];
      assert.equal(Math.max(...numbers(row).map(Math.abs)), 127);
      for (const [j, x] of rows(float)[i].entries())
        assert.isAtMost(Math.abs(row[j] * scale - x), scale * 0.50001);
    }
    const cosines = model.similarity(float, float);
    near(model.similarity(int8, int8), cosines, 0.01);
    near(model.similarity(float, int8), cosines, 0.01);
    near(model.similarity(uint8, int8), cosines, 0.01);
    // Of 40 texts the nearest other one stays, nearly always.
    const nearest = ({ data }) =>
      list
        .map((_, i) => numbers(data.subarray(i * 40, i * 40 + 40)).map((x, j) => (i === j ? -1 : x)))
        .map((row) => row.indexOf(Math.max(...row)));
    const [before, after] = [nearest(cosines), nearest(model.similarity(int8, int8))];
    assert.isAtLeast(before.filter((at, i) => at === after[i]).length, 38);
  },

  "bits are those of numpy, and compare by how many are the same": async ({ origin }) => {
    const list = (await texts(origin, "tiny-texts.json")).slice(0, 8);
    const model = await embedder(origin, TINY, "q8");
    for (const dimensions of [48, 13, 7]) {
      const float = await model.encode(list, { dimensions });
      const ubinary = await model.encode(list, { dimensions, output: "ubinary" });
      const binary = await model.encode(list, { dimensions, output: "binary" });
      assert.deepEqual(ubinary.shape, [8, Math.ceil(dimensions / 8)]);
      assert.instanceOf(binary.data, Int8Array);
      assert.notProperty(binary, "scales");
      for (const [i, row] of rows(float).entries())
        assert.deepEqual(numbers(rows(ubinary)[i]), numbers(packed(row)));
      assert.deepEqual(
        numbers(binary.data),
        numbers(ubinary.data).map((byte) => byte - 128),
      );
      // The cosine of the signs.
      const signs = { data: float.data.map((x) => (x > 0 ? 1 : -1)), shape: float.shape };
      const expected = model.similarity(signs, signs);
      near(model.similarity(ubinary, binary), expected, 1e-6);
      near(model.similarity(binary, binary), expected, 1e-6);
      near(model.similarity(float, binary), model.similarity(float, signs), 1e-6);
    }
    const other = await model.encode(list, { dimensions: 47, output: "binary" });
    const error = await failure(() => model.similarity(other, { ...other, dimensions: 48 }));
    assert.include(error.message, "47 and 48 dimensions");
  },

  "OpenAI's format has them as Voyage AI's does": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    const input = ["a cat", "the dog sat"];
    for (const output of ["int8", "uint8", "binary", "ubinary"]) {
      const expected = rows(await model.encode(input, { output, normalize: true }));
      const { data, usage } = await model.embeddings.create({ input, output_dtype: output });
      const base64 = await model.embeddings.create({
        input,
        output_dtype: output,
        encoding_format: "base64",
      });
      assert.isAbove(usage.total_tokens, 0);
      for (const [i, row] of expected.entries()) {
        assert.deepEqual(data[i].embedding, numbers(row));
        const bytes = Uint8Array.from(atob(base64.data[i].embedding), (byte) => byte.charCodeAt(0));
        assert.deepEqual(numbers(bytes), numbers(new Uint8Array(row.buffer, row.byteOffset, row.length)));
      }
    }
    const float = await model.embeddings.create({ input, output_dtype: "float" });
    assert.deepEqual(float, await model.embeddings.create({ input }));
  },

  "outputs that there are not": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    for (const call of [
      () => model.encode("a", { output: "int4" }),
      () => model.encodeMulti("a", { dense: true, output: "int8" }),
      () => model.embeddings.create({ input: "a", output_dtype: "f16" }),
    ]) {
      const error = await failure(call);
      assert.equal(error.code, "invalid_input", error.message);
      assert.match(error.message, /int4|output|f16/);
    }
  },

  "sparse lists and hybrids compare in tables": async ({ origin }) => {
    const sparse = await embedder(origin, SPLADE, "q8");
    const list = (await texts(origin, "tiny-texts.json")).slice(0, 5);
    const vectors = await sparse.encodeSparse(list);
    const table = sparse.similarity(vectors.slice(0, 2), vectors);
    assert.deepEqual(table.shape, [2, 5]);
    assert.closeTo(table.data[8], sparse.similarity(vectors[1], vectors[3]), 1e-5);

    const m3 = await embedder(origin, M3, "q8");
    const [a, b] = [list.slice(0, 2), list];
    const all = { dense: true, sparse: true, tokens: true };
    const [query, documents] = [await m3.encodeMulti(a, all), await m3.encodeMulti(b, all)];
    const weights = { dense: 0.4, sparse: 0.2, tokens: 0.4 };
    const hybrid = m3.similarity(query, documents, { weights });
    assert.deepEqual(hybrid.shape, [2, 5]);
    for (let i = 0; i < 2; i++) {
      for (let j = 0; j < 5; j++) {
        const expected =
          0.4 * m3.similarity(rows(query.dense)[i], rows(documents.dense)[j]) +
          0.2 * m3.similarity(query.sparse[i], documents.sparse[j]) +
          0.4 * m3.maxSim(query.tokens[i], documents.tokens[j]);
        assert.closeTo(hybrid.data[i * 5 + j], expected, 1e-5);
      }
    }
    near(
      m3.similarity({ sparse: query.sparse }, documents),
      m3.similarity(query.sparse, documents.sparse),
      1e-6,
    );
    const error = await failure(() => m3.similarity({ dense: query.dense }, { sparse: documents.sparse }));
    assert.include(error.message, "no kind of vectors in common");
  },

  "rankings are fused by ranks": () => {
    const dense = ["a", "b", "c"];
    const sparse = ["c", "a", "d"];
    const scores = { a: 1 / 61 + 1 / 62, b: 1 / 62, c: 1 / 63 + 1 / 61, d: 1 / 63 };
    const fused = fuse([dense, sparse]);
    assert.deepEqual(
      fused.map(({ id }) => id),
      ["a", "c", "b", "d"],
    );
    for (const { id, score } of fused) assert.closeTo(score, scores[id], 1e-12);
    const weighted = fuse([dense, sparse], { k: 1, weights: [0, 2] });
    assert.deepEqual(weighted.slice(0, 3), [
      { id: "c", score: 1 },
      { id: "a", score: 2 / 3 },
      { id: "d", score: 0.5 },
    ]);
    assert.deepEqual(fuse([]), []);
    assert.throws(() => fuse([dense, sparse], { weights: [1] }), /a number for each ranking/);
    assert.throws(() => fuse([dense], { k: -1 }), /0 or more/);
  },
};
