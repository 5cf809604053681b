/** Ours and theirs behind one face, in a page: `{ about, embed(texts), close() }`. */

import { dot, median } from "/tests/js/support/numbers.mjs";

const MINILM = "sentence-transformers/all-MiniLM-L6-v2";
const SPLADE = "sized-splade-base";
const RERANKER = "sized-reranker";
/** What documents are ranked for. */
const QUERY = "where do ships sleep at night";

/** Waits for a GPU: a Chromium that has just started may say at first that there is none. */
async function gpuReady() {
  for (let i = 0; i < 20; i++) {
    if (await navigator.gpu?.requestAdapter()) return;
    await new Promise((done) => setTimeout(done, 250));
  }
}

/** transformers.js with files of this server only. */
async function transformers(threads) {
  const library = await import("@huggingface/transformers");
  const { env } = library;
  env.allowRemoteModels = false;
  env.allowLocalModels = true;
  env.localModelPath = "/target/bench/models/";
  env.useBrowserCache = false;
  env.backends.onnx.wasm.numThreads = threads;
  env.backends.onnx.wasm.wasmPaths = "/tests/js/bench/peers/node_modules/onnxruntime-web/dist/";
  const about = `transformers.js ${env.version}, q8 per channel, wasm, ${threads} thread${threads > 1 ? "s" : ""}`;
  return { ...library, about };
}

const about = ({ dtype, simd, dotKernel, workers }) =>
  `${dtype}, ${simd}, ${dotKernel} kernel, ${workers > 0 ? `${workers} workers` : "in the page"}`;

const theirsOnGpu = ({ version }) => `transformers.js ${version}, fp32, WebGPU`;
const onGpu = ({ dtype, adapter }) => `${dtype}, WebGPU on ${adapter || "an adapter without a name"}`;

const ours = {
  /** One thread is the page's own, as theirs. */
  async dense(threads, folder = `models/${MINILM}`) {
    const { load } = await import("gossamer-embed");
    const workers = threads > 1 ? threads : 0;
    const model = await load(`${location.origin}/${folder}`, { dtype: "q8", workers });
    return {
      about: about(model.info),
      embed: async (texts) => (await model.encode(texts)).data,
      close: () => model.dispose(),
    };
  },
  /** In `dtype`, as a page's own thread drives it. */
  async gpu(dtype, folder = `models/${MINILM}`) {
    const { load } = await import("gossamer-embed");
    const model = await load(`${location.origin}/${folder}`, { dtype, device: "webgpu" });
    return {
      about: onGpu(model.info),
      embed: async (texts) => (await model.encode(texts)).data,
      tokens: async (texts) => (await model.encode(texts)).tokens.reduce((sum, count) => sum + count),
      close: () => model.dispose(),
    };
  },
  async sparse(_, options = { dtype: "q8" }) {
    const { load } = await import("gossamer-embed");
    const [config, tokenizer, weights] = await Promise.all(
      [
        `tests/fixtures/${SPLADE}/config.json`,
        `models/${MINILM}/tokenizer.json`,
        `tests/fixtures/${SPLADE}/model.safetensors`,
      ].map((path) => fetch(`/${path}`)),
    );
    const files = { "config.json": config, "tokenizer.json": tokenizer, "model.safetensors": weights };
    const model = await load(files, options);
    return {
      about: options.device ? onGpu(model.info) : about(model.info),
      embed: (texts) => model.encodeSparse(texts),
      close: () => model.dispose(),
    };
  },
  async rerank(threads) {
    const { load } = await import("gossamer-embed");
    const fixture = "tests/fixtures/rerankers/sized-minilm";
    const [config, tokenizer, weights] = await Promise.all(
      [`${fixture}/config.json`, `models/${MINILM}/tokenizer.json`, `${fixture}/model.safetensors`].map(
        (path) => fetch(`/${path}`),
      ),
    );
    const files = { "config.json": config, "tokenizer.json": tokenizer, "model.safetensors": weights };
    const model = await load(files, { dtype: "q8", workers: threads > 1 ? threads : 0 });
    return {
      about: about(model.info),
      embed: async (texts) => {
        const ranked = await model.rerank(QUERY, texts, { activation: "identity" });
        return ranked.sort((a, b) => a.index - b.index).map(({ score }) => score);
      },
      close: () => model.dispose(),
    };
  },
  sparseGpu: (dtype) => ours.sparse(1, { dtype, device: "webgpu" }),
};

