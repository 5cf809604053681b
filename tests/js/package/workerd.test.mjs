/** Cloudflare's runtime: the module is imported compiled, the model comes out of R2. */

import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { assert } from "chai";
import { load, modelCache } from "gossamer-embed";
import { until } from "../support/child.mjs";
import { digest } from "../support/digest.mjs";
import { fetchBytes, MINILM, SPLADE, TINY, texts } from "../support/models.mjs";
import { saveInto } from "../support/save.mjs";
import { root, serve } from "../support/server.mjs";
import { bundle, fill, heap, startWorker } from "../support/workers.mjs";

const WORKER = `
import { init, load } from "./pkg/dist/workerd.js";
import { digest } from "./tests/js/support/digest.mjs";
import baseline from "./pkg/dist/wasm/simd128.wasm";
const ready = {};
export default {
  async fetch(request, env) {
    // By default the package takes its relaxed build.
    if (env.BASELINE) await init({ module: baseline });
    const { pathname, searchParams } = new URL(request.url);
    const model = pathname.slice(1);
    const workers = Number(searchParams.get("workers"));
    ready[model + workers] ??= load((name) => env.MODELS.get(model + "/" + name), { workers });
    try {
      const embedder = await ready[model + workers];
      if (searchParams.has("fetch")) return await embedder.fetch("http://x" + searchParams.get("fetch"), request);
      const body = await request.json();
      if (body.texts) {
        const { data } = await embedder.encode(body.texts);
        return Response.json({ digest: await digest(data), info: embedder.info });
      }
      return Response.json({ answer: await embedder.embeddings.create(body), info: embedder.info });
    } catch ({ code, message, status }) {
      delete ready[model + workers];
      return Response.json({ code, message }, { status });
    }
  },
};
`;

const BUILDS = ["relaxed", "simd128"];
const workers = {};
before(async () => {
  // The memory that production gives to all of a worker.
  process.env.MINIFLARE_WORKERD_V8_FLAGS = "--wasm-max-mem-pages=2048";
  for (const build of BUILDS) workers[build] = await start({ BASELINE: build === "simd128" });
});
after(() => Promise.all(Object.values(workers).map((worker) => worker.dispose())));

async function start(bindings) {
  const dist = `${root}pkg/dist`;
  const files = (await readdir(dist, { recursive: true })).filter((file) => file.endsWith(".js"));
  const worker = await startWorker({
    bindings,
    r2Buckets: ["MODELS"],
    modules: [
      { type: "ESModule", path: `${root}worker.mjs`, contents: WORKER },
      ...[...files.map((file) => join(dist, file)), `${root}tests/js/support/digest.mjs`].map((path) => ({
        type: "ESModule",
        path,
      })),
      ...BUILDS.map((build) => ({ type: "CompiledWasm", path: `${dist}/wasm/${build}.wasm` })),
    ],
  });
  await fill(worker, { tiny: TINY, minilm: MINILM });
  return worker;
}

async function ask(build, model, body) {
  const response = await workers[build].dispatchFetch(`http://worker/${model}`, {
    method: "POST",
    body: JSON.stringify(body),
  });
  return { status: response.status, ...(await response.json()) };
}

