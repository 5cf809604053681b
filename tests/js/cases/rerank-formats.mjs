/** The routes that rank documents: text-embeddings-inference's, Cohere's and Jina's. */

import { assert } from "chai";
import { load, serve } from "gossamer-embed";
import { embedder, SPLADE, TINY } from "../support/models.mjs";

const RERANKER = "tests/fixtures/rerankers/bert";
const query = "what does a cat eat";
const documents = ["a dog sat", "a cat eats a mouse", "", "night ships sail"];

async function ask(handler, path, body, headers = {}) {
  const init = { method: "POST", headers, body: JSON.stringify(body) };
  const answer = await handler(`http://localhost${path}`, init);
  return { status: answer.status, json: await answer.json() };
}

/** A reranker whose weights are a JSON file in the fixtures. */
const reranker = (origin) => load(`${origin}/${RERANKER}`, { cache: false });

export const cases = {
  "documents are ranked in the same order by all APIs": async ({ origin }) => {
    const model = await reranker(origin);
    const { json: tei } = await ask(model.fetch, "/rerank", { query, texts: documents });
    assert.lengthOf(tei, documents.length);
    for (const { index, score } of tei) {
      assert.isTrue(score > 0 && score < 1);
      assert.isBelow(index, documents.length);
    }
    const scores = tei.map(({ score }) => score);
    assert.deepEqual(
      scores,
      scores.toSorted((a, b) => b - a),
    );
    const order = tei.map(({ index }) => index);
    const cohere = { "x-fern-sdk-name": "cohere-ai" };
    for (const [path, headers] of [
      ["/v2/rerank", {}],
      ["/v1/rerank", cohere],
      ["/v1/rerank", {}],
      ["/rerank", {}],
    ]) {
      const { status, json } = await ask(model.fetch, path, { query, documents }, headers);
      assert.equal(status, 200, JSON.stringify(json));
      assert.deepEqual(
        json.results.map(({ index }) => index),
        order,
      );
    }
    const [first, second] = await Promise.all(
      [1, 2].map(() => ask(model.fetch, "/v2/rerank", { query, documents })),
    );
    assert.match(first.json.id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.notEqual(first.json.id, second.json.id);
    model.dispose();
  },

  "of several models, a reranker ranks": async ({ origin }) => {
    const server = serve({
      models: {
        dense: `${origin}/${TINY}`,
        sparse: `${origin}/${SPLADE}`,
        reranker: `${origin}/${RERANKER}`,
      },
    });
    for (const model of [undefined, "reranker"]) {
      const { status, json } = await ask(server.fetch, "/v2/rerank", { model, query, documents });
      assert.equal(status, 200, JSON.stringify(json));
    }
    const { status } = await ask(server.fetch, "/v2/rerank", { model: "dense", query, documents });
    assert.equal(status, 400);
    server.dispose();
  },

  "an embedder has no scores, and a reranker no vectors": async ({ origin }) => {
    const dense = await embedder(origin, TINY, "q8");
    const refused = await ask(dense.fetch, "/rerank", { query, texts: documents });
    assert.equal(refused.status, 424);
    assert.match(refused.json.error, /is a dense model: use POST \/v1\/embeddings/);
    const model = await reranker(origin);
    const answer = await ask(model.fetch, "/v1/embeddings", { input: "a" });
    assert.equal(answer.json.error.code, "model_not_compatible");
    assert.match(answer.json.error.message, /is a reranker model: use POST \/v2\/rerank/);
    model.dispose();
  },
};