const theirs = {
  async dense(threads) {
    const { pipeline, about } = await transformers(threads);
    const extract = await pipeline("feature-extraction", MINILM, { dtype: "q8", device: "wasm" });
    return {
      about,
      embed: async (texts) => (await extract(texts, { pooling: "mean", normalize: true })).data,
      close: () => extract.dispose(),
    };
  },
  /** In f32: its 8 bits are not for WebGPU. */
  async gpu() {
    const { pipeline, env } = await transformers(1);
    const extract = await pipeline("feature-extraction", MINILM, { dtype: "fp32", device: "webgpu" });
    return {
      about: theirsOnGpu(env),
      embed: async (texts) => (await extract(texts, { pooling: "mean", normalize: true })).data,
      close: () => extract.dispose(),
    };
  },
  async sparse(threads, options = { dtype: "q8", device: "wasm" }) {
    const { AutoModelForMaskedLM, AutoTokenizer, about, env } = await transformers(threads);
    const tokenizer = await AutoTokenizer.from_pretrained(SPLADE);
    const model = await AutoModelForMaskedLM.from_pretrained(SPLADE, options);
    return {
      about: options.device === "wasm" ? about : theirsOnGpu(env),
      embed: async (texts) => {
        const inputs = await tokenizer(texts, { padding: true, truncation: true });
        const { logits } = await model(inputs);
        return weights(logits, inputs.attention_mask);
      },
      close: () => model.dispose(),
    };
  },
  async rerank(threads) {
    const { AutoModelForSequenceClassification, AutoTokenizer, about } = await transformers(threads);
    const tokenizer = await AutoTokenizer.from_pretrained(RERANKER);
    const model = await AutoModelForSequenceClassification.from_pretrained(RERANKER, {
      dtype: "q8",
      device: "wasm",
    });
    return {
      about,
      embed: async (texts) => {
        const queries = texts.map(() => QUERY);
        const inputs = await tokenizer(queries, { text_pair: texts, padding: true, truncation: true });
        return (await model(inputs)).logits.data;
      },
      close: () => model.dispose(),
    };
  },
  sparseGpu: () => theirs.sparse(1, { dtype: "fp32", device: "webgpu" }),
};

/**
 * SPLADE's maximum over tokens, as people write it where the runtime has none: sparse
 * `{ indices, values }`.
 */
function weights({ data, dims: [texts, tokens, vocabulary] }, { data: mask }) {
  return Array.from({ length: texts }, (_, text) => {
    const most = new Float32Array(vocabulary);
    for (let token = 0; token < tokens; token++) {
      if (!mask[text * tokens + token]) continue;
      const row = data.subarray((text * tokens + token) * vocabulary);
      for (let i = 0; i < vocabulary; i++) if (row[i] > most[i]) most[i] = row[i];
    }
    const indices = Array.from(most.keys()).filter((i) => most[i] > 0);
    return { indices, values: indices.map((i) => Math.log1p(most[i])) };
  });
}

async function time(embed, texts, calls) {
  const start = performance.now();
  for (let i = 0; i < calls; i++) await embed(texts);
  return (performance.now() - start) / calls / texts.length;
}

/** Milliseconds a text of both, by turns: `{ ours, theirs, ratio }`, medians over the rounds. */
async function duel(both, { texts, rounds, calls }) {
  for (const { embed } of both) await time(embed, texts, calls);
  const times = [[], []];
  for (let round = 0; round < rounds; round++) {
    for (const [i, { embed }] of both.entries()) times[i].push(await time(embed, texts, calls));
  }
  const [ours, theirs] = times.map(median);
  return { ours, theirs, ratio: median(times[1].map((value, i) => value / times[0][i])) };
}

/**
 * Some cases of one kind of vectors, with so many threads or in a dtype: what ran, the times, and
 * of dense vectors the cosine of ours and theirs.
 */
globalThis.compare = async (kind, how, cases) => {
  if (kind.toLowerCase().endsWith("gpu")) await gpuReady();
  const both = [await ours[kind](how), await theirs[kind](how)];
  const results = {};
  for (const [name, one] of Object.entries(cases)) results[name] = await duel(both, one);
  const text = Object.values(cases)[0].texts.slice(0, 1);
  const [a, b] = await Promise.all(both.map(({ embed }) => embed(text)));
  for (const { close } of both) await close();
  return {
    about: both.map(({ about }) => about),
    results,
    cosine: kind.startsWith("sparse") || kind === "rerank" ? undefined : dot(a, b),
  };
};

/** What ours is, and how many tokens of some texts it takes in a second. */
globalThis.throughput = async (dtype, folder, { texts, rounds }) => {
  await gpuReady();
  const { about, embed, tokens, close } = await ours.gpu(dtype, folder);
  const count = await tokens(texts);
  const times = [];
  for (let round = 0; round < rounds; round++) times.push(await time(embed, texts, 1));
  close();
  return { about, tokensPerSecond: (1000 * count) / (median(times) * texts.length) };
};

