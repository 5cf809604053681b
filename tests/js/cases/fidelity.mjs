/**
 * How near integers come to f32 in all-MiniLM-L6-v2, on more texts than there are references for.
 */

import { assert } from "chai";
import { load } from "gossamer-embed";
import { embedder, fetchBytes, fetchJson, MINILM, rows, texts } from "../support/models.mjs";
import { dot } from "../support/numbers.mjs";
import { sentences } from "../support/sentences.mjs";

/** Rows of normalised vectors, of which a text without tokens has none. */
async function vectors(origin, dtype, inputs) {
  const model = await embedder(origin, MINILM, dtype);
  return rows(await model.encode(inputs));
}

/** The ten nearest of each vector, itself aside. */
function neighbours(all) {
  return all.map((vector, i) => {
    const near = all.map((other, j) => ({ j, score: i === j ? -2 : dot(vector, other) }));
    near.sort((a, b) => b.score - a.score);
    return new Set(near.slice(0, 10).map(({ j }) => j));
  });
}

/**
 * all-MiniLM-L6-v2's encoder and pooler under a random head of one label: a reranker of
 * ms-marco-MiniLM-L6's size.
 */
async function reranker(origin) {
  const config = await fetchJson(`${origin}/${MINILM}config.json`);
  Object.assign(config, { architectures: ["BertForSequenceClassification"], id2label: { 0: "LABEL_0" } });
  const file = await fetchBytes(`${origin}/${MINILM}model.safetensors`);
  const start = 8 + Number(new DataView(file.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, start)));
  const data = file.subarray(start);
  let state = 1;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 31 - 1) / 10;
  };
  const head = Float32Array.from({ length: config.hidden_size + 1 }, random);
  const end = data.length + head.byteLength;
  header["classifier.weight"] = {
    dtype: "F32",
    shape: [1, config.hidden_size],
    data_offsets: [data.length, end - 4],
  };
  header["classifier.bias"] = { dtype: "F32", shape: [1], data_offsets: [end - 4, end] };
  const text = new TextEncoder().encode(JSON.stringify(header));
  const length = new BigUint64Array([BigInt(text.length)]);
  const weights = new Blob([length, text, data, head]);
  const tokenizer = await fetchBytes(`${origin}/${MINILM}tokenizer.json`);
  return (dtype) => {
    const json = new TextEncoder().encode(JSON.stringify(config));
    const files = { "config.json": json, "tokenizer.json": tokenizer, "model.safetensors": weights };
    return load(files, { dtype });
  };
}

/**
 * Kendall's τ: the share of pairs that two lists have in the same order, less that of the others.
 */
function tau(a, b) {
  let [sum, pairs] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    for (let j = 0; j < i; j++) {
      sum += Math.sign((a[i] - a[j]) * (b[i] - b[j]));
      pairs++;
    }
  }
  return sum / pairs;
}

export const fidelity = {
  "q8, q6 and q4 stay near f32 on 443 texts of many languages and kinds": async ({ origin }) => {
    const inputs = [...(await texts(origin, "texts.json")), ...(await texts(origin, "nasty.json"))];
    assert.isAtLeast(inputs.length, 400);
    const exact = await vectors(origin, "f32", inputs);
    for (const [dtype, least, mean] of [
      ["q8", 0.999, 0.9995],
      ["q6", 0.985, 0.998],
      ["q4", 0.9, 0.97],
    ]) {
      const cosines = (await vectors(origin, dtype, inputs)).map((vector, i) => dot(vector, exact[i]));
      assert.isAtLeast(Math.min(...cosines), least, `${dtype}, smallest`);
      assert.isAtLeast(cosines.reduce((sum, value) => sum + value) / cosines.length, mean, `${dtype}, mean`);
    }
  },

  "q8 finds f32's neighbours among 1,000 sentences": async ({ origin }) => {
    const inputs = sentences(1000);
    const exact = neighbours(await vectors(origin, "f32", inputs));
    const ours = neighbours(await vectors(origin, "q8", inputs));
    let shared = 0;
    for (const [i, near] of ours.entries()) for (const j of near) shared += exact[i].has(j) ? 1 : 0;
    assert.isAtLeast(shared / (10 * inputs.length), 0.98);
  },

  "a reranker of MiniLM's size: q8 ranks 20 documents for each of 50 queries as f32 does": async ({
    origin,
  }) => {
    const open = await reranker(origin);
    const documents = sentences(1000);
    const pairs = documents.map((document, i) => [documents[(Math.floor(i / 20) * 331) % 1000], document]);
    const scores = {};
    for (const dtype of ["f32", "q8"]) {
      const model = await open(dtype);
      scores[dtype] = await model.score(pairs, { activation: "identity" });
      model.dispose();
    }
    const taus = Array.from({ length: 50 }, (_, query) => {
      const of = (list) => list.subarray(20 * query, 20 * query + 20);
      return tau(of(scores.f32), of(scores.q8));
    });
    assert.isAtLeast(taus.reduce((sum, value) => sum + value) / taus.length, 0.98, "mean of the queries");
    assert.isAtLeast(tau(scores.f32, scores.q8), 0.98, "of all pairs");
  },
};
