/** SPLADE models of real size, random weights: what they give, and the memory that they take. */

import { load } from "gossamer-embed";
import { digest } from "./digest.mjs";
import { fetchBytes, MINILM } from "./models.mjs";

/** As in the native test of the same models. */
const TEXTS = ["Ships at night", "", "A loaf of rye, and harbour lights."];

const entries = async (vectors) => {
  const parts = vectors.flatMap(({ indices, values }) => [indices, values]);
  const bytes = parts.map((part) => new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
  return digest(new Uint8Array(await new Blob(bytes).arrayBuffer()));
};

/** The model's files, weights as a stream. */
async function files(origin, name) {
  const base = `${origin}/tests/fixtures/${name}/`;
  return {
    "config.json": await fetchBytes(`${base}config.json`),
    "tokenizer.json": await fetchBytes(`${origin}/${MINILM}tokenizer.json`),
    "model.safetensors": await fetch(`${base}model.safetensors`),
  };
}

/**
 * `{ digest, weightBytes, loaded, used }`: the digest of some vectors, and wasm memory before and
 * after 512 tokens.
 */
export async function measureSplade(origin, name, dtype) {
  const model = await load(await files(origin, name), { dtype });
  const loaded = model.info.memoryBytes;
  const { weightBytes } = model.info;
  const long = await model.encodeSparse("harbour lights ".repeat(400));
  if (long[0].indices.length === 0) throw new Error("an empty vector");
  const used = model.info.memoryBytes;
  const result = { digest: await entries(await model.encodeSparse(TEXTS)), weightBytes, loaded, used };
  model.dispose();
  return result;
}
