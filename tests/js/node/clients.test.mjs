/** The formats' own clients, unmodified, with an embedder in the place of their servers. */

import { mkdtemp, rm } from "node:fs/promises";
import { createServer, request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ChromaCloudSpladeEmbeddingFunction } from "@chroma-core/chroma-cloud-splade";
import { InferenceClient } from "@huggingface/inference";
import { OpenAIEmbeddings } from "@langchain/openai";
import { assert } from "chai";
import { CohereClient, CohereClientV2, CohereError } from "cohere-ai";
import { load } from "gossamer-embed";
import OpenAI from "openai";
import { run } from "../support/child.mjs";
import { materialise } from "../support/fixtures.mjs";
import { failure, MINILM, rows, SPLADE, TINY } from "../support/models.mjs";
import { root } from "../support/server.mjs";

/** Where cargo builds to, and xtask installs Python's packages. */
const TARGET = process.env.GOSSAMER_TARGET ?? `${root}target`;
const TEXTS = ["a cat", "the dog sat on the mat"];

let dense;
let sparse;
let denseServer;
let sparseServer;
before(async () => {
  [dense, sparse] = await Promise.all([load(root + TINY), load(root + SPLADE)]);
  [denseServer, sparseServer] = await Promise.all([listen(dense.fetch), listen(sparse.fetch)]);
});
after(() => Promise.all([denseServer.close(), sparseServer.close()]));

