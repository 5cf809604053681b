/**
 * The worker of examples/cloudflare-worker at work: all formats, too many requests, many requests,
 * and its end in mid-load.
 */

import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { assert } from "chai";
import { serve } from "gossamer-embed";
import { SPLADE, TINY } from "../support/models.mjs";
import { root } from "../support/server.mjs";
import { bundle, fill, heap, startWorker } from "../support/workers.mjs";

const FOLDERS = { minilm: TINY, splade: SPLADE };
const json = { "content-type": "application/json" };

/** Requests of every format: path, body (none: GET), and headers beyond the content type. */
const REQUESTS = {
  "OpenAI, floats": ["/v1/embeddings", { model: "minilm", input: ["a cat", "two dogs"] }],
  "OpenAI, base64": ["/v1/embeddings", { model: "minilm", input: "a cat", encoding_format: "base64" }],
  "OpenAI, token ids": ["/v1/embeddings", { input: [[2, 80, 90, 3]], dimensions: 8 }],
  "OpenAI, models": ["/v1/models"],
  "OpenAI, an unknown model": ["/v1/embeddings", { model: "gpt", input: "a cat" }],
  SambaNova: ["/v1/embeddings", { model: "minilm", input: ["a cat"] }, { "user-agent": "SambaNova/Python" }],
  "TEI, dense": ["/embed", { model: "minilm", inputs: ["a cat", "a dog"], normalize: false }],
  "TEI, sparse": ["/embed_sparse", { model: "splade", inputs: ["a cat", "a dog"] }],
  "TEI, tokens": ["/embed_all", { inputs: "a cat" }],
  "TEI, similarity": ["/similarity", { inputs: { source_sentence: "a cat", sentences: ["a dog", "a cat"] } }],
  "TEI, tokenize": ["/tokenize", { inputs: "a cat sat" }],
  "TEI, decode": ["/decode", { ids: [80, 90] }],
  "TEI, info": ["/info"],
  "TEI, health": ["/health"],
  "TEI, a text too long": ["/embed", { inputs: "night ".repeat(100) }],
  "Chroma, sparse": ["/embed_sparse", { texts: ["a cat"] }, { "x-chroma-embedding-model": "splade" }],
  "Chroma, dense": ["/", { texts: ["a cat"] }, { "x-chroma-embedding-model": "minilm" }],
  Inworld: ["/ml/v1alpha/embedding:embed", { model: { model: "minilm" }, input: ["a cat"] }],
  OpenAPI: ["/openapi.json"],
};

const init = (body, headers = {}) =>
  body ? { method: "POST", headers: { ...json, ...headers }, body: JSON.stringify(body) } : { headers };

