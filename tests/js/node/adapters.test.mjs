/** The adapters, with the packages that they are for, unmodified. */

import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { BaseDocumentCompressor } from "@langchain/core/retrievers/document_compressors";
import { FakeVectorStore } from "@langchain/core/utils/testing";
import { BaseEmbedding, getTopKEmbeddings } from "@llamaindex/core/embeddings";
import { TextNode } from "@llamaindex/core/schema";
import { create, insert, insertMultiple, search } from "@orama/orama";
import { Pinecone } from "@pinecone-database/pinecone";
import { QdrantClient } from "@qdrant/js-client-rest";
import { createProviderRegistry, embed, embedMany, rerank } from "ai";
import { assert } from "chai";
import {
  ChromaClient,
  registerEmbeddingFunction,
  registerSparseEmbeddingFunction,
  Schema,
  SparseVectorIndexConfig,
} from "chromadb";
import { GossamerError, load } from "gossamer-embed";
import { embeddingModel, rerankingModel } from "gossamer-embed/adapters/ai-sdk";
import { denseFunction, sparseFunction } from "gossamer-embed/adapters/chroma";
import { GossamerEmbeddings, GossamerReranker } from "gossamer-embed/adapters/langchain";
import { llamaIndexEmbedding, llamaIndexReranker } from "gossamer-embed/adapters/llamaindex";
import { oramaPlugin, withVectors } from "gossamer-embed/adapters/orama";
import { pgvectorSparse } from "gossamer-embed/adapters/pgvector";
import { pineconeSparse } from "gossamer-embed/adapters/pinecone";
import { qdrantSparse, qdrantVectors } from "gossamer-embed/adapters/qdrant";
import { semanticEmbedder } from "gossamer-embed/adapters/semantic-embedder";
import { SparseVector } from "pgvector";
import { failure, rows, SPLADE } from "../support/models.mjs";
import { root, serve } from "../support/server.mjs";

const MINILM = `${root}models/sentence-transformers/all-MiniLM-L6-v2`;
const M3 = "tests/fixtures/tiny-m3/";
const RERANKER = "tests/fixtures/rerankers/bert/";
const TEXTS = ["Ships sail at night.", "The stock market fell sharply.", "Bread is baked in the morning."];
const QUESTION = "vessels on the sea in the dark";

let model;
let sparse;
let multi;
let reranker;
let server;
before(async () => {
  server = await serve();
  const sources = [MINILM, root + SPLADE, `${server.origin}/${M3}`, `${server.origin}/${RERANKER}`];
  [model, sparse, multi, reranker] = await Promise.all(sources.map((source) => load(source)));
});
after(async () => {
  for (const one of [model, sparse, multi, reranker]) one.dispose();
  await server.close();
});

const lists = async (texts) => rows(await model.encode(texts)).map((row) => Array.from(row));

