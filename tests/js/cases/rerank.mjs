/** Rerankers: scores of sentence-transformers' CrossEncoder, and documents in their order. */

import { assert } from "chai";
import { GossamerError, load } from "gossamer-embed";
import { failure, fetchJson, reference, rows, TINY, texts } from "../support/models.mjs";

const FOLDER = "tests/fixtures/rerankers";
const MODELS = [
  "albert",
  "bert",
  "bert-labels",
  "deberta",
  "deberta-labels",
  "distilbert",
  "electra",
  "gte",
  "modernbert",
  "modernbert-mean",
  "modernbert-modules",
  "mpnet",
  "nomic",
  "qwen2-bare",
  "qwen2-loop",
  "qwen3",
  "qwen3-bare",
  "qwen3-label",
  "qwen3-labels",
  "qwen3-template",
  "roberta",
  "xlm-roberta",
];
const QUERY = "where do the birds sing at night?";
const DOCUMENTS = ["a cat", "The river at night.", "a cat", "", "dogs walk, birds sing", "a dog ".repeat(60)];

const open = (origin, name, options) => load(`${origin}/${FOLDER}/${name}/`, { dtype: "f32", ...options });

async function pairs(origin) {
  const names = (await fetchJson(`${origin}/tests/fixtures/tiny-texts.json`)).map(({ name }) => name);
  const all = await texts(origin, "tiny-texts.json");
  const list = await fetchJson(`${origin}/${FOLDER}/pairs.json`);
  return list.map((pair) => pair.map((name) => all[names.indexOf(name)]));
}

/** The order by scores, worked out by hand. */
const byScore = (scores) =>
  Array.from(scores, (score, index) => ({ index, score })).sort((a, b) => b.score - a.score);

