/** Models on a GPU, in a browser that has one, or plays one. */

import { assert } from "chai";
import { cache, load, modelCache } from "gossamer-embed";
import { failure, reference, rows, texts } from "../support/models.mjs";

const LIST = "tiny-texts.json";
const folder = (name) => `tests/fixtures/${name}/`;
const TEXTS = ["Ships at night", "A harbour in the fog, and the last ferry of the evening, which is late."];

/** Loads, and gives the warnings too. */
async function open(origin, name, options) {
  const warnings = [];
  const onWarning = ({ code, message }) => warnings.push({ code, message });
  const model = await load(`${origin}/${folder(name)}`, {
    dtype: "f32",
    device: "webgpu",
    onWarning,
    ...options,
  });
  return { model, warnings };
}

function cosine(a, b) {
  let [dot, aa, bb] = [0, 0, 0];
  for (const [i, x] of a.entries()) {
    dot += x * b[i];
    aa += x * x;
    bb += b[i] * b[i];
  }
  return dot / Math.sqrt(aa * bb);
}

function alike(ours, theirs, least, what) {
  assert.equal(ours.length, theirs.length, what);
  const empty = theirs.every((value) => value === 0);
  if (!empty) assert.isAtLeast(cosine(ours, theirs), least, what);
}

function widened({ indices, values }, width) {
  const all = new Float32Array(width);
  for (const [at, index] of indices.entries()) all[index] = values[at];
  return all;
}

/** Every kind of vector that a model has. */
async function everything(model, inputs) {
  const { outputs, dimensions } = model.info;
  const asked = Object.fromEntries(outputs.map((kind) => [kind === "colbert" ? "tokens" : kind, true]));
  const { dense, sparse = [], tokens = [] } = await model.encodeMulti(inputs, asked);
  const width = Math.max(dimensions, ...sparse.map(({ indices }) => (indices.at(-1) ?? 0) + 1), 2000);
  return [
    ...(dense ? rows(dense) : []),
    ...sparse.map((vector) => widened(vector, width)),
    ...tokens.map(({ data }) => data),
  ];
}

/** Has what `change` makes of them take the place of kernels, until it is called off. */
function plant(change) {
  const { prototype } = globalThis.GPUDevice;
  const original = prototype.createShaderModule;
  prototype.createShaderModule = function (descriptor) {
    return original.call(this, { ...descriptor, code: change(descriptor.code) });
  };
  return () => {
    prototype.createShaderModule = original;
  };
}

/** Takes note of the devices that are made from here on. */
function devices() {
  const { prototype } = globalThis.GPUAdapter;
  const original = prototype.requestDevice;
  const all = [];
  prototype.requestDevice = async function (...args) {
    const device = await original.apply(this, args);
    all.push(device);
    return device;
  };
  return { all, stop: () => Object.assign(prototype, { requestDevice: original }) };
}

/**
 * Has GPUs refuse the buffers that `isTooMuch` says, as drivers do that have no memory, until it is
 * called off.
 */
function exhaust(isTooMuch) {
  const { prototype } = globalThis.GPUDevice;
  const { createBuffer, popErrorScope } = prototype;
  const short = new Set();
  Object.assign(prototype, {
    createBuffer(descriptor) {
      if (!isTooMuch(descriptor)) return createBuffer.call(this, descriptor);
      short.add(this);
      this.pushErrorScope("validation");
      // One that is none.
      const buffer = createBuffer.call(this, { ...descriptor, usage: 0 });
      popErrorScope.call(this);
      return buffer;
    },
    async popErrorScope() {
      const isShort = short.delete(this);
      const error = await popErrorScope.call(this);
      return isShort ? new globalThis.GPUOutOfMemoryError("there is no memory") : error;
    },
  });
  return () => Object.assign(prototype, { createBuffer, popErrorScope });
}

const wrongly = (code) => code.replace("max(x, 0.0) - a * p", "max(x, 0.0) + a * p");

/**
 * Each head, and each dtype; native tests have them all with each other. SwiftShader takes seconds
 * to compile kernels.
 */
