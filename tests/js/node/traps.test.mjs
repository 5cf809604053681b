/**
 * An instance that has trapped is replaced. A file of its own: the functions of all instances are
 * wrapped.
 */

import { after, before, beforeEach, describe, test } from "node:test";
import { assert } from "chai";
import { GossamerError, load, serve as serveModels } from "gossamer-embed";
import { failure, TINY, tinyFiles } from "../support/models.mjs";
import { root, serve } from "../support/server.mjs";

const FOLDER = root + TINY;
const TEXT = "The cat sat on the mat.";

/** Name of an exported function → calls of it that are to trap. */
const traps = new Map();
let instances = 0;
/** Futures that are to trap when they go on, and whether one goes on now. */
let futures = 0;
let isFuture = false;

const { queueMicrotask } = globalThis;
globalThis.queueMicrotask = (act) =>
  queueMicrotask(() => {
    isFuture = true;
    try {
      act();
    } finally {
      isFuture = false;
    }
  });

const { instantiate } = WebAssembly;
WebAssembly.instantiate = async (module, imports) => {
  const { exports } = await instantiate(module, imports);
  instances++;
  const wrap = ([name, value]) => {
    if (typeof value !== "function") return [name, value];
    const call = (...args) => {
      const left = traps.get(name) ?? 0;
      if (isFuture && name.includes("invoke") && futures > 0) futures--;
      else if (left > 0) traps.set(name, left - 1);
      else return value(...args);
      throw new WebAssembly.RuntimeError("unreachable");
    };
    return [name, call];
  };
  const wrapped = Object.fromEntries(Object.entries(exports).map(wrap));
  return Object.create(WebAssembly.Instance.prototype, { exports: { value: wrapped } });
};

/** Has the next calls of a function trap. */
const trap = (name, times = 1) => traps.set(name, times);

/** The error of a call that trapped. */
async function trapped(call) {
  const error = await failure(call);
  assert.instanceOf(error, GossamerError);
  assert.equal(error.code, "internal", error.message);
  assert.include(error.message, "unreachable");
  return error;
}

let server;
let expected;
before(async () => {
  server = await serve();
  const model = await load(FOLDER);
  expected = (await model.encode(TEXT)).data;
  model.dispose();
});
after(() => server.close());
beforeEach(() => {
  traps.clear();
  futures = 0;
});

