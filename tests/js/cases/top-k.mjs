/** Exact search over vectors, and vectors as lists of numbers. */

import { assert } from "chai";
import { GossamerError, topK } from "gossamer-embed";
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
