/**
 * Tokens a second of nomic-embed-text-v2-moe's shapes against the dense model of the same active
 * size, side by side in one thread of this runtime. A token goes through the router and two of
 * eight experts in every other layer; the dense model has, over its layers, as many weights as a
 * token takes part in there. Two of the twelve layers, random weights.
 */

import { readFile } from "node:fs/promises";
import { load } from "gossamer-embed";
import { median } from "../support/numbers.mjs";
import { root } from "../support/server.mjs";
import * as synthetic from "../support/synthetic.mjs";

const FOLDER = `${root}tests/fixtures/tiny-nomic-moe`;
const [HIDDEN, INNER, LAYERS, EXPERTS, TOP] = [768, 3072, 2, 8, 2];
const ROUNDS = 5;
const WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "bird", "sing", "at", "night"];

const words = (count) =>
  Array.from({ length: count }, (_, at) => WORDS[(at * at + at) % WORDS.length]).join(" ");
const BATCHES = {
  "16 texts of 100 words": Array.from({ length: 16 }, () => words(100)),
  "1 text of 400 words": [words(400)],
  "1 text of 10 words": [words(10)],
};

function rows(hasExperts, inner, vocabulary) {
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
    ["embeddings.token_type_embeddings.weight", [1, HIDDEN], 0, 0.1],
    ...norm("emb_ln"),
  ];
  for (let i = 0; i < LAYERS; i++) {
    const layer = `encoder.layers.${i}`;
    all.push(
      ...linear(`${layer}.attn.Wqkv`, 3 * HIDDEN, HIDDEN),
      ...linear(`${layer}.attn.out_proj`, HIDDEN, HIDDEN),
    );
    all.push(...norm(`${layer}.norm1`), ...norm(`${layer}.norm2`));
    if (hasExperts && i % 2 === 1) {
      const experts = `${layer}.mlp.experts`;
      all.push(
        [`${layer}.mlp.router.layer.weight`, [EXPERTS, HIDDEN], 0, 0.1],
        [`${experts}.bias`, [HIDDEN], 0, 0.1],
      );
      for (const part of ["w1", "w2"])
        all.push([`${experts}.mlp.${part}`, [EXPERTS * inner, HIDDEN], 0, 0.03]);
    } else
      all.push(...linear(`${layer}.mlp.fc1`, inner, HIDDEN), ...linear(`${layer}.mlp.fc2`, HIDDEN, inner));
  }
  return all;
}

async function make(hasExperts, inner, dtype) {
  const own = JSON.parse(await readFile(`${FOLDER}/config.json`, "utf8"));
  const config = {
    ...own,
    n_embd: HIDDEN,
    n_head: 12,
    n_inner: inner,
    n_layer: LAYERS,
    n_positions: 512,
    max_trained_positions: 512,
    num_experts: EXPERTS,
    moe_top_k: TOP,
    // Every layer but none: a dense model.
    moe_every_n_layers: hasExperts ? 2 : 1,
  };
  const get = async (name) => {
    if (name === "config.json") return new TextEncoder().encode(JSON.stringify(config));
    if (name === "sentence_bert_config.json") return new TextEncoder().encode('{ "max_seq_length": 512 }');
    if (name === "model.safetensors") {
      return ReadableStream.from(synthetic.chunks(rows(hasExperts, inner, config.vocab_size)));
    }
    return await readFile(`${FOLDER}/${name}`).catch(() => null);
  };
  return load(get, { dtype });
}

// The layers with experts have TOP · INNER in use, the others INNER.
const active = ((1 + TOP) * INNER) / 2;
const table = [];
for (const dtype of ["q8", "f32"]) {
  const models = { experts: await make(true, INNER, dtype), dense: await make(false, active, dtype) };
  for (const [what, texts] of Object.entries(BATCHES)) {
    const times = { experts: [], dense: [] };
    let tokens = 0;
    for (let round = 0; round <= ROUNDS; round++) {
      for (const [name, model] of Object.entries(models)) {
        const start = performance.now();
        const { tokens: counted } = await model.encode(texts);
        if (round > 0) times[name].push(performance.now() - start);
        tokens = counted.reduce((sum, count) => sum + count, 0);
      }
    }
    const speed = (name) => tokens / (median(times[name]) / 1000);
    table.push({
      dtype,
      what,
      tokens,
      "experts, tokens/s": Math.round(speed("experts")),
      "dense, tokens/s": Math.round(speed("dense")),
      ratio: Number((speed("experts") / speed("dense")).toFixed(2)),
    });
  }
  for (const model of Object.values(models)) model.dispose();
}
console.table(table);