describe("workerd", () => {
  for (const [name, folder] of Object.entries({ tiny: TINY, minilm: MINILM })) {
    for (const build of BUILDS) {
      test(`${name}, streamed from R2, gives the bits that Node gives, ${build}`, async () => {
        const list = JSON.parse(await readFile(`${root}tests/fixtures/texts.json`, "utf8"));
        const inputs = list.map((row) => row.text ?? row.repeat.repeat(row.times));
        const answer = await ask(build, name, { texts: inputs });
        assert.equal(answer.status, 200, answer.message);
        assert.equal(answer.info.simd, build === "relaxed" ? "relaxed-simd" : "simd128");
        assert.isAtMost(answer.info.memoryBytes, 64 << 20);
        const model = await load(root + folder);
        assert.equal(answer.digest, await digest((await model.encode(inputs)).data));
        model.dispose();
      });
    }
  }

  test("OpenAI's format", async () => {
    const input = ["a cat", "The ferry leaves the old harbour at nine."];
    const model = await load(root + TINY);
    const { answer } = await ask("relaxed", "tiny", { input });
    assert.deepEqual(answer.data, (await model.embeddings.create({ input })).data);
    model.dispose();
  });

  test("requests of the APIs, by fetch", async () => {
    const path = "/v1/embeddings";
    const model = await load(root + TINY);
    const { status, data } = await ask("relaxed", `tiny?fetch=${path}`, { input: "a cat" });
    assert.equal(status, 200);
    assert.deepEqual(Float32Array.from(data[0].embedding), (await model.encode("a cat")).data);
    model.dispose();
    const { error } = await ask("relaxed", `tiny?fetch=${path}`, { input: [] });
    assert.equal(error.code, "empty_input");
  });

  test("bad input is an answer, and a model that is not there too", async () => {
    const tiny = (body) => ask("relaxed", "tiny", body);
    assert.include(await tiny({ input: [] }), { status: 400, code: "empty_input" });
    assert.include(await ask("relaxed", "absent", { input: "a" }), { status: 404, code: "missing_file" });
    assert.equal((await tiny({ input: "a cat" })).status, 200);
  });

  test("there are no threads", async () => {
    const answer = await ask("relaxed", "tiny?workers=2", { input: "a" });
    assert.include(answer, { status: 501, code: "unsupported_runtime" });
  });
});

