/** Exact search over vectors, and vectors as lists of numbers. */

import { assert } from "chai";
import { GossamerError, load, topK } from "gossamer-embed";
import { embedder, failure, SPLADE, TINY, texts } from "../support/models.mjs";

const M3 = "tests/fixtures/tiny-m3/";

/** The best by sorting everything. */
function sorted(scores, k) {
  const hits = Array.from(scores, (score, index) => ({ index, score }));
  return hits.sort((a, b) => b.score - a.score || a.index - b.index).slice(0, k);
}

/** Numbers that look random and are the same in every engine. */
function* numbers(seed) {
  for (let state = seed; ; ) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state / 2 ** 32 - 0.5;
  }
}

const take = (source, n) => Array.from({ length: n }, () => source.next().value);

export const cases = {
  "topK finds what sorting all similarities finds": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    const list = await texts(origin, "tiny-texts.json");
    const [query, documents] = [await model.encode(list[3]), await model.encode(list)];
    const scores = model.similarity(query, documents);
    for (const k of [1, 3, list.length - 1, list.length, list.length + 7]) {
      const hits = topK(query, documents, k);
      assert.deepEqual(
        hits.map(({ index }) => index),
        sorted(scores.data, k).map(({ index }) => index),
      );
      for (const { index, score } of hits) assert.closeTo(score, scores.data[index], 1e-6);
    }
    assert.equal(topK(query, documents, 1)[0].index, 3);
    // In any form that similarity takes.
    const [[vector], rows] = [query.toList(), documents.toList()];
    const expected = topK(query, documents, 4);
    for (const [one, many] of [
      [vector, rows],
      [[vector], rows],
      [Float32Array.from(vector), documents],
      [query, rows.map((row) => Float32Array.from(row))],
      [JSON.parse(JSON.stringify(query)), JSON.parse(JSON.stringify(documents))],
    ])
      assert.deepEqual(topK(one, many, 4), expected);
    for (const output of ["int8", "uint8", "binary", "ubinary"]) {
      const small = await model.encode(list, { output });
      assert.equal(topK(query, small, 1)[0].index, 3, output);
      assert.equal(topK(await model.encode(list[3], { output }), small, 1)[0].index, 3, output);
    }
  },

  "topK by every measure, with thousands of vectors": () => {
    const random = numbers(7);
    const vectors = Array.from({ length: 5000 }, () => take(random, 8));
    const query = take(random, 8);
    const sum = (of) => query.reduce((total, x, i) => total + of(x, i), 0);
    const measures = {
      dot: (row) => sum((x, i) => x * row[i]),
      euclidean: (row) => -Math.sqrt(sum((x, i) => (x - row[i]) ** 2)),
      manhattan: (row) => -sum((x, i) => Math.abs(x - row[i])),
      cosine: (row) => sum((x, i) => x * row[i]) / Math.sqrt(sum((x) => x * x) * sum((_, i) => row[i] ** 2)),
    };
    for (const [similarity, measure] of Object.entries(measures)) {
      const scores = vectors.map(measure);
      for (const k of [1, 10, 3000]) {
        const hits = topK(query, vectors, k, { similarity });
        assert.deepEqual(
          hits.map(({ index }) => index),
          sorted(scores, k).map(({ index }) => index),
          similarity,
        );
        for (const { index, score } of hits) assert.closeTo(score, scores[index], 1e-9);
      }
    }
    assert.deepEqual(topK(query, vectors, 5), topK(query, vectors, 5, { similarity: "cosine" }));
    // In ascending and in descending order.
    const ramp = Array.from({ length: 4000 }, (_, i) => [i]);
    const dot = { similarity: "dot" };
    const indices = (query) => topK([query], ramp, 3, dot).map(({ index }) => index);
    assert.deepEqual(
      [indices(1), indices(-1)],
      [
        [3999, 3998, 3997],
        [0, 1, 2],
      ],
    );
  },

  "equal scores are in the order of their indices": () => {
    const vectors = Array.from({ length: 4000 }, (_, i) => (i % 4 === 1 ? [2, 0] : [1, 1]));
    const hits = topK([1, 0], vectors, 1500);
    const twos = vectors.flatMap(([x], i) => (x === 2 ? [i] : []));
    const ones = vectors.flatMap(([x], i) => (x === 1 ? [i] : []));
    assert.deepEqual(
      hits.map(({ index }) => index),
      [...twos, ...ones].slice(0, 1500),
    );
    // Neither is like anything: all have the score 0.
    assert.deepEqual(
      topK(
        [0, 0],
        [
          [1, 2],
          [3, 4],
        ],
        5,
      ),
      [
        { index: 0, score: 0 },
        { index: 1, score: 0 },
      ],
    );
  },

  "topK of sparse vectors": async ({ origin }) => {
    const model = await embedder(origin, SPLADE, "q8");
    const list = (await texts(origin, "tiny-texts.json")).slice(0, 20);
    const documents = await model.encodeSparse(list);
    const query = await model.encodeSparse(list[5], { task: "query" });
    const scores = documents.map((document) => model.similarity(query[0], document));
    assert.deepEqual(topK(query, documents, 6), sorted(scores, 6));
    assert.deepEqual(topK(query[0], documents, 6), sorted(scores, 6));
    assert.deepEqual(topK(query, [], 6), []);
  },

  "search encodes a query and documents, and finds the best": async ({ origin }) => {
    const list = (await texts(origin, "tiny-texts.json")).filter((text) => text.length < 100);
    const query = "where do the birds sing at night?";
    // tiny-bert has a prompt for queries.
    const model = await embedder(origin, TINY, "q8");
    const [asked, documents] = [await model.encode(query, { promptName: "query" }), await model.encode(list)];
    const { similarity } = model.info;
    const expected = topK(asked, documents, 3, { similarity });
    for (const known of [list, documents, documents.toList(), JSON.parse(JSON.stringify(documents))]) {
      assert.deepEqual(await model.search(query, known, 3), expected);
    }
    const plain = topK(await model.encode(query), documents, 3, { similarity });
    assert.deepEqual(await model.search(query, list, 3, { prompt: "" }), plain);
    const named = await model.search(query, list, 2, { returnDocuments: true, promptName: "query" });
    assert.deepEqual(
      named,
      expected.slice(0, 2).map((hit) => ({ ...hit, document: list[hit.index] })),
    );
    const small = await model.encode(list, { output: "int8" });
    assert.equal((await model.search(query, small, 1))[0].index, expected[0].index);
    assert.lengthOf(await model.search(query, list, 1000), list.length);

    const splade = await embedder(origin, SPLADE, "q8");
    const sparse = await splade.encodeSparse(list);
    const best = topK(await splade.encodeSparse(query, { task: "query" }), sparse, 4);
    assert.deepEqual(await splade.search(query, list, 4), best);
    assert.deepEqual(await splade.search(query, sparse, 4), best);
  },

  "search of nothing, and what it does not take": async ({ origin }) => {
    const [model, splade] = [await embedder(origin, TINY, "q8"), await embedder(origin, SPLADE, "q8")];
    assert.deepEqual(await model.search("a", [], 3), []);
    assert.deepEqual(await splade.search("a", [], 3), []);
    const controller = new AbortController();
    controller.abort();
    const reranker = await load(`${origin}/tests/fixtures/rerankers/bert/`, { dtype: "q8" });
    for (const [one, args, code, word] of [
      [model, ["", ["a"], 1], "empty_input", "query is empty"],
      [model, [" \n", ["a"], 1], "empty_input", "query is empty"],
      [model, [7, ["a"], 1], "invalid_input", "query is no string"],
      [model, [["a"], ["a"], 1], "invalid_input", "query is no string"],
      [model, ["a", ["a", 7], 1], "invalid_input", "document 1 is no string"],
      [model, ["a", ["a", null], 1], "invalid_input", "document 1 is no string"],
      [model, ["a", [null], 1], "invalid_input", "document 0 is no string"],
      [model, ["a", [[1, 2], "a"], 1], "invalid_input", "document 0 is no string"],
      [model, ["a", "b", 1], "invalid_input", "list of texts"],
      [model, ["a", undefined, 1], "invalid_input", "list of texts"],
      [model, ["a", ["b"], 0], "invalid_input", "k is 0"],
      [model, ["a", [], 0], "invalid_input", "k is 0"],
      [model, ["a", ["b"]], "invalid_input", "k is undefined"],
      [model, ["a", ["b"], 1, { topK: 3 }], "invalid_input", "topK"],
      [model, ["a", ["b"], 1, { returnDocuments: 1 }], "invalid_input", "returnDocuments"],
      [model, ["a", ["b"], 1, { promptName: "x" }], "unknown_prompt", "x"],
      [model, ["a", ["b"], 1, { signal: controller.signal }], "aborted", ""],
      [model, ["a", [[1, 2, 3]], 1], "invalid_input", "dimensions"],
      [model, ["a", [{ indices: [1], values: [1] }], 1], "wrong_model_kind", "dense"],
      [splade, ["a", [[1, 2, 3]], 1], "wrong_model_kind", "sparse"],
      [reranker, ["a", ["b"], 1], "wrong_model_kind", "reranker"],
    ]) {
      const error = await failure(() => one.search(...args));
      assert.instanceOf(error, GossamerError, JSON.stringify(args));
      assert.equal(error.code, code, error.message);
      assert.include(error.message, word);
    }
    reranker.dispose();
  },

  "topK of nothing, and what it does not take": async () => {
    assert.deepEqual(topK([1, 2], [], 3), []);
    const sparse = { indices: [1], values: [1] };
    const rows = [
      [1, 2],
      [3, 4],
    ];
    for (const [args, word] of [
      [[[1, 2], rows, 0], "k is 0"],
      [[[1, 2], rows, -1], "k is -1"],
      [[[1, 2], rows, 1.5], "k is 1.5"],
      [[[1, 2], rows, Number.NaN], "k is NaN"],
      [[[1, 2], rows, Infinity], "k is Infinity"],
      [[[1, 2], rows, "2"], "k is 2"],
      [[[1, 2], rows], "k is undefined"],
      [[[1, 2, 3], rows, 1], "3 and 2 dimensions"],
      [[rows, rows, 1], "2 queries"],
      [[[], rows, 1], "dimensions"],
      [[[[]], rows, 1], "dimensions"],
      [[{ data: [], shape: [0, 2] }, rows, 1], "0 queries"],
      [[[1, Number.NaN], rows, 1], "vector 0"],
      [
        [
          [1, 2],
          [
            [1, 2],
            [Number.NaN, 4],
          ],
          1,
        ],
        "vector 1",
      ],
      [[[1, 2], [[1, 2], [3]], 1], "dimensions"],
      [
        [
          [1, 2],
          [
            [1, 2],
            [3, "4"],
          ],
          1,
        ],
        "not a number",
      ],
      [[sparse, rows, 1], "same kind"],
      [[[1, 2], [sparse], 1], "same kind"],
      [["a", rows, 1], "results of encode"],
      [[[1, 2], "b", 1], "results of encode"],
      [[null, rows, 1], "results of encode"],
      [[[1, 2], undefined, 1], "results of encode"],
      [[[1, 2], [1, 2], 1], "results of encode"],
      [[[1, 2], rows, 1, { similarity: "hamming" }], "hamming"],
      [[[1, 2], rows, 1, { measure: "dot" }], "measure"],
      [[[1, 2], rows, 1, null], "options"],
    ]) {
      const error = await failure(() => topK(...args));
      assert.instanceOf(error, GossamerError);
      assert.equal(error.code, "invalid_input", error.message);
      assert.include(error.message, word);
    }
  },

  "results as lists of numbers, and lists wherever vectors are taken": async ({ origin }) => {
    const list = (await texts(origin, "tiny-texts.json")).slice(0, 4);
    const model = await embedder(origin, TINY, "q8");
    const lists = ({ data, shape: [n, width] }) =>
      Array.from({ length: n }, (_, i) => Array.from(data.subarray(i * width, (i + 1) * width)));
    const encoded = await model.encode(list);
    const table = model.similarity(encoded, encoded);
    for (const result of [encoded, table, await model.encode(list, { output: "int8" })]) {
      assert.deepEqual(result.toList(), lists(result));
      // What JSON and clones see are the fields.
      assert.notInclude(JSON.stringify(result), "toList");
      structuredClone(result);
    }
    assert.deepEqual(model.similarity(encoded.toList(), encoded).toList(), table.toList());

    const m3 = await embedder(origin, M3, "q8");
    const all = { dense: true, sparse: true, tokens: true };
    const multi = await m3.encodeMulti(list, all);
    const [a, b] = multi.tokens;
    assert.equal(m3.maxSim(a.toList(), b.toList()), m3.maxSim(a, b));
    assert.equal(m3.maxSim(a, b.toList()), m3.maxSim(a, b));
    const plain = {
      dense: multi.dense.toList(),
      sparse: multi.sparse.map(({ indices, values }) => ({ indices: [...indices], values: [...values] })),
      tokens: multi.tokens.map((vectors) => vectors.toList()),
    };
    assert.deepEqual(m3.similarity(plain, multi).toList(), m3.similarity(multi, multi).toList());
  },
};
