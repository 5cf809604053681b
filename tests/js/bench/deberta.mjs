/**
 * Tokens a second of mxbai-rerank-base-v1's shapes (DeBERTa-v3 base) against BERT of the same size,
 * side by side in one thread of this runtime: what attention that compares contents with positions
 * costs. Two of the twelve layers, random weights.
 */

import { readFile } from "node:fs/promises";
import { load } from "gossamer-embed";
import { median } from "../support/numbers.mjs";
import { root } from "../support/server.mjs";
import * as synthetic from "../support/synthetic.mjs";

const [HIDDEN, INNER, LAYERS, BUCKETS, MOST] = [768, 3072, 2, 256, 512];
const ROUNDS = 5;
const WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "bird", "sing", "at", "night"];

const words = (count) =>
  Array.from({ length: count }, (_, at) => WORDS[(at * at + at) % WORDS.length]).join(" ");
const BATCHES = {
  "16 texts of 100 words": Array.from({ length: 16 }, () => words(100)),
  "1 text of 400 words": [words(400)],
  "1 text of 10 words": [words(10)],
};

function rows(isDeberta, vocabulary) {
  const linear = (name, out, input) => [
    [`${name}.weight`, [out, input], 0, 0.03],
    [`${name}.bias`, [out], 0, 0.02],
  ];
  const norm = (name) => [
    [`${name}.weight`, [HIDDEN], 1, 0.1],
    [`${name}.bias`, [HIDDEN], 0, 0.1],
  ];
  const all = [
    ["embeddings.word_embeddings.weight", [vocabulary, HIDDEN], 0, 0.4],
    ...norm("embeddings.LayerNorm"),
  ];
  if (isDeberta) {
    all.push(["encoder.rel_embeddings.weight", [2 * BUCKETS, HIDDEN], 0, 0.4], ...norm("encoder.LayerNorm"));
  } else {
    all.push(["embeddings.position_embeddings.weight", [MOST, HIDDEN], 0, 0.1]);
    all.push(["embeddings.token_type_embeddings.weight", [2, HIDDEN], 0, 0.1]);
  }
  for (let i = 0; i < LAYERS; i++) {
    const layer = `encoder.layer.${i}`;
    for (const part of ["query", "key", "value"]) {
      all.push(...linear(`${layer}.attention.self.${part}${isDeberta ? "_proj" : ""}`, HIDDEN, HIDDEN));
    }
    all.push(...linear(`${layer}.attention.output.dense`, HIDDEN, HIDDEN));
    all.push(...norm(`${layer}.attention.output.LayerNorm`), ...norm(`${layer}.output.LayerNorm`));
    all.push(
      ...linear(`${layer}.intermediate.dense`, INNER, HIDDEN),
      ...linear(`${layer}.output.dense`, HIDDEN, INNER),
    );
  }
  return all;
}

async function make(name, dtype) {
  const folder = `${root}tests/fixtures/tiny-${name}`;
  const config = {
    ...JSON.parse(await readFile(`${folder}/config.json`, "utf8")),
    hidden_size: HIDDEN,
    num_attention_heads: 12,
    intermediate_size: INNER,
    num_hidden_layers: LAYERS,
    max_position_embeddings: MOST,
    ...(name === "deberta" && { position_buckets: BUCKETS }),
  };
  const get = async (file) => {
    if (file === "config.json") return new TextEncoder().encode(JSON.stringify(config));
    if (file === "sentence_bert_config.json")
      return new TextEncoder().encode(`{ "max_seq_length": ${MOST} }`);
    if (file === "model.safetensors") {
      return ReadableStream.from(synthetic.chunks(rows(name === "deberta", config.vocab_size)));
    }
    return await readFile(`${folder}/${file}`).catch(() => null);
  };
  return load(get, { dtype });
}

const table = [];
for (const dtype of ["q8", "f32"]) {
  const models = { deberta: await make("deberta", dtype), bert: await make("bert", dtype) };
  for (const [what, texts] of Object.entries(BATCHES)) {
    const times = { deberta: [], bert: [] };
    const tokens = {};
    for (let round = 0; round <= ROUNDS; round++) {
      for (const [name, model] of Object.entries(models)) {
        const start = performance.now();
        const { tokens: counted } = await model.encode(texts);
        if (round > 0) times[name].push(performance.now() - start);
        tokens[name] = counted.reduce((sum, count) => sum + count, 0);
      }
    }
    const speed = (name) => tokens[name] / (median(times[name]) / 1000);
    table.push({
      dtype,
      what,
      tokens: tokens.deberta,
      "DeBERTa, tokens/s": Math.round(speed("deberta")),
      "BERT, tokens/s": Math.round(speed("bert")),
      ratio: Number((speed("deberta") / speed("bert")).toFixed(2)),
    });
  }
  for (const model of Object.values(models)) model.dispose();
}
console.table(table);