describe("examples/cloudflare-worker", () => {
  let worker;
  before(async () => {
    worker = await example({ API_KEYS: "first,second" });
    await fill(worker, { minilm: MINILM, splade: SPLADE });
  });
  after(() => worker.dispose());

  const example = async (bindings, storage = { r2Buckets: ["MODELS"] }) =>
    startWorker({ ...(await bundle("examples/cloudflare-worker/src/index.ts")), bindings, ...storage });

  async function post(path, body, key = "second") {
    const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
    const init = { method: "POST", headers, body: JSON.stringify(body) };
    const response = await worker.dispatchFetch(`http://worker${path}`, init);
    return { status: response.status, json: await response.json() };
  }

  test("dense and sparse vectors, by the names of the models", async () => {
    const texts = ["a cat", "the dog sat on the mat"];
    const dense = await load(root + MINILM);
    // All at once, before any model is there.
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => post("/v1/embeddings", { model: "minilm", input: texts })),
    );
    for (const { status, json } of answers) {
      assert.equal(status, 200);
      const vectors = json.data.flatMap(({ embedding }) => embedding);
      assert.deepEqual(Float32Array.from(vectors), (await dense.encode(texts)).data);
    }
    dense.dispose();
    const sparse = await load(root + SPLADE);
    const { json } = await post("/embed_sparse", { model: "splade", inputs: texts[0] });
    const [{ values }] = await sparse.encodeSparse(texts[0]);
    assert.deepEqual(Float32Array.from(json[0].map(({ value }) => value)), values);
    sparse.dispose();
    const refused = await post("/v1/embeddings", { input: "a" }, "third");
    assert.deepEqual([refused.status, refused.json.error.code], [401, "invalid_api_key"]);
  });

  test("a model in 8 bits among the worker's own files", async () => {
    const directory = await mkdtemp(join(tmpdir(), "gossamer-"));
    const model = await load(root + MINILM, { saveable: true });
    try {
      // As for a platform whose files may have 25 MiB, but smaller still, so that there are
      // several.
      await saveInto(join(directory, "minilm"), model, { shard: 12 * 2 ** 20 });
      const assets = {
        directory,
        binding: "ASSETS",
        routerConfig: { invoke_user_worker_ahead_of_assets: true, has_user_worker: true },
      };
      const other = await example({}, { assets });
      try {
        const init = { method: "POST", body: '{"model":"minilm","input":"Ships at night"}' };
        const response = await other.dispatchFetch("http://worker/v1/embeddings", init);
        const json = await response.json();
        assert.equal(response.status, 200, JSON.stringify(json));
        const { data } = await model.encode("Ships at night");
        assert.deepEqual(Float32Array.from(json.data[0].embedding), data);
        // There is no other model.
        const absent = await other.dispatchFetch("http://worker/v1/embeddings", {
          ...init,
          body: '{"model":"splade","input":"a"}',
        });
        assert.deepEqual([absent.status, (await absent.json()).error.code], [503, "model_unavailable"]);
      } finally {
        await other.dispose();
      }
    } finally {
      model.dispose();
      await rm(directory, { recursive: true });
    }
  });

  test("a model in 8 bits in the bundle, which lets go of it", async () => {
    const directory = await mkdtemp(join(tmpdir(), "gossamer-"));
    const model = await load(root + MINILM, { saveable: true });
    try {
      const names = await saveInto(directory, model);
      const entries = names.map(async (name) => [
        `models/minilm/${name}.bin`,
        await readFile(join(directory, name)),
      ]);
      const files = Object.fromEntries(await Promise.all(entries));
      const other = await startWorker(await bundle("examples/cloudflare-worker/src/bundled.ts", files));
      try {
        const post = async (body) => {
          const init = { method: "POST", body: JSON.stringify(body) };
          const response = await other.dispatchFetch("http://worker/v1/embeddings", init);
          return response.json();
        };
        const { size } = (await model.save())[0];
        assert.isAbove((await heap(other)).buffers, size);
        const { data } = await post({ input: "Ships at night" });
        assert.deepEqual(Float32Array.from(data[0].embedding), (await model.encode("Ships at night")).data);
        // Nothing says when garbage is collected, but large requests bring it about.
        for (let i = 0; i < 30 && (await heap(other)).buffers > size; i++) {
          await post({ input: "a cat", user: "x".repeat(8e6) });
        }
        assert.isBelow((await heap(other)).buffers, size);
      } finally {
        await other.dispose();
      }
    } finally {
      model.dispose();
      await rm(directory, { recursive: true });
    }
  });

  for (const [place, binding, open] of [
    ["the bucket", { r2Buckets: ["MODELS"] }, (worker) => worker.getR2Bucket("MODELS")],
    [
      "a KV namespace",
      { kvNamespaces: ["KV"] },
      async (worker) => {
        const namespace = await worker.getKVNamespace("KV");
        return { get: (name) => namespace.get(name, "arrayBuffer") };
      },
    ],
  ])
    test(`a model of the Hub, kept in ${place}`, { timeout: 60_000 }, async () => {
      const hub = await serve();
      const model = await load(root + MINILM);
      const asked = async () => (await fetch(`${hub.origin}/hub/asked`)).json();
      const script = await bundle("examples/cloudflare-worker/src/hub.ts");
      const options = (endpoint) => ({
        ...script,
        ...binding,
        bindings: { MODEL: "org/minilm", HF_ENDPOINT: endpoint },
      });
      const other = await startWorker(options(`${hub.origin}/hub`));
      try {
        const embed = async () => {
          const init = { method: "POST", body: '{"input":"Ships at night"}' };
          const response = await other.dispatchFetch("http://worker/v1/embeddings", init);
          const json = await response.json();
          assert.equal(response.status, 200, JSON.stringify(json));
          return Float32Array.from(json.data[0].embedding);
        };
        const { data } = await model.encode("Ships at night");
        assert.deepEqual(await embed(), data);
        assert.include(await asked(), "org/minilm model.safetensors");
        const kept = modelCache(await open(other));
        const inEightBits = async () => (await kept.list()).find(({ dtype }) => dtype === "q8");
        assert.isBelow((await until(inEightBits, "the model is kept in 8 bits")).size, 30e6);
        // A new isolate asks whether the branch is where it was, and nothing else; another one
        // without a network does as well.
        await other.setOptions(options(`${hub.origin}/hub`));
        assert.deepEqual(await embed(), data);
        assert.deepEqual(await asked(), ["org/minilm list"]);
        await other.setOptions(options("http://127.0.0.1:9"));
        assert.deepEqual(await embed(), data);
      } finally {
        model.dispose();
        await other.dispose();
        await hub.close();
      }
    });

  test("a model that is broken in its bucket is said to be, and tried again", async () => {
    const other = await example({});
    try {
      const models = await fill(other, { minilm: TINY });
      const good = await (await models.get("minilm/model.safetensors")).arrayBuffer();
      await models.put("minilm/model.safetensors", good.slice(0, good.byteLength >> 1));
      const ask = async () => {
        const init = { method: "POST", body: '{"input":"a cat"}' };
        const response = await other.dispatchFetch("http://worker/v1/embeddings", init);
        return { status: response.status, json: await response.json() };
      };
      const broken = await ask();
      assert.deepEqual([broken.status, broken.json.error.code], [503, "model_unavailable"]);
      await models.delete("minilm/config.json");
      assert.equal((await ask()).status, 503);
      await fill(other, { minilm: TINY });
      assert.equal((await ask()).status, 200);
    } finally {
      await other.dispose();
    }
  });
});

