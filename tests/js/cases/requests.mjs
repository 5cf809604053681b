/** Who is let in, when, and with how much: what servers do before and beside the formats. */

import { assert } from "chai";
import { serve } from "gossamer-embed";
import { embedder, failure, MINILM, rows, SPLADE, TINY, tinyFiles } from "../support/models.mjs";

const MIB = 1 << 20;
const EMBEDDINGS = "http://localhost/v1/embeddings";

const post = (handler, body, headers = {}) => handler(EMBEDDINGS, { method: "POST", headers, body });
const json = (handler, body, headers) => post(handler, JSON.stringify(body), headers);
const bytes = (...parts) =>
  new Blob(parts.map((part) => (typeof part === "number" ? Uint8Array.of(part) : part)));
const KEY = { authorization: "Bearer k" };

/** Bodies that would take much more memory than they have bytes. */
const GREEDY = [
  ['{"input":[', "0,", "0]}"],
  ['{"input":[', '{"":0},', "0]}"],
  ['{"input":[', '"",', '""]}'],
  ['{"input":[', "[0],", "[0]]}"],
  ["{", '"":0,', '"a":0}'],
].map(([open, one, close]) => (size) => {
  return open + one.repeat((size - open.length - close.length) / one.length) + close;
});

/** A model that can be loaded from the `times`-th try on, and how often that was tried. */
async function late(origin, times) {
  const files = await tinyFiles(origin);
  const loads = { count: 0 };
  const source = (name) => {
    if (name === "config.json") loads.count++;
    return loads.count < times ? undefined : files[name];
  };
  return { loads, source };
}

