/**
 * What a tokenizer of the size of real models' takes to load and to run: worker of a bench and of a
 * test.
 */

import { readFile } from "node:fs/promises";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { load } from "gossamer-embed";
import { first } from "./child.mjs";
import { median } from "./numbers.mjs";
import { root } from "./server.mjs";
import { chunks, size } from "./synthetic.mjs";
import { bpe, pieces, text, unigram } from "./vocabulary.mjs";

const TEXTS = 500;
const WORDS = 30;

const json = async (path) => JSON.parse(await readFile(`${root}${path}`, "utf8"));

/** Kind → tokenizer.json and words to make texts of. */
export const KINDS = {
  async "Unigram, 250,002 entries"() {
    const { normalizer } = await json("tests/fixtures/tiny-m3/tokenizer.json");
    const vocabulary = pieces(250_002);
    return [unigram(vocabulary, normalizer), vocabulary];
  },
  async "byte-level BPE, 151,000 merges"() {
    const file = bpe(await json("tests/fixtures/tiny-qwen3/tokenizer.json"), 151_000);
    return [file, Object.keys(JSON.parse(file).model.vocab)];
  },
  async "WordPiece, 30,522 entries (all-MiniLM-L6-v2)"() {
    const file = await readFile(
      `${root}models/sentence-transformers/all-MiniLM-L6-v2/tokenizer.json`,
      "utf8",
    );
    return [file, Object.keys(JSON.parse(file).model.vocab)];
  },
};

/** A model of almost nothing but its tokenizer: one layer of width 2. */
async function model(tokenizer, entries) {
  const norm = (name) => [
    [`${name}.weight`, [2], 1, 0.1],
    [`${name}.bias`, [2], 0, 0.1],
  ];
  const linear = (name) => [
    [`${name}.weight`, [2, 2], 0, 0.1],
    [`${name}.bias`, [2], 0, 0.1],
  ];
  const layer = "encoder.layer.0.";
  const rows = [
    ["embeddings.word_embeddings.weight", [entries, 2], 0, 0.1],
    ["embeddings.position_embeddings.weight", [4096, 2], 0, 0.1],
    ["embeddings.token_type_embeddings.weight", [1, 2], 0, 0.1],
    ...norm("embeddings.LayerNorm"),
    ...["attention.self.query", "attention.self.key", "attention.self.value"].flatMap((name) =>
      linear(layer + name),
    ),
    ...linear(`${layer}attention.output.dense`),
    ...norm(`${layer}attention.output.LayerNorm`),
    ...linear(`${layer}intermediate.dense`),
    ...linear(`${layer}output.dense`),
    ...norm(`${layer}output.LayerNorm`),
  ];
  const config = {
    model_type: "bert",
    vocab_size: entries,
    hidden_size: 2,
    num_hidden_layers: 1,
    num_attention_heads: 1,
    intermediate_size: 2,
    max_position_embeddings: 4096,
    type_vocab_size: 1,
  };
  const weights = new Uint8Array(size(rows));
  let at = 0;
  for (const chunk of chunks(rows)) {
    weights.set(chunk, at);
    at += chunk.length;
  }
  const encode = (value) => new TextEncoder().encode(value);
  return {
    "config.json": encode(JSON.stringify(config)),
    "tokenizer.json": encode(tokenizer),
    "model.safetensors": weights,
  };
}

/** Measures one kind, so many times, in a thread of its own: its wasm memory is its own. */
export async function measureTokenizer(kind, runs) {
  const worker = new Worker(new URL(import.meta.url), { workerData: { kind, runs } });
  try {
    return await first(worker, "message", 300_000);
  } finally {
    await worker.terminate();
  }
}

async function measure({ kind, runs }) {
  const [file, words] = await KINDS[kind]();
  const entries =
    1 + Math.max(words.length, ...Object.values(JSON.parse(file).model.vocab).filter(Number.isInteger));
  const files = await model(file, entries);
  let marks = {};
  const onProgress = ({ status, file: name }) => {
    if (status === "done" && name === "tokenizer.json") marks.start = performance.now();
    if (status === "initiate" && name === "model.safetensors") marks.end = performance.now();
  };
  // A first model of the same shape has compiled the code, and is small.
  const before = (await load(await small(), { onProgress })).info.memoryBytes;
  const loads = [];
  let embedder;
  let memory;
  for (let run = 0; run < runs; run++) {
    embedder?.dispose();
    marks = {};
    embedder = await load(files, { onProgress });
    memory ??= embedder.info.memoryBytes - before;
    loads.push(marks.end - marks.start);
  }
  const texts = Array.from({ length: TEXTS }, (_, i) => text(words, WORDS, 100 + i));
  const ids = [];
  for (const one of texts) ids.push((await embedder.tokenize(one))[0].map(({ id }) => id));
  const time = async (inputs) => {
    const start = performance.now();
    await embedder.encode(inputs);
    return ((performance.now() - start) / TEXTS) * 1000;
  };
  const perText = [];
  for (let run = 0; run < runs; run++) perText.push((await time(texts)) - (await time(ids)));
  return {
    kind,
    fileBytes: file.length,
    loadMilliseconds: median(loads),
    memoryBytes: memory,
    microsecondsPerText: median(perText),
    tokensPerText: ids.reduce((sum, list) => sum + list.length, 0) / TEXTS,
  };
}

async function small() {
  const file = await readFile(`${root}tests/fixtures/tiny-bert/tokenizer.json`, "utf8");
  return model(file, 400);
}

if (!isMainThread && workerData?.kind) parentPort.postMessage(await measure(workerData));