test("examples/cloudflare-sparse-query gives the vectors of the whole model's queries", async () => {
  const folder = "tests/fixtures/tiny-inference-free";
  const server = await serve();
  const whole = await load(`${server.origin}/${folder}`);
  const names = ["config.json", "tokenizer.json", "model.safetensors"];
  const entries = names.map(async (name) => [
    `query/${name}.bin`,
    await fetchBytes(`${server.origin}/${folder}/query_0_SparseStaticEmbedding/${name}`),
  ]);
  const files = Object.fromEntries(await Promise.all(entries));
  const worker = await startWorker(await bundle("examples/cloudflare-sparse-query/src/index.ts", files));
  try {
    // As text-embeddings-inference, the route refuses empty texts.
    const inputs = (await texts(server.origin, "tiny-texts.json")).filter((text) => text !== "");
    const body = JSON.stringify({ inputs, truncate: true });
    const headers = { "content-type": "application/json" };
    const response = await worker.dispatchFetch("http://worker/embed_sparse", {
      method: "POST",
      headers,
      body,
    });
    const expected = await whole.embedSparse({ inputs, truncate: true }, {});
    const queries = await whole.encodeSparse(inputs, { task: "query" });
    const answer = await response.json();
    assert.lengthOf(answer, inputs.length);
    for (const [i, entries] of answer.entries()) {
      assert.deepEqual(
        entries.map(({ index }) => index),
        Array.from(queries[i].indices),
      );
      assert.deepEqual(
        Float32Array.from(entries, ({ value }) => value),
        queries[i].values,
      );
    }
    // Documents take the other way.
    assert.notDeepEqual(answer, expected);
  } finally {
    whole.dispose();
    await worker.dispose();
    await server.close();
  }
});

test("examples/cloudflare-static gives the vectors of its table", async () => {
  const folder = "tests/fixtures/static/model2vec";
  const server = await serve();
  const whole = await load(`${server.origin}/${folder}`);
  const names = ["modules.json", "tokenizer.json", "model.safetensors"];
  const entries = names.map(async (name) => [
    `model/${name}.bin`,
    await fetchBytes(`${server.origin}/${folder}/${name}`),
  ]);
  const files = Object.fromEntries(await Promise.all(entries));
  const worker = await startWorker(await bundle("examples/cloudflare-static/src/index.ts", files));
  try {
    const inputs = ["The cat sat on the mat.", "where do the birds sing at night?"];
    const response = await worker.dispatchFetch("http://worker/embed", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ inputs }),
    });
    const answer = await response.json();
    const { data, shape } = await whole.encode(inputs);
    assert.deepEqual(Float32Array.from(answer.flat()), data);
    assert.deepEqual([answer.length, answer[0].length], shape);
  } finally {
    whole.dispose();
    await worker.dispose();
    await server.close();
  }
});