/** A web server around a handler, as users write it. */
async function listen(handler) {
  const server = createServer(async (incoming, outgoing) => {
    const body = ["GET", "HEAD"].includes(incoming.method) ? undefined : incoming;
    const { method, headers } = incoming;
    const request = new Request(`http://localhost${incoming.url}`, { method, headers, body, duplex: "half" });
    const response = await handler(request);
    outgoing.writeHead(response.status, Object.fromEntries(response.headers)).end(await response.text());
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    close: () => new Promise((done) => server.close(done)),
  };
}

const vectors = async (options) => rows(await dense.encode(TEXTS, options));
const same = (a, b) => assert.deepEqual(Float32Array.from(a), b);

describe("openai", () => {
  /** Bodies that the client sent. */
  const sent = [];
  const recording = (url, init) => {
    sent.push(JSON.parse(init.body));
    return dense.fetch(url, init);
  };
  const client = new OpenAI({ apiKey: "unused", fetch: recording });

  test("asks for base64, and reads the vectors that encode gives", async () => {
    const input = ["a cat", "the dog sat on the mat"];
    const answer = await client.embeddings.create({ model: "tiny", input });
    assert.equal(sent.at(-1).encoding_format, "base64");
    const expected = await dense.encode(input);
    for (const [i, row] of rows(expected).entries()) {
      assert.deepEqual(Float32Array.from(answer.data[i].embedding), row);
    }
    assert.equal(
      answer.usage.total_tokens,
      expected.tokens.reduce((sum, count) => sum + count),
    );
    assert.equal(answer.model, "tiny");
  });

  test("gets the same numbers as floats, from token ids too", async () => {
    const base64 = await client.embeddings.create({ model: "tiny", input: "a cat" });
    const float = await client.embeddings.create({ model: "tiny", input: "a cat", encoding_format: "float" });
    // Its text has the digits that an f32 needs.
    same(float.data[0].embedding, Float32Array.from(base64.data[0].embedding));
    assert.deepEqual(float.usage, base64.usage);
    const [tokens] = await dense.tokenize("a cat");
    const input = tokens.map((token) => token.id);
    assert.deepEqual(await client.embeddings.create({ model: "tiny", input }), base64);
    assert.deepEqual((await client.embeddings.create({ model: "tiny", input: [input] })).data, base64.data);
  });

  test("gets fewer dimensions", async () => {
    const { data } = await client.embeddings.create({ model: "tiny", input: "a cat", dimensions: 7 });
    assert.equal(data[0].embedding.length, 7);
    assert.closeTo(Math.hypot(...data[0].embedding), 1, 1e-6);
  });

  test("throws its own errors", async () => {
    for (const [body, code] of [
      [{ input: [] }, "empty_input"],
      [{ input: "" }, "empty_input"],
      [{ input: "a", dimensions: 0 }, "invalid_dimensions"],
      [{ input: [99999] }, "token_out_of_range"],
    ]) {
      const error = await failure(() => client.embeddings.create({ model: "tiny", ...body }));
      assert.instanceOf(error, OpenAI.BadRequestError);
      assert.equal(error.code, code);
    }
  });

  const ask = async (client) => {
    const { data, usage } = await client.embeddings.create({ model: "tiny", input: TEXTS });
    for (const [i, vector] of (await vectors()).entries()) same(data[i].embedding, vector);
    assert.isAbove(usage.total_tokens, 0);
    const models = await client.models.list();
    assert.deepEqual(
      models.data.map(({ id }) => id),
      ["tiny-bert"],
    );
    assert.equal((await client.models.retrieve("tiny-bert")).id, "tiny-bert");
  };

  test("with fetch: embedder.fetch", () => ask(new OpenAI({ apiKey: "unused", fetch: dense.fetch })));

  test("through a server", () => ask(new OpenAI({ apiKey: "unused", baseURL: `${denseServer.url}/v1` })));

  test("a key that is wrong, bad input, a sparse model: the client's own errors", async () => {
    const locked = dense.handler({ apiKeys: ["first", "second"] });
    const keyed = (apiKey, fetch = locked) => new OpenAI({ apiKey, fetch, maxRetries: 0 });
    const body = { model: "tiny", input: "a" };
    assert.equal((await keyed("second").embeddings.create(body)).data.length, 1);
    const refused = await keyed("third")
      .embeddings.create(body)
      .catch((error) => error);
    assert.instanceOf(refused, OpenAI.AuthenticationError);
    assert.equal(refused.code, "invalid_api_key");
    const empty = await keyed("first")
      .embeddings.create({ ...body, input: [] })
      .catch((error) => error);
    assert.instanceOf(empty, OpenAI.BadRequestError);
    assert.equal(empty.code, "empty_input");
    const kind = await keyed("unused", sparse.fetch)
      .embeddings.create(body)
      .catch((error) => error);
    assert.instanceOf(kind, OpenAI.BadRequestError);
    assert.include(kind, { code: "model_not_compatible", param: "model", type: "invalid_request_error" });
  });

  test("an abort is one", async () => {
    const controller = new AbortController();
    const pending = client.embeddings.create(
      { model: "tiny", input: Array(2000).fill("a cat on a mat") },
      { signal: controller.signal },
    );
    setTimeout(() => controller.abort(), 20);
    const error = await pending.catch((error) => error);
    assert.instanceOf(error, OpenAI.APIUserAbortError);
  });
});

test("@langchain/openai", async () => {
  const embeddings = new OpenAIEmbeddings({
    apiKey: "unused",
    model: "tiny",
    configuration: { baseURL: `${denseServer.url}/v1` },
  });
  const expected = await vectors();
  for (const [i, vector] of (await embeddings.embedDocuments(TEXTS)).entries()) same(vector, expected[i]);
  same(await embeddings.embedQuery(TEXTS[0]), expected[0]);
});

test("@huggingface/inference, with the route and without", async () => {
  for (const endpointUrl of [`${denseServer.url}/embed`, denseServer.url]) {
    const client = new InferenceClient("unused", { endpointUrl });
    const answer = await client.featureExtraction({ inputs: TEXTS });
    const expected = await vectors({ normalize: true });
    for (const [i, vector] of answer.entries()) same(vector, expected[i]);
  }
});

/** What a client of Python prints. */
async function python(client, url = denseServer.url) {
  const env = { ...process.env, PYTHONPATH: [`${TARGET}/python`, process.env.PYTHONPATH].join(":") };
  const args = [`${root}tests/js/support/clients.py`, client, url];
  const { stdout } = await run("python3", args, { env, timeout: 120_000 });
  return JSON.parse(stdout);
}

describe("rerankers", () => {
  const query = "what does a cat eat";
  const documents = ["a dog sat", "a cat eats a mouse", "the mat", "night ships sail"];
  let folder;
  let reranker;
  let server;
  /** `[[index, score], …]`, the best first. */
  let expected;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "reranker-"));
    await materialise(`${root}tests/fixtures/rerankers/bert`, folder);
    reranker = await load(folder);
    server = await listen(reranker.fetch);
    const ranked = await reranker.rerank(query, documents, { activation: "sigmoid" });
    expected = ranked.map(({ index, score }) => [index, score]);
  });
  after(async () => {
    await server.close();
    await rm(folder, { recursive: true });
  });

  /** Whether a ranking is the expected one, or the first of it. */
  function check(ranking, count = documents.length) {
    assert.lengthOf(ranking, count);
    for (const [i, [index, score]] of ranking.entries()) {
      assert.equal(index, expected[i][0]);
      assert.closeTo(score, expected[i][1], 1e-6);
    }
  }
  const pairs = ({ results }) => results.map(({ index, relevanceScore }) => [index, relevanceScore]);

  test("cohere-ai, both versions", async () => {
    const options = { token: "unused", baseUrl: server.url };
    const v2 = new CohereClientV2(options);
    const answer = await v2.rerank({ model: "any", query, documents });
    check(pairs(answer));
    assert.equal(answer.meta.apiVersion.version, "2");
    check(pairs(await v2.rerank({ model: "any", query, documents, topN: 2 })), 2);
    const v1 = new CohereClient(options);
    const objects = documents.map((text) => ({ text }));
    const old = await v1.rerank({ query, documents: objects, returnDocuments: true, topN: 3 });
    check(pairs(old), 3);
    for (const { index, document } of old.results) assert.deepEqual(document, { text: documents[index] });
    assert.isUndefined((await v1.rerank({ query, documents })).results[0].document);
  });

  test("cohere-ai throws its own errors", async () => {
    const client = new CohereClientV2({ token: "unused", baseUrl: server.url, maxRetries: 0 });
    for (const [body, part] of [
      [{ query: "" }, "query"],
      [{ topN: 0 }, "top_n is 0"],
      [{ documents: [] }, "documents is an empty list"],
      [{ documents: Array(2049).fill("a") }, "2049 inputs"],
    ]) {
      const error = await failure(() => client.rerank({ model: "any", query, documents, ...body }));
      assert.instanceOf(error, CohereError);
      assert.equal(error.statusCode, 400);
      assert.include(error.body.message, part);
    }
  });

  for (const client of ["cohere", "litellm_rerank"]) {
    test(`Python's ${client}`, async () => {
      for (const ranking of await python(client, server.url)) check(ranking);
    });
  }
});