/**
 * What `"auto"` finds for MiniLM: what it ran on, seconds of the load with the measurement in it
 * and without, the tokens from which on it takes the GPU, and by number of tokens the milliseconds
 * of a call on each.
 */
globalThis.auto = async (dtype, cases) => {
  await gpuReady();
  const { load } = await import("gossamer-embed");
  const open = async (device) => {
    const start = performance.now();
    const model = await load(`${location.origin}/models/${MINILM}`, { dtype, device });
    return { model, seconds: (performance.now() - start) / 1000 };
  };
  const measured = await open("auto");
  const { adapter, gpuFrom } = measured.model.info;
  measured.model.dispose();
  // It remembers.
  const known = await open("auto");
  known.model.dispose();
  const both = [await open("cpu"), await open("webgpu")];
  const times = {};
  for (const [name, texts] of Object.entries(cases)) {
    const engines = both.map(({ model }) => ({ embed: (texts) => model.encode(texts) }));
    const { ours, theirs } = await duel(engines, { texts, rounds: 5, calls: 1 });
    times[name] = { cpu: ours * texts.length, gpu: theirs * texts.length };
  }
  const [{ info }] = both.map(({ model }) => model);
  const what = `${adapter}; the CPU: ${about(info)}`;
  for (const { model } of both) model.dispose();
  return { about: what, gpuFrom, seconds: measured.seconds, again: known.seconds, times };
};

/**
 * Multiplications with their additions that the GPU does in a second in f32, on registers alone.
 */
globalThis.peak = async () => {
  await gpuReady();
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  const device = await adapter.requestDevice();
  const [groups, size, steps] = [4096, 256, 1024];
  const code = `
    @group(0) @binding(0) var<storage, read_write> out: array<vec4f>;
    @compute @workgroup_size(${size}) fn main(@builtin(global_invocation_id) id: vec3u) {
      var a = vec4f(f32(id.x)); var b = a + 1.0; var c = a + 2.0; var d = a + 3.0;
      let x = vec4f(0.999); let y = vec4f(0.001);
      for (var i = 0u; i < ${steps}u; i++) { a = fma(a, x, y); b = fma(b, x, y); c = fma(c, x, y); d = fma(d, x, y); }
      out[id.x] = a + b + c + d;
    }`;
  const module = device.createShaderModule({ code });
  const compute = { module, entryPoint: "main" };
  const pipeline = await device.createComputePipelineAsync({ layout: "auto", compute });
  const buffer = device.createBuffer({ size: groups * size * 16, usage: GPUBufferUsage.STORAGE });
  const entries = [{ binding: 0, resource: { buffer } }];
  const bindGroup = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  /** Seconds of so many runs in one submission. */
  const run = async (times) => {
    const start = performance.now();
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindGroup);
    for (let i = 0; i < times; i++) pass.dispatchWorkgroups(groups);
    pass.end();
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
    return (performance.now() - start) / 1000;
  };
  await run(1);
  // A fast card needs many, for a submission takes a millisecond of its own.
  const times = Math.max(1, Math.min(200, Math.round(0.2 / (await run(1)))));
  const difference = async () => (await run(2 * times)) - (await run(times));
  const seconds = median([await difference(), await difference(), await difference()]);
  device.destroy();
  return (groups * size * steps * 16 * times) / seconds;
};

/** Milliseconds from the import of the library to the first vector; ours from any folder. */
globalThis.start = async (name, folder) => {
  const start = performance.now();
  const { embed } = await { ours, theirs }[name].dense(1, folder);
  await embed(["Ships at night"]);
  return performance.now() - start;
};
/** Seconds that a model's weights take to arrive, and nothing else. */
globalThis.fetchAlone = async (name) => {
  const start = performance.now();
  const { body } = await fetch(`/target/bench/models/${name}/model.safetensors`);
  for await (const _ of body) {
  }
  return { seconds: (performance.now() - start) / 1000 };
};

/** Seconds to load it as q8, and the memory that it then takes. */
globalThis.loadLarge = async (name) => {
  const { load } = await import("gossamer-embed");
  const start = performance.now();
  const model = await load(`${location.origin}/target/bench/models/${name}`, { dtype: "q8" });
  const seconds = (performance.now() - start) / 1000;
  const { weightBytes, memoryBytes } = model.info;
  await model.encode("Ships at night");
  model.dispose();
  return { seconds, weightBytes, memoryBytes };
};
globalThis.ready = true;