export const cases = {
  "scores of every head are the reference's": async ({ origin }) => {
    const list = await pairs(origin);
    for (const name of MODELS) {
      // Decoders that do not say what they are have to be insisted on.
      const insist = name.endsWith("-bare") ? { kind: "reranker" } : {};
      const model = await open(origin, name, insist);
      assert.equal(model.info.kind, "reranker");
      assert.deepEqual(model.info.outputs, ["scores"]);
      assert.lengthOf(model.info.labels, model.info.dimensions);
      const theirs = await reference(origin, `rerankers/${name}/reference.safetensors`);
      for (const [tensor, options] of [
        ["scores", {}],
        ["logits", { activation: "identity" }],
      ]) {
        const ours = await model.score(list, options);
        assert.instanceOf(ours, Float32Array);
        assert.lengthOf(ours, theirs[tensor].data.length, name);
        for (const [at, score] of ours.entries()) {
          assert.closeTo(score, theirs[tensor].data[at], 1e-4, `${name}, ${tensor} ${at}`);
        }
      }
      model.dispose();
    }
  },

  "decoders are insisted on, and take prompts": async ({ origin }) => {
    const refused = await failure(() => open(origin, "qwen3-bare"));
    assert.equal(refused.code, "unsupported_model");
    assert.include(refused.message, 'kind "reranker"');
    const model = await open(origin, "qwen3");
    const theirs = await reference(origin, "rerankers/qwen3/reference.safetensors");
    const scores = await model.score(await pairs(origin), { activation: "identity", prompt: "find cats" });
    for (const [at, score] of scores.entries()) assert.closeTo(score, theirs.prompt_logits.data[at], 1e-4);
    const ranked = await model.rerank(QUERY, DOCUMENTS, { topK: 2 });
    const all = await model.score(DOCUMENTS.map((document) => [QUERY, document]));
    assert.deepEqual(ranked, byScore(all).slice(0, 2));
    model.dispose();
  },

  "several labels: a row for each pair": async ({ origin }) => {
    const model = await open(origin, "bert-labels");
    assert.deepEqual(model.info.labels, ["contradiction", "entailment", "neutral"]);
    const list = await pairs(origin);
    const data = await model.score(list, { activation: "softmax" });
    for (const row of rows({ data, shape: [list.length, 3] })) {
      assert.closeTo(
        row.reduce((sum, x) => sum + x, 0),
        1,
        1e-6,
      );
    }
    const error = await failure(() => model.rerank("a", ["b"]));
    assert.equal(error.code, "invalid_input");
    assert.include(error.message, "3 scores");
    model.dispose();
  },

  "documents are ranked best first": async ({ origin }) => {
    const model = await open(origin, "bert");
    const scores = await model.score(DOCUMENTS.map((document) => [QUERY, document]));
    const expected = byScore(scores);
    assert.deepEqual(await model.rerank(QUERY, DOCUMENTS), expected);
    assert.isBelow(
      expected.findIndex(({ index }) => index === 0),
      expected.findIndex(({ index }) => index === 2),
    );
    assert.deepEqual(await model.rerank(QUERY, DOCUMENTS, { topK: 2 }), expected.slice(0, 2));
    assert.deepEqual(await model.rerank(QUERY, DOCUMENTS, { topK: 99 }), expected);
    assert.deepEqual(
      await model.rerank(QUERY, DOCUMENTS, { topK: 3, returnDocuments: true }),
      expected.slice(0, 3).map((entry) => ({ ...entry, document: DOCUMENTS[entry.index] })),
    );
    assert.deepEqual(await model.rerank(QUERY, []), []);
    assert.deepEqual(await model.score([]), new Float32Array());
    // Sigmoids are in the same order.
    const sigmoid = await model.rerank(QUERY, DOCUMENTS, { activation: "sigmoid" });
    assert.deepEqual(
      sigmoid.map(({ index }) => index),
      expected.map(({ index }) => index),
    );
    model.dispose();
  },

  "documents as a stream, in small batches": async ({ origin }) => {
    const model = await open(origin, "bert");
    let read = 0;
    async function* source() {
      for (const document of Array(20).fill(DOCUMENTS).flat()) {
        read++;
        yield document;
      }
    }
    const list = Array(20).fill(DOCUMENTS).flat();
    const expected = await model.rerank(QUERY, list, { returnDocuments: true });
    const options = { returnDocuments: true, batchTokens: 30 };
    assert.deepEqual(await model.rerank(QUERY, source(), options), expected);
    assert.equal(read, list.length);
    assert.deepEqual(await model.rerank(QUERY, source(), { ...options, topK: 7 }), expected.slice(0, 7));
    assert.deepEqual(await model.rerank(QUERY, new Set(), options), []);
    const error = await failure(() => model.rerank(QUERY, new Set(["a", 7]), options));
    assert.equal(error.code, "invalid_input");
    assert.include(error.message, "document 1 is no string");
    const controller = new AbortController();
    async function* endless() {
      for (;;) {
        yield "a cat";
        if (++read > 400) controller.abort();
      }
    }
    const { signal } = controller;
    const aborted = await failure(() => model.rerank(QUERY, endless(), { ...options, signal, topK: 1 }));
    assert.equal(aborted.code, "aborted");
    model.dispose();
  },

  "workers share the documents": async ({ origin }) => {
    const list = Array(40).fill(DOCUMENTS).flat();
    const [one, pool] = [
      await open(origin, "roberta", { dtype: "q8" }),
      await open(origin, "roberta", { dtype: "q8", workers: 2 }),
    ];
    try {
      assert.deepEqual(
        await pool.rerank(QUERY, list, { topK: 50 }),
        await one.rerank(QUERY, list, { topK: 50 }),
      );
      const many = list.map((document, at) => [at % 2 ? QUERY : "a cat", document]);
      assert.deepEqual(await pool.score(many), await one.score(many));
      for (const call of [
        (model) => model.rerank(QUERY, [...list, 7]),
        (model) => model.rerank("", list),
        (model) => model.score([...many, ["a"]]),
        (model) => model.rerank(QUERY, list, { truncate: false }),
      ]) {
        const [here, there] = [await failure(() => call(one)), await failure(() => call(pool))];
        assert.instanceOf(there, GossamerError);
        assert.deepEqual([there.code, there.message], [here.code, here.message]);
      }
    } finally {
      one.dispose();
      pool.dispose();
    }
  },

  "what cannot be ranked is a typed error, and the model goes on": async ({ origin }) => {
    const model = await open(origin, "bert");
    const dense = await load(`${origin}/${TINY}`);
    const expected = await model.rerank(QUERY, DOCUMENTS);
    for (const [call, code, part] of [
      [() => model.rerank("", DOCUMENTS), "empty_input", "the query is empty"],
      [() => model.rerank("  ", DOCUMENTS), "empty_input", "the query is empty"],
      [() => model.rerank(7, DOCUMENTS), "invalid_input", "the query is no string"],
      [() => model.rerank(undefined, ["a"]), "invalid_input", "the query is no string"],
      [() => model.rerank(QUERY, ["a", 7]), "invalid_input", "document 1 is no string"],
      [() => model.rerank(QUERY, ["a", null]), "invalid_input", "document 1 is no string"],
      [() => model.rerank(QUERY, ["a", { text: "b" }]), "invalid_input", "document 1 is no string"],
      [() => model.rerank(QUERY), "invalid_input", "list of texts"],
      [() => model.rerank(QUERY, "a"), "invalid_input", "a list"],
      [() => model.rerank(QUERY, DOCUMENTS, { topK: 0 }), "invalid_input", "topK is 0"],
      [() => model.rerank(QUERY, DOCUMENTS, { topK: -1 }), "invalid_input", "topK is -1"],
      [() => model.rerank(QUERY, DOCUMENTS, { topK: 1.5 }), "invalid_input", "topK is 1.5"],
      [() => model.rerank(QUERY, DOCUMENTS, { topK: NaN }), "invalid_input", "topK"],
      [() => model.rerank(QUERY, DOCUMENTS, { topK: "3" }), "invalid_input", "topK is 3"],
      [() => model.rerank(QUERY, DOCUMENTS, { top_k: 3 }), "invalid_input", "topK"],
      [() => model.rerank(QUERY, DOCUMENTS, { returnDocuments: 1 }), "invalid_input", "returnDocuments"],
      [() => model.rerank(QUERY, DOCUMENTS, { activation: "tanh" }), "invalid_input", "tanh"],
      [() => model.rerank(QUERY, DOCUMENTS, { activation: 7 }), "invalid_input", "activation must be"],
      [() => model.rerank(QUERY, DOCUMENTS, { prompt: 7 }), "invalid_input", "prompt must be"],
      [() => model.rerank(QUERY, DOCUMENTS, { truncate: "no" }), "invalid_input", "truncate must be"],
      [() => model.score([["a", "b"]], { truncationDirection: "up" }), "invalid_input", "up"],
      [() => model.rerank(QUERY, DOCUMENTS, { truncate: false }), "input_too_long", "input 5 has"],
      [() => model.rerank(QUERY, DOCUMENTS, { promptName: "x" }), "unknown_prompt", "x"],
      [() => model.score([["a"]]), "invalid_input", "pair 0"],
      [
        () =>
          model.score([
            ["a", "b"],
            ["a", 7],
          ]),
        "invalid_input",
        "pair 1",
      ],
      [() => model.score(["a", "b"]), "invalid_input", "pair 0"],
      [() => model.score("a"), "invalid_input", "list of pairs"],
      [() => model.score([["a", "b"]], { topK: 1 }), "invalid_input", "topK"],
      [() => model.encode("a"), "wrong_model_kind", "reranker"],
      [() => model.encodeSparse("a"), "wrong_model_kind", "reranker"],
      [() => model.encodeTokens("a"), "wrong_model_kind", "reranker"],
      [() => model.embeddings.create({ input: "a" }), "wrong_model_kind", "reranker"],
      [() => dense.rerank("a", ["b"]), "wrong_model_kind", "dense"],
      [() => dense.rerank("a", []), "wrong_model_kind", "dense"],
      [() => dense.score([["a", "b"]]), "wrong_model_kind", "dense"],
    ]) {
      const error = await failure(call);
      assert.instanceOf(error, GossamerError, String(call));
      assert.equal(error.code, code, `${call}: ${error.message}`);
      assert.include(error.message, part, String(call));
    }
    assert.deepEqual(await model.rerank(QUERY, DOCUMENTS), expected);
    for (const one of [model, dense]) one.dispose();
    assert.equal((await failure(() => model.rerank("a", ["b"]))).code, "disposed");
  },

  "a saved reranker gives the same bits": async ({ origin }) => {
    const list = await pairs(origin);
    const model = await open(origin, "xlm-roberta", { dtype: "q8", saveable: true });
    const files = {};
    for (const { path, stream } of await model.save()) {
      files[path] = new Uint8Array(await new Response(stream()).arrayBuffer());
    }
    const again = await load(files);
    assert.equal(again.info.kind, "reranker");
    assert.equal(again.info.spaceId, model.info.spaceId);
    assert.deepEqual(await again.score(list), await model.score(list));
    for (const one of [model, again]) one.dispose();
  },
};