describe("after a trap", () => {
  test("the call fails, and the next one works in a new instance", async () => {
    const model = await load(FOLDER);
    for (const name of ["model_encode", "job_countFrom", "job_step", "job_finish"]) {
      const before = instances;
      trap(name);
      await trapped(() => model.encode(TEXT));
      assert.deepEqual((await model.encode(TEXT)).data, expected, name);
      assert.equal(instances, before + 1);
    }
    model.dispose();
    assert.equal((await failure(() => model.encode(TEXT))).code, "disposed");
  });

  test("calls that were under way beside it are answered, and one that traps again is not", async () => {
    const model = await load(FOLDER);
    trap("job_step");
    for (const { data } of await Promise.all(Array.from({ length: 5 }, () => model.encode(TEXT)))) {
      assert.deepEqual(data, expected);
    }
    trap("job_step", 2);
    const results = await Promise.allSettled(Array.from({ length: 3 }, () => model.encode(TEXT)));
    const answered = results.filter(({ status }) => status === "fulfilled");
    assert.lengthOf(answered, 2);
    for (const { value } of answered) assert.deepEqual(value.data, expected);
    assert.deepEqual((await model.encode(TEXT)).data, expected);
    model.dispose();
  });

  test("in the middle of what is waited for, too", async () => {
    const model = await load(FOLDER, { saveable: true });
    const files = await model.save();
    const read = async ({ stream }) => (await new Response(stream()).arrayBuffer()).byteLength;
    const file = files.find(({ path }) => path.endsWith(".safetensors"));
    const { size } = file;
    assert.equal(await read(file), size);
    // Who waits hears that the instance is gone, and is answered by the next one.
    futures = 1;
    assert.equal(await read(file), size);
    futures = 2;
    await trapped(() => read(file));
    assert.deepEqual((await model.encode(TEXT)).data, expected);
    assert.equal(await read(file), size);
    model.dispose();
  });

  test("other models of the instance are loaded anew as well", async () => {
    const [one, other] = [await load(FOLDER), await load(FOLDER)];
    const before = instances;
    trap("job_step");
    await trapped(() => one.encode(TEXT));
    assert.deepEqual((await other.encode(TEXT)).data, expected);
    assert.deepEqual((await one.encode(TEXT)).data, expected);
    assert.equal(instances, before + 1);
    one.dispose();
    other.dispose();
  });

  test("while a model is loaded, the next load works", async () => {
    for (const name of ["loader_new", "loader_next", "loader_provide", "loader_push", "loader_finish"]) {
      trap(name);
      await trapped(() => load(FOLDER));
      const model = await load(FOLDER);
      assert.deepEqual((await model.encode(TEXT)).data, expected, name);
      model.dispose();
    }
  });

  test("a source that can be read once is an error of the next calls, which says so", async () => {
    const files = Object.entries(await tinyFiles(server.origin));
    const streams = files.map(([name, bytes]) => [name, new Blob([bytes]).stream()]);
    const model = await load(Object.fromEntries(streams));
    trap("job_step");
    await trapped(() => model.encode(TEXT));
    for (let i = 0; i < 2; i++) {
      const error = await failure(() => model.encode(TEXT));
      assert.instanceOf(error, GossamerError);
      assert.include(error.message, "could not be loaded anew");
      assert.include(error.message, "a stream can be read once");
    }
    model.dispose();
  });

  test("a source that has another model now is refused", async () => {
    const files = await tinyFiles(server.origin);
    let isChanged = false;
    const tokenizer = Buffer.from(files["tokenizer.json"]).toString().replace(/\s*$/, " ");
    const changed = { ...files, "tokenizer.json": Buffer.from(tokenizer) };
    const model = await load((name) => (isChanged ? changed : files)[name]);
    isChanged = true;
    trap("job_step");
    await trapped(() => model.encode(TEXT));
    assert.include((await failure(() => model.encode(TEXT))).message, "another one now");
    isChanged = false;
    assert.deepEqual((await model.encode(TEXT)).data, expected);
    model.dispose();
  });

  test("dispose() never throws, of a model or of a server", async () => {
    for (const name of ["__wbg_model_free", "__wbg_job_free", "job_step"]) {
      const model = await load(FOLDER);
      trap(name, 10);
      const underWay = failure(() => model.encode(Array(2000).fill(TEXT)));
      await new Promise((done) => setTimeout(done, 5));
      model.dispose();
      model.dispose();
      assert.include(["disposed", "internal"], (await underWay).code);
      traps.clear();
    }
    const rejections = [];
    const note = (reason) => rejections.push(reason);
    process.on("unhandledRejection", note);
    const server = serveModels({ models: { tiny: FOLDER } });
    const body = JSON.stringify({ input: TEXT });
    const ask = () => server.fetch("http://localhost/v1/embeddings", { method: "POST", body });
    assert.equal((await ask()).status, 200);
    trap("__wbg_model_free");
    server.dispose();
    await new Promise((done) => setTimeout(done, 20));
    trap("job_step");
    await ask().catch(() => {});
    server.dispose();
    await new Promise((done) => setTimeout(done, 20));
    process.off("unhandledRejection", note);
    assert.deepEqual(rejections, []);
  });

  test("a disposal while the model is loaded anew", async () => {
    const model = await load(FOLDER);
    trap("job_step");
    await trapped(() => model.encode(TEXT));
    const next = failure(() => model.encode(TEXT));
    model.dispose();
    assert.equal((await next).code, "disposed");
  });
});
