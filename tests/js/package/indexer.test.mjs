/**
 * examples/cloudflare-indexer in Cloudflare's runtime, with its queues, bucket and database; only
 * Vectorize is made up.
 */

import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { assert } from "chai";
import { load } from "gossamer-embed";
import { until } from "../support/child.mjs";
import { SPLADE, TINY } from "../support/models.mjs";
import { root } from "../support/server.mjs";
import { bundle, fill, startWorker } from "../support/workers.mjs";

const DOCUMENTS = 5000;
const BATCH = 25;
/** Every so many batches one fails when it is first stored. */
const FAILING = 20;
const LIMIT = 10;

/** What can be had of Vectorize: an exact search, and failures on demand. */
const VECTORIZE = `
import { WorkerEntrypoint } from "cloudflare:workers";
const vectors = new Map();
const counts = { batches: 0, failed: 0, vectors: 0 };
let down = false;
export default class extends WorkerEntrypoint {
  async upsert(list) {
    if (down || list.some(({ metadata }) => metadata.cursed)) throw new Error("the index takes no such vectors");
    if (list.length > 1 && ++counts.batches % ${FAILING} === 0) {
      counts.failed++;
      throw new Error("the index is overloaded");
    }
    counts.vectors += list.length;
    for (const vector of list) vectors.set(vector.id, vector);
    return { mutationId: "1" };
  }
  async query(query, { topK }) {
    const score = (values) => values.reduce((sum, value, i) => sum + value * query[i], 0);
    const all = [...vectors.values()].map(({ id, values, metadata }) => ({ id, metadata, score: score(values) }));
    const matches = all.sort((a, b) => b.score - a.score).slice(0, topK);
    return { matches, count: matches.length };
  }
  async fetch(request) {
    if (request.method === "PUT") down = (await request.json()).down;
    return Response.json({ ids: [...vectors.keys()], ...counts });
  }
}
`;

/** Keeps what gets into the dead-letter queue. */
const UNDERTAKER = `
const dead = [];
export default {
  async queue({ messages }) {
    for (const { body } of messages) dead.push(body);
  },
  fetch: () => Response.json(dead),
};
`;

const WORDS =
  "cat dog bird sing talk walk where when how what who night day house tree river blue red good bad first last one two three number word text love run fast slow water fire".split(
    " ",
  );
/** The i-th of many texts, all different: five words that spell it as a number. */
const text = (i) =>
  Array.from(
    { length: 5 },
    (_, place) => WORDS[Math.floor((i * 7919) / WORDS.length ** place) % WORDS.length],
  ).join(" ");
const good = Array.from({ length: DOCUMENTS }, (_, i) => ({
  id: `document-${i}`,
  text: text(i),
  metadata: { page: i },
}));

/**
 * Whatever may be wrong with a message; the last five are found out only when they are embedded or
 * stored.
 */
const poison = [
  null,
  42,
  "a text",
  [],
  {},
  { id: "no-text" },
  { text: "no id" },
  { id: "", text: "a cat" },
  { id: 7, text: "a cat" },
  { id: "x".repeat(65), text: "a cat" },
  { id: "empty", text: "" },
  { id: "blank", text: " \n" },
  { id: "number", text: 5 },
  { id: "odd", text: "a cat", metadata: "page 1" },
  { id: "large", text: "a cat", metadata: { note: "x".repeat(20_000) } },
  { id: "long-1", text: "night day ".repeat(100) },
  { id: "long-2", text: "river ".repeat(23) },
  { id: "long-3", text: "fire ".repeat(5000) },
  { id: "cursed-1", text: "a bird", metadata: { cursed: true } },
  { id: "cursed-2", text: "a tree", metadata: { cursed: true } },
];

/** Both, the poison spread among the good, no two in one batch. */
function messages() {
  const every = Math.floor(DOCUMENTS / poison.length);
  const mixed = good.flatMap((document, i) => (i % every === 0 ? [document, poison[i / every]] : [document]));
  return mixed.map((body) => ({ body }));
}

