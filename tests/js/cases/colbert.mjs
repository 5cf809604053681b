/** Late interaction: vectors and scores of PyLate and sentence-transformers' MultiVectorEncoder. */

import { assert } from "chai";
import { load } from "gossamer-embed";
import { failure, reference, rows, TINY, texts } from "../support/models.mjs";

const FOLDER = "tests/fixtures/colbert";
const MODELS = [
  "stanford",
  "stanford-flash",
  "pylate",
  "pylate-residual",
  "pylate-attended",
  "multi-vector",
  "multi-vector-min",
];
const TASKS = ["query", "document"];
const QUERY = "where do the birds sing at night?";

const open = (origin, name, options) => load(`${origin}/${FOLDER}/${name}/`, { dtype: "f32", ...options });

function cosine(a, b) {
  let [dot, aa, bb] = [0, 0, 0];
  for (const [i, x] of a.entries()) {
    dot += x * b[i];
    aa += x * x;
    bb += b[i] * b[i];
  }
  return dot / Math.sqrt(aa * bb);
}

/** The rows of each text in a reference. */
function parts(tensors, name) {
  const all = rows(tensors[name]);
  const ends = [...tensors[`${name}_offsets`].data];
  return ends.slice(1).map((end, at) => all.slice(ends[at], end));
}