describe("examples/cloudflare-worker at work", () => {
  let script;
  before(async () => {
    script = await bundle("examples/cloudflare-worker/src/index.ts");
  });

  /** The tiny models as static assets, whose weights are what `weights` makes of them. */
  const assets = (weights) => async (request) => {
    const [, name, ...file] = new URL(request.url).pathname.split("/");
    const bytes = await readFile(root + FOLDERS[name] + file.join("/")).catch(() => undefined);
    if (!bytes) return new Response(null, { status: 404 });
    return new Response(file.at(-1).endsWith(".safetensors") ? await weights(bytes) : bytes);
  };

  describe("formats", () => {
    let worker;
    let expected;
    before(async () => {
      worker = await startWorker({ ...script, r2Buckets: ["MODELS"] });
      await fill(worker, FOLDERS);
      const get = (folder) => (file) => readFile(root + folder + file).catch(() => null);
      // With the limit of the example.
      expected = serve({ models: { minilm: get(TINY), splade: get(SPLADE) }, maxRequests: 64 });
    });
    after(async () => {
      expected.dispose();
      await worker.dispose();
    });

    for (const [name, [path, body, headers]] of Object.entries(REQUESTS)) {
      test(`${name}: as Node answers`, async () => {
        const url = `http://worker${path}`;
        const response = await worker.dispatchFetch(url, init(body, headers));
        // At once: miniflare's responses lose their bodies when garbage is collected.
        const text = await response.text();
        const other = await expected.fetch(url, init(body, headers));
        assert.equal(response.status, other.status);
        assert.equal(response.headers.get("content-type"), other.headers.get("content-type"));
        assert.equal(text, await other.text());
      });
    }
  });

  test("more requests than it takes are refused with 429, and it recovers", async () => {
    let there;
    const loaded = new Promise((resolve) => {
      there = resolve;
    });
    const ASSETS = assets((bytes) => loaded.then(() => bytes));
    const worker = await startWorker({ ...script, serviceBindings: { ASSETS } });
    try {
      const ask = async (input) => {
        const response = await worker.dispatchFetch("http://worker/v1/embeddings", init({ input }));
        return { status: response.status, ...(await response.json()) };
      };
      // All before the model is there.
      const asked = Promise.all(Array.from({ length: 200 }, () => ask("a cat")));
      setTimeout(there, 1000);
      const answers = await asked;
      const refused = answers.filter(({ status }) => status === 429);
      assert.isNotEmpty(refused);
      for (const { error } of refused) assert.equal(error.type, "rate_limit_error");
      const answered = answers.filter(({ status }) => status === 200);
      assert.isAtLeast(answered.length, 64);
      assert.equal(refused.length + answered.length, answers.length);
      for (const { data } of answered) assert.deepEqual(data, answered[0].data);
      for (let i = 0; i < 64; i++) assert.equal((await ask(`a cat ${i}`)).status, 200);
    } finally {
      await worker.dispose();
    }
  });

  test("an isolate that ends in mid-load", async () => {
    let stalled;
    const waiting = new Promise((resolve) => {
      stalled = resolve;
    });
    let healthy = false;
    const half = (bytes) =>
      new ReadableStream({
        start: (controller) => controller.enqueue(bytes.subarray(0, bytes.length >> 1)),
        pull: stalled,
      });
    const ASSETS = assets((bytes) => (healthy ? bytes : half(bytes)));
    const options = { ...script, serviceBindings: { ASSETS } };
    const worker = await startWorker(options);
    try {
      const ask = () => worker.dispatchFetch("http://worker/v1/embeddings", init({ input: "a cat" }));
      const lost = ask().then(
        ({ status }) => status,
        () => "gone",
      );
      await waiting;
      healthy = true;
      await worker.setOptions(options);
      assert.equal((await ask()).status, 200);
      assert.notEqual(await lost, 200);
    } finally {
      await worker.dispose();
    }
  });
});

test("memory stays flat over 10,000 requests", { timeout: 240_000 }, async () => {
  const worker = await startWorker({
    ...(await bundle("tests/js/support/edge-worker.mjs")),
    r2Buckets: ["MODELS"],
  });
  try {
    await fill(worker, { tiny: TINY });
    const words = "the cat sat on a mat where one bird sang and two dogs ran".split(" ");
    const url = await worker.ready;
    const ask = async (i) => {
      const texts = [words.slice(0, 1 + (i % words.length)).join(" "), String(i)];
      const response = await fetch(url, init({ model: "tiny", texts }));
      return (await response.json()).memoryBytes;
    };
    /** So many requests, 16 at a time; the last one's wasm memory. */
    const run = async (count) => {
      let next = 0;
      const client = async () => {
        while (next < count) await ask(next++);
      };
      await Promise.all(Array.from({ length: 16 }, client));
      return ask(0);
    };
    let wasm = await run(3000);
    const { used } = await heap(worker);
    // How many run together is chance, so it may grow until most have. What leaks ten bytes a
    // request grows every time.
    let grown;
    for (let times = 0; times < 4 && grown !== 0; times++) {
      const after = await run(7000);
      grown = after - wasm;
      wasm = after;
    }
    assert.equal(grown, 0);
    // Garbage comes and goes.
    assert.isBelow((await heap(worker)).used, used + 16e6);
  } finally {
    await worker.dispose();
  }
});
