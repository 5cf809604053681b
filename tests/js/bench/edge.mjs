/**
 * An edge worker in Cloudflare's runtime: memory under load, and CPU time from a cold isolate. CPU
 * time and resident memory are those of the whole runtime, the simulator of R2 in it included: what
 * only reading from it costs stands beside them.
 */

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { load } from "gossamer-embed";
import { run } from "../support/child.mjs";
import { median } from "../support/numbers.mjs";
import { saveInto } from "../support/save.mjs";
import { root, serve } from "../support/server.mjs";
import { staticFiles } from "../support/static-table.mjs";
import * as synthetic from "../support/synthetic.mjs";
import { bundle, fill, heap, startWorker } from "../support/workers.mjs";
import { text, texts } from "./pages.mjs";

const STARTS = 5;
const REQUESTS = 200;
const CLIENTS = 16;
const MINILM = "models/sentence-transformers/all-MiniLM-L6-v2/";
const SAVED = "target/bench/models/";
const MODELS = { minilm: `${SAVED}minilm-q8/`, splade: `${SAVED}sized-splade-minilm-q8/` };

/** Both models, saved in 8 bits. */
async function save() {
  const server = await serve();
  const folder = `${server.origin}/tests/fixtures/sized-splade-minilm/`;
  const splade = {
    "config.json": await fetch(`${folder}config.json`),
    "tokenizer.json": await readFile(`${root}${MINILM}tokenizer.json`),
    "model.safetensors": await fetch(`${folder}model.safetensors`),
  };
  for (const [name, source] of Object.entries({ minilm: root + MINILM, splade })) {
    const model = await load(source, { saveable: true });
    await saveInto(root + MODELS[name], model);
    model.dispose();
  }
  await server.close();
}

const runtime = async () => (await run("pgrep", ["-P", String(process.pid), "workerd"])).stdout.trim();

/**
 * CPU time of the runtime so far, in milliseconds: of all threads, and of the one that runs
 * JavaScript.
 */
async function cpuTime() {
  const pid = await runtime();
  const tasks = await readdir(`/proc/${pid}/task`);
  const times = tasks.map(async (task) => {
    const line = await readFile(`/proc/${pid}/task/${task}/schedstat`, "utf8");
    return [task, Number(line.split(" ")[0]) / 1e6];
  });
  const byTask = new Map(await Promise.all(times));
  return { all: [...byTask.values()].reduce((sum, time) => sum + time), own: byTask.get(pid) };
}

/** Resident memory of the runtime in bytes: `VmRSS` now, `VmHWM` at most. */
async function resident(field) {
  const status = await readFile(`/proc/${await runtime()}/status`, "utf8");
  return 1024 * Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)[1]);
}

/** CPU time that a call takes, if several on average. */
async function timed(call, times = 1) {
  const start = await cpuTime();
  for (let i = 0; i < times; i++) await call(i);
  const end = await cpuTime();
  return { all: (end.all - start.all) / times, own: (end.own - start.own) / times };
}

async function ask(worker, body, path = "") {
  const headers = { "content-type": "application/json" };
  const init = { method: "POST", headers, body: JSON.stringify(body) };
  const response = await worker.dispatchFetch(`http://worker/${path}`, init);
  if (!response.ok) throw new Error(await response.text());
  const answer = await response.text();
  return answer && JSON.parse(answer);
}

/** Uses a worker, of which there is never more than one. */
async function using(options, use) {
  const worker = await startWorker(options);
  try {
    return await use(worker);
  } finally {
    await worker.dispose();
  }
}

const script = await bundle("tests/js/support/edge-worker.mjs");

/** CPU time with the model in R2, from the first request to the first vector. */
async function coldStart() {
  return using({ ...script, r2Buckets: ["MODELS"] }, async (worker) => {
    await fill(worker, { minilm: MODELS.minilm });
    const files = await readdir(root + MODELS.minilm, { recursive: true, withFileTypes: true });
    const paths = files
      .filter((file) => file.isFile())
      .map((file) => join(file.parentPath, file.name).replace(root + MODELS.minilm, "minilm/"));
    // At first the simulator itself is cold.
    await ask(worker, { paths });
    return {
      reading: await timed(() => ask(worker, { paths })),
      first: await timed(() => ask(worker, { model: "minilm", texts: text(16) })),
      second: await timed(() => ask(worker, { model: "minilm", texts: text(16) })),
    };
  });
}

/**
 * CPU time of a worker that is a tokenizer and a table of weights: its first request, and later
 * ones.
 */
async function sparseQuery(tokenizer) {
  const entries = JSON.parse(tokenizer).model.vocab;
  const table = new Blob([...synthetic.chunks([["weight", [Object.keys(entries).length], 1, 1]])]);
  const files = {
    "query/config.json.bin": '{"frozen":true}',
    "query/tokenizer.json.bin": tokenizer,
    "query/model.safetensors.bin": new Uint8Array(await table.arrayBuffer()),
  };
  return using(await bundle("examples/cloudflare-sparse-query/src/index.ts", files), async (worker) => {
    const query = (i) => ask(worker, { inputs: text(10, i) }, "embed_sparse");
    return { first: await timed(query), later: await timed(query, REQUESTS) };
  });
}