export const cases = {
  "vectors and scores of each layout are the library's": async ({ origin }) => {
    const list = await texts(origin, "tiny-texts.json");
    for (const name of MODELS) {
      const model = await open(origin, name);
      assert.equal(model.info.kind, "late-interaction");
      assert.deepEqual(model.info.outputs, ["tokens", "colbert"]);
      assert.deepEqual(model.info.tasks, TASKS);
      const theirs = await reference(origin, `colbert/${name}/reference.safetensors`);
      const ours = {};
      for (const task of TASKS) {
        ours[task] = await model.encodeTokens(list, { task });
        for (const [i, expected] of parts(theirs, task).entries()) {
          assert.deepEqual(
            ours[task][i].shape,
            [expected.length, model.info.dimensions],
            `${name}, ${task} ${i}`,
          );
          for (const [at, row] of rows(ours[task][i]).entries()) {
            assert.isAtLeast(cosine(row, expected[at]), 0.99999, `${name}, ${task} ${i}, vector ${at}`);
          }
        }
      }
      const scores = rows(theirs.scores);
      for (const [i, query] of ours.query.entries()) {
        const own = await model.maxSims(query, ours.document);
        for (const [j, score] of own.entries()) {
          const largest = Math.max(1, Math.abs(scores[i][j]));
          assert.closeTo(score, scores[i][j], 1e-4 * largest, `${name}: ${i}, ${j}`);
          assert.closeTo(model.maxSim(query, ours.document[j]), score, 1e-4 * largest);
        }
      }
      model.dispose();
    }
  },

  "vectors in 8 bits, pooled vectors and lists have scores, too": async ({ origin }) => {
    const list = await texts(origin, "tiny-texts.json");
    const model = await open(origin, "stanford");
    const floats = await model.encodeTokens(list, { task: "document" });
    const [query] = await model.encodeTokens(QUERY, { task: "query" });
    const whole = await model.encodeTokens(list, { task: "document", output: "int8" });
    const [codes] = await model.encodeTokens(QUERY, { task: "query", output: "int8" });
    assert.instanceOf(codes.data, Int8Array);
    assert.equal(codes.output, "int8");
    assert.lengthOf(codes.scales, codes.shape[0]);
    assert.lengthOf(codes.toList()[0], codes.shape[1]);
    const exact = await model.maxSims(query, floats);
    for (const scores of [
      await model.maxSims(codes, whole),
      await model.maxSims(query, whole),
      await model.maxSims(codes, floats),
    ]) {
      for (const [at, score] of scores.entries()) assert.closeTo(score, exact[at], 0.05);
    }
    const lists = floats.map((vectors) => vectors.toList());
    assert.deepEqual(await model.maxSims(query.toList(), lists), exact);
    const theirs = await reference(origin, "colbert/stanford/reference.safetensors");
    const pooled = await model.encodeTokens(list, { task: "document", poolFactor: 2 });
    for (const [i, expected] of parts(theirs, "pooled2").entries()) {
      assert.lengthOf(expected, pooled[i].shape[0]);
      for (const row of rows(pooled[i])) {
        assert.isTrue(
          expected.some((other) => cosine(row, other) >= 0.99999),
          `text ${i}`,
        );
      }
    }
    assert.lengthOf(await model.maxSims(query, []), 0);
    assert.deepEqual([...(await model.maxSims([], floats.slice(0, 2)))], [0, 0]);
    assert.deepEqual([...(await model.maxSims(query, [[], floats[0]]))], [0, exact[0]]);
    model.dispose();
  },

  "rerank ranks by the same scores, in workers too": async ({ origin }) => {
    const list = await texts(origin, "tiny-texts.json");
    for (const count of [0, 2]) {
      const model = await open(origin, "multi-vector", { workers: count });
      const ranked = await model.rerank(QUERY, list);
      const [query] = await model.encodeTokens(QUERY, { task: "query" });
      const scores = await model.maxSims(query, await model.encodeTokens(list, { task: "document" }));
      assert.lengthOf(ranked, list.length);
      for (const { index, score } of ranked) assert.equal(score, scores[index]);
      assert.deepEqual(await model.rerank(QUERY, list, { topK: 1, returnDocuments: true }), [
        { ...ranked[0], document: list[ranked[0].index] },
      ]);
      const filled = list.filter((text) => text.trim() !== "");
      const body = JSON.stringify({ query: QUERY, texts: filled, truncate: true });
      const response = await model.fetch(new Request("http://x/rerank", { method: "POST", body }));
      assert.equal(response.status, 200);
      assert.closeTo((await response.json())[0].score, ranked[0].score, 1e-5);
      model.dispose();
    }
  },

  "what does not fit is a typed error": async ({ origin }) => {
    const model = await open(origin, "pylate");
    const code = async (call) => (await failure(call)).code;
    assert.equal(await code(() => model.encode("a")), "wrong_model_kind");
    assert.equal(await code(() => model.encodeSparse("a")), "wrong_model_kind");
    assert.equal(await code(() => model.score([["a", "b"]])), "wrong_model_kind");
    const missing = await failure(() => model.encodeTokens("a"));
    assert.include(missing.message, 'task "query" or "document"');
    for (const options of [
      { task: "query", poolFactor: 2 },
      { task: "document", poolFactor: 0 },
      { task: "document", output: "binary" },
      { task: "document", output: "text" },
      { task: "passage" },
    ]) {
      assert.equal(
        await code(() => model.encodeTokens("a", options)),
        "invalid_input",
        JSON.stringify(options),
      );
    }
    const [query] = await model.encodeTokens("a", { task: "query" });
    for (const documents of [undefined, query, [3], [[[1, 2]]], [[[NaN]]]]) {
      assert.equal(await code(() => model.maxSims(query, documents)), "invalid_input", String(documents));
    }
    const wide = Array.from({ length: query.shape[1] }, () => Number.NaN);
    assert.include(
      (await failure(() => model.maxSims(query, [[wide]]))).message,
      "document 0 is not a number",
    );
    assert.equal(await code(() => model.maxSims(query, [], { topK: 3 })), "invalid_input");
    const { signal } = new AbortController();
    assert.lengthOf(await model.maxSims(query, [query], { signal }), 1);
    const dense = await load(`${origin}/${TINY}`, { kind: "dense" });
    assert.equal(dense.info.kind, "dense");
    dense.dispose();
    const encoder = await open(origin, "stanford", { kind: "dense" });
    assert.equal((await encoder.encode("a")).shape[1], 48);
    encoder.dispose();
    model.dispose();
    assert.equal(await code(() => model.maxSims(query, [query])), "disposed");
  },

  "embed_all gives the vectors of a task": async ({ origin }) => {
    const model = await open(origin, "stanford");
    const [expected] = await model.encodeTokens(QUERY, { task: "query" });
    const [rows] = await model.embedAll({ inputs: QUERY, prompt_name: "query" });
    assert.deepEqual(rows, expected.toList());
    const error = await failure(() => model.embedAll({ inputs: QUERY }));
    assert.equal(error.code, "invalid_input");
    assert.include(error.message, "prompt_name");
    model.dispose();
  },
};