const MODELS = [
  ["tiny-dense", "f32", 0.99999],
  ["tiny-dense", "f16", 0.99999],
  ["tiny-dense", "q8", 0.999],
  ["tiny-dense", "q4", 0.999],
  ["tiny-splade", "q8", 0.999],
  ["tiny-m3", "f32", 0.99999],
  ["tiny-qwen3", "f32", 0.99999],
  // Experts, the adapters of tasks, and a projection of each state.
  ["tiny-nomic-moe", "f32", 0.99999],
  ["tiny-jina-v3", "f32", 0.99999],
  ["tiny-voyage", "f32", 0.99999],
];

const cases = {
  "late interaction: expansion tokens are no keys": async ({ origin }) => {
    const { model, warnings } = await open(origin, "colbert/pylate");
    assert.equal(model.info.device, "webgpu");
    assert.isEmpty(warnings);
    const list = await texts(origin, LIST);
    const theirs = await reference(origin, "colbert/pylate/reference.safetensors");
    for (const task of ["query", "document"]) {
      const ours = (await model.encodeTokens(list, { task })).flatMap((vectors) => rows(vectors));
      const expected = rows(theirs[task]);
      assert.lengthOf(ours, expected.length);
      for (const [at, row] of ours.entries()) alike(row, expected[at], 0.99999, `${task}, vector ${at}`);
    }
    model.dispose();
  },

  "MiniLM equals sentence-transformers": async ({ origin }) => {
    const model = await load("org/minilm", {
      endpoint: `${origin}/hub`,
      dtype: "f32",
      device: "webgpu",
      cache: false,
    });
    assert.equal(model.info.device, "webgpu");
    const all = await texts(origin, "texts.json");
    const theirs = rows((await reference(origin, "minilm.safetensors")).embeddings);
    const some = all
      .map((text, i) => [text, theirs[i]])
      .filter(([text], i) => i % 16 === 0 && text.length < 200);
    assert.isAtLeast(some.length, 3);
    const ours = rows(await model.encode(some.map(([text]) => text)));
    for (const [i, vector] of ours.entries()) alike(vector, some[i][1], 0.99999, `text ${i}`);
    model.dispose();
  },

  "every head and every dtype equals the CPU": async ({ origin }) => {
    const inputs = (await texts(origin, LIST)).slice(0, 4);
    for (const [name, dtype, least] of MODELS) {
      const { model, warnings } = await open(origin, name, { dtype });
      const { model: cpu } = await open(origin, name, { dtype, device: "cpu" });
      assert.deepEqual(warnings, [], name);
      assert.equal(model.info.spaceId, cpu.info.spaceId);
      const [ours, theirs] = [await everything(model, inputs), await everything(cpu, inputs)];
      for (const [i, vector] of ours.entries()) alike(vector, theirs[i], least, `${name}, ${dtype}, ${i}`);
      model.dispose();
      cpu.dispose();
    }
  },

  "all kernels are compiled at load": async ({ origin }) => {
    const { prototype } = globalThis.GPUDevice;
    const { createComputePipeline } = prototype;
    let made = 0;
    prototype.createComputePipeline = function (descriptor) {
      made++;
      return createComputePipeline.call(this, descriptor);
    };
    try {
      for (const name of ["tiny-qwen3", "tiny-splade"]) {
        const { model } = await open(origin, name, { dtype: "q8" });
        const before = made;
        assert.isAbove(before, 0);
        const [tokens] = await model.tokenize("a");
        const own = tokens.filter(({ special }) => special).map(({ id }) => id);
        const place = tokens.findIndex(({ special }) => !special);
        // Tiles of 16, 32 and 64 tokens.
        for (const length of [5, 20, 60]) {
          const middle = Array.from({ length: length - own.length }, (_, i) => 5 + (i % 40));
          const ids = own.toSpliced(place, 0, ...middle);
          await (model.info.kind === "dense" ? model.encode([ids]) : model.encodeSparse([ids]));
        }
        assert.equal(made, before, name);
        made = 0;
        model.dispose();
      }
    } finally {
      prototype.createComputePipeline = createComputePipeline;
    }
  },

  "calls that overlap, and one that is given up": async ({ origin }) => {
    const { model } = await open(origin, "tiny-bert");
    const alone = [];
    for (const text of TEXTS) alone.push(rows(await model.encode(text))[0]);
    const controller = new AbortController();
    const given = failure(() => model.encode(TEXTS, { signal: controller.signal }));
    const together = TEXTS.map((text) => model.encode(text));
    controller.abort();
    assert.equal((await given).code, "aborted");
    for (const [i, encoded] of (await Promise.all(together)).entries()) {
      assert.deepEqual(rows(encoded)[0], alone[i]);
    }
    const { code } = await failure(() => model.encode([...TEXTS, 5]));
    assert.equal(code, "invalid_input");
    model.dispose();
  },

  "a planted wrong kernel is caught": async ({ origin }) => {
    const remove = plant(wrongly);
    try {
      const { code, message } = await failure(() => open(origin, "tiny-bert"));
      assert.equal(code, "gpu_wrong");
      assert.match(message, /cosine of -?0\.\d+/);
      const { model, warnings } = await open(origin, "tiny-bert", { device: "auto" });
      assert.equal(model.info.device, "cpu");
      assert.deepEqual(
        warnings.map(({ code }) => code),
        ["gpu_unused"],
      );
      assert.match(warnings[0].message, /computes wrongly/);
      const { model: cpu } = await open(origin, "tiny-bert", { device: "cpu" });
      assert.deepEqual(await model.encode(TEXTS), await cpu.encode(TEXTS));
      model.dispose();
      cpu.dispose();
    } finally {
      remove();
    }
  },

  "DeBERTa runs on the CPU": async ({ origin }) => {
    const { code, message } = await failure(() => open(origin, "tiny-deberta"));
    assert.equal(code, "unsupported_model");
    assert.include(message, 'choose device "cpu"');
    const { model, warnings } = await open(origin, "tiny-deberta", { device: "auto" });
    assert.equal(model.info.device, "cpu");
    assert.deepEqual(
      warnings.map(({ code }) => code),
      ["gpu_unused"],
    );
    const { model: cpu } = await open(origin, "tiny-deberta", { device: "cpu" });
    assert.deepEqual(await model.encode(TEXTS), await cpu.encode(TEXTS));
    model.dispose();
    cpu.dispose();
  },

  "a kernel that does not compile is an error": async ({ origin }) => {
    const remove = plant((code) => code.replace("fn norm(", "fn norm(nonsense "));
    try {
      assert.equal((await failure(() => open(origin, "tiny-bert"))).code, "internal");
    } finally {
      remove();
    }
  },

  "a lost device is replaced once, and then the CPU does it": async ({ origin }) => {
    const made = devices();
    try {
      const { model } = await open(origin, "tiny-bert");
      const before = await model.encode(TEXTS);
      made.all[0].destroy();
      assert.deepEqual(await model.encode(TEXTS), before);
      assert.lengthOf(made.all, 2);
      made.all[1].destroy();
      assert.equal((await failure(() => model.encode(TEXTS))).code, "gpu_lost");
      model.dispose();

      const { model: both } = await open(origin, "tiny-bert", { device: "auto" });
      const { model: cpu } = await open(origin, "tiny-bert", { device: "cpu" });
      made.all[2].destroy();
      assert.deepEqual(await both.encode(TEXTS), await cpu.encode(TEXTS));
      both.dispose();
      cpu.dispose();
    } finally {
      made.stop();
    }
  },

  "memory that runs out is an error, and the model goes on": async ({ origin }) => {
    const { model } = await open(origin, "tiny-bert");
    const before = await model.encode(TEXTS);
    const many = Array.from({ length: 64 }, (_, i) => `${TEXTS[1]} ${i}`);
    let stop = exhaust(() => true);
    try {
      // What is taken already is enough for these.
      assert.deepEqual(await model.encode(TEXTS), before);
      const { code, message } = await failure(() => model.encode(many));
      assert.equal(code, "out_of_memory");
      assert.match(message, /no room for \d+ bytes beside the \d+ /);
      assert.equal((await failure(() => open(origin, "tiny-bert"))).code, "out_of_memory");
      const { model: other, warnings } = await open(origin, "tiny-bert", { device: "auto" });
      assert.equal(other.info.device, "cpu");
      assert.match(warnings[0].message, /no room for \d+ bytes/);
      const { model: cpu } = await open(origin, "tiny-bert", { device: "cpu" });
      assert.deepEqual(await other.encode(TEXTS), await cpu.encode(TEXTS));
      for (const one of [other, cpu]) one.dispose();
    } finally {
      stop();
    }
    assert.lengthOf(rows(await model.encode(many)), many.length);
    assert.deepEqual(await model.encode(TEXTS), before);
    // Some matrix in the midst of loading.
    let buffers = 0;
    stop = exhaust(() => buffers++ === 20);
    try {
      assert.equal((await failure(() => open(origin, "tiny-bert"))).code, "out_of_memory");
    } finally {
      stop();
    }
    model.dispose();
  },

  "what only the GPU has is kept, and saved": async ({ origin }) => {
    const values = new Map();
    const store = {
      get: (name) => values.get(name),
      put: (name, value) => void values.set(name, value.slice()),
      delete: (name) => void values.delete(name),
    };
    const warnings = [];
    const options = { endpoint: `${origin}/hub`, cache: store, onWarning: ({ code }) => warnings.push(code) };
    for (const dtype of ["q4", "f16"]) {
      const model = await load("org/tiny", { ...options, dtype, device: "webgpu" });
      const expected = await model.encode(TEXTS);
      assert.isTrue(await model.cached);
      const again = await load("org/tiny", { ...options, dtype, device: "webgpu", offline: true });
      assert.deepEqual(await again.encode(TEXTS), expected);
      // To the CPU it is what the CPU would have kept.
      const here = await load("org/tiny", { ...options, dtype, device: "cpu", offline: true });
      const cpu = await load("org/tiny", { endpoint: `${origin}/hub`, dtype, device: "cpu", cache: false });
      assert.deepEqual(await here.encode(TEXTS), await cpu.encode(TEXTS));
      assert.equal(here.info.spaceId, model.info.spaceId);
      for (const one of [model, again, here, cpu]) one.dispose();
    }
    assert.deepEqual(warnings, []);
    const kept = await modelCache(store).list();
    assert.sameMembers(
      kept.map(({ dtype }) => dtype),
      ["q4", "f16"],
    );
  },

  "auto measures once": async ({ origin }) => {
    await cache.clear();
    const { model, warnings } = await open(origin, "tiny-bert", { device: "auto" });
    assert.deepEqual(warnings, []);
    const notes = await caches.open("gossamer-embed-gpu");
    const [note] = await notes.keys();
    // Of this GPU: where it is slower, "auto" says nothing of it.
    const { model: there } = await open(origin, "tiny-bert");
    const { adapter } = there.info;
    there.dispose();
    assert.isNotEmpty(adapter);
    assert.include(decodeURIComponent(note.url), `${adapter} ${model.info.spaceId}`);
    // What is remembered is believed.
    await notes.put(note, new Response("7"));
    const { model: again } = await open(origin, "tiny-bert", { device: "auto" });
    assert.deepInclude(again.info, { device: "webgpu", gpuFrom: 7 });
    await notes.put(note, new Response("Infinity"));
    const { model: never } = await open(origin, "tiny-bert", { device: "auto" });
    assert.equal(never.info.device, "cpu");
    for (const one of [model, again, never]) one.dispose();
    // It goes with the models.
    await cache.clear();
    assert.isFalse(await caches.has("gossamer-embed-gpu"));
  },

  "in a worker": async ({ origin }) => {
    const { model } = await open(origin, "tiny-bert", { workers: 1 });
    assert.deepInclude(model.info, { device: "webgpu", workers: 1 });
    const { model: here } = await open(origin, "tiny-bert");
    assert.deepEqual(await model.encode(TEXTS), await here.encode(TEXTS));
    model.dispose();
    here.dispose();
  },

  "options that make no sense": async ({ origin }) => {
    const { code, message } = await failure(() => open(origin, "tiny-bert", { device: "gpu" }));
    assert.equal(code, "invalid_input");
    assert.include(message, '"webgpu"');
  },
};

/** Where there is no GPU. */
const without = {
  "webgpu is an error, and auto the CPU": async ({ origin }) => {
    assert.equal((await failure(() => open(origin, "tiny-bert"))).code, "no_gpu");
    const { model, warnings } = await open(origin, "tiny-bert", { device: "auto" });
    assert.deepEqual([model.info.device, warnings], ["cpu", []]);
    model.dispose();
  },
};

export const topics = { cases, without };