/** A server that keeps what it is sent, and answers as it is told. */
async function recorder(answers) {
  const requests = [];
  const server = createServer(async (request, response) => {
    let text = "";
    for await (const part of request) text += part;
    const { pathname } = new URL(request.url, "http://x");
    const body = text === "" ? undefined : JSON.parse(text);
    requests.push({ method: request.method, path: pathname, body });
    const answer = answers(request.method, pathname, body);
    response.writeHead(answer === undefined ? 404 : 200, { "content-type": "application/json" });
    response.end(JSON.stringify(answer ?? { error: "NotFoundError", message: "not here" }));
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const url = `http://127.0.0.1:${server.address().port}`;
  const close = () => {
    server.closeAllConnections();
    return new Promise((done) => server.close(done));
  };
  return { url, requests, close };
}

describe("LangChain.js", () => {
  test("a vector store finds by meaning", async () => {
    const embeddings = new GossamerEmbeddings(model);
    const store = await FakeVectorStore.fromTexts(TEXTS, [{}, {}, {}], embeddings);
    const [[document, score]] = await store.similaritySearchWithScore(QUESTION, 1);
    assert.equal(document.pageContent, TEXTS[0]);
    assert.isAbove(score, 0.3);
    assert.deepEqual(await embeddings.embedDocuments(TEXTS), await lists(TEXTS));
    assert.deepEqual(await embeddings.embedDocuments([]), []);
    assert.lengthOf(await new GossamerEmbeddings(model, { dimensions: 9 }).embedQuery("a"), 9);
  });
});

describe("what is no text", () => {
  // To `encode` a list of numbers is the token ids of one text.
  test("is refused by every adapter, with its place", async () => {
    const langchain = new GossamerEmbeddings(model);
    const llamaIndex = llamaIndexEmbedding(BaseEmbedding, model);
    const aiSdk = embeddingModel(model);
    const chroma = new (denseFunction(load))({ model: MINILM });
    const chromaSparse = new (sparseFunction(load))({ model: root + SPLADE });
    const years = { from: ["title", "year"] };
    for (const [call, place] of [
      [() => langchain.embedDocuments([2024, 2025]), "text 0 is of type number"],
      [() => langchain.embedDocuments(["a", undefined]), "text 1 is of type undefined"],
      [() => langchain.embedDocuments(["a", [1, 2]]), "text 1 is of type object"],
      [() => langchain.embedDocuments("a"), "a list of strings"],
      [() => langchain.embedDocuments(), "a list of strings"],
      [() => langchain.embedQuery(2024), "text 0 is of type number"],
      [() => llamaIndex.getTextEmbedding(2024), "text 0 is of type number"],
      [() => llamaIndex.getTextEmbeddings([2024, 2025]), "text 0 is of type number"],
      [() => llamaIndex.getQueryEmbedding({ type: "text", text: 7 }), "text 0 is of type number"],
      [() => aiSdk.doEmbed({ values: ["a", 2024] }), "value 1 is of type number"],
      [() => aiSdk.doEmbed({ values: [null] }), "value 0 is of type null"],
      [() => chroma.generate([2024, 2025]), "text 0 is of type number"],
      [() => chroma.generateForQueries([2024]), "text 0 is of type number"],
      [() => chromaSparse.generate(["a", 2024]), "text 1 is of type number"],
      [
        () => withVectors(model, [{ title: "a" }, { title: "b", year: 2024 }], years),
        "document 1: of title, year, entry 1 is of type number",
      ],
    ]) {
      const error = await failure(call);
      assert.instanceOf(error, GossamerError);
      assert.equal(error.code, "invalid_input");
      assert.include(error.message, place);
    }
    // The cosine of two equal texts is what it was.
    assert.deepEqual(await langchain.embedDocuments(["2024"]), await lists(["2024"]));
  });

  test("options that encode does not have", async () => {
    const error = await failure(() => new GossamerEmbeddings(model, { dimension: 9 }).embedQuery("a"));
    assert.include(error.message, "`dimensions` was meant");
  });
});

describe("LlamaIndex.TS", () => {
  test("nodes get their vectors, and queries find them", async () => {
    const embedding = llamaIndexEmbedding(BaseEmbedding, model);
    assert.instanceOf(embedding, BaseEmbedding);
    assert.include(embedding.embedInfo, { dimensions: 384, maxTokens: 256 });
    const nodes = await embedding(TEXTS.map((text) => new TextNode({ text })));
    assert.deepEqual(
      nodes.map((node) => node.getEmbedding()),
      await lists(TEXTS),
    );
    const query = await embedding.getQueryEmbedding({ type: "text", text: QUESTION });
    const [, [best]] = getTopKEmbeddings(
      query,
      nodes.map((node) => node.getEmbedding()),
      1,
      TEXTS,
    );
    assert.equal(best, TEXTS[0]);
    const seen = [];
    const many = Array.from({ length: 300 }, (_, i) => `text ${i}`);
    const progressCallback = (current, total) => seen.push([current, total]);
    assert.lengthOf(await embedding.getTextEmbeddingsBatch(many, { progressCallback }), 300);
    assert.deepEqual(seen, [
      [256, 300],
      [300, 300],
    ]);
    assert.deepEqual(await embedding.getTextEmbedding(TEXTS[1]), (await lists(TEXTS))[1]);
    assert.isNull(await embedding.getQueryEmbedding({ type: "image_url", image_url: { url: "x" } }));
  });
});

describe("Vercel's AI SDK", () => {
  test("embedMany() and embed(), with usage and the vectors' space", async () => {
    const { embeddings, usage, warnings, providerMetadata } = await embedMany({
      model: embeddingModel(model),
      values: TEXTS,
    });
    assert.deepEqual(embeddings, await lists(TEXTS));
    const { tokens } = await model.encode(TEXTS);
    assert.equal(
      usage.tokens,
      tokens.reduce((sum, count) => sum + count),
    );
    assert.deepEqual(warnings, []);
    assert.equal(providerMetadata.gossamer.spaceId, model.info.spaceId);
    const { embedding } = await embed({ model: embeddingModel(model), value: TEXTS[0] });
    assert.deepEqual(embedding, embeddings[0]);
    const many = Array.from({ length: 2100 }, () => "a");
    assert.lengthOf((await embedMany({ model: embeddingModel(model), values: many })).embeddings, 2100);
  });

  test("dimensions, options, and warnings of what was cut off", async () => {
    const short = embeddingModel(model, { dimensions: 12 });
    const { embedding } = await embed({ model: short, value: "a" });
    assert.lengthOf(embedding, 12);
    const call = { values: ["a", "word ".repeat(400)], dimensions: 8 };
    const { embeddings, warnings } = await short.doEmbed(call);
    assert.lengthOf(embeddings[0], 8);
    assert.deepEqual(warnings, [
      { type: "other", message: "Cut off to the 256 tokens that the model takes: values 1." },
    ]);
    const prompted = await embed({
      model: embeddingModel(model),
      value: "a",
      providerOptions: { gossamer: { prompt: "query: " } },
    });
    assert.deepEqual(
      Float32Array.from(prompted.embedding),
      (await model.encode("a", { prompt: "query: " })).data,
    );
    const refused = await failure(() =>
      embed({ model: embeddingModel(model, { truncate: false }), value: "word ".repeat(400) }),
    );
    assert.instanceOf(refused, GossamerError);
    assert.equal(refused.code, "input_too_long");
  });

  test("aborts, and a registry", async () => {
    const controller = new AbortController();
    const call = { model: embeddingModel(model), values: Array(500).fill("word ".repeat(50)) };
    setTimeout(() => controller.abort(), 20);
    const error = await failure(() => embedMany({ ...call, abortSignal: controller.signal }));
    assert.equal(error.name, "AbortError");
    const provider = {
      specificationVersion: "v4",
      embeddingModel: () => embeddingModel(model),
      languageModel: () => undefined,
      imageModel: () => undefined,
    };
    const registry = createProviderRegistry({ local: provider });
    const { embedding } = await embed({ model: registry.embeddingModel("local:minilm"), value: TEXTS[0] });
    assert.deepEqual(embedding, (await lists(TEXTS))[0]);
  });
});

describe("rerankers", () => {
  const ranking = (options) => reranker.rerank(QUESTION, TEXTS, options);

  test("LangChain.js: a document compressor", async () => {
    const compressor = new GossamerReranker(reranker, { topK: 2 });
    assert.isTrue(BaseDocumentCompressor.isBaseDocumentCompressor(compressor));
    const documents = TEXTS.map((pageContent, i) => ({ id: `${i}`, pageContent, metadata: { i } }));
    const expected = (await ranking({ topK: 2 })).map(({ index, score }) => ({
      id: `${index}`,
      pageContent: TEXTS[index],
      metadata: { i: index, relevanceScore: score },
    }));
    assert.deepEqual(await compressor.compressDocuments(documents, QUESTION), expected);
    assert.deepEqual(await compressor.compressDocuments([], QUESTION), []);
    assert.notProperty(documents[0].metadata, "relevanceScore");
  });

  test("LlamaIndex.TS: a postprocessor of nodes", async () => {
    const postprocessor = llamaIndexReranker(reranker);
    const nodes = TEXTS.map((text) => ({ node: new TextNode({ text }), score: 0.5 }));
    const expected = (await ranking()).map(({ index, score }) => ({ node: nodes[index].node, score }));
    assert.deepEqual(await postprocessor.postprocessNodes(nodes, QUESTION), expected);
    const parts = [
      { type: "image_url", image_url: { url: "x" } },
      { type: "text", text: QUESTION },
    ];
    assert.deepEqual(await postprocessor.postprocessNodes(nodes, parts), expected);
    assert.deepEqual(await postprocessor.postprocessNodes([], QUESTION), []);
    for (const query of [undefined, [], ""]) {
      const error = await failure(() => postprocessor.postprocessNodes(nodes, query));
      assert.equal(error.code, "empty_input");
    }
  });

  test("Vercel's AI SDK: rerank()", async () => {
    const answer = await rerank({
      model: rerankingModel(reranker),
      query: QUESTION,
      documents: TEXTS,
      topN: 2,
    });
    const expected = await ranking({ topK: 2 });
    assert.deepEqual(
      answer.ranking.map(({ originalIndex, score, document }) => ({ index: originalIndex, score, document })),
      expected.map((entry) => ({ ...entry, document: TEXTS[entry.index] })),
    );
    const objects = TEXTS.map((text) => ({ text }));
    const json = await rerank({ model: rerankingModel(reranker), query: QUESTION, documents: objects });
    const asJson = await reranker.rerank(
      QUESTION,
      objects.map((object) => JSON.stringify(object)),
    );
    assert.deepEqual(
      json.ranking.map(({ originalIndex }) => originalIndex),
      asJson.map(({ index }) => index),
    );
    const options = { documents: { type: "text", values: TEXTS }, query: QUESTION };
    const sigmoid = await rerankingModel(reranker).doRerank({
      ...options,
      providerOptions: { gossamer: { activation: "sigmoid" } },
    });
    assert.deepEqual(
      sigmoid.ranking.map(({ relevanceScore }) => relevanceScore),
      (await ranking({ activation: "sigmoid" })).map(({ score }) => score),
    );
    const abortSignal = AbortSignal.abort();
    const error = await failure(() => rerankingModel(reranker).doRerank({ ...options, abortSignal }));
    assert.equal(error.name, "AbortError");
  });

  test("what is no text, and models of another kind", async () => {
    for (const [call, code] of [
      [() => new GossamerReranker(reranker).compressDocuments([{ pageContent: 7 }], "a"), "invalid_input"],
      [() => new GossamerReranker(model).compressDocuments([{ pageContent: "a" }], "a"), "wrong_model_kind"],
      [
        () => rerankingModel(model).doRerank({ documents: { type: "text", values: ["a"] }, query: "a" }),
        "wrong_model_kind",
      ],
      [
        () =>
          rerankingModel(reranker).doRerank({ documents: { type: "text", values: ["a", 7] }, query: "a" }),
        "invalid_input",
      ],
    ]) {
      const error = await failure(call);
      assert.instanceOf(error, GossamerError);
      assert.equal(error.code, code, error.message);
    }
  });
});

describe("Chroma", () => {
  const config = { model: MINILM, dtype: "q8", dimensions: 32 };
  let loads = 0;
  const counting = (...args) => {
    loads++;
    return load(...args);
  };
  const Dense = denseFunction(counting, "gossamer-test");
  const Sparse = sparseFunction(counting, "gossamer-sparse-test");
  registerEmbeddingFunction("gossamer-test", Dense);
  registerSparseEmbeddingFunction("gossamer-sparse-test", Sparse);

  test("collections find their functions again by name", async () => {
    const collections = new Map();
    const server = await recorder((method, path, body) => {
      if (path.endsWith("/auth/identity")) return { user_id: "u", tenant: "t", databases: ["d"] };
      if (path.endsWith("/pre-flight-checks"))
        return { max_batch_size: 100, supports_base64_encoding: false };
      if (method === "POST" && path.endsWith("/collections")) {
        const collection = { id: body.name, metadata: null, tenant: "t", database: "d", dimension: null };
        const { configuration, schema } = body;
        collections.set(body.name, {
          ...collection,
          name: body.name,
          schema,
          configuration_json: configuration ?? {},
        });
        return collections.get(body.name);
      }
      if (method === "GET") return collections.get(path.split("/").at(-1));
      if (path.endsWith("/query")) return { ids: [["1"]], include: [] };
      return {};
    });
    try {
      const { hostname, port } = new URL(server.url);
      const client = new ChromaClient({ host: hostname, port: Number(port), tenant: "t", database: "d" });
      const embeddingFunction = new Dense(config);
      await client.createCollection({ name: "notes", embeddingFunction });
      const sent = JSON.stringify(server.requests.map(({ body }) => body));
      assert.include(sent, JSON.stringify({ name: "gossamer-test", type: "known", config }).slice(1, 20));
      // Another process has only the name, and the configuration that the server keeps.
      const collection = await client.getCollection({ name: "notes" });
      await collection.add({ ids: ["1", "2"], documents: TEXTS.slice(0, 2) });
      const { body } = server.requests.findLast(({ path }) => path.endsWith("/add"));
      const expected = rows(await model.encode(TEXTS.slice(0, 2), { dimensions: 32 }));
      assert.deepEqual(
        body.embeddings.map((vector) => Float32Array.from(vector)),
        expected,
      );
      await collection.query({ queryTexts: [QUESTION] });
      const query = server.requests.findLast(({ path }) => path.endsWith("/query")).body;
      assert.lengthOf(query.query_embeddings[0], 32);
      assert.equal(loads, 1);
    } finally {
      await server.close();
    }
  });

  test("sparse functions serve a schema's index", async () => {
    const sparseFn = new Sparse({ model: root + SPLADE, topK: 4, labels: true });
    const schema = new Schema().createIndex(
      new SparseVectorIndexConfig({ sourceKey: "#document", embeddingFunction: sparseFn }),
      "sparse",
    );
    const restored = await Schema.deserializeFromJSON(schema.serializeToJSON());
    const found = restored.keys.sparse.sparseVector.sparseVectorIndex.config.embeddingFunction;
    assert.equal(found.name, "gossamer-sparse-test");
    const vectors = await found.generate(TEXTS);
    for (const [i, { indices, values, labels }] of (
      await sparse.encodeSparse(TEXTS, { topK: 4, labels: true })
    ).entries()) {
      assert.deepEqual(vectors[i], { indices: [...indices], values: [...values], tokens: labels });
    }
    assert.deepEqual(await found.generateForQueries([]), []);
  });

  test("configurations that cannot be", async () => {
    const fn = new Dense(config);
    assert.deepEqual(fn.getConfig(), config);
    assert.deepEqual(fn.supportedSpaces(), ["cosine", "l2", "ip"]);
    assert.equal(fn.defaultSpace(), "cosine");
    for (const call of [
      () => new Dense({}),
      () => Dense.buildFromConfig({ model: 7 }),
      () => fn.validateConfig({}),
      () => fn.validateConfigUpdate({ ...config, model: "another" }),
      () => fn.validateConfigUpdate({ ...config, dimensions: 16 }),
    ]) {
      assert.equal((await failure(call)).code, "invalid_input");
    }
    fn.validateConfigUpdate({ ...config });
    assert.equal(
      (await failure(() => new Dense({ model: `${root}nowhere` }).generate(["a"]))).code,
      "not_found",
    );
  });
});

describe("Orama", () => {
  const options = { from: ["title", "tags"] };
  const schema = { title: "string", tags: "string[]", embedding: "vector[384]" };
  const documents = TEXTS.map((title, i) => ({
    id: String(i),
    title,
    tags: [["sea"], ["money"], ["food"]][i],
  }));

  test("documents get vectors when they are inserted, and terms when they are searched for", async () => {
    const db = create({ schema, plugins: [oramaPlugin(model, options)] });
    // The plugin fills the documents that Orama is given.
    await insertMultiple(db, structuredClone(documents));
    await insert(db, { id: "own", title: "A vector of its own", embedding: Array(384).fill(0.05) });
    const { hits } = await search(db, {
      mode: "vector",
      term: QUESTION,
      similarity: 0.2,
      includeVectors: true,
    });
    assert.equal(hits[0].id, "0");
    const [expected] = await lists([`${TEXTS[0]}\nsea`]);
    assert.deepEqual(Array.from(hits[0].document.embedding), expected);
    const hybrid = await search(db, { mode: "hybrid", term: "bread", similarity: 0.2 });
    assert.equal(hybrid.hits[0].id, "2");
    assert.equal((await search(db, { term: "market" })).hits[0].id, "1");
  });

  test("many documents at once", async () => {
    const filled = await withVectors(model, [...documents, { id: "x", embedding: [1] }], options);
    assert.deepEqual(filled[3].embedding, [1]);
    assert.notProperty(documents[0], "embedding");
    assert.deepEqual(
      filled.slice(0, 3).map(({ embedding }) => embedding),
      await lists([`${TEXTS[0]}\nsea`, `${TEXTS[1]}\nmoney`, `${TEXTS[2]}\nfood`]),
    );
    assert.deepEqual(await withVectors(model, [], options), []);
    const db = create({ schema });
    await insertMultiple(db, filled.slice(0, 3));
    const [value] = await lists([QUESTION]);
    const { hits } = await search(db, {
      mode: "vector",
      vector: { value, property: "embedding" },
      similarity: 0.2,
    });
    assert.equal(hits[0].id, "0");
  });
});

describe("Qdrant", () => {
  test("points and queries as its client sends them", async () => {
    const server = await recorder(() => ({
      result: { operation_id: 1, status: "completed", points: [] },
      status: "ok",
      time: 0,
    }));
    try {
      const client = new QdrantClient({ url: server.url, checkCompatibility: false });
      const encoded = await multi.encodeMulti(TEXTS, { dense: true, sparse: true, tokens: true });
      const points = qdrantVectors(encoded, { tokens: "colbert" }).map((vector, id) => ({ id, vector }));
      await client.upsert("notes", { points });
      const sent = server.requests.find(({ method }) => method === "PUT").body.points;
      for (const [i, { vector }] of sent.entries()) {
        assert.hasAllKeys(vector, ["dense", "sparse", "colbert"]);
        assert.deepEqual(Float32Array.from(vector.dense), rows(encoded.dense)[i]);
        assert.deepEqual(vector.sparse.indices, [...encoded.sparse[i].indices]);
        assert.lengthOf(vector.colbert, encoded.tokens[i].shape[0]);
      }
      const [query] = await sparse.encodeSparse(QUESTION);
      await client.query("notes", { query: qdrantSparse(query), using: "sparse" });
      const { body } = server.requests.at(-1);
      assert.deepEqual(body.query, { indices: [...query.indices], values: [...query.values] });
      assert.deepEqual(qdrantVectors({}), []);
      assert.hasAllKeys(qdrantVectors({ sparse: encoded.sparse })[0], ["sparse"]);
    } finally {
      await server.close();
    }
  });
});

describe("Pinecone", () => {
  test("records as its client sends them", async () => {
    const server = await recorder(() => ({ upsertedCount: 1 }));
    try {
      const index = new Pinecone({ apiKey: "unused" }).index({ host: server.url });
      const [vector] = await sparse.encodeSparse(TEXTS[0]);
      await index.upsert({
        records: [{ id: "0", values: [0.5, 0.25], sparseValues: pineconeSparse(vector) }],
      });
      const { body } = server.requests.find(({ path }) => path.endsWith("/upsert"));
      assert.deepEqual(body.vectors[0].sparseValues, {
        indices: [...vector.indices],
        values: [...vector.values],
      });
    } finally {
      await server.close();
    }
  });

  test("what it does not take", async () => {
    const of = (entries) => ({ indices: new Uint32Array(entries), values: new Float32Array(entries) });
    assert.include((await failure(() => pineconeSparse(of(1001)))).message, "topK: 1000");
    assert.include((await failure(() => pineconeSparse(of(0)))).message, "1 to 1000");
    assert.lengthOf(pineconeSparse(of(1001), { limit: 2048 }).indices, 1001);
  });
});

describe("pgvector", () => {
  test("the text that its own package writes and reads", async () => {
    for (const vector of await sparse.encodeSparse(TEXTS)) {
      const { dimensions } = sparse.info;
      const text = pgvectorSparse(vector, dimensions);
      const entries = Object.fromEntries([...vector.indices].map((index, at) => [index, vector.values[at]]));
      assert.equal(text, new SparseVector(entries, dimensions).toPostgres());
    }
    const first = { indices: Uint32Array.of(0, 9), values: Float32Array.of(0.5, 2) };
    assert.equal(pgvectorSparse(first, 10), "{1:0.5,10:2}/10");
    assert.equal(pgvectorSparse({ indices: new Uint32Array(), values: new Float32Array() }, 10), "{}/10");
  });

  test("its limits", async () => {
    const of = (entries) => ({ indices: new Uint32Array(entries), values: new Float32Array(entries) });
    const error = await failure(() => pgvectorSparse(of(1001), 30522));
    assert.equal(error.code, "invalid_input");
    assert.include(error.message, "1001 entries");
    assert.include(error.message, "topK: 1000");
    assert.isString(pgvectorSparse(of(1001), 30522, { indexed: false }));
    assert.include(
      (await failure(() => pgvectorSparse(of(16001), 30522, { indexed: false }))).message,
      "16000",
    );
  });
});

test("what is no embedder, no function and no vector is refused by every adapter", async () => {
  const from = ["text"];
  const first = async (vectors) => (await vectors)[0];
  for (const junk of [undefined, null, 5, "x", {}, [], Promise.resolve(model)]) {
    for (const use of [
      () => new GossamerEmbeddings(junk),
      () => llamaIndexEmbedding(BaseEmbedding, junk),
      () => embeddingModel(junk),
      () => oramaPlugin(junk, { from }),
      () => withVectors(junk, [{ text: "a" }], { from }),
      () => withVectors(model, [{ text: "a" }], junk),
      () => denseFunction(junk),
      () => sparseFunction(junk),
      () => semanticEmbedder(junk, MINILM),
      () => qdrantSparse(junk),
      () => qdrantVectors(Array.isArray(junk) ? junk : JSON.stringify(junk)),
      () => pineconeSparse(junk),
      () => pgvectorSparse(junk, 30522),
      async () => pgvectorSparse(await first(sparse.encodeSparse(TEXTS)), junk),
      async () => pgvectorSparse(await first(sparse.encodeSparse(TEXTS)), 5),
    ]) {
      const error = await failure(async () => use());
      assert.instanceOf(error, GossamerError, String(use));
      assert.equal(error.code, "invalid_input");
    }
  }
  // The list of vectors, where one is meant.
  assert.include(
    (await failure(async () => pineconeSparse(await sparse.encodeSparse(TEXTS)))).message,
    "one sparse vector",
  );
});

test("Chroma's functions take an embedder at once, too", async () => {
  const Dense = denseFunction(() => model);
  assert.deepEqual(await new Dense({ model: "any" }).generate(TEXTS), await lists(TEXTS));
});