describe("examples/cloudflare-indexer", () => {
  let workers;
  let queue;
  let database;
  before(async () => {
    const service = (name, script) => ({
      name,
      modules: [{ type: "ESModule", path: `${root}${name}.mjs`, contents: script }],
      modulesRoot: root,
      compatibilityDate: "2026-04-01",
    });
    const indexer = {
      name: "indexer",
      ...(await bundle("examples/cloudflare-indexer/src/index.ts")),
      bindings: { RETRY_SECONDS: 0 },
      r2Buckets: ["MODELS"],
      d1Databases: ["DB"],
      serviceBindings: { VECTORS: "vectorize" },
      queueProducers: { DOCUMENTS: "documents", DEAD_LETTERS: "documents-dead" },
      queueConsumers: {
        documents: {
          maxBatchSize: BATCH,
          maxBatchTimeout: 0,
          maxRetries: 4,
          deadLetterQueue: "documents-dead",
        },
      },
    };
    const undertaker = {
      ...service("undertaker", UNDERTAKER),
      queueConsumers: { "documents-dead": { maxBatchTimeout: 0 } },
    };
    workers = await startWorker({ workers: [indexer, service("vectorize", VECTORIZE), undertaker] });
    await fill(workers, { minilm: TINY, splade: SPLADE }, "indexer");
    database = await workers.getD1Database("DB", "indexer");
    const migration = await readFile(
      `${root}examples/cloudflare-indexer/migrations/0001_documents.sql`,
      "utf8",
    );
    for (const statement of migration.split(";").filter((part) => part.trim())) {
      await database.prepare(statement).run();
    }
    queue = await workers.getQueueProducer("DOCUMENTS", "indexer");
  });
  after(() => workers.dispose());

  const count = (table) => database.prepare(`SELECT COUNT(*) AS count FROM ${table}`).first("count");
  const ask = async (name, path = "", init) =>
    (await (await workers.getWorker(name)).fetch(`http://worker/${path}`, init)).json();
  const search = (query) =>
    ask("indexer", `search?${new URLSearchParams({ q: query, limit: String(LIMIT) })}`);

  const holds = (ask) => until(ask, "what was sent has arrived", { milliseconds: 120_000, every: 100 });

  const key = (body) => JSON.stringify(body);
  /** The best of what a model gives for all texts and a query. */
  const best = (scores) =>
    scores
      .map((score, i) => ({ id: good[i].id, score }))
      .sort((a, b) => b.score - a.score)
      .slice(0, LIMIT);
  const agree = (found, expected) => {
    assert.deepEqual(
      found.map(({ id }) => id),
      expected.map(({ id }) => id),
    );
    for (const [i, { score }] of found.entries()) assert.closeTo(score, expected[i].score, 1e-4);
  };

  test("each document once, each poisonous message among the dead", { timeout: 120_000 }, async () => {
    const all = messages();
    for (let i = 0; i < all.length; i += 100) await queue.sendBatch(all.slice(i, i + 100));
    await holds(async () => (await ask("undertaker")).length >= poison.length);
    await holds(async () => (await count("documents")) >= DOCUMENTS);
    assert.sameMembers((await ask("undertaker")).map(key), poison.map(key));
    const { ids, failed, vectors } = await ask("vectorize");
    assert.isAtLeast(failed, Math.floor(DOCUMENTS / BATCH / FAILING) - 1);
    // As many as there are: none was stored twice.
    assert.equal(vectors, DOCUMENTS);
    assert.sameMembers(
      ids,
      good.map(({ id }) => id),
    );
    assert.equal(await count("documents"), DOCUMENTS);
  });

  test("a search finds what direct embeddings find", async () => {
    const dense = await load(root + TINY);
    const sparse = await load(root + SPLADE);
    const texts = good.map(({ text }) => text);
    const vectors = await dense.encode(texts);
    const terms = await sparse.encodeSparse(texts);
    for (const query of ["the cat sat on the mat", "where is the river", good[1234].text]) {
      const answer = await search(query);
      const { data } = dense.similarity(await dense.encode(query, { task: "query" }), vectors);
      agree(answer.dense, best(Array.from(data)));
      const [weights] = await sparse.encodeSparse(query, { task: "query" });
      agree(answer.sparse, best(terms.map((document) => sparse.similarity(weights, document))));
      assert.deepEqual(answer.dense[0].metadata, { page: Number(answer.dense[0].id.split("-")[1]) });
    }
    dense.dispose();
    sparse.dispose();
  });

  test("a document that comes again takes the place of the old one", async () => {
    const postings = await count("postings");
    await queue.send(good[17]);
    const newer = { ...good[18], text: "blue fire" };
    await queue.send(newer);
    const stored = (id) => database.prepare("SELECT text FROM documents WHERE id = ?").bind(id).first("text");
    await holds(async () => (await stored(newer.id)) === newer.text);
    assert.equal(await count("documents"), DOCUMENTS);
    await queue.send(good[18]);
    await holds(async () => (await stored(newer.id)) === good[18].text);
    assert.equal(await count("postings"), postings);
    // An older version that arrives after a newer one.
    const delay = { delaySeconds: 1 };
    await queue.send({ ...good[19], text: "slow water" }, delay);
    await queue.send({ ...good[20], text: "fast water" });
    await queue.send(good[19]);
    await queue.send(good[20], delay);
    await holds(async () => (await stored(good[20].id)) === good[20].text);
    assert.equal(await stored(good[19].id), good[19].text);
  });

  test("an index that is down is waited for; what fails too often is not lost", async () => {
    const dead = (await ask("undertaker")).length;
    await ask("vectorize", "", { method: "PUT", body: '{"down":true}' });
    const lost = { id: "lost", text: "a slow day" };
    await queue.send(lost);
    await holds(async () => (await ask("undertaker")).length > dead);
    assert.deepEqual((await ask("undertaker")).at(-1), lost);
    await ask("vectorize", "", { method: "PUT", body: '{"down":false}' });
    await queue.send(lost);
    await holds(async () => (await count("documents")) > DOCUMENTS);
  });
});
