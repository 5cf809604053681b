/** Ours and theirs behind one face, in a page: `{ embed(texts), close() }`; vectors come back as rows. */

const ID = "sentence-transformers/all-MiniLM-L6-v2";

const rows = (data, width) =>
  Array.from({ length: data.length / width }, (_, i) => data.slice(i * width, (i + 1) * width));

export const engines = {
  async ours() {
    const { load } = await import("gossamer-embed");
    const model = await load(`${location.origin}/models/${ID}`, { dtype: "q8" });
    return {
      about: `${model.info.dtype}, ${model.info.simd}, ${model.info.dotKernel} kernel`,
      embed: async (texts) => {
        const { data } = await model.encode(texts);
        return rows(data, model.info.dimensions);
      },
      close: () => model.dispose(),
    };
  },
  async theirs() {
    const { env, pipeline } = await import("@huggingface/transformers");
    env.allowRemoteModels = false;
    env.allowLocalModels = true;
    env.localModelPath = "/target/bench/models/";
    env.useBrowserCache = false;
    env.backends.onnx.wasm.numThreads = 1;
    env.backends.onnx.wasm.wasmPaths = "/tests/js/bench/peers/node_modules/onnxruntime-web/dist/";
    const extract = await pipeline("feature-extraction", ID, { dtype: "q8", device: "wasm" });
    return {
      about: `transformers.js ${env.version}, q8 per channel, wasm, one thread`,
      embed: async (texts) => {
        const { data, dims } = await extract(texts, { pooling: "mean", normalize: true });
        return rows(data, dims.at(-1));
      },
      close: () => extract.dispose(),
    };
  },
};

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

async function time(embed, texts, calls) {
  const start = performance.now();
  for (let i = 0; i < calls; i++) await embed(texts);
  return (performance.now() - start) / calls / texts.length;
}

/** Milliseconds a text of both, by turns: `{ ours, theirs, ratio }`, medians over the rounds. */
async function duel(both, texts, { rounds, calls }) {
  for (const { embed } of both) await time(embed, texts, calls);
  const times = [[], []];
  for (let round = 0; round < rounds; round++) {
    for (const [i, { embed }] of both.entries()) times[i].push(await time(embed, texts, calls));
  }
  const [ours, theirs] = times.map(median);
  return { ours, theirs, ratio: median(times[1].map((value, i) => value / times[0][i])) };
}

/** All cases of the `cpu` bench. */
globalThis.cpu = async (cases) => {
  const both = [await engines.ours(), await engines.theirs()];
  const results = {};
  for (const [name, { texts, rounds, calls }] of Object.entries(cases)) {
    results[name] = await duel(both, texts, { rounds, calls });
  }
  const [a, b] = await Promise.all(both.map(({ embed }) => embed([Object.values(cases)[0].texts[0]])));
  const cosine = a[0].reduce((sum, value, i) => sum + value * b[0][i], 0);
  for (const { close } of both) await close();
  return { about: both.map(({ about }) => about), results, cosine };
};

/** Milliseconds from the import of the library to the first vector. */
globalThis.start = async (name) => {
  const start = performance.now();
  const { embed } = await engines[name]();
  await embed(["Ships at night"]);
  return performance.now() - start;
};
globalThis.ready = true;
