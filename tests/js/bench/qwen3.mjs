/** A model of a real size: Qwen3-Embedding-0.6B's shapes with random weights in bf16, 1.2 GB. */

import { mkdir, open, readFile, rename, stat, writeFile } from "node:fs/promises";
import { root } from "../support/server.mjs";
import { bpe } from "../support/vocabulary.mjs";

/** Its files, once they are made. */
export const FOLDER = `${root}target/bench/models/qwen3-0.6b/`;
export const CHUNK = 1 << 20;
const [HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD, FFN, VOCABULARY] = [1024, 28, 16, 8, 128, 3072, 151_669];

const CONFIG = {
  architectures: ["Qwen3ForCausalLM"],
  model_type: "qwen3",
  vocab_size: VOCABULARY,
  hidden_size: HIDDEN,
  num_hidden_layers: LAYERS,
  num_attention_heads: HEADS,
  num_key_value_heads: KV_HEADS,
  head_dim: HEAD,
  intermediate_size: FFN,
  hidden_act: "silu",
  max_position_embeddings: 32_768,
  rms_norm_eps: 1e-6,
  rope_theta: 1_000_000,
  attention_bias: false,
  use_sliding_window: false,
  tie_word_embeddings: true,
};

/** Name and shape of each tensor, in the order of the file. */
function* tensors() {
  yield ["embed_tokens.weight", [VOCABULARY, HIDDEN]];
  for (let layer = 0; layer < LAYERS; layer++) {
    const name = (module) => `layers.${layer}.${module}.weight`;
    yield [name("input_layernorm"), [HIDDEN]];
    yield [name("self_attn.q_proj"), [HEADS * HEAD, HIDDEN]];
    yield [name("self_attn.k_proj"), [KV_HEADS * HEAD, HIDDEN]];
    yield [name("self_attn.v_proj"), [KV_HEADS * HEAD, HIDDEN]];
    yield [name("self_attn.o_proj"), [HIDDEN, HEADS * HEAD]];
    yield [name("self_attn.q_norm"), [HEAD]];
    yield [name("self_attn.k_norm"), [HEAD]];
    yield [name("post_attention_layernorm"), [HIDDEN]];
    yield [name("mlp.gate_proj"), [FFN, HIDDEN]];
    yield [name("mlp.up_proj"), [FFN, HIDDEN]];
    yield [name("mlp.down_proj"), [HIDDEN, FFN]];
  }
  yield ["norm.weight", [HIDDEN]];
}

/** Products that a token takes in all of its matrices. */
export const PRODUCTS = [...tensors()]
  .slice(1)
  .reduce((sum, [, [rows, columns = 0]]) => sum + rows * columns, 0);

/** Header and size of the data. */
export function header() {
  const entries = {};
  let end = 0;
  for (const [name, shape] of tensors()) {
    const begin = end;
    end += 2 * shape.reduce((product, size) => product * size, 1);
    entries[name] = { dtype: "BF16", shape, data_offsets: [begin, end] };
  }
  const json = Buffer.from(JSON.stringify(entries));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return [Buffer.concat([length, json]), end];
}

/** Random values of about ±0.03 in bf16 (xorshift). */
export function randomWeights() {
  const values = new Uint16Array(CHUNK / 2);
  let state = 20260101;
  for (let i = 0; i < values.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    // A sign, an exponent from 2^-8 to 2^-5, a mantissa.
    values[i] = (state & 0x8000) | ((119 + ((state >>> 7) & 3)) << 7) | (state & 0x7f);
  }
  return Buffer.from(values.buffer);
}

/** Writes the model where it is not there yet. */
export async function make() {
  const weights = `${FOLDER}model.safetensors`;
  if (await stat(weights).catch(() => undefined)) return;
  console.log("writing 1.2 GB of random weights");
  await mkdir(`${FOLDER}1_Pooling`, { recursive: true });
  const small = JSON.parse(await readFile(`${root}tests/fixtures/tiny-qwen3/tokenizer.json`, "utf8"));
  const copied = ["modules.json", "config_sentence_transformers.json", "tokenizer_config.json"];
  for (const name of copied) {
    await writeFile(FOLDER + name, await readFile(`${root}tests/fixtures/tiny-qwen3/${name}`));
  }
  const pooling = { word_embedding_dimension: HIDDEN, pooling_mode_lasttoken: true };
  await writeFile(`${FOLDER}1_Pooling/config.json`, JSON.stringify(pooling));
  await writeFile(`${FOLDER}config.json`, JSON.stringify(CONFIG));
  await writeFile(`${FOLDER}tokenizer.json`, bpe(small, 151_000));
  const [head, size] = header();
  const file = await open(`${weights}.part`, "w");
  await file.write(head);
  const chunk = randomWeights();
  for (let left = size; left > 0; left -= CHUNK) await file.write(chunk.subarray(0, Math.min(CHUNK, left)));
  await file.close();
  await rename(`${weights}.part`, weights);
}