describe("Python", () => {
  const clients = [
    "openai",
    "huggingface_hub",
    "langchain",
    "haystack",
    "llama_index",
    "chromadb",
    "litellm",
  ];
  for (const client of clients) {
    test(client, async () => {
      const answer = await python(client);
      // Haystack asks for vectors that are not normalised.
      const expected = await vectors(client === "haystack" ? { normalize: false } : {});
      for (const [i, vector] of expected.entries()) same(answer[i], vector);
    });
  }

  test("huggingface_hub: similarity", async () => {
    const [one, other] = await python("huggingface_hub_similarity");
    const [a, b] = await vectors({ normalize: true });
    assert.closeTo(one, 1, 1e-6);
    assert.closeTo(other, dense.similarity(a, b), 1e-6);
  });

  test("langchain, which sends another tokenizer's ids by default, is told how not to", async () => {
    const minilm = await load(root + MINILM);
    const server = await listen(minilm.fetch);
    const { status, message } = await python("langchain_as_it_is", server.url);
    await server.close();
    minilm.dispose();
    assert.equal(status, 400);
    for (const part of ["[CLS]", "check_embedding_ctx_length=False"]) assert.include(message, part);
  });
});

describe("bodies that do not arrive", () => {
  /** A request whose body sends a bit, and then `ends`. */
  const sending = (end) => {
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode('{"input": "a'));
        end(controller);
      },
    });
    return new Request("http://localhost/v1/embeddings", { method: "POST", body, duplex: "half" });
  };

  test("whole: 400", async () => {
    const answer = await dense.fetch(sending((controller) => controller.error(new Error("gone"))));
    assert.equal(answer.status, 400);
    assert.equal((await answer.json()).error.code, "invalid_body");
  });

  test("in time: 408", async () => {
    const answer = await dense.handler({ timeout: 50 })(sending(() => {}));
    assert.equal(answer.status, 408);
  });

  test("though their client has gone away: its own error", async () => {
    const controller = new AbortController();
    const request = new Request(
      sending(() => {}),
      { signal: controller.signal },
    );
    setTimeout(() => controller.abort(new Error("gone")), 20);
    assert.equal((await failure(() => dense.fetch(request))).message, "gone");
  });

  test("a server answers 401 and 413 before the body is there", async () => {
    const locked = await listen(dense.handler({ apiKeys: ["k"], maxBodyBytes: 1000 }));
    const { hostname, port } = new URL(locked.url);
    const ask = (headers) =>
      new Promise((resolve, reject) => {
        const request = httpRequest({ hostname, port, path: "/embed", method: "POST", headers });
        request.on("response", (response) => {
          resolve(response.statusCode);
          request.destroy();
        });
        request.on("error", reject);
        request.write("{");
      });
    assert.equal(await ask({}), 401);
    assert.equal(await ask({ authorization: "Bearer k", "content-length": 5000 }), 413);
    await locked.close();
  });
});

describe("@chroma-core/chroma-cloud-splade", () => {
  const client = (url) => {
    process.env.CHROMA_EMBED_URL = url;
    process.env.CHROMA_API_KEY = "unused";
    return new ChromaCloudSpladeEmbeddingFunction();
  };

  test("gives the sparse vectors", async () => {
    const answer = await client(sparseServer.url).generate(TEXTS);
    for (const [i, { indices, values }] of (await sparse.encodeSparse(TEXTS)).entries()) {
      assert.deepEqual(answer[i].indices, Array.from(indices));
      same(answer[i].values, values);
    }
  });

  test("is told of a model of the other kind", async () => {
    const error = await client(denseServer.url)
      .generate(TEXTS)
      .catch((error) => error);
    assert.match(error.message, /501/);
    assert.include(error.message, "is a dense model");
  });
});

test("the sample of Inworld's documents, with another host", async () => {
  const url = `${denseServer.url}/ml/v1alpha/embedding:embed`;
  const response = await fetch(url, {
    method: "POST",
    headers: { Authorization: "Basic <api-key>", "Content-Type": "application/json" },
    body: JSON.stringify({
      inputs: [{ text: "Hello Inworld!" }],
      model: {
        model: "sentence-transformers/paraphrase-multilingual-mpnet-base-v2",
        serviceProvider: "SERVICE_PROVIDER_INWORLD",
      },
    }),
  });
  const { embeddings, ...rest } = await response.json();
  assert.deepEqual(rest, {});
  same(embeddings[0].values, (await dense.encode("Hello Inworld!")).data);
});