export const cases = {
  "an empty or missing key lets nobody in: it is an error at once": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    for (const apiKeys of [[""], [" "], [undefined], [null], ["k", ""], "k", ""]) {
      for (const make of [() => model.handler({ apiKeys }), () => serve({ models: { a: {} }, apiKeys })]) {
        const error = await failure(async () => make());
        assert.equal(error.code, "invalid_input", String(apiKeys));
        assert.include(error.message, "apiKeys");
      }
    }
    // A name that is spelled wrong would let everybody in.
    for (const make of [
      () => model.handler({ apiKey: "k" }),
      () => serve({ models: { a: {} }, keys: ["k"] }),
    ]) {
      assert.equal((await failure(async () => make())).code, "invalid_input");
    }
    const handler = model.handler({ apiKeys: ["k"] });
    for (const headers of [{}, { authorization: "" }, { authorization: "Bearer " }, { authorization: "x" }]) {
      const refused = await json(handler, { input: "a" }, headers);
      assert.equal(refused.status, 401);
      assert.equal(refused.headers.get("www-authenticate"), "Bearer");
    }
    const both = { authorization: "Bearer other", "x-chroma-token": "k" };
    assert.equal((await json(handler, { input: "a" }, both)).status, 200);
  },

  "options of handlers that would let in more than was meant": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    for (const options of [
      { cors: "https://example.com" },
      { cors: [5] },
      { cors: null },
      { apiKeys: Object.assign(Array(2), { 1: "k" }) },
      { dialect: "OpenAI" },
      { maxRequests: "64" },
      { maxRequests: Number.NaN },
      { maxRequests: null },
      { maxBodyBytes: "2mb" },
      { maxBodiesBytes: Number.NaN },
      { maxBodiesBytes: -1 },
      { timeout: "10s" },
      { timeout: null },
    ]) {
      for (const make of [() => model.handler(options), () => serve({ models: { a: {} }, ...options })]) {
        const error = await failure(async () => make());
        assert.equal(error.code, "invalid_input", JSON.stringify(options));
        assert.include(error.message, Object.keys(options)[0]);
      }
    }
    for (const options of [
      { models: "a" },
      { models: [{}] },
      { models: { a: {} }, memoryBudget: "1 GB" },
      { models: { a: {} }, default: 5 },
      { models: { a: {} }, load: { quantized: true } },
      { models: { a: {} }, load: { dtype: 8 } },
    ]) {
      assert.equal((await failure(async () => serve(options))).code, "invalid_input");
    }
    // Timers would take these times for none at all.
    for (const timeout of [Number.POSITIVE_INFINITY, 2 ** 31, 5e9]) {
      assert.equal((await json(model.handler({ timeout }), { input: "a" })).status, 200);
    }
  },

  "without a key no body is read, and no memory taken": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    const handler = model.handler({ apiKeys: ["k"], maxBodyBytes: 16 * MIB });
    await json(handler, { input: "a" }, KEY);
    const before = model.info.memoryBytes;
    for (const greedy of GREEDY) {
      const request = new Request(EMBEDDINGS, { method: "POST", body: greedy(16 * MIB) });
      assert.equal((await handler(request)).status, 401);
      assert.isFalse(request.bodyUsed);
    }
    assert.equal(model.info.memoryBytes, before);
  },

  "a body takes memory in proportion to its size": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    const handler = model.handler({ maxBodyBytes: 4 * MIB });
    for (const greedy of GREEDY) {
      const before = model.info.memoryBytes;
      const body = greedy(4 * MIB);
      assert.equal((await post(handler, body)).status, 400);
      assert.isAtMost(model.info.memoryBytes - before, 8 * body.length + MIB);
    }
    // By default.
    for (const greedy of GREEDY) assert.equal((await post(model.fetch, greedy(2 * MIB + 100))).status, 413);
  },

  "all bodies together have a limit": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    const handler = model.handler({ maxBodiesBytes: 1000 });
    const body = JSON.stringify({ input: "a ".repeat(150), truncate: true });
    const answers = await Promise.all(Array.from({ length: 10 }, () => post(handler, body)));
    const statuses = answers.map(({ status }) => status);
    assert.equal(statuses.filter((status) => status === 200).length, 3);
    const refused = answers.filter(({ status }) => status === 429);
    assert.equal(refused.length, 7);
    for (const { headers } of refused) assert.equal(headers.get("retry-after"), "1");
    assert.equal((await post(handler, body)).status, 200);
  },

  "what is no UTF-8, or half of it": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    const latin = await post(model.fetch, bytes('{"input": "caf', 0xe9, '"}'));
    assert.deepEqual([latin.status, (await latin.json()).error.code], [400, "invalid_json"]);
    // Half a pair is what an encoder of UTF-8 makes of it, in the text that has it alone.
    const half = await post(model.fetch, '{"input": ["a", "Good \\ud83d"]}');
    const { data } = await half.json();
    const encoded = await model.encode(["a", "Good \ud83d"]);
    const created = await model.embeddings.create({ input: ["a", "Good \ud83d"] });
    for (const [i, vector] of rows(encoded).entries()) {
      assert.deepEqual(Float32Array.from(data[i].embedding), vector);
      assert.deepEqual(Float32Array.from(created.data[i].embedding), vector);
    }
    const marked = await post(model.fetch, bytes("\ufeff", '{"input": "a"}'));
    assert.equal(marked.status, 200);
  },

  "a body that is compressed": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    const ask = async (path, encoding) => {
      const headers = { "content-encoding": encoding };
      const answer = await model.fetch(`http://localhost${path}`, { method: "POST", headers, body: "{}" });
      return answer.status;
    };
    for (const path of ["/v1/embeddings", "/embed", "/", "/ml/v1alpha/embedding:embed"]) {
      assert.equal(await ask(path, "gzip"), 415);
      assert.notEqual(await ask(path, "identity"), 415);
    }
  },

  "token ids of another tokenizer": async ({ origin }) => {
    const model = await embedder(origin, MINILM, "q8");
    // What LangChain for Python sends for "hello world": OpenAI's ids.
    const input = [[15339, 1917]];
    const wire = await json(model.fetch, { input });
    assert.equal(wire.status, 400);
    const { error } = await wire.json();
    assert.equal(error.code, "foreign_tokens");
    for (const part of ["[CLS]", "[SEP]", "check_embedding_ctx_length=False"])
      assert.include(error.message, part);
    for (const call of [
      () => model.encode(input),
      () => model.encodeTokens(input[0]),
      () => model.embeddings.create({ input }),
      () => model.embedAll({ inputs: input }),
    ]) {
      assert.equal((await failure(call)).code, "foreign_tokens");
    }
    assert.equal((await failure(() => model.encode([[101, 100257, 102]]))).code, "token_out_of_range");
    const text = await model.encode("hello world");
    assert.deepEqual((await model.encode([[101, 7592, 2088, 102]])).data, text.data);
  },

  "fields that nobody knows": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    const ask = async (body, options) => {
      const answer = await json(model.handler(options), { input: "a", ...body });
      return { status: answer.status, body: await answer.json() };
    };
    const typo = await ask({ dimension: 5 });
    assert.equal(typo.status, 400);
    assert.include(typo.body.error.message, "did you mean `dimensions`?");
    assert.equal((await ask({ input_type: "query" })).status, 400);
    // Null says nothing, and these change nothing.
    assert.equal((await ask({ input_type: null, user: "me", metadata: {}, timeout: 60 })).status, 200);
    // text-embeddings-inference passes over all.
    assert.equal((await ask({ dimension: 5 }, { dialect: "tei" })).status, 200);
    const error = await failure(() => model.embeddings.create({ input: "a", dimension: 5 }));
    assert.equal(error.code, "invalid_input");
    assert.include(error.message, "`dimensions`");
  },

  "an answer that would be too large": async ({ origin }) => {
    const model = await embedder(origin, MINILM, "q8");
    const inputs = Array(2048).fill("the dog sat on the mat ".repeat(100).slice(0, 1800));
    const before = model.info.memoryBytes;
    const ask = (body) =>
      model.fetch("http://localhost/embed_all", { method: "POST", body: JSON.stringify(body) });
    const handler = await model.handler({ maxBodyBytes: 4 * MIB })("http://localhost/embed_all", {
      method: "POST",
      body: JSON.stringify({ inputs, truncate: true }),
    });
    assert.equal(handler.status, 413);
    const { error, error_type } = await handler.json();
    assert.equal(error_type, "validation");
    assert.match(
      error,
      /the first \d+ inputs have \d+ tokens of 384 numbers each, and an answer has at most \d+/,
    );
    assert.isAtMost(model.info.memoryBytes - before, 40 * MIB);
    assert.equal((await failure(() => model.embedAll({ inputs, truncate: true }))).code, "answer_too_large");
    assert.equal((await ask({ inputs: inputs.slice(0, 2), truncate: true })).status, 200);
    const long = { input: "a".repeat(model.info.maxTokens * 100 + 1) };
    assert.equal((await (await json(model.fetch, long)).json()).error.code, "input_too_long");
  },

  "no model is loaded for whom it does not concern": async ({ origin }) => {
    const { loads, source } = await late(origin, 0);
    const server = serve({ models: { a: source }, apiKeys: ["k"], load: { onWarning() {} } });
    const ask = async (path, options) => (await server.fetch(`http://localhost${path}`, options)).status;
    const all = [];
    for (let i = 0; i < 30; i++) {
      all.push(ask("/v1/embeddings", { method: "POST", body: "{}" }).then((status) => [status, 401]));
      all.push(ask("/health").then((status) => [status, 200]));
      all.push(ask("/favicon.ico", { headers: KEY }).then((status) => [status, 404]));
      all.push(ask("/v1/models", { headers: KEY }).then((status) => [status, 200]));
      all.push(ask("/v1/models/a", { headers: KEY }).then((status) => [status, 200]));
      all.push(ask("/embed", { headers: KEY }).then((status) => [status, 405]));
      all.push(ask("/openapi.json", { headers: KEY }).then((status) => [status, 200]));
    }
    for (const [status, expected] of await Promise.all(all)) assert.equal(status, expected);
    assert.equal(loads.count, 0);
    // One load for all who wait.
    const served = await Promise.all(
      Array.from({ length: 10 }, () => json(server.fetch, { input: "a" }, KEY)),
    );
    for (const { status } of served) assert.equal(status, 200);
    assert.equal(loads.count, 1);
    server.dispose();
  },

  "a model that cannot be loaded is 503, and the next request tries again": async ({ origin }) => {
    const { loads, source } = await late(origin, 3);
    const warnings = [];
    const onWarning = (warning) => warnings.push(warning.code);
    const server = serve({ models: { a: source }, apiKeys: ["k"], load: { onWarning } });
    assert.equal((await json(server.fetch, { input: "a" })).status, 401);
    assert.equal(loads.count, 0);
    for (let i = 1; i < 3; i++) {
      const refused = await json(server.fetch, { input: "a" }, KEY);
      assert.equal(refused.status, 503);
      assert.equal(refused.headers.get("retry-after"), "1");
      assert.equal((await refused.json()).error.code, "model_unavailable");
      assert.equal(loads.count, i);
    }
    assert.deepEqual(warnings, ["missing_file", "missing_file"]);
    assert.equal((await json(server.fetch, { input: "a" }, KEY)).status, 200);
    server.dispose();
    // A default model that cannot be loaded is not replaced by another: its vectors would be of
    // another space.
    const broken = { broken: () => undefined, whole: source };
    const two = serve({ models: broken, load: { onWarning } });
    assert.equal((await json(two.fetch, { input: "a" })).status, 503);
    assert.equal((await json(two.fetch, { input: "a", model: "whole" })).status, 200);
    two.dispose();
    two.dispose();
  },

  "after dispose requests are answered with 503, and no model is loaded": async ({ origin }) => {
    const { loads, source } = await late(origin, 0);
    const server = serve({ models: { a: source } });
    assert.equal((await json(server.fetch, { input: "a" })).status, 200);
    const body = { input: Array(100).fill("a cat") };
    const waiting = json(server.fetch, body).catch(({ code }) => code);
    server.dispose();
    for (const path of ["/v1/embeddings", "/embed"]) {
      const late = await server.fetch(`http://localhost${path}`, { method: "POST", body: '{"inputs":"a"}' });
      assert.equal(late.status, 503);
      assert.isFalse(late.headers.has("retry-after"));
      assert.match(await late.text(), /disposed/);
    }
    assert.include([200, 503, "disposed"], (await waiting).status ?? (await waiting));
    assert.equal(loads.count, 1);
    // Requests that wait for a model when the server is disposed of.
    let open;
    const opened = new Promise((resolve) => {
      open = resolve;
    });
    const other = serve({ models: { a: async (name) => opened.then(() => source(name)) } });
    const refused = json(other.fetch, { input: "a" });
    await new Promise((resolve) => setTimeout(resolve, 50));
    other.dispose();
    open();
    const { error } = await (await refused).json();
    assert.equal(error.code, "disposed");
    assert.equal(loads.count, 2);
  },

  "a body that is too large: the limit is named": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    const handler = model.handler({ maxBodyBytes: 1000 });
    const body = JSON.stringify({ input: "a".repeat(1000) });
    // With its size announced, and without.
    for (const headers of [{ "content-length": String(body.length) }, {}]) {
      const refused = await post(handler, body, headers);
      assert.equal(refused.status, 413);
      assert.include((await refused.json()).error.message, "at most 1000 bytes");
    }
  },

  "a token id beyond 32 bits is named as it was sent": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    for (const [id, name] of [
      ["1099511627776", "1099511627776"],
      ["9007199254740993", "9007199254740993"],
    ]) {
      const wire = await post(model.fetch, `{"input": [[${id}]]}`);
      const { error } = await wire.json();
      assert.equal(error.code, "token_out_of_range");
      assert.include(error.message, `token id ${name} `);
    }
    const error = await failure(() => model.encode([[5, 2 ** 40]]));
    assert.equal(error.code, "token_out_of_range");
    assert.include(error.message, "token id 1099511627776 ");
  },

  "the probes need no key": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    const handler = model.handler({ apiKeys: ["k"] });
    for (const path of ["/health", "/ping", "/", "/ready"]) {
      assert.equal((await handler(`http://localhost${path}`)).status, 200, path);
      const options = await handler(`http://localhost${path}`, { method: "OPTIONS" });
      assert.equal(options.status, 405, path);
      assert.include(options.headers.get("allow"), "GET");
    }
    const full = await model.handler({ maxRequests: 0 })("http://localhost/ready");
    assert.equal(full.status, 503);
  },

  "the time limit holds while a model loads": async ({ origin }) => {
    const files = await tinyFiles(origin);
    let open;
    const opened = new Promise((resolve) => {
      open = resolve;
    });
    const source = async (name) => {
      await opened;
      return files[name];
    };
    const server = serve({ models: { a: source }, timeout: 50 });
    const start = performance.now();
    const refused = await json(server.fetch, { input: "a" });
    assert.equal(refused.status, 408);
    assert.isBelow(performance.now() - start, 5000);
    open();
    // It goes on loading, for those who come later.
    let answer;
    do answer = await json(server.fetch, { input: "a" });
    while (answer.status === 408);
    assert.equal(answer.status, 200);
    server.dispose();
  },

  "with workers, too": async ({ origin }) => {
    const load = { workers: 1, onWarning() {} };
    const server = serve({ models: { a: `${origin}/${SPLADE}` }, apiKeys: ["k"], load });
    assert.equal((await json(server.fetch, { input: "a" })).status, 401);
    const sparse = await server.fetch("http://localhost/embed_sparse", {
      method: "POST",
      headers: KEY,
      body: JSON.stringify({ inputs: "a cat" }),
    });
    assert.equal(sparse.status, 200);
    assert.equal((await post(server.fetch, bytes('{"input": "caf', 0xe9, '"}'), KEY)).status, 400);
    server.dispose();
  },
};