/** The same of one with a static table of potion-base-8M's size in 8 bits. */
async function staticTable(tokenizer) {
  const model = await load(staticFiles(tokenizer), { saveable: true });
  const files = {};
  for (const { path, stream } of await model.save()) {
    files[`model/${path}.bin`] = new Uint8Array(await new Response(stream()).arrayBuffer());
  }
  model.dispose();
  return using(await bundle("examples/cloudflare-static/src/index.ts", files), async (worker) => {
    const query = (i) => ask(worker, { inputs: text(10, i) }, "embed");
    return { first: await timed(query), later: await timed(query, REQUESTS) };
  });
}

/** CPU time of the runtime until it is ready. */
async function startUp(options) {
  return using(options, cpuTime);
}

/**
 * The most memory while many ask at once; wasm memory never shrinks. Files come from this process,
 * so that no simulator holds them.
 */
async function underLoad(models) {
  const FILES = async (request) => {
    const path = new URL(request.url).pathname.slice(1);
    const name = path.slice(0, path.indexOf("/"));
    const file = root + MODELS[name] + path.slice(name.length + 1);
    const bytes = await readFile(file).catch(() => undefined);
    return new Response(bytes, { status: bytes ? 200 : 404 });
  };
  return using({ ...script, serviceBindings: { FILES } }, async (worker) => {
    const before = await resident("VmRSS");
    let wasm = 0;
    const most = { heap: 0, buffers: 0, both: 0 };
    let left = REQUESTS;
    const client = async (_, i) => {
      while (left-- > 0) {
        // One text of up to 256 tokens, or several short ones.
        const inputs = left % 4 === 0 ? texts(Array(8).fill(32)) : [text([16, 64, 256][left % 3], 7 * left)];
        const model = models[(left + i) % models.length];
        wasm = (await ask(worker, { model, texts: inputs })).memoryBytes;
      }
    };
    const clients = Promise.all(Array.from({ length: CLIENTS }, client));
    let done = false;
    clients.finally(() => {
      done = true;
    });
    while (!done) {
      const { used, buffers } = await heap(worker);
      most.heap = Math.max(most.heap, used);
      most.buffers = Math.max(most.buffers, buffers);
      most.both = Math.max(most.both, used + buffers);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await clients;
    return { ...most, wasm, isolate: wasm + most.both, before, rss: await resident("VmHWM") };
  });
}

const megabytes = (bytes) => Number((bytes / 1e6).toFixed(1));
/** The middle of several measurements, each `{ name: { all, own } }`. */
async function repeated(measure) {
  const results = [];
  for (let i = 0; i < STARTS; i++) results.push(await measure());
  const middle = (name, field) => median(results.map((result) => result[name][field]));
  const names = Object.keys(results[0]);
  return Object.fromEntries(
    names.map((name) => [name, { all: middle(name, "all"), own: middle(name, "own") }]),
  );
}
const minus = (a, b) => ({ all: a.all - b.all, own: a.own - b.own });
const row = (what, { all, own }) => ({
  what,
  "all threads, ms": Number(all.toPrecision(2)),
  "JavaScript thread, ms": Number(own.toPrecision(2)),
});

await save();
const memory = [];
for (const models of [["minilm"], ["minilm", "splade"]]) {
  const { wasm, heap, buffers, isolate, before, rss } = await underLoad(models);
  memory.push({
    models: models.join(", "),
    "isolate at most, MB": megabytes(isolate),
    wasm: megabytes(wasm),
    heap: megabytes(heap),
    buffers: megabytes(buffers),
    "runtime resident at most": megabytes(rss),
    before: megabytes(before),
  });
}
console.table(memory);

const empty = { modules: true, script: "export default { fetch: () => new Response() }" };
const example = await bundle("examples/cloudflare-worker/src/index.ts");
const start = await repeated(async () => ({
  example: await startUp(example),
  empty: await startUp(empty),
}));
const cold = await repeated(coldStart);
const tokenizer = await readFile(`${root}${MINILM}tokenizer.json`);
const tiny = await readFile(`${root}tests/fixtures/tiny-bert/tokenizer.json`);
const query = await repeated(() => sparseQuery(tokenizer));
const table = await repeated(() => staticTable(tokenizer));
const without = await repeated(() => sparseQuery(tiny));
console.table([
  row("start-up of the worker, beyond that of an empty one", minus(start.example, start.empty)),
  row("MiniLM in R2: from the first request to the first vector", cold.first),
  row("… of which: reading from R2", cold.reading),
  row("… of which: the tokenizer", minus(query.first, without.first)),
  row("MiniLM: a short text later", cold.second),
  row("inference-free query: the first", query.first),
  row("inference-free query: later ones", query.later),
  row("static table: the first request", table.first),
  row("static table: later ones", table.later),
]);
